"""The page on provenance: code, machine, software and data of every number."""

from __future__ import annotations

from analysis.report.page import Html, folded, listed, note, stack, table
from analysis.report.pages.campaign_state import outdated
from analysis.results.campaign import devices
from analysis.results.evidence import Results
from analysis.text import plural

STALE = Html(' <span class="stale">code has changed since this run</span>')


def runs_tables(results: Results) -> Html:
    """Where each run came from; the runs of each study but the base are folded away, by kind of experiment."""
    if not results.runs:
        return note("No run has finished yet.")
    parts = []
    for study in results.studies.values():
        by_kind: dict[str, list[tuple[str, str, int]]] = {}
        for key in sorted(key for key in results.runs if key[0] == study.name):
            by_kind.setdefault(study.kind(key[1]), []).append(key)
        for kind in sorted(by_kind, key=lambda kind: (kind != "base", kind)):
            keys = by_kind[kind]
            made = runs_table(results, keys, f"{study.title}, {kind}")
            parts.append(
                made if kind == "base" else folded(f"{study.title}: {plural(len(keys), 'run')} of kind {kind}", made)
            )
    return stack(*parts)


def anchor(study: str, experiment: str, seed: int) -> str:
    """Id of a run's row."""
    return f"run-{study}-{experiment}-{seed}"


def runs_table(results: Results, keys: list[tuple[str, str, int]], title: str) -> Html:
    """Where the runs came from: code, machine, time, data."""
    rows, old = [], outdated(results)
    for study, name, seed in keys:
        run = results.runs[study, name, seed]
        made = run.get("provenance", {})
        commit = str(made.get("git_commit") or "unknown")[:10] + (" (changed)" if made.get("git_dirty") else "")
        wall = run.get("wall_seconds")
        rows.append([
            Html('<span id="{}">{} / {} / {}</span>{}').format(anchor(study, name, seed), study, name, seed, STALE if (study, name, seed) in old else ""),
            Html("<code>{}</code>").format(commit),
            Html("<code>{}</code>").format(str(made.get("code_sha256", "–"))[:10]),
            str(made.get("cpu") or "–"),
            devices(run) or "–",
            str(run.get("threads", "–")),
            "–" if wall is None else f"{wall / 60:,.1f}",
            "–" if run.get("peak_memory_mb") is None else f"{run['peak_memory_mb']:,.0f}",
            str(len(run.get("sessions", [])) or "–"),
            Html("<code>{}</code>").format(str(run.get("data_fingerprint", "–"))[:10]),
        ])  # fmt: skip
    heads = ["Run", "Commit", "Code", "Processor", "Devices", "Threads", "Minutes", "Peak MB", "Sessions", "Data"]
    return table(
        heads,
        rows,
        f"{title}: finished runs; Minutes are wall time, Sessions above 1 mean that the run was resumed; (changed): files differed from "
        "the commit, so that Code, a hash of the code that trains, says what ran",
    )


def packages_table(results: Results) -> Html | None:
    """Package versions that the runs recorded; several are listed where runs differ."""
    seen: dict[str, set[str]] = {}
    for run in results.runs.values():
        made = run.get("provenance", {})
        for name, version in {"python": made.get("python"), **made.get("packages", {})}.items():
            seen.setdefault(name, set()).add(str(version or "not installed"))
    rows = [[name, ", ".join(sorted(versions))] for name, versions in sorted(seen.items())]
    return table(["Package", "Version"], rows, "Software that the runs recorded") if rows else None


def unprotected(results: Results) -> Html | None:
    """How many files of records were read without a hash to compare."""
    if not (count := len(results.guard.bare)):
        return None
    words = (
        f"Not protected: of {plural(count, 'file')} no record and no manifest has a hash, as their records were made before "
        "hashes were noted. Counts and means fit."
    )
    return note(words)


def set_aside(results: Results) -> Html | None:
    """Results that were found but not used."""
    if not results.set_aside:
        return None
    return Html('<div class="note"><p>Found but not used:</p>{}</div>').format(listed(results.set_aside))
