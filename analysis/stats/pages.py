"""A small HTML page of verdicts that needs no network (report.html.j2)."""

from __future__ import annotations

import math
from collections import Counter

from analysis.stats.judge import Verdict
from analysis.stats.tables import Claim
from analysis.text import fill

SIGNS = {"about": "about ", "equal": "", "greater": "> ", "less": "< ", "at_least": "≥ ", "at_most": "≤ "}


def page(judged: list[tuple[Claim, Verdict]], title: str = "Verdicts on claims") -> str:
    """The whole page."""
    counts = Counter((verdict.direction or "plain value", verdict.size) for _, verdict in judged)
    shown = {"judged": judged, "title": title, "counts": sorted(counts.items())}
    return fill("analysis.stats", "report.html.j2", True, **shown, claimed=_claimed, number=_number, span=_span)


def _claimed(claim: Claim) -> str:
    tolerance = f" ± {claim.tolerance:g}" if claim.tolerance and claim.relation in ("about", "equal") else ""
    paper = "" if claim.paper is None else f"{claim.paper:g}{tolerance}"
    return f"{claim.how} {SIGNS[claim.relation]}{paper} {claim.unit}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5g}"


def _span(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]"
