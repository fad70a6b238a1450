"""Runs a campaign of stand-ins: Snakemake plans and starts it as ever, on made-up cards, and each training only waits.

    python tests/makespan.py --folder /a/new/folder --study ilsvrc2012 --cards 4 --second-per-run 6

Each stand-in leases its cards as a training does, holds them for a time in proportion to the arithmetic of its net, and
writes down from when to when. The last line of output is a JSON record: `makespan` in seconds, the `lower_bound` of any
schedule (the whole work divided by the cards, or the longest run), the bound of a schedule that never leaves a card
idle while a run waits (`greedy_bound`, Graham 1969), and the share of the time in which cards were `busy`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from soak import ROOT, copy_project

sys.path.insert(0, str(ROOT))

SECONDS, NOTES = "STAND_IN_SECONDS", "STAND_IN_NOTES"  # what stand-ins are told, through the environment


STAND_IN = f'''"""Stands for the module of this name: a training that holds its cards for a time, and learns nothing."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from alexnet.runtime.gpu_leases import leased


@dataclass
class Cadence:
    minutes: float = 0
    steps: int = 0


def train(config_path, data, out, devices, **others):
    config = json.loads(config_path.read_text())
    name = f"{{config['experiment']}}/{{config['seed']}}"
    with leased(devices) as cards:
        begin = time.time()
        time.sleep(json.loads(os.environ["{SECONDS}"])[config["experiment"]])
        note = {{"run": name, "cards": cards, "begin": begin, "end": time.time()}}
    Path(os.environ["{NOTES}"], name.replace("/", "-")).write_text(json.dumps(note))
    for file in ("metrics.csv", "model.pt", "run.json"):
        (out / file).write_text("{{}}")
'''


def times(study: str, base: float) -> dict[str, float]:
    """Seconds of each experiment of a study: `base`, times its multiply-adds over those of the base net."""
    from alexnet.experiments import definitions, describe

    def work(name: str) -> float:
        return float(describe.describe_experiment(study, name)["totals"]["macs"])

    known = definitions.load()["experiments"]
    names = [name for name in definitions.asked(definitions.load_study(study)) if "members" not in known[name]]
    unit = work(known[names[0]]["baseline"])
    return {name: base * work(name) / unit for name in names}


def prepare(folder: Path, study: str, cards: int) -> tuple[list[str], dict[str, str]]:
    """A copy of the project in which only trainings are left to do; their results, and the environment of Snakemake."""
    from alexnet.experiments import definitions, resolve

    copy_project(folder, study)
    path = folder / "config" / "studies" / f"{study}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"threads": 1}))
    for name, data in definitions.load_study(study)["sets"].items():
        packed = folder / "results" / study / "data" / name
        packed.mkdir(parents=True)
        for file in ("manifest.json", "mean.npy", *(f"{s}.{e}" for s in data["splits"] for e in ("npy", "csv"))):
            (packed / file).write_text("{}")  # fmt: skip
    bin_, notes, locks = folder / "bin", folder / "notes", folder / "locks"
    for made in (bin_, notes, locks):
        made.mkdir()
    listed = "".join(f"echo 'GPU {i}: NVIDIA X (UUID: GPU-{i}{i}{i}{i}-0000)'\n" for i in range(cards))
    (bin_ / "nvidia-smi").write_text(f"#!/bin/sh\n{listed}")
    (bin_ / "nvidia-smi").chmod(0o755)
    (folder / "alexnet" / "training" / "train.py").write_text(STAND_IN)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"},
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(locks),
        NOTES: str(notes),
    }
    known = definitions.load()["experiments"]
    runs = [
        f"results/{study}/runs/{name}/{seed}"
        for name in definitions.asked(definitions.load_study(study))
        if "members" not in known[name]
        for seed in resolve.seeds_of(study, name)
    ]
    return runs, environment


def snakemake(folder: Path, cores: int, targets: list[str], environment: dict[str, str]) -> None:
    words = ["--cores", str(cores), "--rerun-triggers", "mtime", "--", *targets]
    with open(folder / "snakemake.log", "ab") as log:
        subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip


def simulate(folder: Path, study: str, cards: int, base: float) -> dict[str, object]:
    """Run the campaign of stand-ins and say how long it took, and how long it might have taken."""
    seconds = times(study, base)
    runs, environment = prepare(folder, study, cards)
    environment[SECONDS] = json.dumps(seconds)
    snakemake(folder, 2, [f"{run}/config.json" for run in runs], environment)
    snakemake(folder, 4 * cards, [f"{run}/run.json" for run in runs], environment)
    return measured([json.loads(path.read_text()) for path in (folder / "notes").iterdir()], cards)


def measured(notes: list[dict[str, object]], cards: int) -> dict[str, object]:
    """The record, from what the stand-ins wrote down; times in seconds."""
    spans = sorted((float(note["begin"]), float(note["end"]), card) for note in notes for card in note["cards"])  # type: ignore[arg-type, attr-defined]
    lengths = [end - begin for begin, end, _ in spans]
    makespan = max(end for _, end, _ in spans) - min(begin for begin, _, _ in spans)
    gaps, twice = [], 0
    for card in {card for _, _, card in spans}:
        own = [(begin, end) for begin, end, of in spans if of == card]
        twice += sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(own))
        gaps += [later[0] - earlier[1] for earlier, later in itertools.pairwise(own)]
    share = sum(lengths) / cards
    return {
        "runs": len(notes),
        "cards": len({card for _, _, card in spans}),
        "two_on_a_card": twice,
        "makespan": round(makespan, 2),
        "lower_bound": round(max(share, max(lengths)), 2),
        "greedy_bound": round(share + (1 - 1 / cards) * max(lengths), 2),
        "busy": round(sum(lengths) / (cards * makespan), 3),
        "longest_gap": round(max(gaps, default=0.0), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--study", default="ilsvrc2012")
    parser.add_argument("--cards", type=int, default=4)
    parser.add_argument("--second-per-run", type=float, default=6, help="seconds that stand for a run of the base")
    args = parser.parse_args()
    os.chdir(ROOT)
    print(json.dumps(simulate(args.folder.resolve(), args.study, args.cards, args.second_per_run)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
