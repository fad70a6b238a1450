"""Benchmarks the training step and its parts against what one would write first, as ratios."""

import sys
import tempfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pandas as pd
import torch

from alexnet.bench.compare import COLUMNS, Row
from alexnet.bench.ingest import ingest_rows
from alexnet.bench.loading import loader_rows
from alexnet.bench.step import step_rows
from alexnet.errors import UserError
from alexnet.net import execution
from alexnet.runtime import provenance
from alexnet.runtime.files import write_atomically, write_json

SAID = (
    "{benchmark}: {subject} {subject_value:.3g} {unit}, {peer} {peer_value:.3g}; ratio {ratio:.2f} "
    "({ratio_low:.2f} to {ratio_high:.2f}, n={n})"
)


def bench(
    out: Path, folders: list[Path], rounds: int, threads: int | None, only: str | None, full_size: bool = True
) -> list[Row]:
    """Measure everything and write the table to `out` (CSV), and the machine beside it (.json).

    Args:
        folders: where real full-size images are looked for.
        only: ingest, loader or step; None for all.

    UserError if the definitions in config/ cannot be read, or a program that is measured ended.
    """
    execution.keep_memory()
    if threads:
        torch.set_num_threads(threads)
    rows: list[Row] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="bench-") as work:
        parts = {
            "ingest": ingest_rows(folders, Path(work), rounds),
            "loader": loader_rows(Path(work), rounds),
            "step": step_rows(rounds, full_size, threads),
        }
        try:
            for row in (row for part, found in parts.items() if only in (None, part) for row in found):
                rows.append(row)
                print(SAID.format(**row), file=sys.stderr, flush=True)
        except BrokenProcessPool:
            raise UserError("a program of the benchmark ended; its message stands above") from None

    table = pd.DataFrame(rows, columns=COLUMNS)
    write_atomically(out, lambda path: table.to_csv(path, index=False))
    machine = provenance.collect("train") | {"threads": torch.get_num_threads()}
    write_json(out.with_suffix(".json"), machine)
    return rows
