"""Statistical plots by seaborn, as SVG in the page's colours and fonts: panels beside each other, on a phone below each other."""

import hashlib
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.report.chart import chart
from analysis.report.page import Html

INK = "#010203"  # drawn as the page's own text colour, light or dark
SIDES = ["#2b7bba", "#b05fa0"]  # of the paper's side of a comparison, as ReLU, and of the other
STYLE: dict[str, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    **{"font.family": "DejaVu Sans", "font.size": 10, "axes.grid": True, "grid.alpha": 0.12, "legend.labelcolor": INK},
    **{"axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9, "svg.fonttype": "none"},
}


def rates_chart(rows: Sequence[tuple[object, ...]], title: str, caption: str) -> Html:
    """Epochs over learning rate, a panel a condition (of each run: condition, net, rate, epochs, whether it reached the mark, is chosen)."""
    data = pd.DataFrame(rows, columns=["condition", "net", "rate", "epochs", "reached", "chosen"])
    said = (
        f"{r.condition}, {r.net} at {r.rate:g}: {'' if r.reached else 'more than '}{r.epochs:.1f}"
        for r in data.itertuples()
    )
    alt = f"Epochs by rate: {'; '.join(said)}"
    return chart(lambda narrow: _rates(data, alt, narrow), title, caption, data)


def _rates(data: pd.DataFrame, alt: str, narrow: bool) -> Html:
    import seaborn as sns

    sns.set_theme(style="ticks", rc=STYLE)
    grid = sns.relplot(
        data, x="rate", y="epochs", hue="net", style="net", kind="line", col="condition", col_wrap=1 if narrow else 2,
        palette=SIDES, markers=["o", "s"], height=2.3, aspect=1.4 if narrow else 1.8, facet_kws={"despine": True},
    )  # fmt: skip
    for (name, axis), (_, found) in zip(grid.axes_dict.items(), data.groupby("condition", sort=False), strict=True):
        for row in found[found["chosen"]].itertuples():
            axis.plot(row.rate, row.epochs, "o", markersize=13, markerfacecolor="none", color=INK)
        axis.set_title(textwrap.fill(name, 44))
    grid.set(xscale="log", yscale="log", xlabel="learning rate of the weights", ylabel="epochs", ylim=(3, 90))
    for axis in grid.axes.flat:
        axis.set_yticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"])
        axis.minorticks_off()
    return _svg(grid, alt, narrow)


def chroma_chart(rows: Sequence[tuple[object, ...]], title: str, caption: str) -> Html:
    """Share of colour of first-layer kernels, a panel a seed and a column a tower (of each kernel: seed, tower, colour in %)."""
    data = pd.DataFrame(rows, columns=["seed", "tower", "colour"])
    means = data.groupby(["seed", "tower"], sort=False)["colour"].mean()
    said = (f"seed {seed}, tower {tower}: mean {mean:.0f} %" for (seed, tower), mean in means.items())
    alt = f"Colour by tower: {'; '.join(said)}"
    return chart(lambda narrow: _chroma(data, alt, narrow), title, caption, data)


def _chroma(data: pd.DataFrame, alt: str, narrow: bool) -> Html:
    import seaborn as sns

    sns.set_theme(style="ticks", rc=STYLE)
    grid = sns.catplot(
        data, x="tower", y="colour", hue="tower", kind="swarm", col="seed", col_wrap=3 if narrow else 6, palette=SIDES,
        height=2.1, aspect=0.6, size=3.5, legend=False, warn_thresh=1,
    )  # fmt: skip
    grid.set(ylim=(-3, 103), ylabel="colour (%)").set_titles("seed {col_name}")
    return _svg(grid, alt, narrow)


def _svg(grid: Any, alt: str, narrow: bool) -> Html:
    """The drawing as matplotlib wrote it, which escapes its text, the same bytes each time; ids are unique in the page."""
    import matplotlib as mpl
    from matplotlib import pyplot

    salt = hashlib.sha256(f"{alt}{narrow}".encode()).hexdigest()[:10]
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        grid.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(grid.figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue().partition("<svg")[2], flags=re.S)
    text = re.sub(r"(\.\d\d)\d+", r"\1", text)  # a hundredth of a point is fine enough
    used = {*re.findall(r"url\(#([^)]+)\)", text), *re.findall(r'href="#([^"]+)"', text)}
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="p{salt}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\1#p{salt}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text).replace(INK, "var(--ink)")
    width = float(text.partition('viewBox="0 0 ')[2].split()[0]) / 72
    text = re.sub(r' (width|height)="[^"]*"', "", text.partition(">")[0]) + ">" + text.partition(">")[2]
    return Html('<svg role="img" aria-label="{}" style="--w:{:.2f}in"').format(alt, width) + Html(text.strip())
