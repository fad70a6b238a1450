"""Runs that were trained again."""

from __future__ import annotations

from analysis.report.page import Html, render
from analysis.results.evidence import Results
from analysis.results.reruns import recorded


def page(results: Results) -> Html | None:
    """The recorded reruns as a table below sentences that count them; none yet: nothing."""
    found = [(one, results.studies[one.key[0]].kind(one.key[1])) for one in recorded(results)]
    if not found:
        return None
    like = [(one, kind) for one, kind in found if not one.differs]
    kinds = {(one.key[0], kind) for one, kind in like}
    return render("trained_again.html.j2", found=found, like=[one for one, _ in like], kinds=len(kinds))
