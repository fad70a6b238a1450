"""Table cells that all pages share: verdicts and values."""

from typing import Any

from analysis.report.page import Html
from analysis.verdicts.labels import LABELS, PENDING
from analysis.verdicts.table import paper_value, weakness, with_unit


def badge(verdict: str, evidence: str, dataset: str = "") -> Html:
    """The verdict in a word, a mark and a colour, with its evidence where that is weaker than the paper's data at full size."""
    short = weakness(evidence, dataset) if verdict != PENDING else ""
    weak = Html(' <span class="weak">({})</span>').format(short) if short else ""
    label = LABELS[verdict]
    tone = f" v-{label.tone}" if label.tone else ""
    return Html('<span class="verdict{}"><span aria-hidden="true">{}</span> {}{}</span>').format(
        tone, label.mark, verdict, weak
    )


def value(row: dict[str, Any], column: str) -> str:
    """A cell of the verdict table with its unit; measured values have two decimals."""
    if column == "paper":
        return paper_value(row["paper"], row["unit"], row["relation"])
    return with_unit(row[column], row["unit"], 2 if column == "ours" and row["study"] else None)
