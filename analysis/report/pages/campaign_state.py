"""The state of a campaign: what is missing, what failed, what is out of date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.report.context import Context
from analysis.report.page import Html, heading, note, stack
from analysis.results import golden
from analysis.results.evidence import Results, Study
from analysis.text import plural

CHECKOUT = Path(__file__).resolve().parents[3]
TAIL, LAST = 12, 1 << 16  # lines, and bytes, of a log
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


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def outdated(results: Results) -> set[RunKey]:
    """Runs by other code than this checkout's of which it is not known that this computes the same."""
    return {key for key, run in results.runs.items() if _by_other_code(run) and not _proven(run)}


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
    """That runs were made by other code than this checkout's: those of which it is known that it computes the same, and the rest."""
    runs, unproven = results.runs, outdated(results)
    proven = [runs[key] for key in runs if _by_other_code(runs[key]) and key not in unproven]
    parts = []
    if proven:
        codes = {str(run["provenance"]["code_sha256"]) for run in proven}
        values, now = golden.known(), {stage: str(code_now(stage)) for stage in ("train", "examine")}
        machines = {machine for code in codes for machine in values.where_same("train", code, now["train"])}
        named = sorted({f"{cpu}, {vectors}, torch {torch}" for cpu, vectors, torch, *_ in machines})
        changed = {what for code in codes for what in values.measures("examine", code, now["examine"])[1]}
        probes = f", but not when examined: {', '.join(sorted(changed))}" if changed else ""
        words = (
            f"{len(proven):,} of {plural(len(runs), 'run')} {_were(len(proven))} made by {plural(len(codes), 'other version')} of the code. "
            f"{len(values.nets)} small nets, which have each kind of layer, schedule and augmentation of the published runs, came to "
            f"the same bits with these and with this checkout's code when trained and evaluated ({'; '.join(named)}){probes}."
        )
        parts.append(_warning("other code, same computation", words))
    if unproven:
        of = [runs[key] for key in unproven]
        why = {
            "from files that no commit has": sum(bool(run.get("provenance", {}).get("git_dirty")) for run in of),
            "on a GPU, of which there are no such values": sum(map(_on_gpu, of)),
        }
        reasons = [f"{count} of them {words}" for words, count in why.items() if count]
        words = (
            f"{len(of):,} of {plural(len(runs), 'run')} {_were(len(of))} made by training code that is not this checkout's and that "
            f"is not shown to compute the same{'; ' * bool(reasons)}{', '.join(reasons)}."
        )
        parts.append(_warning("code has changed since this run", words))
    return parts


def _warning(label: str, text: str) -> Html:
    return Html('<p class="note"><span class="stale">{}</span> {} <a href="#provenance">See provenance</a></p>').format(
        label, text
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
                '<details class="log"{}><summary><span class="stale">{}</span> {}</summary>'
                '<pre tabindex="0">{}</pre></details>'
            ).format(opened, label, _named(run.key), run.tail)
        )
    return stack(*parts)
