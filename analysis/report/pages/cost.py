"""What the runs cost here, and what the paper's scale takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.report.pages.speed import IMAGES, RAW_BYTES, REFERENCE, number, read_bench
from analysis.results.campaign import elapsed, evaluation_hours, machine
from analysis.text import plural

FULL_STEP = "training step, ilsvrc2012 net"  # how its row of the benchmark begins
SPEEDS = Path(__file__).resolve().parents[3] / "config" / "speeds.csv"
IMAGES_S = " images/s"  # how measured speeds are called
EPOCHS, TRAIN, VALIDATION = 93, 1_281_167, 50_000  # of a run on ILSVRC-2012
FORWARD = 1 / 3  # of a training image's cost: the pass of a validation image
CHECKPOINT = 0.69  # seconds that the training waits after each epoch: 488 MB are copied in memory, and written beside it; measured
GATHER = 22e-6  # seconds of a core to gather an image for a GPU, measured
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


def speeds(folder: Path) -> pd.DataFrame:
    """Training speed of the full network, images/s by machine and precision: config/speeds.csv, and what was measured with this bench."""
    rows = []
    for path in (where / "gpu.json" for where in (folder / "bench", REFERENCE) if (where / "gpu.json").exists()):
        record = json.loads(path.read_text())
        for name, value in record.get("steps", {}).items():
            if name.endswith(IMAGES_S):
                rows.append((record["device"], name.removesuffix(IMAGES_S), value, "measured", "tests/gpu_check.py"))
    bench, machine, _ = read_bench(folder) or (pd.DataFrame(columns=["benchmark", "unit"]), {}, False)
    steps = bench[bench["benchmark"].str.startswith(FULL_STEP) & bench["unit"].eq("images/s")]
    for step in steps.head(1).itertuples():
        where = f"{machine.get('cpu', 'a processor')}, {machine.get('cores', '?')} cores"
        rows.append((where, "fp32", step.subject_value, "measured", "make bench"))
    columns = ["on", "precision", "images_per_second", "basis", "source"]
    return pd.concat([pd.read_csv(SPEEDS), pd.DataFrame(rows, columns=columns)], ignore_index=True)


def hours_of_a_run(speed: float) -> dict[str, float]:
    """Hours of each part of a run on ILSVRC-2012, whose step trains on so many images a second."""
    parts = {"step": TRAIN / speed, "validation": FORWARD * VALIDATION / speed, "checkpoints": CHECKPOINT}
    return {name: EPOCHS * seconds / 3600 for name, seconds in parts.items()}


def extrapolated(ctx: Context) -> Html:
    """Hours and disk for one net and for all, on one GPU and on eight, by what is known of speeds, and what limits them."""
    nets, net = nets_wanted(ctx.table), ctx.results.layers.get("alexnet")
    runs, ways = SEEDS * len(nets), []
    for row in speeds(ctx.results.folder).to_dict("records"):
        parts = hours_of_a_run(row["images_per_second"])
        ways.append(row | {"hours": sum(parts.values()), "step_share": parts["step"] / sum(parts.values())})
    return render(
        "cost_extrapolated.html.j2",
        epochs=EPOCHS,
        images=TRAIN,
        nets=len(nets),
        seeds=SEEDS,
        runs=runs,
        kept=BYTES * FLOATS * net["totals"]["parameters"] / 1e9 if net else None,
        stored=sum(count * RAW_BYTES for count in IMAGES.values()) / 1e9,
        picture=RAW_BYTES,
        gather=GATHER,
        ways=ways,
        short=number,
    )
