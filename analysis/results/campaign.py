"""One sentence a study on its finished runs: how many, when, where and by which code."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from analysis.results.evidence import Results
from analysis.text import plural


def sentences(results: Results) -> list[str]:
    """Markdown, a line a study that has finished runs: tier, data, runs, seeds, hours in all and by the clock, machine, days, commits, command."""
    lines = []
    for study in results.studies.values():
        runs = {key: run for key, run in results.runs.items() if key[0] == study.name}
        if not runs:
            continue
        by_net: dict[str, set[int]] = {}
        for _, name, seed in runs:
            by_net.setdefault(study.net(name), set()).add(seed)
        seeds = {net: len(found) for net, found in by_net.items()}
        races = sum(map(study.sweeps, seeds))
        rates = f", {races} of them at several learning rates" if races else ""
        made = [run.get("provenance", {}) for run in runs.values()]
        threads = several(run.get("threads") for run in runs.values())
        seconds = sum(float(run.get("wall_seconds") or 0) * float(run.get("threads") or 1) for run in runs.values())
        days = sorted(filter(None, (day(run) for run in runs.values())))
        when = days[0] + (f" to {days[-1]}" if days[-1] != days[0] else "") if days else "unknown"
        rest = evaluation_hours(results, study.name)
        evaluated = f" and {rest:.1f} of evaluation" if rest >= 0.05 else ""
        within = elapsed(runs.values())
        clock = f" ({within:.1f} hours by the clock)" if within else ""
        few, many = min(seeds.values()), max(seeds.values())
        each = f"{few} to {many} seeds each" if few != many else f"{plural(few, 'seed')} each"
        size = f" The paper's net and training shrunk to {study.shrunk}." if study.shrunk else ""
        command = study.record.get("command", "")
        tried = sum(key[0] == study.name for key in results.pilots)
        chose = f"; {plural(tried, 'pilot run')} chose the rates" if tried else ""
        plan = f" Registered plan: {study.plan}." if study.plan else ""
        lines.append(
            f"- `{study.name}` ({study.tier}): {study.data}.{size}{plan} {plural(len(runs), 'run')} of {plural(len(seeds), 'network')}{rates}, {each}{chose}; "
            f"{seconds / 3600:.1f} thread-hours of training{clock}{evaluated}, {plural(int(threads), 'thread') if threads.isdigit() else threads} a run, "
            f"{several(run.get('precision') for run in runs.values())}, on {several(map(machine, runs.values()))}; {when}, commit "
            f"{several(str(record.get('git_commit') or 'unknown')[:7] for record in made)}."
            + (f" `{command}`" if command else "")
        )  # fmt: skip
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
    spans = []
    for run in runs:
        for session in run.get("sessions") or []:
            try:
                begun, ended = (datetime.fromisoformat(str(session[key])) for key in ("started", "finished"))
            except (KeyError, ValueError):
                continue
            spans.append((begun, ended))
    seconds, last = 0.0, None
    for begun, ended in sorted(spans):
        begun = begun if last is None else max(begun, last)
        if ended > begun:
            seconds, last = seconds + (ended - begun).total_seconds(), ended
    return seconds / 3600


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
