"""One screen before days of training: the data found, disk, memory, GPUs, measured speed, hours, and what a study settles."""

import csv
import os
import resource
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from alexnet.archives import sources
from alexnet.archives.counting import count
from alexnet.archives.known_files import PUBLISHED, human_size
from alexnet.bench.compare import Side
from alexnet.experiments.architecture import layer_table
from alexnet.experiments.config import RunConfig
from alexnet.experiments.definitions import asked, load, load_study
from alexnet.experiments.resolve import resolve, seeds_of
from alexnet.packed.manifest import read_manifest
from alexnet.packed.pack import free_bytes, store_bytes
from alexnet.runtime import gpu_leases

PROJECT = Path(__file__).resolve().parents[2]
CLAIMS, SPEEDS = PROJECT / "analysis" / "claims.csv", PROJECT / "config" / "speeds.csv"
WORKSPACE = 3  # copies of the weights that a run writes: the result, and two checkpoints while one replaces the other
FORWARD = 1 / 3  # of a training image's cost: the pass of a validation image
SETTLES = {"paper": "settles", "reduced": "shows directions for", "proxy": "shows directions for", "demo": "exercises"}
FIRST = 5  # steps of the cheapest order that are named
HEAD, WIDTH = 12, 110
AS_IT_IS: Any = {"break_long_words": False, "break_on_hyphens": False}


class Line(NamedTuple):
    """A line of the screen; `missing`: nothing can be trained before it is mended."""

    head: str
    text: str
    missing: bool = False


class Speed(NamedTuple):
    """Training speed in images/s: median, slowest and fastest step."""

    middle: float
    low: float
    high: float
    watts: float | None = None  # of the GPU, where it tells


def preflight(study: str, folders: Sequence[Path], results: Path, folder: str = "config", seconds: float = 15.0) -> int:
    """Print what a study finds, needs and takes on this machine; 0 if it can start, 1 if something is missing.

    Args:
        folders: searched for archives.
        results: where the study's packed sets and runs are, or will be.
        seconds: that the training step is timed for, in all precisions together, after a warm-up.

    UserError for an unknown study, or shards of a data set that are not all there.
    """
    record, base = load_study(study, folder), resolve(study, "alexnet", 0, folder)
    lines, images, wanted = _data(record, study, folders, results)
    runs = runs_of(record, study, folder)
    layers = layer_table(base["model"], base["data"]["crop"], base["data"]["classes"])
    needed = wanted + WORKSPACE * 4 * sum(layer.parameters for layer in layers) * sum(runs.values())
    free = free_bytes(results)
    short = "" if needed <= free else "; make room, or name another `results` folder"
    said = f"{human_size(needed)} needed (at most), {human_size(free)} free in {results}{short}"
    lines.append(Line("disk", said, bool(short)))
    gpus = gpu_leases.cards()
    with gpu_leases.leased("1"):  # a card that trains would tell a false speed, and lose some of its own
        precisions = list(dict.fromkeys([base["precision"], "fp32", "bf16"]))[:2]
        speeds = {name: _measure(base, record["threads"], name, seconds / 2) for name in precisions}
    stores = (path for name in record["sets"] for path in (results / study / "data" / name).glob("*.[nj]p*"))
    lines += _machine(record, gpus, wanted or sum(path.stat().st_size for path in stores))
    lines += _times(record, base, speeds, images, sum(runs.values()), len(gpus))
    lines += claims(record, runs)
    missing = [line.head for line in lines if line.missing]
    command = f"snakemake --cores all --config 'studies=[{study}]'"
    lines.append(Line("missing", ", ".join(missing)) if missing else Line("start", command))
    print(f"{study}: {record['title']}")
    for line in lines:
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in "MISSING: " * line.missing + line.text)
        head = f"  {line.head:{HEAD}}"
        print(textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), **AS_IT_IS))
    return int(bool(missing))


def runs_of(record: dict[str, Any], study: str, folder: str) -> dict[str, int]:
    """How many runs a study asks for, by experiment; ensembles train none."""
    known = load(folder)["experiments"]
    return {name: len(seeds_of(study, name, folder)) for name in asked(record) if "members" not in known[name]}


# Data, disk, memory -------------------------------------------------------------------------------------------------


def _data(
    record: dict[str, Any], study: str, folders: Sequence[Path], results: Path
) -> tuple[list[Line], dict[str, int], int]:
    """Lines on the sets of a study, the images of its training and validation split, and bytes still to be packed."""
    lines: list[Line] = []
    images: dict[str, int] = {}
    wanted = 0
    repacked = os.environ.get("ALEXNET_REPACKED", "").split(os.pathsep)
    for name, about in record["sets"].items():
        packed = results / study / "data" / name
        done = (packed / "manifest.json").exists()
        if done:
            counts = {split: part["images"] for split, part in read_manifest(packed)["splits"].items()}
            lines.append(Line(name, f"packed in {packed}: {_counted(counts)}"))
        elif "synthetic" in record:
            each = record["synthetic"]
            counts = {split: each["classes"] * each.get(f"{split}_per_class", 0) for split in about["splits"]}
            lines.append(Line(name, f"generated by the bench: {_counted(counts)}"))
        else:
            found = sources.find(about["source"], folders or [Path("data")], about["splits"])
            if found.missing:
                said = f"{', '.join(found.missing)}; searched {', '.join(map(str, found.folders))}"
                taken = f"taken as: {sources.SOURCES[about['source']].files}"
                lines += [Line(name, said, True), Line("", taken)]
                counts = PUBLISHED.get(about["source"], {})
            else:
                parts = {split: count(about["source"], split, *found.part(split), repacked) for split in found.splits}
                lines += [Line(name, f"{split}: {part.words}", part.broken) for split, part in parts.items()]
                counts = {split: part.images for split, part in parts.items() if part.images is not None}
        if not done:
            wanted += store_bytes(sum(counts.values()), record["image_size"], record["store"]["format"])
        images |= {
            kind: counts.get(record[kind]["split"], 0) for kind in ("train", "validate") if record[kind]["set"] == name
        }
    return lines, images, wanted


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{split} {images:,} images" for split, images in counts.items())


def _machine(record: dict[str, Any], gpus: list[str], store: int) -> Iterator[Line]:
    cores, memory = len(os.sched_getaffinity(0)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    fits = "stays in memory once read" if store + 2 * peak < memory else "does not fit: each epoch reads the disk again"
    yield Line(
        "memory", f"{human_size(memory)}; a run takes {human_size(peak)}; the packed set, {human_size(store)}, {fits}"
    )
    asked = record["gpus"]
    said = f"{len(gpus)} seen" if gpus else "none seen: runs use the processor"
    yield Line("GPUs", f"{said}; a run of this study takes {asked if gpus else 'none'}; {cores} cores")


# Speed and time -----------------------------------------------------------------------------------------------------


def _measure(config: RunConfig, threads: int, precision: str, seconds: float) -> Speed:
    """Speed of the training step on generated batches, after a warm-up; on the processor in batches of at most 32."""
    import torch

    from alexnet.bench.programs import our_step

    size = config["optimizer"]["batch_size"] if gpu_leases.cards() else min(32, config["optimizer"]["batch_size"])
    torch.set_num_threads(threads)
    ours = Side("", our_step({**config, "precision": precision}, size, devices="1"), size)
    ours.work()
    rates: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(rates) < 3:
        rates.append(ours.speed())
    return Speed(median(rates), min(rates), max(rates), _watts())


def _watts() -> float | None:
    """Power that the GPUs draw together, as nvidia-smi has it; None where it says nothing."""
    said = gpu_leases.nvidia_smi("--query-gpu=power.draw", "--format=csv,noheader,nounits")
    try:
        return sum(map(float, said.split())) or None
    except ValueError:
        return None


def _times(
    record: dict[str, Any], base: RunConfig, speeds: dict[str, Speed], images: dict[str, int], runs: int, gpus: int
) -> Iterator[Line]:
    for precision, speed in speeds.items():
        said = f"{precision}: {speed.middle:,.0f} images/s [{speed.low:,.0f} to {speed.high:,.0f}], step alone, generated batches"
        said += _expected(precision) if record["tier"] == "paper" else ""
        if precision == base["precision"]:
            yield Line("speed", said)
        else:
            yield Line("", f"{said}, {speed.middle / speeds[base['precision']].middle:.2f} times as fast")
    epochs, speed = base["training"]["epochs"], speeds[base["precision"]]
    cost = epochs * (images.get("train", 0) + FORWARD * images.get("validate", 0))
    if not cost:
        return
    hours = cost / speed.middle / 3600
    together = gpus or max(1, len(os.sched_getaffinity(0)) // record["threads"])
    power = f", {speed.watts * hours / 1000:,.1f} kWh a run" if speed.watts else ""
    yield Line(
        "time",
        f"{_hours(hours)} a run of {epochs} epochs in {base['precision']}; {runs} runs, {together} side by side: "
        f"{_hours(hours * runs / together)}{power} (estimate: the base net's step, reading not counted)",
    )


def _expected(precision: str) -> str:
    """What the table of speeds has for this machine's GPU and the full network."""
    there = gpu_leases.nvidia_smi("-L")
    with open(SPEEDS, newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["on"] in there and row["precision"] == precision:
                return f"; {row['low']} to {row['high']} expected of an {row['on']} ({row['basis']})"
    return ""


def _hours(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.0f} days"
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


# What it is good for ------------------------------------------------------------------------------------------------


def claims(record: dict[str, Any], runs: dict[str, int]) -> Iterator[Line]:
    """How many trained claims a study can decide, and in which order its nets decide most of them for each run."""
    with open(CLAIMS, newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["how"] and row["kind"] not in ("arithmetic", "dataset")]
    own = record["tier"] not in ("paper", "reduced")
    rows = [row for row in rows if row["testable"] == "yes" and (own or row["dataset"] == record["train"]["set"])]
    nets = {row["id"]: {*row["experiment"].split(), row["baseline"]} - {""} for row in rows}
    nets = {claim: needed for claim, needed in nets.items() if needed <= runs.keys()}
    yield Line("claims", f"the study {SETTLES[record['tier']]} {len(nets)} of the {len(rows)} that are trained for")
    have: set[str] = set()
    steps: list[str] = []
    left = dict(nets)
    while left:
        cost = {claim: sum(runs[net] for net in needed - have) for claim, needed in left.items()}
        gain = {claim: sum(other <= have | needed for other in left.values()) for claim, needed in left.items()}
        best = max(left, key=lambda claim: gain[claim] / cost[claim])
        added, have = left[best] - have, have | left[best]
        steps.append(f"{' + '.join(sorted(added))} ({cost[best]}, {gain[best]})")
        left = {claim: needed for claim, needed in left.items() if not needed <= have}
    if steps:
        more = f", and {len(steps) - FIRST} more steps" if len(steps) > FIRST else ""
        yield Line("order", f"the cheapest (runs, claims): {', '.join(steps[:FIRST])}{more}")
