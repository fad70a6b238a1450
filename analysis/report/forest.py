"""Forest plots: numbers with their intervals, a row each, beside the paper's and the authors' log, as SVG.

A colour has one meaning in all figures: blue is ours, orange the authors' logs, grey what carries no word; the paper is a hollow diamond.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report.chart import chart
from analysis.report.number_line import Marks, limits, shared_axis
from analysis.report.page import Html, render
from analysis.report.scale import Scale

NAN = math.nan
Number = tuple[float, float, float]  # with the ends of its interval; NaN: none


@dataclass(frozen=True)
class Row:
    """A line of a forest; one with a label alone is a heading.

    Attributes:
        spread: single seeds, drawn as small dots.
        open: the number carries no word, so it is grey.
        note: words at the right end, behind the label on a phone.
        where: small words below the label, on a wide screen.
        untested: an empty frame stands where a number is missing.
        bar: ends of a bar; marks: further numbers, `triangle` or `hollow`, joined with ours by a line.
    """

    label: str
    ours: Number | None = None
    paper: float = NAN
    lab: Number | None = None
    spread: tuple[float, ...] = ()
    open: bool = False
    note: str = ""
    where: str = ""
    untested: bool = False
    bar: tuple[float, float] | None = None
    marks: tuple[tuple[str, float], ...] = ()

    @property
    def values(self) -> list[float]:
        """All numbers without their intervals."""
        found = [of[0] for of in (self.ours, self.lab) if of] + [x for _, x in self.marks]
        return [x for x in (self.paper, *found, *self.spread, *(self.bar or ())) if not math.isnan(x)]

    @property
    def drawn(self) -> bool:
        """Whether it is more than a heading."""
        return bool(self.values) or self.untested

    @property
    def spoken(self) -> str:
        """The row in words, for those who do not see the figure."""
        paper = "" if math.isnan(self.paper) else f"paper {self.paper:g}"
        said = [_spoken("", self.ours), paper, _spoken("log ", self.lab), self.note]
        return f"{self.label}: {', '.join(filter(None, said))}"

    @property
    def record(self) -> list[object]:
        """The row of the table to download."""
        ours, lab = (found or (NAN, NAN, NAN) for found in (self.ours, self.lab))
        return [self.label, *ours, " ".join(f"{seed:.6g}" for seed in self.spread), self.paper, *lab, self.note]


def _spoken(name: str, of: Number | None) -> str:
    if of is None:
        return ""
    return f"{name}{of[0]:.2f}" + ("" if math.isnan(of[1]) else f" from {of[1]:.2f} to {of[2]:.2f}")


@dataclass(frozen=True)
class Panel:
    """Rows that share a scale, with a line at `line`, `named` below, and a dotted one at `other`."""

    title: str
    rows: Sequence[Row]
    scale: Scale
    line: float | None = None
    named: str = ""
    other: float | None = None


def panel(
    title: str,
    rows: Sequence[Row],
    line: float = 0,
    named: str = "",
    cut: bool = True,
    other: float | None = None,
    log: bool = False,
) -> Panel:
    """Rows on a scale that shows them all; if `cut`, but for those that would make it more than three times as wide.

    Args:
        log: equal factors are equal lengths.
    """
    if log:
        numbers = [line, *(x for row in rows for x in row.values)]
        return Panel(title, rows, Scale.doubling(max(min(numbers), 1 / 8), min(max(numbers), 32)), line, named, other)
    marks = []
    for row in filter(lambda row: row.values, rows):
        main = row.ours or row.lab or (NAN, NAN, NAN)
        span = None if math.isnan(main[1]) else main[1:]
        marks.append(Marks(seeds=tuple(row.values), span=span, zero=line, lab=other))
    return Panel(title, rows, Scale.of(*(shared_axis if cut else limits)(marks)), line, named, other)


def drawing(
    panels: Sequence[Panel],
    alt: str,
    narrow: bool,
    legend: Sequence[tuple[str, str]] = (),
    title: Sequence[str] = (),
    alone: bool = False,
    css: str = "",
    width: int = 0,
    labels: int = 290,
    notes: int = 190,
) -> Html:
    """Panels below each other; `alone`: a file that brings `title` and colours along; `labels`, `notes`: units of their columns."""
    size = width or (340 if narrow else 760)
    more = {"title": title, "alone": alone, "css": css, "width": size, "labels": labels, "notes": notes}
    return render("forest.svg.j2", panels=panels, alt=alt, narrow=narrow, legend=legend, **more)


COLUMNS = ["row", "ours", "low", "high", "seeds", "paper", "log", "log_low", "log_high", "note"]


def forest_chart(
    rows: Sequence[Row],
    xlabel: str,
    title: str,
    caption: str,
    ours: str = "ours, 95 % interval",
    open_: str = "ours, no verdict",
    **how: Any,
) -> Html:
    """A forest with its title, caption and downloads; `ours` and `open_` are words of the legend, `how` goes to `panel`."""
    said = [row for row in rows if row.values]
    alt = f"{xlabel}. {'; '.join(row.spoken for row in said)}"
    legend = [("paper", "paper")] * any(not math.isnan(row.paper) for row in rows)
    legend += [("lab", "the authors’ log, 95 % interval")] * any(row.lab for row in rows)
    legend += [("ours", ours)] * any(row.ours and not row.open for row in rows)
    legend += [("open", open_)] * any(row.ours and row.open for row in rows)
    shown = [panel(xlabel, rows, **how)]
    data = pd.DataFrame([row.record for row in said], columns=COLUMNS)
    return chart(lambda narrow: drawing(shown, alt, narrow, legend), title, caption, data)
