"""Tables 1 and 2 of the paper, each row with the lab's log and ours below it."""

import re
from dataclasses import dataclass
from typing import Any

from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.text import mean_range
from analysis.verdicts.table import number

ALSO = re.compile(r"Top-(\d): ([\d.]+) %")  # the second error of a row, in the note of its claim
SETS = {"ilsvrc2010": "ILSVRC-2010", "ilsvrc2012": "ILSVRC-2012"}


@dataclass(frozen=True)
class Row:
    """A printed row: its model, our experiment ("": the work of others), and for each column the claim that prints it."""

    model: str
    experiment: str
    claims: tuple[str, ...]  # "" where the paper leaves the cell empty


TABLE_1 = [
    Row("Sparse coding", "", ("tab1-sparse", "tab1-sparse")),
    Row("SIFT + Fisher vectors", "", ("tab1-fv", "tab1-fv")),
    Row("CNN", "alexnet", ("abs-top1-2010", "abs-top5-2010")),
]
TABLE_2 = [
    Row("SIFT + Fisher vectors", "", ("", "", "abs-second")),
    Row("1 CNN", "alexnet", ("tab2-1cnn", "tab2-1cnn-top5", "")),
    Row("5 CNNs", "ensemble", ("tab2-5cnn-val", "tab2-5cnn-val-top5", "tab2-5cnn-test")),
    Row("1 CNN, pre-trained", "conv6_pretrained", ("tab2-1cnn-pre", "tab2-1cnn-pre", "")),
    Row("7 CNNs, two pre-trained", "ensemble_with_pretrained", ("tab2-7cnn-val", "tab2-7cnn-val", "abs-ilsvrc12-win")),
]
TABLES = [
    ("Table 1: errors on the ILSVRC-2010 test set", ("ilsvrc2010", "test"), TABLE_1, ("Top-1, %", "Top-5, %")),
    (
        "Table 2: errors on ILSVRC-2012",
        ("ilsvrc2012", "val"),
        TABLE_2,
        ("Top-1 (val), %", "Top-5 (val), %", "Top-5 (test), %"),
    ),
]


def tables(ctx: Context) -> Html:
    """Both tables; a row of ours is at the paper's scale, or says what it needs and how to run it."""
    shown = [
        {"caption": caption, "columns": columns, "rows": [_row(ctx, row, place, columns) for row in rows]}
        for caption, place, rows, columns in TABLES
    ]
    return render("tables_1_and_2.html.j2", tables=shown)


def _row(ctx: Context, row: Row, place: tuple[str, str], columns: tuple[str, ...]) -> dict[str, Any]:
    logged = [_logged(ctx, id_) for id_ in row.claims]
    return {
        "model": row.model,
        "paper": [_printed(ctx, id_, head) for id_, head in zip(row.claims, columns, strict=True)],
        "lab": logged if any(logged) else [],
        "ours": _ours(ctx, row, place, len(columns)) if row.experiment else [],
        "missing": _missing(ctx, row) if row.experiment else {},
    }


def _printed(ctx: Context, id_: str, head: str) -> str:
    """What the paper prints in a cell: the claim's own number, or the second one in its note."""
    claim = ctx.claims.get(id_)
    if claim is None:
        return ""
    wanted = head[4]  # the digit of Top-1, Top-5
    about = re.search(r"[Tt]op-(\d)", claim.statement)
    if about and about[1] == wanted:
        return claim.paper
    also = ALSO.search(claim.note)
    return also[2] if also and also[1] == wanted else ""


def _logged(ctx: Context, id_: str) -> str:
    claim = ctx.claims.get(id_)
    return number(claim.lab_value, "%", 2) if claim and claim.lab_value is not None and claim.how else ""


def _ours(ctx: Context, row: Row, place: tuple[str, str], columns: int) -> list[dict[str, Any]]:
    """Both errors of each study at the paper's scale: mean over seeds, lowest and highest."""
    found = []
    for study in ctx.studies:
        evals = ctx.results.chosen(study.name, row.experiment, *place, "ten")
        if len(evals) and study.tier_of([row.experiment]) == "paper":
            errors = [mean_range(100 * evals[metric]) for metric in ("top1_error", "top5_error")]
            cells = [*errors, *[""] * (columns - 2)]  # the labels of the test set are not public
            found.append({"study": study.name, "cells": cells, "images": evals["images"].iloc[0], "seeds": len(evals)})
    return found


def _missing(ctx: Context, row: Row) -> dict[str, str]:
    """What a row of ours that was not run needs, the claim that says more, and the command."""
    claim = ctx.claims.get(row.claims[0])
    if claim is None:
        return {}
    needs = f"needs {SETS[claim.dataset]}" if claim.how else claim.reason.partition(",")[0]
    commands = ctx.table.loc[ctx.table["id"] == claim.id, "command"] if claim.how else []
    return {"claim": claim.id, "needs": needs, "command": next(iter(commands), "")}
