"""The report's figures: one style, colours that colour-blind readers tell apart, ink of the page."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from analysis.report.page import INK
from analysis.report.style import COLORS, DASHES, canvas, color, legend, legend_below, panels, styled, wrapped
from analysis.results.evidence import Results
from analysis.verdicts.labels import AGAINST, FOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

    from analysis.measures.convergence import Reached
    from analysis.verdicts.effects import Effect
    from analysis.verdicts.rules import Outcome


def curves(axis: Axes, results: Results, study: str, names: list[str], column: str) -> None:
    """Mean over seeds of `column` (fractions, drawn in %) by epoch, with a band from the lowest to the highest seed."""
    for name in names:
        _band(axis, results, study, name, column, *color(name, names), name.replace("_", " "))
    styled(axis)


def _band(axis: Axes, results: Results, study: str, name: str, column: str, hue: str, dash: Any, label: str) -> None:
    import seaborn as sns

    seeds = results.curves(study, name)
    if not seeds:
        return
    table = pd.concat([curve[["epoch", column]] for curve in seeds.values()], ignore_index=True)
    table[column] *= 100
    whole_range = ("pi", 100)  # the band is the range of the seeds
    sns.lineplot(
        table,
        x="epoch",
        y=column,
        errorbar=whole_range,
        color=hue,
        linestyle=dash,
        label=label,
        legend=False,
        ax=axis,
        err_kws={"linewidth": 0},
    )


def race(results: Results, study: str, names: list[str], threshold: float) -> Figure:
    """Training error over epochs of several nets, with the threshold of the race as a line."""
    fig, (axis,) = canvas()
    curves(axis, results, study, names, "train_error")
    axis.axhline(100 * threshold, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    axis.annotate(
        f"{100 * threshold:g} % training error",
        (1, 100 * threshold),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9,
        color=INK,
    )
    axis.set(xlabel="epoch", ylabel="running training error (%)", ylim=(0, None))
    legend_below(fig, axis, 2)
    return fig


@dataclass(frozen=True)
class Lane:
    """A net in a race: its name, and epochs and errors (%) of each seed."""

    label: str
    seeds: list[tuple[np.ndarray, np.ndarray]]


def lanes(by_condition: dict[str, list[Lane]], mark: float) -> Figure:
    """A panel a condition: the nets' errors (%) over epochs, a line a seed, and the mark as a line."""
    fig, axes, columns = panels(len(by_condition))
    for i, (axis, (words, nets)) in enumerate(zip(axes, by_condition.items(), strict=False)):
        for lane in nets:
            n = 0 if lane.label == "ReLU" else 1
            for epochs, errors in lane.seeds:
                axis.plot(epochs, errors, color=COLORS[n], linestyle=DASHES[n], linewidth=1.4, label=lane.label)
        axis.axhline(mark, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        wrapped(axis, words)
        styled(axis)
        axis.set(xlabel="epoch", ylim=(0, 92))
        if i % columns == 0:
            axis.set(ylabel="running training error (%)")
    legend_below(fig, axes[0], 2)
    return fig


def sweeps(by_condition: dict[str, dict[str, tuple[dict[float, Reached], float]]]) -> Figure:
    """A panel a condition: epochs over learning rate of each net, with the chosen rate filled; triangles never got there."""
    fig, axes, columns = panels(len(by_condition))
    for i, (axis, (words, nets)) in enumerate(zip(axes, by_condition.items(), strict=False)):
        for label, (swept, chosen) in nets.items():
            n = 0 if label == "ReLU" else 1
            rates = np.array(list(swept))
            epochs = np.array([reached.epoch for reached in swept.values()])
            late = np.array([reached.censored for reached in swept.values()])
            axis.plot(rates, epochs, color=COLORS[n], linestyle=DASHES[n], linewidth=1.4, label=label)
            for place, marker in ((~late, "o"), (late, "^")):
                axis.plot(rates[place], epochs[place], marker, color=COLORS[n], markerfacecolor="none")
            axis.plot(chosen, swept[chosen].epoch, "^" if swept[chosen].censored else "o", color=COLORS[n])
        axis.set(xscale="log", yscale="log", xlabel="learning rate of the weights", ylim=(3, 90))
        axis.set_yticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"], minor=False)
        axis.minorticks_off()
        ends = [rate for swept, _ in nets.values() for rate in (min(swept), max(swept))]
        shown = sorted({min(ends), max(ends), *(chosen for _, chosen in nets.values())})
        axis.set_xticks(shown, [f"{rate:g}" for rate in shown], fontsize=8)
        wrapped(axis, words)
        if i % columns == 0:
            axis.set(ylabel="epochs")
    legend_below(fig, axes[0], 2)
    return fig


def training(results: Results, study: str, names: list[str], base: str = "alexnet") -> Figure:
    """A panel an experiment: training and validation error over epochs, the base's validation error in grey."""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    fig, axes = canvas(rows, columns, 2.15 * columns + 0.5, 1.85 * rows + 0.7)
    for axis, name in zip(axes, names, strict=False):
        if name != base:
            _band(axis, results, study, base, "validation_error", COLORS[6], "-", f"{base}, validation")
        _band(axis, results, study, name, "train_error", COLORS[1], DASHES[1], "training (running)")
        _band(axis, results, study, name, "validation_error", COLORS[0], "-", "validation (centre view)")
        axis.set_title(name.replace("_", " "), color=INK, fontsize=9)
        axis.set(xlabel="", ylabel="")
        styled(axis)
    top = max(axis.get_ylim()[1] for axis in axes[: len(names)])
    for i, axis in enumerate(axes):
        axis.set(ylim=(0, top))
        axis.set_visible(i < len(names))
        if i + columns >= len(names):  # nothing below
            axis.set(xlabel="epoch")
        if i % columns == 0:
            axis.set(ylabel="error (%)")
    legend_below(fig, axes[min(1, len(names) - 1)], 3)
    return fig


def forest(outcomes: list[Outcome]) -> Figure:
    """Differences in points with their intervals; the paper's value as a diamond, the lab's log as a tick."""
    fig, axis = _intervals([outcome.claim.id for outcome in outcomes])
    for y, outcome in enumerate(reversed(outcomes)):
        span = (outcome.low, outcome.high) if outcome.low is not None and outcome.high is not None else None
        _interval(axis, y, float(outcome.ours or 0), span, _hue(outcome.verdict))
        paper, lab = outcome.claim.number, outcome.claim.lab_value
        if paper:
            axis.plot(paper, y, "D", markerfacecolor="none", markeredgecolor=INK, markersize=7, label="paper")
        if lab is not None:
            axis.plot(lab, y, "|", color=INK, markersize=13, markeredgewidth=1.6, label="the lab's log")
    axis.set(xlabel="difference in error (percentage points); right of zero as the paper says")
    legend_below(fig, axis, 3)
    return fig


def effects(found: list[Effect]) -> Figure:
    """Effects in points with their intervals; right of zero the experiment is worse than its baseline."""
    fig, axis = _intervals([effect.experiment for effect in found])
    hues = {"better": COLORS[0], "worse": COLORS[1]}
    for y, effect in enumerate(reversed(found)):
        value, low, high = effect.points
        _interval(axis, y, value, None if np.isnan(low) else (low, high), hues.get(effect.words, COLORS[6]))
    axis.set(xlabel="top-1 error minus that of the baseline (percentage points)")
    return fig


def _intervals(labels: list[str]) -> tuple[Figure, Axes]:
    """An empty forest plot with a line at zero and a row a label, from the top."""
    fig, (axis,) = canvas(height=1.25 + 0.38 * len(labels), width=8.2)
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_yticks(range(len(labels)), labels[::-1])
    axis.set(ylim=(-0.7, len(labels) - 0.3))
    axis.grid(axis="y", visible=False)
    return fig, axis


def _interval(axis: Axes, y: int, value: float, span: tuple[float, float] | None, hue: str) -> None:
    if span:
        axis.plot(list(span), [y, y], color=hue, linewidth=2.4, solid_capstyle="butt")
    axis.plot(value, y, "o", color=hue, markersize=7, label="ours, 95 % interval")


def _hue(verdict: str) -> str:
    if verdict in FOR:
        return COLORS[0]
    return COLORS[1] if verdict in AGAINST else COLORS[6]


def shares(net: dict[str, Any]) -> Figure:
    """Share of the parameters and of the multiply-adds in each learned layer, in %."""
    rows = [row for row in net["layers"] if row["kind"] in ("conv", "fc")]
    fig, (axis,) = canvas(height=3.2)
    import seaborn as sns

    table = pd.DataFrame(
        [
            {"layer": row["name"], "of": label, "share": 100 * row[key] / net["totals"][key]}
            for key, label in (("parameters", "parameters"), ("macs", "multiply-adds"))
            for row in rows
        ]
    )
    sns.barplot(table, x="layer", y="share", hue="of", palette=COLORS[:2], saturation=1, ax=axis)
    for bars in axis.containers:
        axis.bar_label(cast("BarContainer", bars), fmt=_short, padding=2, fontsize=8, color=INK)
    axis.grid(axis="x", visible=False)
    axis.set(xlabel="", ylabel="share of the net (%)")
    legend(axis)
    return fig


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def views(table: pd.DataFrame) -> Figure:
    """Error with one view against ten views: a line an evaluation of a net (columns: label, center, ten in %)."""
    fig, (axis,) = canvas(height=0.9 + 0.34 * len(table), width=7.6)
    for y, row in enumerate(table.iloc[::-1].itertuples()):
        axis.plot([row.center, row.ten], [y, y], color=INK, alpha=0.4, linewidth=1.4)
        axis.plot(row.center, y, "o", color=COLORS[1], markersize=7, label="centre view")
        axis.plot(row.ten, y, "s", color=COLORS[0], markersize=6.5, label="ten views")
    axis.set_yticks(range(len(table)), list(table["label"])[::-1])
    axis.set(xlabel="top-1 error (%)", ylim=(-0.7, len(table) - 0.3))
    axis.grid(axis="y", visible=False)
    legend_below(fig, axis, 2)
    return fig


def chroma_by_tower(runs: dict[int, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Share of chroma energy (%) of every first-layer kernel: a panel a seed, a column a tower, the mean as a line."""
    fig, axes = canvas(1, len(runs), width=min(8.2, 1.6 + 1.9 * len(runs)), height=3.0)
    for axis, (seed, sides) in zip(axes, runs.items(), strict=True):
        for i, shares in enumerate(sides):
            spread = np.linspace(-0.25, 0.25, len(shares)) if len(shares) > 1 else np.zeros(1)
            axis.plot(i + spread, 100 * np.sort(shares), "o", color=COLORS[i], markersize=4.5)
            axis.plot([i - 0.3, i + 0.3], [100 * shares.mean()] * 2, color=INK, linewidth=2)
        axis.set_xticks([0, 1], ["1", "2"])
        axis.set(ylim=(-3, 103), xlim=(-0.6, 1.6), xlabel="tower")
        axis.set_title(f"seed {seed}", color=INK)
        axis.grid(axis="x", visible=False)
    axes[0].set(ylabel="energy that is colour (%)")
    return fig


def lab_differences(labels: list[str], values: np.ndarray, halves: np.ndarray, printed: list[float]) -> Figure:
    """Forest plot of differences in points: values with half-widths, and the printed number of each (NaN: none)."""
    fig, axis = _intervals(labels)
    for i, (value, half) in enumerate(zip(values, halves, strict=True)):
        y = len(labels) - 1 - i
        hue = COLORS[0] if value - half > 0 else COLORS[6]
        _interval(axis, y, float(value), (float(value - half), float(value + half)), hue)
        if not np.isnan(printed[i]):
            axis.plot(printed[i], y, "D", markerfacecolor="none", markeredgecolor=INK, markersize=9, label="printed")
    axis.set(xlabel="difference of the top-1 error (points)")
    return fig


def color_axes(rgb: dict[str, Any]) -> Figure:
    """The principal axes of colour: weight of red, green and blue in each, with its standard deviation in grey levels."""
    fig, axes = canvas(1, 3, 7.6, 2.6)
    vectors, values = np.array(rgb["eigenvectors"], float), np.array(rgb["eigenvalues"], float)
    for i, axis in enumerate(axes):
        axis.bar(["R", "G", "B"], vectors[:, i], color=["#c8413b", "#3f9142", "#4178c8"])
        axis.axhline(0, color=INK, linewidth=1)
        axis.set(ylim=(-1, 1))
        axis.set_title(f"axis {i + 1}: sd {np.sqrt(max(values[i], 0)):.1f}", color=INK)
        axis.grid(axis="x", visible=False)
    axes[0].set(ylabel="weight")
    return fig


def error_rates(settings: pd.DataFrame, kinds: dict[str, str], allowed: float) -> Figure:
    """Rate of wrong verdicts (%) in settings, by kind of claim and by seeds of the net with fewer; equal tenths are one dot."""
    fig, (axis,) = canvas(height=3.8)
    repeats = settings["repeats"].min()
    fewer = settings[["seeds", "baseline_seeds"]].where(lambda t: t > 0).min(axis=1)
    settings = settings.assign(rate=settings["rate"].round(3), fewer=fewer)
    settings = settings.drop_duplicates(["kind", "fewer", "rate"])
    fewer = settings["fewer"]
    counts = sorted(set(fewer))
    present = [kind for kind in kinds if (settings["kind"] == kind).any()]
    rng = np.random.default_rng(0)  # places dots beside each other
    for i, n in enumerate(counts):
        chosen = settings[fewer == n]
        place = np.array([present.index(kind) for kind in chosen["kind"]], float)
        place += 0.7 * ((i + 0.5) / len(counts) - 0.5) + rng.uniform(-0.04, 0.04, len(chosen))
        label = f"{n:.0f} seed" if n == 1 else f"{n:.0f} seeds"
        look: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "marker": "os^Dv"[i % 5]}
        axis.plot(place, 100 * chosen["rate"], linestyle="", ms=2.8, alpha=0.7, label=label, **look)
    error = 3 * (allowed * (1 - allowed) / repeats) ** 0.5
    axis.axhline(100 * allowed, color=INK, lw=1)
    axis.axhspan(100 * (allowed - error), 100 * (allowed + error), color=INK, alpha=0.08, lw=0)
    axis.set_xticks(range(len(present)), [textwrap.fill(kinds[kind], 13) for kind in present])
    axis.set_ylabel("wrong verdicts, %")
    axis.set_ylim(bottom=-0.2)
    axis.grid(axis="x", visible=False)
    legend_below(fig, axis, len(counts))
    return fig
