"""The page on architecture: sizes, shares, and where the paper contradicts itself."""

from __future__ import annotations

from typing import Any

from analysis.report import figures
from analysis.report.badges import value
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.page import Html, folded, render, say, stack, table
from analysis.text import plural
from analysis.verdicts.labels import DIFFERS, MISCOUNTS


def layer_table(net: dict[str, Any]) -> Html:
    """Learned and pooling layers of one net with their sizes."""
    totals, rows = net["totals"], []
    for row in net["layers"]:
        if row["kind"] not in ("conv", "local", "fc", "pool"):
            continue
        learned = row["kind"] != "pool"
        kernel = f"{row['kernel']} × {row['kernel']} / {row['stride']}" if row["kernel"] else "–"
        reads = {"own_tower": "own tower", "all": "all"}.get(row["reads"], row["reads"]) if learned else "–"
        values = [row["parameters"], 100 * row["parameters"] / totals["parameters"], row["units"], row["macs"]]
        shown = [f"{values[0]:,}", f"{values[1]:.3f} %", f"{values[2]:,}", f"{values[3]:,}"] if learned else ["–"] * 4
        rows.append([row["name"], " × ".join(map(str, row["output_shape"])), kernel, reads, *shown])
    rows.append(
        ["all", "", "", "", f"{totals['parameters']:,}", "100 %", f"{totals['units']:,}", f"{totals['macs']:,}"]
    )
    heads = ["Layer", "Output", "Kernel / stride", "Reads", "Parameters", "Share", "Units", "Multiply-adds"]
    return table(
        heads, rows, f"Layers of {net['experiment']} at full size, {net['towers']} tower{'s' * (net['towers'] > 1)}"
    )


def contradictions(ctx: Context) -> Html | None:
    """Claims that the paper's own sizes or its authors' program contradict, with both numbers; None where there are none."""
    t = ctx.table[ctx.table["verdict"].isin([MISCOUNTS, DIFFERS])].sort_values("verdict", kind="stable")
    link = Html('<a href="#claim-{0}">{0}</a>')
    rows = [
        [
            link.format(row["id"]),
            row["statement"],
            value(row, "paper"),
            value(row, "ours"),
            row["verdict"],
            row["why"].partition("; ")[2],
        ]
        for row in t.to_dict("records")
    ]
    heads = ["Claim", "What the paper says", "Paper", "Counted or set", "Verdict", "Why"]
    caption = "Where the paper miscounts, and where its text differs from its authors' program"
    return folded(f"{caption} ({len(rows)})", table(heads, rows, caption)) if rows else None


def architecture_sentences(ctx: Context) -> Html | None:
    """The findings of the page in words, from the layer table; None without it."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return None
    rows = {row["name"]: row for row in net["layers"]}
    total = net["totals"]["parameters"]
    shares = {row["name"]: 100 * row["parameters"] / total for row in net["layers"] if row["kind"] in ("conv", "fc")}
    printed = ctx.claims["fig2-layer1"].number if "fig2-layer1" in ctx.claims else None
    above = {name: share for name, share in shares.items() if name.startswith("conv") and share > 1}
    return render(
        "architecture.html.j2", conv1=rows["conv1"], printed=printed, total=total, above=above, fc6=shares["fc6"]
    )


def layer_tables(ctx: Context) -> Html | None:
    """The base network's table, and those of the other experiments folded away: one of each that has other layers."""
    nets = dict(ctx.results.layers)
    base = nets.pop("alexnet", None)
    seen = [_sizes(base["layers"])] if base else []
    others = []
    for net in nets.values():
        if _sizes(net["layers"]) not in seen:
            seen.append(_sizes(net["layers"]))
            others.append(stack(_changes(net), layer_table(net)))
    more = folded(f"Layers of {plural(len(others), 'other net')}", stack(*others)) if others else None
    return stack(folded("Layers of the network", layer_table(base)) if base else None, more)


def _sizes(layers: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the table of a net shows of each row."""
    rows = [row for row in layers if row["kind"] in ("conv", "local", "fc", "pool")]
    return [
        (row["name"], tuple(row["output_shape"]), row["kernel"], row["stride"], row["reads"], row["parameters"])
        for row in rows
    ]


def _changes(net: dict[str, Any]) -> Html | None:
    """What an experiment changes in the base record, in one sentence."""
    changed = net.get("difference") or {}
    said = (f"{key}: {_brief(pair[0])} becomes {_brief(pair[1])}" for key, pair in changed.items())
    return say(f"Against {net.get('base', 'alexnet')}, " + "; ".join(said) + ".") if changed else None


def _brief(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


BATCH = 128  # images, s. 5
VALUE = 4  # bytes of a float32


def communication(ctx: Context) -> Html | None:
    """What two devices exchange for an image in training: by towers, and if each trained the whole net on half a batch."""
    net = ctx.results.layers.get("alexnet")
    if net is None or "exchange" not in net:  # a layer table of an older version
        return None
    sent = [VALUE * (place["forward"] + place["backward"]) / 1000 for place in net["exchange"]]
    rows = [
        [place["place"], f"{place['forward']:,.0f}", f"{place['backward']:,.0f}", f"{kilobytes:,.1f} kB"]
        for place, kilobytes in zip(net["exchange"], sent, strict=True)
    ]
    parallel = VALUE * net["totals"]["parameters"] / BATCH / 1000
    rows.append(["towers, all", "", "", f"{sum(sent):,.1f} kB"])
    rows.append([f"whole nets on half batches of {BATCH}", "", "", f"{parallel:,.1f} kB"])
    runs = ctx.results.runs.items()
    measured = [
        ("/".join(map(str, key)), run["traffic"]["bytes_sent_per_image"])
        for key, run in sorted(runs)
        if "traffic" in run
    ]
    heads = ["Where", "Values forward", "Values back", "Sent by a device for an image"]
    times, parameters = parallel / sum(sent), net["totals"]["parameters"]
    caption = "What crosses between two devices in training, float32"
    return stack(
        folded(caption, table(heads, rows, caption)),
        render("communication.html.j2", times=times, parameters=parameters, measured=measured),
    )


def shares_figure(ctx: Context) -> Html | None:
    """Where parameters and multiply-adds of the base network sit; None without a layer table."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return None
    data = figures.share_table(net)
    parts = (f"{row.layer} {row.share:.1f} % of the {row.of}" for row in data.itertuples())
    return chart(
        lambda narrow: figures.shares(data, narrow),
        "The fully connected layers hold the parameters, the convolutional layers do the work",
        f"Bars: {'; '.join(parts)}",
        "Share of each learned layer of the full-size network.",
        data,
    )
