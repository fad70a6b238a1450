"""The state of a campaign: what is missing, what failed, what is out of date."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.results import golden
from analysis.results.evidence import Key, Results, Study
from analysis.text import plural

CHECKOUT = Path(__file__).resolve().parents[3]
TAIL, LAST = 12, 1 << 16  # lines, and bytes, of a log
FAILED = re.compile(r"^(Traceback \(|error: |\w*(Error|Exception)\b|Killed)", re.MULTILINE)


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun and has no result.

    Attributes:
        failed: its log ends with an error; else it may still be running, or was interrupted.
        tail: the last lines of its log.
    """

    key: Key
    failed: bool
    tail: str


def wanted(study: Study) -> list[Key]:
    """Runs that a study may ask for, of a race at every rate with every seed; averages of nets have none of their own."""
    return [
        (study.name, name, int(seed))
        for name, about in study.experiments.items()
        if "members" not in about and "on_request" not in about
        for seed in about.get("seeds", [])
    ]


def _asked(study: Study) -> int:
    """How many runs a study asks for: of a race all rates with the seed that chooses, and one rate with the others."""
    plain = sum(study.net(name) == name for _, name, _ in wanted(study))
    return plain + sum(len(race["rates"]) + len(race["seeds"]) - 1 for race in study.races.values())


def unfinished(results: Results) -> list[Unfinished]:
    """Runs of the known studies that have a log or a configuration and no result, failed ones first."""
    found = []
    for study in results.studies.values():
        known = {key for key in results.configs if key[0] == study.name} | set(wanted(study))
        for key in sorted(known - set(results.runs)):
            log = results.folder / "logs" / key[0] / key[1] / str(key[2]) / "train.log"
            text = _text(log)
            if text.strip():
                lines = text.rstrip().splitlines()[-TAIL:]
                found.append(Unfinished(key, bool(FAILED.search("\n".join(lines))), "\n".join(lines)))
    return sorted(found, key=lambda run: (not run.failed, run.key))


def _text(path: Path) -> str:
    """The end of a log; nothing if it is no file, or cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LAST))
            return log.read(LAST).decode(errors="replace")
    except OSError:
        return ""


def code_now(stage: str = "train") -> str | None:
    """Hash of the code beside this report that a stage reaches, made as records make theirs; None where it is not there."""
    return _codes_now().get(stage)


@cache
def _codes_now() -> dict[str, str]:
    command = [sys.executable, "-m", "alexnet", "fingerprint"]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True)
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _by_other_code(run: dict[str, Any]) -> bool:
    """Whether a run was made by other code than that of this checkout; one that does not say counts as made by it."""
    made, now = run.get("provenance", {}).get("code_sha256"), code_now()
    return bool(made and now and made != now)


def _proven(run: dict[str, Any]) -> bool:
    """Whether the golden values of the code that made a run, and their equality with this checkout's, speak for the run.

    They do not for a run of a changed checkout, whose code no commit has, nor for one on a GPU: they are the processor's.
    """
    made, values = run.get("provenance", {}), golden.known()
    code = str(made.get("code_sha256"))
    tried = values.stages(code) & {"train", "evaluate"}
    same = all(values.same(stage, code, str(code_now(stage))) for stage in tried)
    return made.get("git_dirty") is False and not _on_gpu(run) and "train" in tried and same


def _on_gpu(run: dict[str, Any]) -> bool:
    return any(name != "cpu" for name in run.get("devices") or ())


def outdated(results: Results) -> set[Key]:
    """Runs by other code than this checkout's of which it is not known that this computes the same."""
    return {key for key, run in results.runs.items() if _by_other_code(run) and not _proven(run)}


def progress(ctx: Context, study: Study) -> str:
    """How many of the runs that a study asks for are finished."""
    asked, done = _asked(study), sum(key in ctx.results.runs for key in wanted(study))
    others = sum(key[0] == study.name for key in ctx.results.runs) - done
    more = f" and {others} more" if others else ""
    if not asked:
        return f"{plural(others, 'run')} finished."
    return f"{done:,} of {plural(asked, 'run')}{more} finished."


def warnings(ctx: Context) -> Html:
    """What a reader must know before the numbers: runs missing or failed, code changed since; empty if there is nothing."""
    results, left = ctx.results, unfinished(ctx.results)
    return render(
        "warnings.html.j2",
        failed=["/".join(map(str, run.key)) for run in left if run.failed],
        begun=sum(not run.failed for run in left),
        set_aside=len(results.set_aside),
        runs=len(results.runs),
        proven=_proven_runs(results),
        unproven=_unproven_runs(results),
    )


def _proven_runs(results: Results) -> dict[str, Any] | None:
    """Of the runs by other code than this checkout's those known to compute the same: how many, and how it is known; None: no run."""
    unproven = outdated(results)
    proven = [run for key, run in results.runs.items() if _by_other_code(run) and key not in unproven]
    if not proven:
        return None
    codes = {str(run["provenance"]["code_sha256"]) for run in proven}
    values, now = golden.known(), {stage: str(code_now(stage)) for stage in ("train", "examine")}
    machines = {machine for code in codes for machine in values.where_same("train", code, now["train"])}
    return {
        "count": len(proven),
        "codes": len(codes),
        "nets": len(values.nets),
        "machines": sorted({f"{cpu}, {vectors}, torch {torch}" for cpu, vectors, torch, *_ in machines}),
        "changed": sorted({what for code in codes for what in values.measures("examine", code, now["examine"])[1]}),
    }


def _unproven_runs(results: Results) -> dict[str, int]:
    """How many runs are outdated, and how many of these say why: a changed checkout, or a GPU."""
    runs = [results.runs[key] for key in outdated(results)]
    dirty = sum(bool(run.get("provenance", {}).get("git_dirty")) for run in runs)
    return {"count": len(runs), "dirty": dirty, "gpu": sum(map(_on_gpu, runs))}
