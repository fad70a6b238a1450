"""Turns the errors of several nets into whether they stand in the order that the paper gives them."""

from __future__ import annotations

from itertools import pairwise

from analysis.measures import estimates
from analysis.measures.estimates import Estimate, NoEstimate
from analysis.results.evidence import Results


def smallest_step(
    results: Results, study: str, order: list[str], set_: str, split: str, view: str, metric: str
) -> Estimate:
    """Smallest difference of the error between an experiment and the next in `order`; above zero: they stand in this order.

    The lower end is the lowest lower end of all steps, so that the order counts as shown only where every step is (an
    intersection-union test: no adjustment is needed). The upper end is the lowest upper end: the order counts
    as contradicted where one step is, with the chance of error of that many tests, which the remark names.

    Raises:
        NoEstimate: one of the experiments was not evaluated there.
    """
    if len(order) < 2:
        raise NoEstimate("an order needs two experiments")
    steps = [
        estimates.difference(results, study, before, after, set_, split, view, metric)
        for before, after in pairwise(order)
    ]
    least = min(range(len(steps)), key=lambda i: steps[i].value)
    smallest, names = steps[least], (order[least], order[least + 1])
    seeds = min(step.fewest for step in steps)
    remark = f"smallest of {len(steps)} steps: {names[0]} minus {names[1]}"
    stuck = [step.remark for step in steps if not step.conclusive]
    return Estimate(
        smallest.value,
        min(step.low for step in steps) if not stuck else smallest.low,
        min(step.high for step in steps) if not stuck else smallest.high,
        seeds,
        0,
        smallest.images,
        0.0,
        conclusive=not stuck,
        few=max(step.few for step in steps),
        remark="; ".join([*stuck[:1], remark]),
    )
