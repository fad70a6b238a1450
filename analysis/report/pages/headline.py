"""The headline figure: a dozen claims in words, each with the paper's number, the authors' log and ours."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.report import forest
from analysis.report.context import Context
from analysis.report.forest import Number
from analysis.report.page import Html
from analysis.report.pages.lab_logs import logged_number
from analysis.text import plural, tally
from analysis.verdicts.labels import AGAINST, AGREES, CANNOT_TELL, FOR, LABELS, NOT_SHOWN, PENDING, REPLICATED
from analysis.verdicts.table import RELATIONS, UNITS, interval, with_unit

# The claims of the figure, in its order, in words; those of a unit share a panel.
SHOWN = {
    "gpu-delta-top1": "Two towers on two GPUs",
    "lrn-delta-lab": "Normalisations, the lab's pair",
    "lrn-delta-top1": "Response normalisation alone",
    "pool-delta-top1": "Overlapping pooling",
    "pca-delta": "Colour noise",
    "tenview-gain": "Averaging ten views",
    "disc-layer-2pct-conv2": "Second convolutional layer",
    "disc-layer-2pct": "Third convolutional layer",
    "disc-layer-2pct-conv4": "Fourth convolutional layer",
    "lrn-cifar-delta": "Normalisation, on CIFAR-10",
    "relu-speedup-cifar10": "ReLU, four layers, CIFAR-10",
    "relu-several-times": "ReLU, AlexNet",
    "abs-top1-2010": "Top-1, ILSVRC-2010 test",
    "abs-top5-2010": "Top-5, ILSVRC-2010 test",
    "tab2-5cnn-val-top5": "Top-5, five nets, 2012 val",
}
# By unit: the title of its panel, and whether equal factors are equal lengths.
SCALES = {
    "points": ("points of top-1 error that the part saves", False),
    "x": ("times faster than with tanh", True),
    "%": ("error, %", False),
}


@dataclass(frozen=True)
class Row:
    """One claim of the figure; `ours` is None where nothing that counts has been measured."""

    id: str
    label: str
    section: str
    unit: str
    relation: str
    printed: str  # the paper's number or mark with its unit
    paper: float
    lab: Number | None
    ours: Number | None
    bound: str
    verdict: str
    evidence: str
    limit: str
    why: str

    @property
    def settled(self) -> bool:
        """Whether the runs speak for or against the claim."""
        return self.ours is not None and self.verdict in (*FOR, *AGAINST, NOT_SHOWN)

    @property
    def words(self) -> str:
        """The verdict in a word or two, with the size where the interval excludes the paper's number."""
        if self.ours is None:
            return "not run"
        if self.verdict == CANNOT_TELL:
            few = "too few seeds" if self.why.startswith("too few") else ""
            return self.limit.partition(":")[0] or few or CANNOT_TELL
        if self.verdict != AGREES:
            return self.verdict.removeprefix("direction ")
        _, low, high = self.ours
        size = ", larger here" * (low > self.paper) + ", smaller here" * (high < self.paper)
        return f"agrees{size if self.relation == 'about' else ''}"

    @property
    def drawn(self) -> forest.Row:
        """The row of the figure; a bound has no interval."""
        ours = (self.ours[0], math.nan, math.nan) if self.ours and self.bound else self.ours
        where = self.section if self.section[0].isalpha() else f"§ {self.section}"
        where += f" · paper {self.printed}" * (self.relation != "about")
        row = forest.Row(self.label, ours, self.paper, self.lab, open=not self.settled, note=self.words)
        return replace(row, where=where, untested=self.ours is None)

    @property
    def spoken(self) -> str:
        """The row in a sentence without its full stop, for those who do not see the figure."""
        said = [f"{self.label}: paper {self.printed}"]
        for name, found in (("authors' log", self.lab), ("ours", self.ours)):
            if found:
                said.append(f"{name} {with_unit(found[0], self.unit, 2)} {interval(*found[1:], self.unit)}".strip())
        return f"{', '.join(said)}; {self.words}"


def rows(ctx: Context) -> list[Row]:
    """The claims of `SHOWN` that the verdict table holds."""
    table = {str(row["id"]): row for row in ctx.table.to_dict("records")}
    known = [(id_, label) for id_, label in SHOWN.items() if id_ in table]
    return [_row(table[id_], label, logged_number(ctx.claims[id_])) for id_, label in known]


def panels(found: Sequence[Row], scales: Mapping[str, tuple[str, bool]] = SCALES) -> list[forest.Panel]:
    """The rows of each unit on a scale of its own; units without rows, or without a scale, are left out."""
    by_unit = [(title, log, [row.drawn for row in found if row.unit == unit]) for unit, (title, log) in scales.items()]
    return [forest.panel(title, drawn, 1 if log else 0, log=log) for title, log, drawn in by_unit if drawn]


def _row(row: dict[str, Any], label: str, lab: Number | None) -> Row:
    """Pictures that the bench generates, and an absolute error on other data than the paper's, say nothing about a claim."""
    counts = row["evidence"] == "paper scale" or (row["evidence"] not in ("", "demo") and row["verdict"] != PENDING)
    ours = (float(row["ours"]), row["low"], row["high"]) if counts and row["ours"] else None
    same = {key: str(row[key]) for key in ("id", "section", "unit", "relation", "bound", "verdict", "evidence", "limit", "why")}  # fmt: skip
    printed = f"{RELATIONS.get(row['relation'], '')}{row['paper']}{UNITS.get(row['unit'], '')}"
    return Row(label=label, printed=printed, paper=float(row["paper"]), lab=lab, ours=ours, **same)


def takeaway(found: Sequence[Row]) -> str:
    """What the figure shows, in one line: the figure's title."""
    errors = [row for row in found if row.unit == "%"]
    tested = [row for row in found if row.unit != "%" and row.ours]
    run = [row for row in errors if row.ours]
    if not tested and not run:
        return f"None of these {len(found)} claims has been tested yet"
    said = []
    if tested:
        counts = Counter(row.verdict for row in tested)
        full = "" if all(row.evidence == "paper scale" for row in tested) else " on small data"
        words = tally((counts[label.word], *label.said) for label in LABELS.values())
        said.append(f"Of {plural(len(tested), 'effect')} tested{full}, {words}")
    if errors and not run:
        said.append("the errors on ImageNet are untested")
    elif errors:
        good = sum(row.verdict == REPLICATED for row in run)
        which = f"{good or 'none'} of {plural(len(run), 'error')}"
        said.append(f"{which} on ImageNet {'are' if good > 1 else 'is'} replicated")
    return "; ".join(said)


def svg(ctx: Context, narrow: bool = False, alone: bool = False) -> Html:
    """The figure; `narrow`: with the labels above the bars, for a phone; `alone`: a file that brings its colours along."""
    found = rows(ctx)
    alt = f"{takeaway(found)}. {'; '.join(row.spoken for row in found)}."
    title = textwrap.wrap(takeaway(found), 44 if narrow else 84)
    legend = [("paper", "paper"), ("lab", "the authors' own logs, 95 %")]
    legend += [("ours", "ours, 95 %"), ("open", "ours, no verdict"), ("untested", "not run")]
    css, width = f"headline {'narrow' if narrow else 'wide'}", 340 if narrow else 600
    return forest.drawing(panels(found), alt, narrow, legend, title, alone, css, width, labels=210, notes=134)
