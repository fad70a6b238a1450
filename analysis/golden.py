"""Turns the table of golden values into which versions of the code compute the same.

A golden value is a hash of what one small net, a published one shrunk, comes to when a version of the code trains, evaluates
or examines it on one machine (tests/golden.py). The table has a row a stage, version, machine and net.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from analysis.errors import UserError

TABLE = Path(__file__).resolve().parent.parent / "reports" / "reference" / "golden.csv"
MACHINE = ["cpu", "vector_instructions", "torch", "numba", "images"]
COLUMNS = ["stage", "code_sha256", *MACHINE, "net", "sha256"]
Machine = tuple[str, ...]


@dataclass(frozen=True)
class Golden:
    """Golden values: by stage and hash of the code, by machine (`MACHINE`), by net."""

    values: dict[tuple[str, str], dict[Machine, dict[str, str]]]

    def where_same(self, stage: str, one: str, other: str) -> set[Machine]:
        """The machines on which two versions of a stage's code came to the same with the same nets; none if they differ on any."""
        first, second = (self.values.get((stage, code), {}) for code in (one, other))
        both = set(first) & set(second)
        return both if all(first[machine] == second[machine] for machine in both) else set()

    def same(self, stage: str, one: str, other: str) -> bool:
        """Whether two versions of a stage's code are one, or compute the same."""
        return one == other or bool(self.where_same(stage, one, other))

    def stages(self, code: str) -> set[str]:
        """Of which stages there are values of the code with this hash; code of old has one hash for all."""
        return {stage for stage, known in self.values if known == code}

    @property
    def nets(self) -> set[str]:
        return {net for by_machine in self.values.values() for nets in by_machine.values() for net in nets}


def known() -> Golden:
    """The values of the committed table; none where there is no table.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    return _read(TABLE)


@cache
def _read(path: Path) -> Golden:
    if not path.is_file():
        return Golden({})
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot read {path} ({error}); make it again with `python tests/golden.py`"
        ) from None
    values: dict[tuple[str, str], dict[Machine, dict[str, str]]] = {}
    for stage, code, *machine, net, value in table.itertuples(index=False):
        values.setdefault((stage, code), {}).setdefault(tuple(machine), {})[net] = value
    return Golden(values)
