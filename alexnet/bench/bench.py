"""Benchmarks the training step and its parts against what one would write first, as ratios."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from alexnet.bench.compare import COLUMNS
from alexnet.bench.ingest import ingest_rows
from alexnet.bench.loading import loader_rows
from alexnet.bench.step import step_rows
from alexnet.net import execution
from alexnet.runtime import provenance
from alexnet.runtime.files import write_atomically, write_json

PARTS = ("ingest", "loader", "step")


def show(found: dict[str, Any]) -> None:
    """A row, as a line for people."""
    print(
        f"{found['benchmark']}: {found['subject']} {found['subject_value']:.3g} {found['unit']}, {found['peer']} "
        f"{found['peer_value']:.3g}; ratio {found['ratio']:.2f} ({found['ratio_low']:.2f} to "
        f"{found['ratio_high']:.2f}, n={found['n']})",
        file=sys.stderr,
        flush=True,
    )


def bench(
    out: Path,
    folders: list[Path],
    rounds: int = 5,
    threads: int | None = None,
    only: str | None = None,
    full_size: bool = True,
) -> list[dict[str, Any]]:
    """Measure everything and write the table to `out` (CSV), and the machine beside it (.json).

    Args:
        folders: where real full-size images are looked for.
        only: one of PARTS; None for all.

    Raises:
        alexnet.errors.UserError: the definitions in config/ cannot be read.
    """
    execution.keep_memory()
    if threads:
        torch.set_num_threads(threads)
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="bench-") as work:
        parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "ingest": lambda: ingest_rows(folders, Path(work), rounds),
            "loader": lambda: loader_rows(Path(work), rounds),
            "step": lambda: step_rows(rounds, full_size, threads),
        }
        for name in PARTS:
            for row in parts[name]() if only in (None, name) else ():
                rows.append(row)
                show(row)

    table = pd.DataFrame(rows, columns=COLUMNS)
    write_atomically(out, lambda path: table.to_csv(path, index=False))
    machine = provenance.collect("train") | {"threads": torch.get_num_threads()}
    write_json(out.with_suffix(".json"), machine)
    return rows
