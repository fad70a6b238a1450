"""How all figures look: colours, dashes, canvas and legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.report.page import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ["#2b7bba", "#d55e00", "#00916a", "#b05fa0", "#a6761d", "#5a8f29", "#7a7f87"]

OURS, LAB, OTHER, OPEN = COLORS[0], COLORS[1], COLORS[3], COLORS[6]  # what a colour means in all figures
SMALL = 8.6  # points: 11 px on the screen
WIDE, NARROW = 8.4, 3.55  # inches of a figure on a screen and on a phone

STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.8,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.9,
}


def canvas(
    rows: int = 1, columns: int = 1, width: float = 7.6, height: float = 3.6, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure in the house style and its axes, row by row; `share`: all have the same ends."""
    import seaborn as sns
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sns.set_theme(style="ticks", palette=COLORS, rc=STYLE)
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(fig)
    axes = fig.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return fig, list(axes.flat)


def legend_below(fig: Figure, axis: Axes, columns: int) -> None:
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    place: dict[str, Any] = {"ncols": columns, "labelcolor": INK, "handlelength": 3}
    fig.legend(list(unique.values()), list(unique.keys()), loc="outside lower center", **place)


def legend(axis: Axes) -> None:
    axis.legend(title=None, frameon=False, labelcolor=INK, handlelength=3)
