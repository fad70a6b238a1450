"""Whether the errors of several nets stand in the paper's order, or are all worse than one net's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from analysis.measures import estimates
from analysis.measures.estimates import Asked
from analysis.measures.inference import Estimate


def in_order(asked: Asked) -> Estimate:
    """Smallest step of the error from each net to the next."""
    return _smallest(asked, pairwise(asked.experiment.split()))


def each(asked: Asked) -> Estimate:
    """Smallest error of the nets minus that of the baseline."""
    return _smallest(asked, ((net, asked.baseline) for net in asked.experiment.split()))


def _smallest(asked: Asked, pairs: Iterable[tuple[str, str]]) -> Estimate:
    """Smallest difference of the error among `pairs` of nets; above zero: the first of each pair is the worse one.

    Both lower ends are the lowest of all pairs, so that the claim counts as shown only where it is for every pair (an
    intersection-union test: no adjustment is needed). The upper ends are the lowest upper ends: the claim counts as
    contradicted where one pair contradicts it, with the chance of error of that many tests, which the remark names.
    """
    asks = [replace(asked, experiment=first, baseline=second) for first, second in pairs]
    found = [estimates.difference(one) for one in asks]
    least = min(range(len(found)), key=lambda i: found[i].value)
    stuck = [one for one in found if not one.conclusive]
    spans = [found[least]] if stuck else found
    classes = [one.over_classes for one in spans if one.over_classes]
    fewest = min(one.fewest for one in found)
    remark = f"smallest of {len(found)} differences: {' minus '.join(asks[least].nets)}"
    return Estimate(
        found[least].value,
        min(one.low for one in spans),
        min(one.high for one in spans),
        fewest,
        images=found[least].images,
        null=0.0,
        conclusive=not stuck,
        few=max(one.few for one in found),
        registered=max(one.registered for one in found),
        died=min(one.fewest + one.died for one in found) - fewest,
        inner=(min(one.inside[0] for one in spans), min(one.inside[1] for one in spans)),
        paired=all(one.paired for one in found),
        over_classes=tuple(map(min, zip(*classes, strict=True))) if len(classes) == len(spans) else None,
        remark="; ".join([*(one.remark for one in stuck[:1]), remark]),
    )
