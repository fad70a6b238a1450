"""Turns results and their logs into what is known of a campaign's state: what is missing, what failed, what is out of date."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.cells import plural
from analysis.context import Context
from analysis.evidence import Results, Study
from analysis.page import Html, escape, heading, note, stack
from analysis.reruns import recorded

CODE = Path(__file__).resolve().parent.parent / "alexnet"
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
    """Runs that a study asks for; averages of nets have none of their own."""
    return [
        (study.name, name, int(seed))
        for name, about in study.experiments.items()
        if "members" not in about
        for seed in about.get("seeds", [])
    ]


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
def code_now(package: Path = CODE) -> str | None:
    """Hash of the training code beside this report, made as the runs make theirs; None where it is not there."""
    paths = sorted(package.glob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest() if paths else None


def changed(run: dict[str, Any]) -> bool:
    """Whether a run was made by other code than that of this checkout; a run that does not say counts as unchanged."""
    made, now = run.get("provenance", {}).get("code_sha256"), code_now()
    return bool(made and now and made != now)


def stale_badge(run: dict[str, Any]) -> str:
    """HTML: the badge of a run made by other code, or nothing."""
    return ' <span class="stale">code has changed since this run</span>' if changed(run) else ""


def _named(key: RunKey) -> str:
    return "/".join(map(str, key))


def progress(ctx: Context, study: Study) -> str:
    """How many of the runs that a study asks for are finished."""
    asked = wanted(study)
    done = sum(key in ctx.results.runs for key in asked)
    others = sum(key[0] == study.name for key in ctx.results.runs) - done
    more = f" and {others} more" if others else ""
    if not asked:
        return f"{plural(others, 'run')} finished."
    return f"{done:,} of {plural(len(asked), 'run')}{more} finished."


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
    stale = sum(changed(run) for run in results.runs.values())
    if stale:
        words = f"made by {stale:,} of {plural(len(results.runs), 'run')}, of which the training code is not that of this checkout"
        parts.append(
            _warning("code has changed since this run", f"Numbers {words}. {_again(results)}".strip())
        )
    if results.set_aside:
        count = plural(len(results.set_aside), "result")
        parts.append(_warning("not used", f"{count} found but set aside as out of date or incomplete."))
    return stack(*parts) if parts else None


def _again(results: Results) -> str:
    """What is known of runs by other code that were trained again by that of this checkout; nothing if none was."""
    found = [one for one in recorded(results) if changed(results.runs[one.key])]
    found = [one for one in found if one.rerun["code_sha256"] == code_now()]
    same = sum(one.same for one in found)
    if not found:
        return ""
    return (
        f"{len(found)} of them {'was' if len(found) == 1 else 'were'} trained again with the code of this checkout: {same} of {len(found)} "
        "ended with the same weights, bit for bit."
    )


def _warning(label: str, text: str) -> Html:
    return Html(
        f'<p class="note"><span class="stale">{escape(label)}</span> {escape(text)} '
        '<a href="#provenance">See provenance</a></p>'
    )


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
                f'<details class="log"{opened}><summary><span class="stale">{label}</span> {escape(_named(run.key))}</summary>'
                f'<pre tabindex="0">{escape(run.tail)}</pre></details>'
            )
        )
    return stack(*parts)
