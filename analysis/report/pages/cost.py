"""What the runs cost here, and what the paper's scale takes."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.power import DAYS, GPUS, RUN_HOURS
from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.report.pages.speed import IMAGES, RAW_BYTES, number, read_bench
from analysis.results.campaign import elapsed, evaluation_hours, machine
from analysis.text import plural

FULL_STEP = "training step, ilsvrc2012 net"  # how its row of the benchmark begins
SUSTAINED = (5, 20, 60)  # TFLOP/s that a card keeps up in training: assumptions
SEEDS = 3  # of each net: the fewest that show how much seeds differ
FLOATS = 3  # kept of each parameter in a checkpoint: weight, momentum, and the finished net's copy
BYTES = 4  # of a float32


def measured(ctx: Context) -> Html:
    """Wall time, speed and memory of the finished runs of each study, and of its pilot."""
    rows = []
    for study in ctx.studies:
        for of, pilot in ((ctx.results.runs, ""), (ctx.results.pilots, ", pilot")):
            runs = [run for key, run in of.items() if key[0] == study.name]
            seconds = [run["wall_seconds"] for run in runs if run.get("wall_seconds")]
            if not seconds:
                continue
            speeds = [speed for run in runs if (speed := run.get("final", {}).get("images_per_second"))]
            rows.append(
                {
                    "name": f"{study.title}{pilot}",
                    "runs": len(runs),
                    "hours": sum(seconds) / 3600,
                    "within": elapsed(runs) or None,
                    "evaluation": None if pilot else evaluation_hours(ctx.results, study.name),
                    "minutes": np.median(seconds) / 60,
                    "speed": np.median(speeds) if speeds else None,
                    "peak": max((run["peak_memory_mb"] for run in runs if run.get("peak_memory_mb")), default=None),
                    "machines": sorted({_machine(run) for run in runs}),
                }
            )
    return render("cost_measured.html.j2", rows=rows)


def _machine(run: dict[str, Any]) -> str:
    return f"{machine(run) or 'an unknown processor'}, {plural(run.get('threads', 1), 'thread')}"


def nets_wanted(table_: pd.DataFrame) -> list[str]:
    """Networks that the claims need at the paper's scale and do not have yet."""
    open_ = table_[(table_["how"] != "") & ~table_["kind"].isin(["arithmetic", "dataset", "cited", "cifar"])]
    open_ = open_[(open_["evidence"] != "paper scale") & (open_["verdict"] != "not testable")]
    names = {name for row in open_.itertuples() for name in (*row.experiment.split(), *row.baseline.split())}
    return sorted(names - {"ensemble", "ensemble_with_pretrained"})  # averages of nets that are trained anyway


def training_work(ctx: Context) -> tuple[float, float] | None:
    """Images of one training, and its operations (forward and both gradients, two a multiply-add); None without the numbers."""
    net, claims = ctx.results.layers.get("alexnet"), ctx.claims
    if net is None or "abs-train-size" not in claims or "cycles-90" not in claims:
        return None
    images = float(claims["abs-train-size"].paper) * float(claims["cycles-90"].paper)
    return images, 2 * 3 * net["totals"]["macs"] * images


def hours_at(rate: float, work: float) -> float:
    """Hours for so many operations at so many TFLOP/s."""
    return work / rate / 3.6e15


def extrapolated(ctx: Context) -> Html:
    """Hours and disk for one net and for all, from the arithmetic, the paper's own words and the benchmark."""
    found = training_work(ctx)
    if not found:
        return render("cost_extrapolated.html.j2", macs=0)
    (images, work), totals, claims = found, ctx.results.layers["alexnet"]["totals"], ctx.claims
    nets = nets_wanted(ctx.table)
    runs = SEEDS * len(nets)
    ways = [
        (f"The paper: {DAYS:g} days on {GPUS} GTX 580 (GPU-hours)", RUN_HOURS),
        *((f"A card that keeps up {rate} TFLOP/s (GPU-hours)", hours_at(rate, work)) for rate in SUSTAINED),
        *_here(ctx, images),
    ]
    return render(
        "cost_extrapolated.html.j2",
        images=images / 1e6,
        passes=claims["cycles-90"].paper,
        size=float(claims["abs-train-size"].paper),
        work=work / 1e15,
        macs=totals["macs"],
        nets=len(nets),
        seeds=SEEDS,
        runs=runs,
        kept=BYTES * FLOATS * totals["parameters"] / 1e9,
        stored=sum(count * RAW_BYTES for count in IMAGES.values()) / 1e9,
        ways=ways,
        short=number,
    )


def _here(ctx: Context, images: float) -> list[tuple[str, float]]:
    """Hours at the speed of the full-size step that the benchmark measured."""
    found = read_bench(ctx.results.folder)
    if not found:
        return []
    bench, machine, _ = found
    rows = bench[bench["benchmark"].str.startswith(FULL_STEP) & (bench["unit"] == "images/s")]
    if rows.empty:
        return []
    speed = float(rows["subject_value"].iloc[0])
    where = f"{machine.get('cpu', 'a processor')}, {machine.get('cores', '?')} cores"
    return [(f"{where}, at {number(speed)} images/s (hours)", images / speed / 3600)]
