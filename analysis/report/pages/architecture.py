"""The page on architecture: sizes, shares, and where the paper contradicts itself."""

from __future__ import annotations

from typing import Any

from analysis.report import figures
from analysis.report.badges import value
from analysis.report.context import Context
from analysis.report.page import Html, figure, folded, note, say, stack, table
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


def contradictions(ctx: Context) -> Html:
    """Claims that the paper's own sizes or its authors' program contradict, with both numbers."""
    t = ctx.table[ctx.table["verdict"].isin([MISCOUNTS, DIFFERS])]
    if t.empty:
        return note("No layer table yet, so nothing has been counted.")
    rows = [
        [
            Html('<a href="#claim-{0}">{0}</a>').format(r.id),
            r.statement,
            value(r._asdict(), "paper"),
            value(r._asdict(), "ours"),
            r.verdict,
            r.why.partition("; ")[2],
        ]
        for r in t.sort_values("verdict", kind="stable").itertuples()
    ]
    return table(
        ["Claim", "What the paper says", "Paper", "Counted or set", "Verdict", "Why"],
        rows,
        "Where the paper miscounts, and where its text differs from its authors' program",
    )


def architecture_sentences(ctx: Context) -> Html:
    """The two findings of the page in words, from the layer table."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return note("There is no layer table yet.")
    rows = {row["name"]: row for row in net["layers"]}
    total = net["totals"]["parameters"]
    above = [
        f"{name} ({100 * row['parameters'] / total:.2f} %)"
        for name, row in rows.items()
        if row["kind"] == "conv" and row["parameters"] > total / 100
    ]
    conv1 = rows["conv1"]
    printed = ctx.claims["fig2-layer1"].number if "fig2-layer1" in ctx.claims else None
    first = f"The first layer has {' × '.join(map(str, conv1['output_shape']))} = {conv1['units']:,} units"
    first += f"; Fig. 2 prints {printed:,.0f}." if printed and printed != conv1["units"] else "."
    second = (
        f"More than 1 % of the {total:,} parameters are in {' and '.join(above)}, so “no more than 1 %” is not true of every convolutional layer."
        if above
        else ""
    )
    fc6 = rows["fc6"]["parameters"]
    return say(first, second, f"The first fully connected layer alone holds {100 * fc6 / total:.1f} %.")


def layer_tables(ctx: Context) -> Html:
    """The base network's table, and those of the other experiments folded away: one of each that has other layers."""
    nets = ctx.results.layers
    base = layer_table(nets["alexnet"]) if "alexnet" in nets else None
    seen = [nets["alexnet"]["layers"]] if "alexnet" in nets else []
    folds = []
    for name, net in nets.items():
        if _sizes(net["layers"]) not in map(_sizes, seen):
            seen.append(net["layers"])
            folds.append(folded(f"Layers of {name}", stack(_changes(net), layer_table(net))))
    return stack(base, *folds)


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


def communication(ctx: Context) -> Html:
    """What two devices exchange for an image in training: by towers, and if each trained the whole net on half a batch."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return note("There is no layer table yet.")
    if "exchange" not in net:
        return note("The layer table is of an older version, which did not count what towers exchange.")
    rows = []
    total = 0.0
    for place in net["exchange"]:
        sent = VALUE * (place["forward"] + place["backward"])
        total += sent
        rows.append([place["place"], f"{place['forward']:,.0f}", f"{place['backward']:,.0f}", f"{sent / 1000:,.1f} kB"])
    rows.append(["towers, all", "", "", f"{total / 1000:,.1f} kB"])
    parallel = VALUE * net["totals"]["parameters"] / BATCH
    rows.append([f"whole nets on half batches of {BATCH}", "", "", f"{parallel / 1000:,.1f} kB"])
    shown = table(
        ["Where", "Values forward", "Values back", "Sent by a device for an image"],
        rows,
        "What crosses between two devices in training, float32",
    )
    measured = [
        (key, run["traffic"]["bytes_sent_per_image"])
        for key, run in sorted(ctx.results.runs.items())
        if "traffic" in run
    ]
    seen = "; ".join(f"{'/'.join(map(str, key))}: {sent:,.0f} bytes" for key, sent in measured)
    return stack(
        shown,
        say(
            f"The paper's scheme sends {parallel / total:.1f} times less than data parallelism would, which sums the "
            f"gradients of all {net['totals']['parameters']:,} parameters once a batch. `--devices 2` sends exactly this, "
            "counted as it runs (tested)."
        ),
        note(f"Runs of this report on two devices sent for an image: {seen}.") if seen else None,
    )


def shares_figure(ctx: Context) -> Html:
    """Where parameters and multiply-adds of the base network sit."""
    net = ctx.results.layers.get("alexnet")
    if net is None:
        return note("There is no layer table yet.")
    rows = [row for row in net["layers"] if row["kind"] in ("conv", "fc")]
    parts = (f"{row['name']} {100 * row['parameters'] / net['totals']['parameters']:.1f} %" for row in rows)
    alt = f"Bars: share of the parameters in each layer ({', '.join(parts)}) beside its share of the multiply-adds"
    caption = "The fully connected layers hold the parameters, the convolutional layers do the work."
    return figure(figures.shares(net), alt, caption)
