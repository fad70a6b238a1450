"""Turns the records of finished runs into a sentence a study: how many there are, when, where and from which code they were made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from analysis.cells import plural
from analysis.evidence import Results


def sentences(results: Results) -> list[str]:
    """Markdown, a line a study that has finished runs: tier, data, runs, seeds, hours, machine, days, commits, command."""
    lines = []
    for study in results.studies.values():
        runs = {key: run for key, run in results.runs.items() if key[0] == study.name}
        if not runs:
            continue
        seeds = {name: sum(key[1] == name for key in runs) for _, name, _ in runs}
        made = [run.get("provenance", {}) for run in runs.values()]
        threads = several(run.get("threads") for run in runs.values())
        seconds = sum(
            float(run.get("wall_seconds") or 0) * float(run.get("threads") or 1) for run in runs.values()
        )
        days = sorted(filter(None, (_day(run) for run in runs.values())))
        when = days[0] + (f" to {days[-1]}" if days[-1] != days[0] else "") if days else "unknown"
        few, many = min(seeds.values()), max(seeds.values())
        each = f"{few} to {many} seeds each" if few != many else f"{plural(few, 'seed')} each"
        command = study.record.get("command", "")
        lines.append(
            f"- `{study.name}` ({study.tier}): {study.data}. {plural(len(runs), 'run')} of {plural(len(seeds), 'network')}, {each}; "
            f"{seconds / 3600:.1f} thread-hours of training, {plural(int(threads), 'thread') if threads.isdigit() else threads} a run, "
            f"{several(run.get('precision') for run in runs.values())}, on {several(record.get('cpu') for record in made)}; {when}, commit "
            f"{several(str(record.get('git_commit') or 'unknown')[:7] for record in made)}."
            + (f" `{command}`" if command else "")
        )  # fmt: skip
    return lines


def several(values: Iterable[object]) -> str:
    """Different values in words, each once."""
    return ", ".join(sorted({str(value) for value in values if value is not None})) or "unknown"


def _day(run: dict[str, object]) -> str:
    """The day on which a run ended; nothing if it does not say."""
    sessions = run.get("sessions")
    last = sessions[-1] if isinstance(sessions, list) and sessions else {}
    try:
        return datetime.fromisoformat(str(last.get("finished", ""))).date().isoformat()
    except ValueError:
        return ""
