"""Which versions of the code compute the same, by the table of golden values.

A golden value is a hash of one measure of a small net, such as its weights, after a version of the code has trained, evaluated or
examined it on one machine (tests/golden.py). The table has a row a stage, version, machine, net and measure.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from analysis.errors import UserError

TABLE = Path(__file__).resolve().parents[2] / "reports" / "reference" / "golden.csv"
MACHINE = ["cpu", "vector_instructions", "torch", "numba", "images"]
COLUMNS = ["stage", "code_sha256", *MACHINE, "net", "measure", "sha256"]
Machine = tuple[str, ...]
Values = dict[tuple[str, str], str]  # by net and measure


@dataclass(frozen=True)
class Golden:
    """Golden values: by stage and hash of the code, by machine (`MACHINE`)."""

    values: dict[tuple[str, str], dict[Machine, Values]]

    def pairs(self, stage: str, one: str, other: str) -> dict[Machine, tuple[Values, Values]]:
        """What two versions of a stage's code came to on the machines that both ran on."""
        first, second = (self.values.get((stage, code), {}) for code in (one, other))
        return {machine: (first[machine], second[machine]) for machine in first.keys() & second.keys()}

    def where_same(self, stage: str, one: str, other: str) -> set[Machine]:
        """The machines on which two versions of a stage's code came to the same with the same nets; none if they differ on any."""
        both = self.pairs(stage, one, other)
        return set(both) if all(a == b for a, b in both.values()) else set()

    def measures(self, stage: str, one: str, other: str) -> tuple[set[str], set[str]]:
        """The measures that two versions of a stage's code share and brought to the same, and all other ones."""
        pairs = self.pairs(stage, one, other).values()
        every = {measure for pair in pairs for values in pair for _, measure in values}
        other_ones = {key[1] for a, b in pairs for key in a | b if a.get(key) != b.get(key)}
        return every - other_ones, other_ones

    def same(self, stage: str, one: str, other: str) -> bool:
        """Whether two versions of a stage's code are one, or compute the same."""
        return one == other or bool(self.where_same(stage, one, other))

    def stages(self, code: str) -> set[str]:
        """Of which stages there are values of the code with this hash; code of old has one hash for all."""
        return {stage for stage, known in self.values if known == code}

    @property
    def nets(self) -> set[str]:
        return {net for by_machine in self.values.values() for nets in by_machine.values() for net, _ in nets}


def known() -> Golden:
    """The values of the committed table; none where there is no table."""
    return _read(TABLE)


@cache
def _read(path: Path) -> Golden:
    if not path.is_file():
        return Golden({})
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {path} ({error}); make it again with `python tests/golden.py`") from None
    values: dict[tuple[str, str], dict[Machine, Values]] = {}
    for stage, code, *machine, net, measure, value in table.itertuples(index=False):
        values.setdefault((stage, code), {}).setdefault(tuple(machine), {})[net, measure] = value
    return Golden(values)
