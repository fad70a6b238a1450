"""Turns a claim and a measured number into an outcome: one verdict word and one sentence why.

What may be said depends on the evidence, and `ALLOWED` is the only place that decides it: an `Outcome` with a word
that its evidence does not allow cannot be made. Intervals are compared with two things, the value that means "no
effect" and the range that counts as the paper's value:

    paper scale, with an effect   reproduced: the interval lies on the paper's side of "no effect", meets the range and
                                  is at most one effect (or its tolerance) wide (a one-sided claim: lies inside it); direction only: the right side, another size;
                                  not reproduced: it misses the range or lies on the other side; inconclusive: anything else
    paper scale, absolute value   reproduced: inside the range; not reproduced: outside; inconclusive: it straddles
    proxy or demo                 direction agrees / disagrees: the interval excludes "no effect"; else inconclusive
    arithmetic                    reproduced; not reproduced; paper inconsistent: ours is what the paper's own other
                                  statements (or its authors' released configuration) imply, and not what it prints
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis import estimates
from analysis.claims import Claim
from analysis.estimates import Estimate

OPEN = ("pending", "not testable", "cited")
ALLOWED: dict[str, tuple[str, ...]] = {
    "paper scale": ("reproduced", "direction only", "not reproduced", "inconclusive", "pending"),
    "arithmetic": ("reproduced", "not reproduced", "paper inconsistent", "not testable"),
    "proxy": ("direction agrees", "direction disagrees", "inconclusive", "pending", "not testable"),
    "demo": ("direction agrees", "direction disagrees", "inconclusive", "pending", "not testable"),
    "": OPEN,
}
PERCENT = {"%", "points"}


@dataclass(frozen=True)
class Outcome:
    """One claim judged by one body of evidence. Numbers are in the claim's unit; lists and shapes are text."""

    claim: Claim
    verdict: str
    why: str
    evidence: str = ""
    ours: float | str | None = None
    low: float | None = None
    high: float | None = None
    bound: str = ""
    n: int = 0  # test images
    seeds: int = 0
    baseline_seeds: int = 0
    study: str = ""
    dataset: str = ""
    split: str = ""
    p: float | None = None
    p_holm: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in ALLOWED[self.evidence]:
            raise ValueError(
                f"{self.evidence or 'no'} evidence cannot say {self.verdict!r} about {self.claim.id}"
            )


def command(claim: Claim, study: str) -> str:
    """What a person types to settle the claim in a study; empty where no target does."""
    if not claim.group:
        return ""
    if study == "cifar10":
        study = ""  # there is no such study yet; the default ones can show the direction
    config = f" --config studies=[{study}]" if study and claim.kind != "arithmetic" else ""
    return f"snakemake --cores all {claim.group}{config}"


def accepted(claim: Claim) -> tuple[float, float]:
    """The range that counts as the paper's value, in the claim's unit; (nan, nan) where it is no number."""
    if claim.number is None:
        return math.nan, math.nan
    slack = claim.tolerance or 0.0
    low = -math.inf if claim.relation in ("at_most", "less") else claim.number - slack
    high = math.inf if claim.relation in ("at_least", "greater") else claim.number + slack
    return low, high


def matches(claim: Claim, ours: float | str, paper: str) -> bool:
    if isinstance(ours, str):
        return ours == paper
    low, high = accepted(claim)
    if claim.relation in ("greater", "less"):
        return low < ours < high
    return low <= ours <= high or math.isclose(ours, float(paper))


def conclude(outcome: Outcome, estimate: Estimate) -> Outcome:
    """Fill in verdict and reason; the kind of evidence decides which words there are."""
    judge_by = _at_paper_scale if outcome.evidence == "paper scale" else _by_direction
    if outcome.claim.confounded:
        return replace(outcome, verdict="inconclusive", why=outcome.claim.confounded, p=None)
    verdict, why = judge_by(outcome, estimate)
    if verdict == "pending":
        outcome = replace(outcome, command=command(outcome.claim, outcome.claim.dataset))
    why = "; ".join(filter(None, [why, estimate.remark]))
    return replace(outcome, verdict=verdict, why=why)


def _side(claim: Claim, null: float) -> int:
    """+1 or -1: the side of "no effect" on which the paper's value lies."""
    if claim.number is not None and claim.number != null:
        return 1 if claim.number > null else -1
    return -1 if claim.relation in ("less", "at_most") else 1


def _effect(claim: Claim, null: float) -> float:
    """Size of the paper's effect, in the claim's unit; 0 where it prints none."""
    return abs(claim.number - null) if claim.number is not None else 0.0


def _direction(claim: Claim, estimate: Estimate) -> int:
    """+1: the interval shows the paper's direction; -1: it shows the other; 0: it shows neither."""
    if estimate.null is None or not estimate.conclusive:
        return 0
    side = _side(claim, estimate.null)
    if estimate.low > estimate.null:
        return side
    return -side if estimate.high < estimate.null else 0


def _by_direction(outcome: Outcome, estimate: Estimate) -> tuple[str, str]:
    claim = outcome.claim
    if estimate.null is None:
        return (
            "pending",
            f"an absolute value of the paper needs its own data at full size; this is the {outcome.evidence}'s",
        )
    if not estimate.conclusive:
        return "inconclusive", ""
    direction = _direction(claim, estimate)
    nothing = "no effect" if estimate.null == 0 else f"a ratio of {estimate.null:g}"
    if direction > 0:
        return "direction agrees", f"the interval excludes {nothing}, on the paper's side"
    if direction < 0:
        return "direction disagrees", f"the interval excludes {nothing}, on the other side"
    return "inconclusive", f"the interval includes {nothing}"


def _at_paper_scale(outcome: Outcome, estimate: Estimate) -> tuple[str, str]:
    claim = outcome.claim
    if not estimate.conclusive or outcome.low is None or outcome.high is None:
        return "inconclusive", ""
    low, high = accepted(claim)
    inside = low <= outcome.low and outcome.high <= high
    misses = outcome.high < low or outcome.low > high
    about = f"the paper's {claim.paper} {claim.unit}" + (
        f" (within {claim.tolerance:g})" if claim.tolerance else ""
    )
    if estimate.null is None:
        if inside:
            return "reproduced", f"the interval lies within {about}"
        if misses:
            return "not reproduced", f"the interval misses {about}"
        return "inconclusive", f"the interval is too wide to tell from {about}"
    direction = _direction(claim, estimate)
    if direction > 0:
        one_sided = claim.relation in ("at_least", "greater", "at_most", "less")
        width = outcome.high - outcome.low
        sharp = width <= max(2 * (claim.tolerance or 0.0), _effect(claim, estimate.null)) * (1 + 1e-9)
        if inside or (not one_sided and not misses and sharp and not estimate.bound):
            return "reproduced", f"the interval excludes no effect and agrees with {about}"
        return "direction only", f"the interval excludes no effect, but does not show {about}"
    if direction < 0:
        return "not reproduced", "the interval excludes no effect, on the other side"
    if misses:
        return "not reproduced", f"the interval misses {about}"
    return "inconclusive", "the interval includes no effect"


def holm(outcomes: list[Outcome]) -> list[Outcome]:
    """Fill in p-values adjusted by Holm's step-down method over all outcomes that have one."""
    adjusted = estimates.holm([outcome.p for outcome in outcomes])
    return [replace(outcome, p_holm=p) for outcome, p in zip(outcomes, adjusted, strict=True)]
