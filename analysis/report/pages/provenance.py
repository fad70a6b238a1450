"""The page on provenance: code, machine, software and data of every number."""

from collections import defaultdict
from typing import Any

from analysis.report.page import Html, render
from analysis.report.pages.campaign_state import outdated, unfinished
from analysis.results.campaign import devices
from analysis.results.evidence import Key, Results
from analysis.results.reruns import recorded


def page(results: Results) -> Html:
    """Runs without a result, runs trained again, where each run came from, its software, and what was not used or has no hash.

    The runs of each study but the base are folded away, by kind of experiment.
    """
    tables, old = [], outdated(results)
    for study in results.studies.values():
        by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for key in sorted(key for key in results.runs if key[0] == study.name):
            by_kind[study.kind(key[1])].append(_row(results, key, key in old))
        kinds = sorted(by_kind, key=lambda kind: (kind != "base", kind))
        tables += [{"title": study.title, "kind": kind, "runs": by_kind[kind]} for kind in kinds]
    again = [(one, results.studies[one.key[0]].kind(one.key[1])) for one in recorded(results)]
    return render(
        "provenance.html.j2",
        unfinished=unfinished(results),
        again=again,
        kinds=len({kind for one, kind in again if not one.differs}),
        tables=tables,
        packages=_packages(results),
        set_aside=results.set_aside,
        bare=len(results.guard.bare),
    )


def anchor(study: str, experiment: str, seed: int) -> str:
    """Id of a run's row."""
    return f"run-{study}-{experiment}-{seed}"


def _row(results: Results, key: Key, stale: bool) -> dict[str, Any]:
    run = results.runs[key]
    where = {"id": anchor(*key), "name": " / ".join(map(str, key)), "stale": stale}
    return where | {"run": run, "made": run.get("provenance", {}), "devices": devices(run)}


def _packages(results: Results) -> dict[str, set[str]]:
    """Package versions that the runs recorded; several where runs differ."""
    seen: dict[str, set[str]] = defaultdict(set)
    for run in results.runs.values():
        made = run.get("provenance", {})
        for name, version in {"python": made.get("python"), **made.get("packages", {})}.items():
            seen[name].add(str(version or "not installed"))
    return seen
