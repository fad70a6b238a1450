"""The page on provenance: code, machine, software and data of every number."""

from __future__ import annotations

from typing import Any

from analysis.report.page import Html, listed, note, render, table
from analysis.report.pages.campaign_state import outdated
from analysis.results.campaign import devices
from analysis.results.evidence import Results
from analysis.text import plural


def runs_tables(results: Results) -> Html:
    """Where each run came from; the runs of each study but the base are folded away, by kind of experiment."""
    tables, old = [], outdated(results)
    for study in results.studies.values():
        by_kind: dict[str, list[tuple[str, str, int]]] = {}
        for key in sorted(key for key in results.runs if key[0] == study.name):
            by_kind.setdefault(study.kind(key[1]), []).append(key)
        for kind, keys in sorted(by_kind.items(), key=lambda of: (of[0] != "base", of[0])):
            tables.append(
                {"title": study.title, "kind": kind, "runs": [_row(results, key, key in old) for key in keys]}
            )
    return render("provenance.html.j2", tables=tables)


def anchor(study: str, experiment: str, seed: int) -> str:
    """Id of a run's row."""
    return f"run-{study}-{experiment}-{seed}"


def _row(results: Results, key: tuple[str, str, int], stale: bool) -> dict[str, Any]:
    run = results.runs[key]
    where = {"id": anchor(*key), "name": " / ".join(map(str, key)), "stale": stale}
    return where | {"run": run, "made": run.get("provenance", {}), "devices": devices(run)}


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
