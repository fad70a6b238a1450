"""One sentence a study on its finished runs: how many, when, where and by which code."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from analysis.results.evidence import Results
from analysis.text import fill, plural


def sentences(results: Results) -> list[str]:
    """Markdown, a line a study that has finished runs: tier, data, runs, seeds, hours in all and by the clock, machine, days, commits, command."""
    lines = []
    for study in results.studies.values():
        mine = {key: run for key, run in results.runs.items() if key[0] == study.name}
        if not mine:
            continue
        runs = list(mine.values())
        seeds = Counter(net for net, _ in {(study.net(name), seed) for _, name, seed in mine})
        days = sorted(filter(None, map(day, runs)))
        seconds = (float(run.get("wall_seconds") or 0) * float(run.get("threads") or 1) for run in runs)
        commits = (str(run.get("provenance", {}).get("git_commit") or "unknown")[:7] for run in runs)
        text = fill(
            "analysis.results",
            "campaign.md.j2",
            study=study,
            runs=plural(len(runs), "run"),
            nets=plural(len(seeds), "network"),
            races=sum(map(study.sweeps, seeds)),
            seeds=sorted(seeds.values()),
            pilots=sum(key[0] == study.name for key in results.pilots),
            hours=sum(seconds) / 3600,
            clock=elapsed(runs),
            evaluation=evaluation_hours(results, study.name),
            threads=several(run.get("threads") for run in runs),
            precision=several(run.get("precision") for run in runs),
            machines=several(map(machine, runs)),
            when=" to ".join(dict.fromkeys((days[0], days[-1]))) if days else "unknown",
            commits=several(commits),
        )
        lines.append(" ".join(text.split()))
    return lines


def machine(run: dict[str, Any]) -> str | None:
    """What a run was trained on: its GPUs if it had some, else the processor; None where it does not say."""
    named = [*dict.fromkeys(run.get("gpus") or ())]
    named = named or [name for name in run.get("devices") or () if name != "cpu"]
    return " and ".join(named) or run.get("provenance", {}).get("cpu")


def devices(run: dict[str, Any]) -> str:
    """Its devices as torch calls them, with what the GPUs call themselves."""
    names, gpus = run.get("devices") or [], run.get("gpus") or []
    return " and ".join(f"{n} ({g})" for n, g in zip(names, gpus, strict=True)) if gpus else " and ".join(names)


def elapsed(runs: Iterable[dict[str, Any]]) -> float:
    """Hours in which at least one of the runs was training, from the clock: runs side by side count once, pauses not at all."""
    sessions = [session for run in runs for session in run.get("sessions") or []]
    told = {key: pd.Series([of.get(key) for of in sessions], dtype=object) for key in ("started", "finished")}
    times = {key: pd.to_datetime(of, errors="coerce", utc=True, format="ISO8601") for key, of in told.items()}
    spans = pd.DataFrame(times).dropna().sort_values("started")
    before = spans["finished"].cummax().shift()  # when the last of the earlier ones ended
    begun = spans["started"].where(~(before > spans["started"]), before)
    return float((spans["finished"] - begun).dt.total_seconds().clip(lower=0).sum()) / 3600


def evaluation_hours(results: Results, study: str) -> float:
    """Hours that the evaluations of a study took, one after the other."""
    found = results.evals[results.evals["study"] == study].drop_duplicates("path")
    return float(found["seconds"].sum()) / 3600


def several(values: Iterable[object]) -> str:
    """Different values in words, each once."""
    return ", ".join(sorted({str(value) for value in values if value is not None})) or "unknown"


def day(run: dict[str, object]) -> str:
    """The day on which a run ended; nothing if it does not say."""
    sessions = run.get("sessions")
    last = sessions[-1] if isinstance(sessions, list) and sessions else {}
    try:
        return datetime.fromisoformat(str(last.get("finished", ""))).date().isoformat()
    except ValueError:
        return ""
