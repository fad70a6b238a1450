"""Turns results and their logs into what is known of a campaign's state: what is missing, what failed, what is out of date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.cells import plural
from analysis.context import Context
from analysis.evidence import Results, Study
from analysis.page import Html, heading, note, stack
from analysis.reruns import Rerun, recorded

CHECKOUT = Path(__file__).resolve().parent.parent
TAIL = 12  # lines of a log
FAILED = re.compile(r"^(Traceback \(|error: |\w*(Error|Exception)\b|Killed)", re.MULTILINE)
RunKey = tuple[str, str, int]


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun and has no result.

    Attributes:
        failed: its log ends with an error; else it may still be running, or was interrupted.
        tail: the last lines of its log.
    """

    key: RunKey
    failed: bool
    tail: str


def wanted(study: Study) -> list[RunKey]:
    """Runs that a study may ask for, of a race at every rate with every seed; averages of nets have none of their own."""
    return [
        (study.name, name, int(seed))
        for name, about in study.experiments.items()
        if "members" not in about
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
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@cache
def code_now(stage: str = "train") -> str | None:
    """Hash of the code beside this report that a stage reaches, made as records make theirs; None where it is not there."""
    command = [sys.executable, "-m", "alexnet", "fingerprint"]
    try:
        said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout
        return str(json.loads(said)[stage])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def _by_other_code(run: dict[str, Any]) -> bool:
    """Whether a run was made by other code than that of this checkout; one that does not say counts as made by it."""
    made, now = run.get("provenance", {}).get("code_sha256"), code_now()
    return bool(made and now and made != now)


def outdated(results: Results) -> set[RunKey]:
    """Runs by other code than this checkout's of which it is not known that they would end as they did.

    It is known of those of a study, a kind and a version of the code of which this checkout's code trained some again, and all
    of these ended with the same weights.
    """
    again: dict[tuple[str, str, str], list[bool]] = {}
    for one in _again(results):
        again.setdefault(_sort(results, one.key), []).append(one.same)
    return {
        key
        for key, run in results.runs.items()
        if _by_other_code(run) and not all(again.get(_sort(results, key), [False]))
    }


def _sort(results: Results, key: RunKey) -> tuple[str, str, str]:
    code = results.runs[key].get("provenance", {}).get("code_sha256")
    return key[0], results.studies[key[0]].kind(key[1]), str(code)


def _again(results: Results) -> list[Rerun]:
    """Runs by other code that were trained again by that of this checkout, where nothing else was different."""
    found = [one for one in recorded(results) if one.rerun["code_sha256"] == code_now()]
    return [one for one in found if _by_other_code(results.runs[one.key]) and one.other <= {"code"}]


def _named(key: RunKey) -> str:
    return "/".join(map(str, key))


def progress(ctx: Context, study: Study) -> str:
    """How many of the runs that a study asks for are finished."""
    asked, done = _asked(study), sum(key in ctx.results.runs for key in wanted(study))
    others = sum(key[0] == study.name for key in ctx.results.runs) - done
    more = f" and {others} more" if others else ""
    if not asked:
        return f"{plural(others, 'run')} finished."
    return f"{done:,} of {plural(asked, 'run')}{more} finished."


def warnings(ctx: Context) -> Html | None:
    """What a reader must know before the numbers: nothing run, runs missing or failed, code changed since."""
    results, parts = ctx.results, []
    if not results.runs:
        parts.append(note("Nothing has been trained yet, so only counted numbers have a verdict."))
    left = unfinished(results)
    failed, begun = [run for run in left if run.failed], [run for run in left if not run.failed]
    if failed:
        names = ", ".join(_named(run.key) for run in failed[:6]) + (" …" if len(failed) > 6 else "")
        parts.append(_warning("failed", f"{plural(len(failed), 'run')} failed: {names}."))
    if begun:
        parts.append(_warning("unfinished", f"{plural(len(begun), 'run')} begun but not finished."))
    parts += _about_code(results)
    if results.set_aside:
        count = plural(len(results.set_aside), "result")
        parts.append(_warning("not used", f"{count} found but set aside as out of date or incomplete."))
    return stack(*parts) if parts else None


def _about_code(results: Results) -> list[Html]:
    """That runs were made by other code than this checkout's, and what is known of how little that matters."""
    other, again = sum(map(_by_other_code, results.runs.values())), _again(results)
    if not other:
        return []
    words = f"Numbers made by {other:,} of {plural(len(results.runs), 'run')}, of which the training code is not that of this checkout."
    if again:
        words += (
            f" {len(again)} of them {'was' if len(again) == 1 else 'were'} trained again with the code of this checkout: "
            f"{sum(one.same for one in again)} of {len(again)} ended with the same weights, bit for bit."
        )
    known = not outdated(results)
    return [
        _warning(
            "code has changed, to no effect where tried" if known else "code has changed since this run",
            words,
        )
    ]


def _warning(label: str, text: str) -> Html:
    return Html(
        '<p class="note"><span class="stale">{}</span> {} <a href="#provenance">See provenance</a></p>'
    ).format(label, text)


def unfinished_runs(results: Results) -> Html | None:
    """Each run that failed or did not end, with the last lines of its log; None if there are none."""
    left = unfinished(results)
    if not left:
        return None
    parts = [heading("Runs without a result")]
    for run in left:
        label = "failed" if run.failed else "not finished: still running, or interrupted"
        opened = " open" if run.failed else ""
        parts.append(
            Html(
                '<details class="log"{}><summary><span class="stale">{}</span> {}</summary>'
                '<pre tabindex="0">{}</pre></details>'
            ).format(opened, label, _named(run.key), run.tail)
        )
    return stack(*parts)
