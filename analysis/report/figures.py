"""Curves, bars and dots of the report. Each takes `narrow`: true for a phone, with labels above their rows and panels below each other.

Blue is ours, or the paper's side of a comparison, and purple the other side.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.report.chart import chart
from analysis.report.forest import Row, labelled
from analysis.report.page import INK, Html
from analysis.report.style import NARROW, OTHER, OURS, WIDE, canvas, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.measures.convergence import Reached

SIDES = [
    (OURS, "-"),
    (OTHER, (0, (5, 2))),
]  # of the paper's side, as ReLU, and the other: full and dashed, as in its Fig. 1


def panels(
    count: int, narrow: bool, columns: int = 2, height: float = 2.3, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """So many panels, with the same axes if `share`, `columns` a row, on a phone half as many."""
    columns = min(count, max(1, columns // 2) if narrow else columns)
    rows = -(-count // columns)
    fig, axes = canvas(rows, columns, NARROW if narrow else WIDE, height * rows + 0.7, share)
    for axis in axes[count:]:
        axis.set_visible(False)
    return fig, axes[:count]


Curve = tuple[np.ndarray, np.ndarray]  # epochs, and errors in %


def as_curve(run: pd.DataFrame, column: str = "train_error") -> Curve:
    """Epochs, and errors in %, of a run's metrics."""
    return run["epoch"].to_numpy(float), 100 * run[column].to_numpy(float)


def curves_chart(
    panels_of: Mapping[str, Mapping[str, Sequence[Curve]]], ylabel: str, title: str, caption: str, **how: Any
) -> Html:
    """Errors of two nets over epochs, a panel a condition or study, with title, caption and downloads; `how` goes to `curves`."""
    rows = [
        (panel, net, run, *at)
        for panel, nets in panels_of.items()
        for net, runs in nets.items()
        for run, curve in enumerate(runs, 1)
        for at in zip(*curve, strict=True)
    ]
    data = pd.DataFrame(rows, columns=["panel", "net", "run", "epoch", "error"])
    ends = data.groupby(["panel", "net", "run"], sort=False).last().groupby(["panel", "net"], sort=False).mean()
    said = (
        f"{panel}, {net} ends at epoch {end.epoch:.1f} with {end.error:.1f} %" for (panel, net), end in ends.iterrows()
    )
    alt = f"{ylabel} over epochs: {'; '.join(said)}"
    return chart(lambda narrow: curves(panels_of, ylabel, narrow, **how), title, alt, caption, data)


def curves(
    panels_of: Mapping[str, Mapping[str, Sequence[Curve]]],
    ylabel: str,
    narrow: bool,
    height: float = 2.3,
    mark: float | None = None,
) -> Figure:
    """The panels: a line a seed, the first net full, the second dashed; with a `mark`, a line there, and all panels have the same axes."""
    fig, axes = panels(len(panels_of), narrow, height=height, share=mark is not None)
    for axis, (words, nets) in zip(axes, panels_of.items(), strict=True):
        for (label, seeds), (hue, dash) in zip(nets.items(), SIDES, strict=True):
            for epochs, errors in seeds:
                axis.plot(epochs, errors, color=hue, linestyle=dash, linewidth=1.4, label=label)
        if mark is not None:
            axis.axhline(mark, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            axis.set(ylim=(0, None))
        axis.set(xlabel="epoch", ylabel=ylabel)
        axis.label_outer()
        axis.set_title(textwrap.fill(words, 46), color=INK, fontsize=9)
    legend_below(fig, axes[0], 2)
    return fig


def sweeps(by_condition: Mapping[str, Mapping[str, tuple[dict[float, Reached], float]]], narrow: bool) -> Figure:
    """A panel a condition: epochs over learning rate of each net, with the chosen rate filled; triangles never got there."""
    fig, axes = panels(len(by_condition), narrow)
    for axis, (words, nets) in zip(axes, by_condition.items(), strict=True):
        for (label, (swept, chosen)), (hue, dash) in zip(nets.items(), SIDES, strict=True):
            epochs = [reached.epoch for reached in swept.values()]
            axis.plot(list(swept), epochs, color=hue, linestyle=dash, linewidth=1.4, label=label)
            for rate, reached in swept.items():
                face = hue if rate == chosen else "none"
                axis.plot(rate, reached.epoch, "^" if reached.censored else "o", color=hue, markerfacecolor=face)
        axis.set(xscale="log", yscale="log", xlabel="learning rate of the weights", ylabel="epochs", ylim=(3, 90))
        axis.set_yticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"], minor=False)
        axis.minorticks_off()
        axis.set_title(textwrap.fill(words, 46), color=INK, fontsize=9)
        axis.label_outer()
    legend_below(fig, axes[0], 2)
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
    labelled(axis, [Row(row.label, paper=0) for row in rows], narrow)
    axis.grid(axis="y", visible=False)
    legend_below(fig, axis, 1 if narrow else 3)
    return fig


def waterfall(rows: Sequence[tuple[str, float, str]], xlabel: str, narrow: bool) -> Figure:
    """Amounts that add up: a bar a row (label, amount, note), each begins where the one above ends."""
    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=0.9 + (0.6 if narrow else 0.34) * len(rows))
    amounts = np.array([amount for _, amount, _ in rows])
    axis.barh(range(len(rows) - 1, -1, -1), amounts, left=np.cumsum(amounts) - amounts, height=0.4, color=OURS)
    axis.set(xlabel=textwrap.fill(xlabel, 38) if narrow else xlabel, ylim=(-0.6, len(rows) - (0.1 if narrow else 0.4)))
    labelled(axis, [Row(label, paper=0, note=said) for label, _, said in rows], narrow)
    axis.grid(axis="y", visible=False)
    return fig
