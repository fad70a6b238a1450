"""Reads lab_logs.csv: what the authors' own files of 2012 noted about their runs."""

import re
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import pandas as pd

from analysis.paper.claims import Claim
from analysis.paper.tables import records

LAB_LOGS = Path(__file__).resolve().parent / "lab_logs.csv"


@dataclass(frozen=True)
class LabLog:
    """One row of lab_logs.csv; the schema describes each field. Errors are in %. Empty cells are "" or None."""

    id: str
    file: str
    line: int | None
    period: str
    net: str
    variant: str
    dataset: str
    split: str
    views: str
    loss: float | None
    top1_error: float | None
    top5_error: float | None
    drops: str
    epochs: float | None
    outcome: str
    note: str

    @property
    def source(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}, notes at its end"


@cache
def load_lab_logs(path: Path = LAB_LOGS) -> list[LabLog]:
    """All rows of `path`, in file order, checked by `paper.tables`."""
    columns = [field.name for field in fields(LabLog)]
    numbers = ("line", "loss", "top1_error", "top5_error", "epochs")
    found = [LabLog(**record) for _, record in records(path, "lab_logs", columns, numbers)]
    return [replace(log, line=int(log.line)) if log.line else log for log in found]


def rows_of(claim: Claim, logs: list[LabLog]) -> list[LabLog]:
    """The rows that a claim's `lab_source` names by file and line, in its order."""
    found = []
    for file, lines in re.findall(r"([\w-]+\.cfg):(\d+(?:,\d+)*)", claim.lab_source):
        for line in lines.split(","):
            found += [log for log in logs if log.file == file and log.line == int(line)]
    return found


def logged(claim: Claim, logs: list[LabLog]) -> float | None:
    """The claim's number as the logs give it, in % or points; None where they hold no such number.

    A difference is that of the first row named in `lab_source` minus the second, a gain of views that of one view
    minus ten.
    """
    rows = rows_of(claim, logs)
    if claim.metric == "optimizer.schedule.epochs":
        return rows[0].epochs if rows else None
    metric = claim.metric if claim.metric in ("top1_error", "top5_error") else "top1_error"
    values = [getattr(row, metric) for row in rows]
    if claim.how == "view_gain":
        by_views = {row.views: value for row, value in zip(rows, values, strict=True)}
        values = [by_views["center"], by_views["ten"]] if set(by_views) == {"center", "ten"} else []
    wanted = {"": 1, "value": 1, "difference": 2, "view_gain": 2}.get(claim.how)
    return None if None in values or len(values) != wanted else float(values[0] - sum(values[1:]))


def view_gains(logs: list[LabLog]) -> pd.DataFrame:
    """Points of `top1_error` and `top5_error` that ten views win over one, of each net with both on ILSVRC-2012 validation."""
    table = pd.DataFrame([asdict(log) for log in logs if log.dataset == "ilsvrc2012"])
    errors = table.set_index(["net", "split", "views"])[["top1_error", "top5_error"]].astype(float)
    return (errors.xs("center", level="views") - errors.xs("ten", level="views")).dropna()
