"""Whether the errors of several nets stand in the paper's order, or are all worse than one net's."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.measures import estimates
from analysis.measures.estimates import Estimate
from analysis.results.evidence import Results


def smallest(
    results: Results, study: str, pairs: Sequence[tuple[str, str]], set_: str, split: str, view: str, metric: str
) -> Estimate:
    """Smallest difference of the error among `pairs` of nets; above zero: the first of each pair is the worse one.

    Both lower ends are the lowest of all pairs, so that the claim counts as shown only where it is for every pair (an
    intersection-union test: no adjustment is needed). The upper ends are the lowest upper ends: the claim counts as
    contradicted where one pair contradicts it, with the chance of error of that many tests, which the remark names.

    Raises:
        NoEstimate: one of the nets was not evaluated there.
    """
    found = [estimates.difference(results, study, *pair, set_, split, view, metric) for pair in pairs]
    least = min(range(len(found)), key=lambda i: found[i].value)
    remark = f"smallest of {len(found)} differences: {' minus '.join(pairs[least])}"
    stuck = [one for one in found if not one.conclusive]
    spans = [found[least]] if stuck else found
    classes = [one.over_classes for one in spans if one.over_classes]
    return Estimate(
        found[least].value,
        min(one.low for one in spans),
        min(one.high for one in spans),
        min(one.fewest for one in found),
        0,
        found[least].images,
        0.0,
        conclusive=not stuck,
        few=max(one.few for one in found),
        registered=max(one.registered for one in found),
        died=min(one.fewest + one.died for one in found) - min(one.fewest for one in found),
        inner=(min(one.inside[0] for one in spans), min(one.inside[1] for one in spans)),
        paired=all(one.paired for one in found),
        over_classes=tuple(map(min, zip(*classes, strict=True))) if len(classes) == len(spans) else None,
        remark="; ".join([*(one.remark for one in stuck[:1]), remark]),
    )
