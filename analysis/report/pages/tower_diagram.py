"""The diagram of the two towers (Fig. 2): volumes with their sizes, and who reads whom."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.patches import Rectangle

from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.figures import NARROW, OTHER, OURS, SMALL, WIDE
from analysis.report.page import INK, Html
from analysis.report.style import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Stage:
    """A volume of the diagram: the input, or the output of a learned layer.

    Attributes:
        maps: kernels (units of a fully connected layer) in one tower.
        side: rows and columns of a map; 1 in a fully connected layer.
        reads: `own_tower` or `all`.
        then: what follows before the next learned layer.
    """

    name: str
    kernel: str
    maps: int
    side: int
    reads: str
    units: int
    then: tuple[str, ...]


def stages(net: dict[str, Any]) -> list[Stage]:
    """The input and the learned layers of a net, in order."""
    towers = net["towers"]
    channels, side = net["input_shape"][0], net["input_shape"][1]
    found = [Stage("input", "", channels, side, "all", channels * side * side, ())]
    for row in net["layers"]:
        if row["kind"] in ("conv", "fc"):
            shape = row["output_shape"]
            kernel = f"{row['kernel']} × {row['kernel']}" if row["kind"] == "conv" else "full"
            kernel += f", stride {row['stride']}" if row["stride"] > 1 else ""
            sides = shape[1] if len(shape) > 1 else 1
            found.append(Stage(row["name"], kernel, shape[0] // towers, sides, row["reads"], row["units"], ()))
        elif row["kind"] in ("pool", "lrn"):
            last = found[-1]
            found[-1] = Stage(**{**vars(last), "then": (*last.then, {"lrn": "norm"}.get(row["kind"], "pool"))})
    return found


def printed(ctx: Context) -> dict[str, int]:
    """Units that Fig. 2 prints for each layer, from the claims about it."""
    out: dict[str, int] = {}
    for claim in ctx.claims.values():
        if not claim.section.startswith("Fig. 2") or not claim.metric.endswith(".units"):
            continue
        names = [name.removesuffix(".units") for name in claim.metric.split()]
        if names == ["fc"]:
            names = ["fc6", "fc7", "fc8"]
        out |= {name: int(value) for name, value in zip(names, claim.paper.split(), strict=True)}
    return out


def towers(ctx: Context) -> Html | None:
    """Fig. 2 with the sizes of the layer table; a layer whose printed size differs is marked. None without that table."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return None
    found, paper = stages(net), printed(ctx)
    wrong = [f"{paper[s.name]:,} for {s.name}" for s in found if s.name in paper and paper[s.name] != s.units]
    sizes = "; ".join(f"{s.name} {_size(s)} in each tower, {s.units:,} units" for s in found[1:])
    crossing = ", ".join(s.name for s in found[1:] if s.reads == "all")
    marked = f" Fig. 2 prints another number: {', '.join(wrong)}." if wrong else ""
    rows = [(s.name, s.kernel, s.maps, s.side, s.units, s.reads, paper.get(s.name)) for s in found]
    return chart(
        lambda narrow: draw(found, net["towers"], paper, narrow),
        f"{net['towers']} towers that meet only before {crossing.removeprefix('conv1, ')}",
        f"Diagram of {net['towers']} towers. {sizes}. Read both towers: {crossing}.",
        "Fig. 2 redrawn from the layer table: maps × rows × columns in each tower; dashed lines cross between the devices. Widths follow "
        f"the number of maps, heights the rows of a map.{marked}",
        pd.DataFrame(rows, columns=["layer", "kernel", "maps_in_a_tower", "side", "units", "reads", "fig2"]),
    )


def _size(stage: Stage) -> str:
    return f"{stage.maps} × {stage.side} × {stage.side}" if stage.side > 1 else f"{stage.maps:,}"


def draw(found: list[Stage], count: int, paper: dict[str, int], narrow: bool) -> Figure:
    """The diagram of `count` towers, layers from the top down: name, towers, units; on a phone sizes stand below the boxes."""
    pitch, gap = (0.74, "\n") if narrow else (0.56, " ")
    fig, (axis,) = canvas(width=NARROW if narrow else WIDE, height=pitch * len(found) + 0.5)
    axis.set(xlim=(0, 1), ylim=(0.4 - len(found), 0.9))
    axis.axis("off")
    left, step = (0.3, 0.31) if narrow else (0.24, 0.3)
    places = [left + 0.06 + step * tower for tower in range(count)]
    text: dict[str, Any] = {"fontsize": SMALL, "color": INK, "va": "center"}
    for i, stage in enumerate(found):
        kernel = f"{stage.kernel} {' '.join(('+', *stage.then)) if stage.then else ''}".strip()
        axis.text(0, -i, f"{stage.name}\n{textwrap.fill(kernel, 13)}" if narrow else stage.name, **text)
        if not narrow:
            axis.text(0.08, -i, textwrap.fill(kernel, 16), **text)
        xs = [sum(places) / count] if i == 0 else places
        for tower, x in enumerate(xs):
            wide, high = 0.0055 * stage.maps**0.5 * (0.6 if narrow else 0.5), 0.06 + 0.03 * stage.side**0.5
            hue = INK if i == 0 else (OURS, OTHER)[tower % 2]
            box = Rectangle((x - wide / 2, -i - high / 2), wide, high, facecolor=hue, edgecolor=hue, alpha=0.55)
            axis.add_patch(box)
            at = (x, -i - high / 2 - 0.13) if narrow else (x + wide / 2 + 0.012, -i)
            axis.text(at[0], at[1], _size(stage), **text, ha="center" if narrow else "left")
            sources = [(other, place) for other, place in enumerate(places) if other == tower or stage.reads == "all"]
            for other, source in [(tower, sum(places) / count)] if i == 1 else sources if i else []:
                crosses = i > 1 and other != tower
                style = {
                    "arrowstyle": "-|>",
                    "color": INK,
                    "lw": 0.8,
                    "alpha": 0.6,
                    "linestyle": (0, (4, 3)) if crosses else "-",
                }
                shift = 0.018 if narrow else 0.0  # past the size that stands below the box
                axis.annotate("", (x + shift, -i + high / 2), (source + shift, 1 - i - 0.3), arrowprops=style)
        known = paper.get(stage.name, stage.units)
        said = f"{stage.units:,}"
        if known != stage.units:
            said += f"\n(Fig. 2:{gap}{known:,})"
        axis.text(1, -i, said, **text, ha="right", weight="normal" if known == stage.units else "bold")
    for x, words in [*zip(places, (f"tower {i + 1}" for i in range(count)), strict=True), (0.97, "units")]:
        axis.text(x, 0.75, words, **text, ha="center", weight="bold")
    return fig
