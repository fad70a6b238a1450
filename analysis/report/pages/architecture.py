"""The page on architecture: sizes, shares, and where the paper contradicts itself."""

from typing import Any

from analysis.report.badges import value
from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.report.pages.tower_diagram import towers
from analysis.verdicts.labels import DIFFERS, MISCOUNTS

BATCH = 128  # images, s. 5
VALUE = 4  # bytes of a float32
SHOWN = ("conv", "local", "fc", "pool")  # kinds of layers in the tables


def architecture(ctx: Context) -> Html:
    """Sizes in words, Fig. 2 and what contradicts the paper; the layers of every net that has others; what two devices exchange."""
    base = ctx.results.layers.get("alexnet", {})
    distinct = {_sizes(net): net for net in [*reversed(ctx.results.layers.values()), *filter(None, [base])]}
    others = [net for net in ctx.results.layers.values() if distinct[_sizes(net)] is net and net is not base]
    total = base["totals"]["parameters"] if base else 1
    conv = [row for row in base.get("layers", []) if row["kind"] == "conv"]
    exchanged = sum(place["forward"] + place["backward"] for place in base.get("exchange", []))
    found = ctx.table[ctx.table["verdict"].isin([MISCOUNTS, DIFFERS])].sort_values("verdict", kind="stable")
    runs = sorted(ctx.results.runs.items(), key=lambda item: item[0])
    return render(
        "architecture.html.j2",
        base=base,
        kinds=SHOWN,
        others=others,
        printed=ctx.claims["fig2-layer1"].number if "fig2-layer1" in ctx.claims else None,
        shares={row["name"]: 100 * row["parameters"] / total for row in conv},
        towers=towers(ctx),
        rows=found.to_dict("records"),
        value=value,
        bytes=VALUE,
        batch=BATCH,
        sent=VALUE * exchanged,
        summed=VALUE * total / BATCH,
        measured=[(key, run["traffic"]["bytes_sent_per_image"]) for key, run in runs if "traffic" in run],
    )


def _sizes(net: dict[str, Any]) -> tuple[object, ...]:
    """What a layer table shows of a net, but for the name of the experiment."""
    keys = ("name", "output_shape", "kernel", "stride", "reads", "parameters")
    return tuple(str(row[key]) for row in net["layers"] if row["kind"] in SHOWN for key in keys)
