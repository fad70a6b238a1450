"""Turns a claim and a measured number into an outcome: one verdict word and one sentence why.

What may be said depends on the evidence, and `ALLOWED` is the only place that decides it: an `Outcome` with a word
that its evidence does not allow cannot be made. Two intervals (`intervals`) are compared with two things, the value that
means "no effect" and the range that counts as the paper's value. The printed interval (95 %) shows a direction, or that the
range is missed; inside the range must lie the shorter one (90 %: two one-sided tests at 5 %). So each wrong word comes up
in at most 5 of 100 campaigns, which `simulation` counts.

    paper scale, with an effect   reproduced: the paper's side of "no effect" is shown, and the interval lies within the range;
                                  direction only: that side, and another size or one that is not settled; not reproduced:
                                  the range is missed, or the other side is shown; inconclusive: anything else
    paper scale, absolute value   reproduced: inside the range; not reproduced: the range is missed; inconclusive: else
    the paper says "the same"     (its value means no effect, within a tolerance) as an absolute value
    reduced scale, proxy or demo  direction agrees / disagrees: the interval excludes "no effect" (says "the same": lies
                                  within the range / misses it); else inconclusive
    arithmetic                    reproduced; not reproduced; paper inconsistent: ours is what the paper's own other
                                  statements (or its authors' released configuration) imply, and not what it prints
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.claims import Claim
from analysis.inference import Estimate
from analysis.stats.intervals import benjamini_hochberg, holm, to_settle

OPEN = ("pending", "not testable", "cited")
WEAK = ("direction agrees", "direction disagrees", "inconclusive", "pending", "not testable")
ALLOWED: dict[str, tuple[str, ...]] = {
    "paper scale": ("reproduced", "direction only", "not reproduced", "inconclusive", "pending"),
    "arithmetic": ("reproduced", "not reproduced", "paper inconsistent", "not testable"),
    "reduced scale": WEAK,
    "proxy": WEAK,
    "demo": WEAK,
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
    p_bh: float | None = None
    needed: str = ""  # what would settle what is open: seeds, images, other data
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


def of_estimate(
    claim: Claim, estimate: Estimate, evidence: str, study: str = "", place: tuple[str, str] = ("", "")
) -> Outcome:
    """The outcome of a measured number; `place`: data set and split that it was measured on."""
    outcome = Outcome(
        claim,
        "pending",
        "",
        evidence,
        _finite(scaled(claim, estimate.value)),
        _finite(scaled(claim, estimate.low)),
        _finite(scaled(claim, estimate.high)),
        estimate.bound,
        estimate.images,
        estimate.seeds,
        estimate.baseline_seeds,
        study,
        *place,
        estimate.p,
        command=command(claim, study),
    )
    return conclude(outcome, estimate)


def _finite(number: float) -> float | None:
    return None if math.isnan(number) else number


def conclude(outcome: Outcome, estimate: Estimate) -> Outcome:
    """Fill in verdict, reason and what would settle it; the kind of evidence decides which words there are."""
    claim, evidence = outcome.claim, outcome.evidence
    if claim.confounded:
        return replace(outcome, verdict="inconclusive", why=claim.confounded, p=None)
    verdict, why, open_ = verdict_on(claim, evidence, estimate)
    if verdict == "pending":
        outcome = replace(outcome, command=command(claim, claim.dataset))
    needed = _needed(claim, evidence, estimate) if open_ else ""
    at_this = f"if the number stays where it is, {needed}" if needed else ""
    why = "; ".join(filter(None, [why, estimate.remark, at_this]))
    return replace(outcome, verdict=verdict, why=why, needed=needed)


def verdict_on(claim: Claim, evidence: str, estimate: Estimate) -> tuple[str, str, bool]:
    """Verdict, reason, and whether more seeds or images could settle more."""
    if evidence == "paper scale":
        return _at_paper_scale(claim, estimate)
    return _by_direction(claim, evidence, estimate)


def scaled(claim: Claim, number: float) -> float:
    """A fraction in the claim's unit; plain numbers stay."""
    return 100 * number if claim.unit in PERCENT else number


def side(claim: Claim, null: float) -> int:
    """+1 or -1: the side of "no effect" on which the paper's value lies; 0: the paper says "the same"."""
    if claim.number is not None and claim.number != null:
        return 1 if claim.number > null else -1
    return {"less": -1, "at_most": -1, "greater": 1, "at_least": 1}.get(claim.relation, 0)


def _direction(claim: Claim, estimate: Estimate) -> int:
    """+1: the interval shows the paper's direction; -1: it shows the other; 0: it shows neither."""
    if estimate.null is None:
        return 0
    paper_side = side(claim, estimate.null)
    if estimate.low > estimate.null:
        return paper_side
    return -paper_side if estimate.high < estimate.null else 0


def _inside(claim: Claim, estimate: Estimate) -> bool:
    """Whether the 90 % interval lies within the range that counts as the paper's value."""
    low, high = accepted(claim)
    inner_low, inner_high = (scaled(claim, number) for number in estimate.inside)
    return low <= inner_low and inner_high <= high


def misses_range(claim: Claim, estimate: Estimate) -> bool:
    """Whether the 95 % interval lies outside of that range."""
    low, high = accepted(claim)
    return scaled(claim, estimate.high) < low or scaled(claim, estimate.low) > high


def _by_direction(claim: Claim, evidence: str, estimate: Estimate) -> tuple[str, str, bool]:
    if estimate.null is None:
        size = (
            "an absolute value of the paper needs its own data at full size; this is the paper's data at reduced scale"
            if evidence == "reduced scale"
            else f"an absolute value of the paper needs its own data at full size; this is the {evidence}'s"
        )
        return "pending", size, False
    if not estimate.conclusive:
        return "inconclusive", "", True
    if not side(claim, estimate.null):
        if _inside(claim, estimate):
            return "direction agrees", f"about the same: {_lies_within(claim)}", False
        if misses_range(claim, estimate):
            return "direction disagrees", f"not the same: the interval misses {_about(claim)}", False
        return "inconclusive", f"the interval is too wide to tell from {_about(claim)}", True
    direction = _direction(claim, estimate)
    words = {0.0: "no effect", 1.0: "a ratio of 1"}
    nothing = words[estimate.null] if estimate.null in words else f"{100 * estimate.null:g} %"
    if direction > 0:
        return "direction agrees", f"the interval excludes {nothing}, on the paper's side", False
    if direction < 0:
        return "direction disagrees", f"the interval excludes {nothing}, on the other side", False
    return "inconclusive", f"the interval includes {nothing}", True


def _about(claim: Claim) -> str:
    slack = f" (within {claim.tolerance:g})" if claim.tolerance else ""
    return f"the paper's {claim.paper} {claim.unit}{slack}"


def _lies_within(claim: Claim) -> str:
    return f"the 90 % interval lies within {_about(claim)}"


def _at_paper_scale(claim: Claim, estimate: Estimate) -> tuple[str, str, bool]:
    if not estimate.conclusive or math.isnan(estimate.low) or math.isnan(estimate.high):
        return "inconclusive", "", True
    inside, misses = _inside(claim, estimate), misses_range(claim, estimate)
    if estimate.null is None or not side(claim, estimate.null):
        if inside:
            return "reproduced", _lies_within(claim), False
        if misses:
            return "not reproduced", f"the interval misses {_about(claim)}", False
        return "inconclusive", f"the interval is too wide to tell from {_about(claim)}", True
    direction = _direction(claim, estimate)
    if direction > 0:
        if inside:
            return "reproduced", f"the interval excludes no effect and {_lies_within(claim)}", False
        if misses:
            return "direction only", f"the interval excludes no effect, but misses {_about(claim)}", False
        return "direction only", f"the interval excludes no effect, but reaches beyond {_about(claim)}", True
    if direction < 0:
        return "not reproduced", "the interval excludes no effect, on the other side", False
    if misses:
        return "not reproduced", f"the interval misses {_about(claim)}", False
    return "inconclusive", "the interval includes no effect", True


def _needed(claim: Claim, evidence: str, estimate: Estimate) -> str:
    """How many seeds or images would settle it, with the noise that was seen and the number where it is."""
    if not estimate.conclusive and estimate.remark.startswith("a run of"):
        return ""  # one of the nets never trained
    if estimate.bound:
        return "longer training would settle it"
    unit = scaled(claim, 1.0)
    marks = [estimate.null] if estimate.null is not None and side(claim, estimate.null) else []
    if evidence == "paper scale" or not marks:
        marks += [mark / unit for mark in accepted(claim) if math.isfinite(mark)]
    if estimate.conclusive and math.isfinite(estimate.value):
        away = [estimate.distance(mark) for mark in marks]
        settles = f"would settle it{', against the paper' if _against(claim, estimate) else ''}"
        return to_settle(estimate.noises, min(away), settles) if away else ""
    if math.isnan(estimate.low) and min(estimate.seeds, estimate.baseline_seeds or 2) < 2:
        return "three seeds of each net are the fewest that show how much seeds differ"
    return ""


def _against(claim: Claim, estimate: Estimate) -> bool:
    """Whether the number, if it stays, ends against the paper: on the other side of no effect or, where no side counts, outside."""
    null = estimate.null
    if null is not None and side(claim, null):
        return (estimate.value - null) * side(claim, null) < 0
    low, high = accepted(claim)
    return not low <= scaled(claim, estimate.value) <= high


def adjusted(outcomes: list[Outcome]) -> list[Outcome]:
    """Fill in p-values adjusted over all outcomes that have one, by Holm and by Benjamini and Hochberg."""
    raw = [outcome.p for outcome in outcomes]
    return [
        replace(outcome, p_holm=strict, p_bh=loose)
        for outcome, strict, loose in zip(outcomes, holm(raw), benjamini_hochberg(raw), strict=True)
    ]
