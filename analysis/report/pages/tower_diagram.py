"""The diagram of the two towers (Fig. 2): volumes with their sizes, and who reads whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.report.context import Context
from analysis.report.page import INK, Html, figure, note
from analysis.report.style import COLORS, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP = 1.0  # from volume to volume
APART = 2.15  # from tower to tower


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


def towers(ctx: Context) -> Html:
    """Fig. 2 with the sizes of the layer table; a layer whose printed size differs is marked."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return note("There is no layer table yet, so the towers cannot be drawn.")
    found, paper = stages(net), printed(ctx)
    wrong = [s for s in found if s.name in paper and paper[s.name] != s.units]
    sizes = "; ".join(f"{s.name} {_size(s)} in each tower, {s.units:,} units" for s in found[1:])
    crossing = ", ".join(s.name for s in found[1:] if s.reads == "all")
    alt = f"Diagram of two towers. {sizes}. Read both towers: {crossing}."
    caption = (
        f"Fig. 2 redrawn from the layer table: maps × rows × columns in each of {net['towers']} towers; dashed lines cross between "
        "towers (devices). Heights follow the rows of a map, widths the number of maps."
    )
    caption += (
        " Orange: Fig. 2 prints another number: " + ", ".join(f"{paper[s.name]:,} for {s.name}" for s in wrong) + "."
        if wrong
        else ""
    )
    return figure(draw(found, net["towers"], paper), alt, caption)


def _size(stage: Stage) -> str:
    return f"{stage.maps} × {stage.side} × {stage.side}" if stage.side > 1 else f"{stage.maps:,}"


def _extent(stage: Stage) -> tuple[float, float, float]:
    """Width, height and depth of a volume as drawn."""
    if stage.side == 1:
        return 0.12, 0.35 + 0.75 * (stage.maps / 2048) ** 0.5, 0.06
    return 0.06 + 0.024 * stage.maps**0.5, 0.1 + 0.09 * stage.side**0.5, 0.1 + 0.02 * stage.side**0.5


def draw(found: list[Stage], count: int, paper: dict[str, int]) -> Figure:
    """The diagram of `count` towers."""
    fig, (axis,) = canvas(width=9.6, height=1.2 + 1.75 * count)
    bottom = -APART * (count - 1) - 1.15
    axis.set(xlim=(-0.45, STEP * len(found) - 0.15), ylim=(bottom, 1.55))
    axis.axis("off")
    middle = -APART * (count - 1) / 2
    for i, stage in enumerate(found):
        x = i * STEP
        rows = [middle] if i == 0 else [-APART * tower for tower in range(count)]
        for tower, y in enumerate(rows):
            hue = INK if i == 0 else COLORS[tower % len(COLORS)]
            _volume(axis, x, y, stage, hue)
            if i:
                _arrows(axis, found[i - 1], stage, i, tower, count, middle)
        heads = [stage.name, stage.kernel, " ".join(("+", *stage.then)) if stage.then else ""]
        axis.text(x + 0.1, 1.5, "\n".join(heads), ha="center", va="top", fontsize=7.5, color=INK, linespacing=1.35)
        if stage.name in paper and paper[stage.name] != stage.units:
            said, hue = f"{stage.units:,}\n(Fig. 2: {paper[stage.name]:,})", COLORS[1]
        else:
            said, hue = f"{stage.units:,}", INK
        axis.text(x + 0.1, bottom + 0.3, said, ha="center", va="top", fontsize=7.5, color=hue)
    axis.text(-0.45, bottom + 0.34, "units, all towers", ha="left", va="bottom", fontsize=7, color=INK)
    return fig


def _volume(axis: Axes, x: float, y: float, stage: Stage, hue: str) -> None:
    """A box in oblique projection, centred at `y`, with its size below."""
    from matplotlib.patches import Polygon

    width, height, depth = _extent(stage)
    low, top = y - height / 2, y + height / 2
    faces = [
        [(x, low), (x + width, low), (x + width, top), (x, top)],
        [(x, top), (x + width, top), (x + width + depth, top + depth), (x + depth, top + depth)],
        [(x + width, low), (x + width, top), (x + width + depth, top + depth), (x + width + depth, low + depth)],
    ]
    for face, strength in zip(faces, (0.35, 0.2, 0.5), strict=True):
        axis.add_patch(Polygon(face, closed=True, facecolor=hue, alpha=strength, edgecolor="none"))
        axis.add_patch(Polygon(face, closed=True, fill=False, edgecolor=hue, linewidth=0.9))
    axis.text(x + width / 2 + 0.04, low - 0.07, _size(stage), ha="center", va="top", fontsize=7.5, color=INK)


def _arrows(axis: Axes, before: Stage, stage: Stage, i: int, tower: int, count: int, middle: float) -> None:
    """Who is read by tower `tower` of a stage: its own tower by a full line, the others by a dashed one."""
    width, _, depth = _extent(before)
    start, end = (i - 1) * STEP + width + depth + 0.02, i * STEP - 0.03
    y = -APART * tower
    if i == 1:
        sources = [middle]
    else:
        sources = [-APART * other for other in range(count) if other == tower or stage.reads == "all"]
    for source in sources:
        crosses = i > 1 and source != y
        style = (0, (4, 2)) if crosses else "-"
        line = {
            "arrowstyle": "-|>",
            "color": INK,
            "lw": 0.9,
            "linestyle": style,
            "alpha": 0.75,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axis.annotate("", xy=(end, y), xytext=(start, source), arrowprops=line)
