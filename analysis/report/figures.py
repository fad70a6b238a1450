"""Curves of the report: errors over epochs, on panels beside each other, below each other on a phone, as SVG."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.report.chart import chart
from analysis.report.page import Html, render
from analysis.report.scale import Scale

Curve = list[tuple[float, float]]  # epochs, and errors in %


def as_curve(run: pd.DataFrame, column: str = "train_error") -> Curve:
    """Epochs, and errors in %, of a run's metrics, up to where it diverged."""
    found = zip(run["epoch"], 100 * run[column], strict=True)
    return [(float(epoch), float(error)) for epoch, error in found if np.isfinite(error)]


def curves_chart(
    panels_of: Mapping[str, Mapping[str, Sequence[Curve]]],
    ylabel: str,
    title: str,
    caption: str,
    mark: float | None = None,
) -> Html:
    """Errors of two nets over epochs, a panel a condition or study and a line a seed, with title, caption and downloads.

    With a `mark`, a dotted line stands there, and all panels have the same axes, from zero.
    """
    rows = [
        (panel, net, run, *at)
        for panel, nets in panels_of.items()
        for net, runs in nets.items()
        for run, curve in enumerate(runs, 1)
        for at in curve
    ]
    data = pd.DataFrame(rows, columns=["panel", "net", "run", "epoch", "error"])
    ends = data.groupby(["panel", "net", "run"], sort=False).last().groupby(["panel", "net"], sort=False).mean()
    said = (
        f"{panel}, {net} ends at epoch {end.epoch:.1f} with {end.error:.1f} %" for (panel, net), end in ends.iterrows()
    )
    alt = f"{ylabel} over epochs: {'; '.join(said)}"
    panels = []
    for name, nets in panels_of.items():
        found = data if mark is not None else data[data["panel"] == name]
        across = Scale.of(0, max(found["epoch"], default=0))
        up = Scale.of(min(found["error"]) if mark is None else 0, max(found["error"], default=0))
        panels.append({"name": name, "nets": nets, "across": across, "up": up})
    shown = {"panels": panels, "ylabel": ylabel, "mark": mark, "alt": alt}
    return chart(lambda narrow: render("curves.svg.j2", **shown, narrow=narrow), title, caption, data)
