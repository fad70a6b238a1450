"""Tables 1 and 2 of the paper, with the lab's log and ours as further rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from analysis.paper.claims import Claim
from analysis.report.context import Context
from analysis.report.page import Html, say, stack, table
from analysis.results.evidence import Study
from analysis.verdicts.effects import TIER_WORDS
from analysis.verdicts.table import number

ALSO = re.compile(r"Top-(\d): ([\d.]+) %")  # the second error of a row, in the note of its claim
OURS_1 = {"alexnet": "CNN"}
OURS_2 = {
    "alexnet": "1 CNN",
    "ensemble": "several CNNs, averaged",
    "conv6_pretrained": "1 CNN, pre-trained",
    "ensemble_with_pretrained": "several CNNs, some pre-trained",
}


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, and for each column the claim that prints it."""

    name: str
    claims: tuple[str, ...]  # one a column; "" where the paper leaves the cell empty


TABLE_1 = [
    Row("Sparse coding", ("tab1-sparse", "tab1-sparse")),
    Row("SIFT + Fisher vectors", ("tab1-fv", "tab1-fv")),
    Row("CNN", ("abs-top1-2010", "abs-top5-2010")),
]
TABLE_2 = [
    Row("SIFT + Fisher vectors", ("", "", "abs-second")),
    Row("1 CNN", ("tab2-1cnn", "tab2-1cnn-top5", "")),
    Row("5 CNNs", ("tab2-5cnn-val", "tab2-5cnn-val-top5", "tab2-5cnn-test")),
    Row("1 CNN, pre-trained", ("tab2-1cnn-pre", "tab2-1cnn-pre", "")),
    Row("7 CNNs, two pre-trained", ("tab2-7cnn-val", "tab2-7cnn-val", "abs-ilsvrc12-win")),
]


def tables(ctx: Context) -> Html:
    """Both tables, each with the rows of every study below the paper's."""
    words = (
        "The first rows are the paper's, with the number of the lab's own log where there is one. Ours are means over seeds with ten views, "
        "lowest to highest in brackets. Only a row at paper scale can be compared with the paper's numbers."
    )
    first = ["Model", "Top-1, %", "Top-5, %", "Images", "Seeds", "Evidence"]
    second = ["Model", "Top-1 (val), %", "Top-5 (val), %", "Top-5 (test), %", "Images", "Seeds", "Evidence"]
    return stack(
        say(words),
        _table(ctx, TABLE_1, OURS_1, first, ("ilsvrc2010", "test"), "Table 1: errors on the ILSVRC-2010 test set"),
        _table(ctx, TABLE_2, OURS_2, second, ("ilsvrc2012", "val"), "Table 2: errors on ILSVRC-2012"),
    )


def _table(
    ctx: Context,
    printed: list[Row],
    experiments: dict[str, str],
    heads: list[str],
    place: tuple[str, str],
    caption: str,
) -> Html:
    columns = len(heads) - 4
    rows = []
    for row in printed:
        cells = [_paper(ctx, id_, heads[i + 1]) for i, id_ in enumerate(row.claims)]
        if any(cell != "–" for cell in cells):
            rows.append([f"{row.name} (paper)", *cells, "–", "–", "the paper"])
        logged = [_logged(ctx, id_) for id_ in row.claims]
        if any(cell != "–" for cell in logged):
            rows.append([f"{row.name} (lab log)", *logged, "–", "1", "the lab's log"])
    for study in ctx.studies:
        for name, words in experiments.items():
            found = _ours(ctx, study, name, place)
            if found:
                rows.append([f"{words} (ours, study {study.name})", *_fitted(found[:2], columns), *found[2:]])
    return table(heads, rows, caption)


def _fitted(cells: list[str], columns: int) -> list[str]:
    """The two errors, and dashes for columns that have no public labels."""
    return [*cells, *["–"] * (columns - len(cells))]


def _paper(ctx: Context, id_: str, head: str) -> str:
    """What the paper prints in a cell: the claim's own number, or the second one in its note."""
    claim = ctx.claims.get(id_)
    if claim is None:
        return "–"
    wanted = head[4]  # the digit of Top-1, Top-5
    if _top(claim) == wanted:
        return claim.paper
    also = ALSO.search(claim.note)
    return also[2] if also and also[1] == wanted else "–"


def _top(claim: Claim) -> str:
    """Whether a claim is about the top-1 or the top-5 error."""
    found = re.search(r"[Tt]op-(\d)", claim.statement)
    return found[1] if found else ""


def _logged(ctx: Context, id_: str) -> str:
    claim = ctx.claims.get(id_)
    if claim is None or claim.lab_value is None or claim.how == "":
        return "–"
    return number(claim.lab_value, "%", 2)


def _ours(ctx: Context, study: Study, name: str, place: tuple[str, str]) -> list[str]:
    """Both errors, images, seeds and evidence of an experiment; empty where it was not evaluated there."""
    found = ctx.results.chosen(study.name, name, *place, "ten")
    if found.empty:
        return []
    errors = [_mean_range(found[metric]) for metric in ("top1_error", "top5_error")]
    return [*errors, f"{found['images'].iloc[0]:,}", str(len(found)), TIER_WORDS[study.tier]]


def _mean_range(values: pd.Series) -> str:
    shown = f"{100 * values.mean():.1f}"
    return shown if len(values) == 1 else f"{shown} ({100 * values.min():.1f} – {100 * values.max():.1f})"
