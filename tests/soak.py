"""Hunts a campaign: kills its own processes at random, starts it again, and compares what comes out.

    python tests/soak.py --minutes 30 --folder /a/folder/that/is/empty

The project is copied there and run once undisturbed; then, round after round until the time is over, everything from the
packed sets on is made again while processes die: Snakemake, its jobs, single towers; by SIGKILL, SIGTERM or SIGINT. A
round ends when Snakemake does without having been touched. Only descendants of what this script started are ever
killed. The last line of output is a JSON record; exit status 0 if nothing was lost or different.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("alexnet", "analysis", "workflow", "profiles", "config")
TIMES = ("seconds", "images_per_second", "wall_seconds")


def copy_project(folder: Path, study: str) -> None:
    """The project without results, with one study that is asked for, and with what is compiled: numba would take 12 s a copy."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.pyc.*", "*.tmp.*"))
    shutil.copy(ROOT / "Snakefile", folder)
    config = yaml.safe_load((folder / "config/config.yaml").read_text()) | {"studies": [study]}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, targets: list[str]) -> subprocess.Popen[bytes]:
    """Snakemake, in a session of its own."""
    log = open(folder / "soak.log", "ab")
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *targets]
    return subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    found = [pid]
    for number in found:
        try:
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        except OSError:
            continue
        found += [int(child) for child in children if int(child) not in found]
    for path in Path("/proc").glob("[0-9]*/stat"):  # started by a thread of theirs, which that list leaves out
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in found and int(path.parent.name) not in found:
            found.append(int(path.parent.name))
    return found


def outcome(folder: Path) -> dict[str, object]:
    """What must be equal: weights to the byte, histories and evaluations but for times, what was packed."""
    found: dict[str, object] = {}
    results = folder / "results"
    for path in sorted(results.rglob("run.json")):
        record = json.loads(path.read_text())
        rows = list(csv.DictReader(open(path.with_name("metrics.csv"))))
        history = [{name: value for name, value in row.items() if name not in TIMES} for row in rows]
        found[str(path.relative_to(results))] = [record["weights_sha256"], record["config_fingerprint"], history]
    for path in sorted(results.glob("*/evals/*/*/*.json")):
        record = json.loads(path.read_text())
        weights = record.get("weights_sha256")  # an average of nets has none of its own
        found[str(path.relative_to(results))] = [record["views"], record["images"], weights]
    for path in sorted(results.glob("*/data/*/manifest.json")):
        found[str(path.relative_to(results))] = json.loads(path.read_text())["fingerprint"]
    return found


def hunt(folder: Path, targets: list[str], dice: random.Random, pause: float, end: float) -> dict[str, int]:
    """Run until it is finished, killing until `end`; counts of what was killed, of starts and failures."""
    counts = {"kills": 0, "starts": 0, "unprovoked_failures": 0}
    while True:
        process, touched = start(folder, targets), False
        counts["starts"] += 1
        while process.poll() is None:
            wait = dice.uniform(0.2, 2 * pause)
            try:
                process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > end:
                continue
            family = descendants(process.pid)
            victim = dice.choice(family)
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            try:
                os.kill(victim, number)
            except ProcessLookupError:
                continue
            counts["kills"] += 1
            counts[signal.Signals(number).name] = counts.get(signal.Signals(number).name, 0) + 1
            counts["of_snakemake"] = counts.get("of_snakemake", 0) + (victim == process.pid)
            touched = True
        if process.returncode == 0:
            return counts
        if not touched:
            counts["unprovoked_failures"] += 1
            if counts["unprovoked_failures"] > 3:
                return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pause", type=float, default=8, help="seconds between two kills, on average")
    parser.add_argument("--study", default="demo")
    parser.add_argument("--finished", action="store_true", help="the folder holds an undisturbed run already")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", nargs="*", default=[], help="of Snakemake (default: everything)")
    args = parser.parse_args()
    dice, folder = random.Random(args.seed), args.folder.resolve() / "project"
    if not args.finished:
        copy_project(folder, args.study)
    if start(folder, args.targets).wait() != 0:
        print(f"the undisturbed run failed; see {folder / 'soak.log'}", file=sys.stderr)
        return 2
    expected = outcome(folder)
    end, total, different, rounds = time.monotonic() + 60 * args.minutes, {}, set(), 0
    while time.monotonic() < end:
        for part in ("runs", "evals"):
            shutil.rmtree(folder / "results" / args.study / part, ignore_errors=True)
        shutil.rmtree(folder / "reports", ignore_errors=True)
        counts = hunt(folder, args.targets, dice, args.pause, end)
        found, rounds = outcome(folder), rounds + 1
        different |= {key for key in {*found, *expected} if found.get(key) != expected.get(key)}
        total = {key: total.get(key, 0) + counts.get(key, 0) for key in {*total, *counts}}
    left = [str(path) for path in (folder / "results").rglob("checkpoint")]
    record = {"rounds": rounds, **dict(sorted(total.items())), "results": len(expected)}
    print(json.dumps(record | {"different": sorted(different), "checkpoints_left": left}))
    return 1 if different or left or total.get("unprovoked_failures") else 0


if __name__ == "__main__":
    sys.exit(main())
