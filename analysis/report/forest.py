"""Forest plots: numbers with their intervals, a row each, beside the paper's and the authors' log.

A colour has one meaning in all figures: blue is ours, orange the authors' logs, grey what carries no word; the paper is a hollow diamond.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.report.chart import chart
from analysis.report.page import INK, Html
from analysis.report.style import LAB, NARROW, OPEN, OURS, SMALL, WIDE, canvas, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAN = math.nan
Number = tuple[float, float, float]  # with the ends of its interval; NaN: none


@dataclass(frozen=True)
class Row:
    """A line of a forest; one with a label alone is a heading.

    Attributes:
        spread: single seeds, drawn as small dots.
        open: the number carries no word, so it is grey.
        note: words at the right end, behind the label on a phone.
    """

    label: str
    ours: Number | None = None
    paper: float = NAN
    lab: Number | None = None
    spread: tuple[float, ...] = ()
    open: bool = False
    note: str = ""

    @property
    def values(self) -> list[float]:
        """All numbers without their intervals."""
        firsts = [found[0] for found in (self.ours, self.lab) if found]
        return [x for x in (self.paper, *firsts, *self.spread) if not math.isnan(x)]

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

    @property
    def ends(self) -> list[float]:
        """All numbers and ends of intervals."""
        return [*self.values, *(x for found in (self.ours, self.lab) if found for x in found[1:] if not math.isnan(x))]


def _spoken(name: str, of: Number | None) -> str:
    if of is None:
        return ""
    return f"{name}{of[0]:.2f}" + ("" if math.isnan(of[1]) else f" from {of[1]:.2f} to {of[2]:.2f}")


COLUMNS = ["row", "ours", "low", "high", "seeds", "paper", "log", "log_low", "log_high", "note"]


def forest_chart(rows: Sequence[Row], xlabel: str, title: str, caption: str, **how: Any) -> Html:
    """A forest with its title, caption and downloads; `how` goes to `forest`."""
    said = [row for row in rows if row.values]
    alt = f"{xlabel}. {'; '.join(row.spoken for row in said)}"
    data = pd.DataFrame([row.record for row in said], columns=COLUMNS)
    return chart(lambda narrow: forest(rows, xlabel, narrow, **how), title, alt, caption, data)


def forest(
    rows: Sequence[Row],
    xlabel: str,
    narrow: bool,
    line: float = 0,
    named: str = "",
    ours: str = "ours, 95 % interval",
    cut: bool = True,
    other: float | None = None,
) -> Figure:
    """Numbers with intervals, a row each, and a line to compare them with.

    Args:
        line: where the line stands, `named` what is written at it.
        cut: what lies far outside stands at the edge, with its number.
        other: where a second, dotted line stands.
    """
    tall = 0.62 if narrow else 0.36
    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=(1.6 if narrow else 1.15) + tall * len(rows))
    axis.set(xlim=_limits(rows, line, cut, other), ylim=(-0.6, len(rows) - (0.2 if narrow else 0.4)))
    axis.axvline(line, color=INK, linewidth=1)
    if other is not None:
        axis.axvline(other, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    if named:
        _write(axis, named, (line, 1), (0, 3), "axes", ha="center")
    for y, row in enumerate(reversed(rows)):
        for seed in row.spread:
            axis.plot(seed, y, "o", color=OPEN if row.open else OURS, markersize=4, alpha=0.45, markeredgewidth=0)
        _number(axis, y, row.ours, OPEN if row.open else OURS, "o", ours)
        _number(axis, y + (0.18 if narrow else 0.24), row.lab, LAB, "s", "the authors’ log, 95 % interval")
        if not math.isnan(row.paper):
            style: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 7, "zorder": 5}
            axis.plot(row.paper, y, "D", label="paper", **style)
    labelled(axis, rows, narrow)
    axis.set_xlabel(textwrap.fill(xlabel, 38) if narrow else xlabel)
    axis.grid(axis="y", visible=False)
    legend_below(fig, axis, 1 if narrow else 3)
    return fig


def _write(
    axis: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], frame: str = "", **how: Any
) -> None:
    """Small text beside a point; `frame` "axes": its height is a share of the axes, "side": its place across is."""
    coords: Any = {"axes": ("data", "axes fraction"), "side": ("axes fraction", "data"), "": "data"}[frame]
    axis.annotate(
        text, at, xycoords=coords, xytext=shift, textcoords="offset points", fontsize=SMALL, **{"color": INK, **how}
    )


def _number(axis: Axes, y: float, of: Number | None, hue: str, mark: str, label: str) -> None:
    """A number with its interval; a triangle at the edge and the number itself where it lies outside."""
    if of is None or math.isnan(of[0]):
        return
    value, (least, most) = of[0], axis.get_xlim()
    right = bool(value > most)
    outside = right or value < least
    edge = (least, most)[right]
    if outside:
        sign, side = (-8, "right") if right else (8, "left")
        _write(axis, f"{value:.1f}".replace("-", "−"), (edge, y), (sign, 0), ha=side, va="center", color=hue)
    else:
        low, high = np.clip(of[1:], least, most)
        axis.plot([low, high], [y, y], color=hue, linewidth=2.4 if mark == "o" else 1.4, solid_capstyle="butt")
    place, shape = (edge, "<>"[right]) if outside else (value, mark)
    axis.plot(place, y, shape, color=hue, label=label, markersize=7 if mark == "o" else 5, clip_on=False)


def _limits(rows: Sequence[Row], line: float, cut: bool, other: float | None) -> tuple[float, float]:
    """The ends of the axis: all numbers; if `cut`, not those three times as far from the line as all others."""
    far = {id(row): max((abs(x - line) for x in row.values), default=0.0) for row in rows}
    near = sorted(rows, key=lambda row: far[id(row)])
    while cut and len(near) > 2 and far[id(near[-1])] > 3 * far[id(near[-2])] > 0:
        near.pop()
    reach = 2 * max(far[id(near[-1])], 0.5) if near else 1.0  # an interval that is wider than that is cut
    ends = [line] if other is None else [line, other]
    ends += [min(max(x, line - reach), line + reach) for row in near for x in row.ends]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def labelled(axis: Axes, rows: Sequence[Row], narrow: bool) -> None:
    """Labels and notes of the rows: at the sides, or above the bars."""
    backwards = list(reversed(rows))
    if narrow:
        axis.set_yticks([])
        for y, row in enumerate(backwards):
            said = textwrap.fill(f"{row.label}  ·  {row.note}" if row.note else row.label, 48)
            _write(axis, said, (0, y + 0.34), (0, 0), "side", va="bottom", weight=_weight(row), linespacing=0.95)
        return
    axis.set_yticks(range(len(rows)), [textwrap.fill(row.label, 42) for row in backwards])
    for y, (tick, row) in enumerate(zip(axis.get_yticklabels(), backwards, strict=True)):
        tick.set_fontweight(_weight(row))
        _write(axis, textwrap.fill(row.note, 30), (1.02, y), (0, 0), "side", va="center")


def _weight(row: Row) -> str:
    return "normal" if row.values else "bold"
