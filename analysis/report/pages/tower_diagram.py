"""The diagram of the two towers (Fig. 2): volumes with their sizes, and who reads whom."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.page import Html, render


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

    @property
    def size(self) -> str:
        """Maps, rows and columns in a tower."""
        return f"{self.maps} × {self.side} × {self.side}" if self.side > 1 else f"{self.maps:,}"


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
            found[-1] = replace(found[-1], then=(*found[-1].then, "norm" if row["kind"] == "lrn" else "pool"))
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
    sizes = "; ".join(f"{s.name} {s.size} in each tower, {s.units:,} units" for s in found[1:])
    crossing = ", ".join(s.name for s in found[1:] if s.reads == "all")
    marked = f" Fig. 2 prints another number: {', '.join(wrong)}." if wrong else ""
    rows = [(s.name, s.kernel, s.maps, s.side, s.units, s.reads, paper.get(s.name)) for s in found]
    alt = f"Diagram of {net['towers']} towers. {sizes}. Read both towers: {crossing}."
    shown = {"stages": found, "towers": net["towers"], "paper": paper, "alt": alt}
    return chart(
        lambda narrow: render("tower_diagram.svg.j2", **shown, narrow=narrow),
        f"{net['towers']} towers that meet only before {crossing.removeprefix('conv1, ')}",
        "Fig. 2 redrawn from the layer table: maps × rows × columns in each tower; dashed lines cross between the devices. Widths follow "
        f"the number of maps, heights the rows of a map.{marked}",
        pd.DataFrame(rows, columns=["layer", "kernel", "maps_in_a_tower", "side", "units", "reads", "fig2"]),
    )
