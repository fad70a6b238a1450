"""Figures of the page on speed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.report.page import INK
from analysis.report.style import COLORS, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ratios(bench: pd.DataFrame) -> Figure:
    """Ratios of speeds on a logarithmic axis, one line a pair; equal speed is marked.

    Args:
        bench: rows of the benchmark's table.
    """
    from matplotlib.ticker import FuncFormatter

    fig, (axis,) = canvas(height=0.7 + 0.34 * max(1, len(bench)))
    for place, row in enumerate(bench.itertuples()):
        axis.plot([row.ratio_low, row.ratio_high], [place, place], color=COLORS[0], linewidth=1.4)
        axis.plot(row.ratio, place, "o", color=COLORS[0], markersize=5)
    axis.axvline(1, color=COLORS[-1], linestyle="--", linewidth=1)
    axis.set_yticks(range(len(bench)), [textwrap.fill(f"{r.subject} / {r.peer}", 60) for r in bench.itertuples()])
    axis.tick_params(axis="y", labelsize=8)
    axis.set_ylim(len(bench) - 0.5, -0.5)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("speed, the first ÷ the second")
    return fig


def layer_times(bench: pd.DataFrame) -> Figure:
    """Share of each layer in the time of a training step, with the range over the rounds.

    Args:
        bench: rows of one net from the benchmark's table.
    """
    fig, (axis,) = canvas(height=0.7 + 0.22 * len(bench))
    shares = 100 * bench["ratio"].to_numpy()
    spans = 100 * np.abs(bench[["ratio_low", "ratio_high"]].to_numpy().T - bench["ratio"].to_numpy())
    learned = bench["subject"].str.match(r"(conv|fc)\d+$")
    hues = [COLORS[0] if is_learned else COLORS[1] for is_learned in learned]
    axis.barh(range(len(bench)), shares, color=hues, xerr=spans, error_kw={"ecolor": INK, "elinewidth": 1})
    axis.set_yticks(range(len(bench)), [name.replace("_", " ") for name in bench["subject"]])
    axis.tick_params(axis="y", labelsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("share of the step, %")
    return fig
