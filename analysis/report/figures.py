"""The report's drawings. Each takes `narrow`: true for a phone, with labels above their rows and panels below each other.

A colour has one meaning: blue is ours, or the paper's side of a comparison, purple the other side, orange the authors' logs, grey what carries
no word; the paper is a hollow diamond.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from analysis.report.names import plain_name
from analysis.report.page import INK
from analysis.report.style import COLORS, canvas, legend, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

    from analysis.measures.convergence import Reached
    from analysis.verdicts.effects import Effect

OURS, LAB, OTHER, OPEN = COLORS[0], COLORS[1], COLORS[3], COLORS[6]
SMALL = 8.6  # points: 11 px on the screen
WIDE, NARROW = 8.4, 3.55  # inches
SIDES = {"ReLU": (OURS, "-"), "tanh": (OTHER, (0, (5, 2)))}  # full and dashed, as in the paper's Fig. 1
NAN = float("nan")


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
    def ends(self) -> list[float]:
        """All numbers and ends of intervals."""
        return [*self.values, *(x for found in (self.ours, self.lab) if found for x in found[1:] if not math.isnan(x))]


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
    _labelled(axis, rows, narrow)
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


def _labelled(axis: Axes, rows: Sequence[Row], narrow: bool) -> None:
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


def panels(count: int, narrow: bool, columns: int = 2, height: float = 2.3) -> tuple[Figure, list[Axes]]:
    """So many panels with the same axes, `columns` a row, on a phone half as many."""
    columns = min(count, max(1, columns // 2) if narrow else columns)
    rows = -(-count // columns)
    fig, axes = canvas(rows, columns, NARROW if narrow else WIDE, height * rows + 0.7, share=True)
    for axis in axes[count:]:
        axis.set_visible(False)
    return fig, axes[:count]


Curve = tuple[np.ndarray, np.ndarray]  # epochs, and errors in %


def as_curve(run: pd.DataFrame, column: str = "train_error") -> Curve:
    """Epochs, and errors in %, of a run's metrics."""
    return run["epoch"].to_numpy(float), 100 * run[column].to_numpy(float)


def curves_frame(nets: Mapping[str, Sequence[Curve]]) -> pd.DataFrame:
    """Curves as one table: net, run, epoch, error in %."""
    rows = [
        (net, i, *at) for net, runs in nets.items() for i, run in enumerate(runs, 1) for at in zip(*run, strict=True)
    ]
    return pd.DataFrame(rows, columns=["net", "run", "epoch", "error"])


def races(
    by_condition: Mapping[str, Mapping[str, Sequence[Curve]]], mark: float, narrow: bool, height: float = 2.3
) -> Figure:
    """A panel a condition: training errors of the ReLU and the tanh net over epochs, a line a seed, and a line at the mark."""
    fig, axes = panels(len(by_condition), narrow, height=height)
    for axis, (words, nets) in zip(axes, by_condition.items(), strict=True):
        for label, seeds in nets.items():
            hue, dash = SIDES[label]
            for epochs, errors in seeds:
                axis.plot(epochs, errors, color=hue, linestyle=dash, linewidth=1.4, label=label)
        axis.axhline(mark, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        axis.set(xlabel="epoch", ylabel="training error (%)", ylim=(0, None))
        _titled(axis, words, narrow)
    _outer(fig, axes, 2)
    return fig


def sweeps(by_condition: Mapping[str, Mapping[str, tuple[dict[float, Reached], float]]], narrow: bool) -> Figure:
    """A panel a condition: epochs over learning rate of each net, with the chosen rate filled; triangles never got there."""
    fig, axes = panels(len(by_condition), narrow)
    for axis, (words, nets) in zip(axes, by_condition.items(), strict=True):
        for label, (swept, chosen) in nets.items():
            hue, dash = SIDES[label]
            axis.plot(list(swept), [reached.epoch for reached in swept.values()], color=hue, linestyle=dash, linewidth=1.4, label=label)  # fmt: skip
            for rate, reached in swept.items():
                face = hue if rate == chosen else "none"
                axis.plot(rate, reached.epoch, "^" if reached.censored else "o", color=hue, markerfacecolor=face)
        axis.set(xscale="log", yscale="log", xlabel="learning rate of the weights", ylabel="epochs", ylim=(3, 90))
        axis.set_yticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"], minor=False)
        axis.minorticks_off()
        _titled(axis, words, narrow)
    _outer(fig, axes, 2)
    return fig


def _titled(axis: Axes, words: str, narrow: bool) -> None:
    axis.set_title(textwrap.fill(words, 46), color=INK, fontsize=9)


def _outer(fig: Figure, axes: Sequence[Axes], columns: int) -> None:
    """Names of the axes at the outer panels alone, and one legend."""
    for axis in axes:
        axis.label_outer()
    legend_below(fig, axes[0], columns)


def curves(nets: Mapping[str, Sequence[Curve]], ylabel: str, narrow: bool) -> Figure:
    """Errors of two nets over epochs in one panel, a line a seed; the first is ours, the second the other."""
    fig, (axis,) = panels(1, narrow, height=2.6)
    for (label, seeds), (hue, dash) in zip(nets.items(), SIDES.values(), strict=False):
        for epochs, errors in seeds:
            axis.plot(epochs, errors, color=hue, linestyle=dash, linewidth=1.4, label=label)
    axis.set(xlabel="epoch", ylabel=ylabel)
    legend_below(fig, axis, 1 if narrow else 2)
    return fig


def dots(table: pd.DataFrame, xlabel: str, narrow: bool) -> Figure:
    """Several numbers a row, joined by a line: the index holds the rows, each column is a kind of number (first to last: hollow to full)."""
    marks = [("^", OTHER, "none"), ("o", OURS, "none"), ("s", OURS, OURS)][-table.shape[1] :]
    rows = [Row(str(label)) for label in table.index]
    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=1 + (0.52 if narrow else 0.32) * len(rows))
    for y, (_, values) in enumerate(table.iloc[::-1].iterrows()):
        axis.plot([values.min(), values.max()], [y, y], color=INK, alpha=0.35, linewidth=1.3)
        for (column, value), (mark, hue, face) in zip(values.items(), marks, strict=True):
            axis.plot(value, y, mark, color=hue, markerfacecolor=face, markersize=6.5, label=column)
    axis.set(xlabel=xlabel, ylim=(-0.7, len(rows) - 0.2))
    _labelled(axis, [Row(row.label, paper=0) for row in rows], narrow)
    axis.grid(axis="y", visible=False)
    legend_below(fig, axis, 1 if narrow else 3)
    return fig


def share_table(net: dict[str, Any]) -> pd.DataFrame:
    """Share of the parameters and of the multiply-adds in each learned layer, in % (columns: layer, of, share)."""
    learned = [row for row in net["layers"] if row["kind"] in ("conv", "fc")]
    kinds = (("parameters", "parameters"), ("macs", "multiply-adds"))
    rows = [(row["name"], label, 100 * row[key] / net["totals"][key]) for key, label in kinds for row in learned]
    return pd.DataFrame(rows, columns=["layer", "of", "share"])


def shares(table: pd.DataFrame, narrow: bool) -> Figure:
    """The table of shares as bars."""
    import seaborn as sns

    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=4.6 if narrow else 3.2)
    x, y = ("share", "layer") if narrow else ("layer", "share")
    sns.barplot(table, x=x, y=y, hue="of", palette=[OURS, OTHER], saturation=1, ax=axis)
    for bars in axis.containers:
        axis.bar_label(cast("BarContainer", bars), fmt=_short, padding=2, fontsize=SMALL, color=INK)
    axis.grid(axis="y" if narrow else "x", visible=False)
    (axis.set_xlabel if narrow else axis.set_ylabel)("share of the net (%)")
    (axis.set_ylabel if narrow else axis.set_xlabel)("")
    legend(axis)
    return fig


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def chroma_by_tower(runs: Mapping[int, tuple[np.ndarray, np.ndarray]], narrow: bool) -> Figure:
    """Share of chroma energy (%) of every first-layer kernel: a panel a seed, a column a tower, the mean as a line."""
    fig, axes = panels(len(runs), narrow, columns=6, height=2.2)
    for axis, (seed, sides) in zip(axes, runs.items(), strict=True):
        for i, (shares, hue) in enumerate(zip(sides, (OURS, OTHER), strict=True)):
            spread = np.linspace(-0.25, 0.25, len(shares)) if len(shares) > 1 else np.zeros(1)
            axis.plot(i + spread, 100 * np.sort(shares), "o", color=hue, markersize=4)
            axis.plot([i - 0.3, i + 0.3], [100 * shares.mean()] * 2, color=INK, linewidth=2)
        axis.set_xticks([0, 1], ["1", "2"])
        axis.set(ylim=(-3, 103), xlim=(-0.6, 1.6), xlabel="tower", ylabel="colour (%)")
        axis.set_title(f"seed {seed}", color=INK, fontsize=9)
        axis.grid(axis="x", visible=False)
        axis.label_outer()
    return fig


def color_axes(rgb: dict[str, Any], narrow: bool) -> Figure:
    """The principal axes of colour: weight of red, green and blue in each, with its standard deviation in grey levels."""
    fig, axes = panels(3, narrow, columns=6, height=1.9)
    vectors, values = np.array(rgb["eigenvectors"], float), np.array(rgb["eigenvalues"], float)
    for i, axis in enumerate(axes):
        axis.bar(["R", "G", "B"], vectors[:, i], color=["#c8413b", "#3f9142", "#4178c8"])
        axis.axhline(0, color=INK, linewidth=1)
        axis.set(ylim=(-1, 1), ylabel="weight")
        axis.set_title(f"axis {i + 1}: sd {np.sqrt(max(values[i], 0)):.1f}", color=INK, fontsize=SMALL)
        axis.grid(axis="x", visible=False)
        axis.label_outer()
    return fig


def waterfall(rows: Sequence[tuple[str, float, str]], xlabel: str, narrow: bool) -> Figure:
    """Amounts that add up: a bar a row (label, amount, note), each begins where the one above ends."""
    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=0.9 + (0.6 if narrow else 0.34) * len(rows))
    amounts = np.array([amount for _, amount, _ in rows])
    axis.barh(range(len(rows) - 1, -1, -1), amounts, left=np.cumsum(amounts) - amounts, height=0.4, color=OURS)
    axis.set(xlabel=textwrap.fill(xlabel, 38) if narrow else xlabel, ylim=(-0.6, len(rows) - (0.1 if narrow else 0.4)))
    _labelled(axis, [Row(label, paper=0, note=said) for label, _, said in rows], narrow)
    axis.grid(axis="y", visible=False)
    return fig


def effect_row(effect: Effect) -> Row:
    """An effect as a row of a forest; blue where its interval excludes zero."""
    name, said = plain_name(effect.experiment), effect.words
    return Row(name, effect.points, open=said not in ("worse", "better"), note=said)
