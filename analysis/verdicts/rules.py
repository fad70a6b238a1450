"""The rules that turn a measured number into an outcome: words on two axes (`stats.axes`), a label and one sentence why.

What may be said depends on the evidence, and `labels.ALLOWED` is the only place that decides it: an `Outcome` with a word that its
evidence does not allow cannot be made. Two intervals are compared with two things, the value that means "no effect" and the
range that counts as the paper's value, by the code that judges any table (`python -m analysis judge`). A `limit` (rates that were
not chosen, a measure that leans to one side, too few classes) leaves direction "cannot tell" and size "unknown".
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from analysis.errors import UserError
from analysis.measures.inference import Estimate
from analysis.paper.claims import Claim
from analysis.stats import axes
from analysis.stats.axes import Question
from analysis.stats.intervals import benjamini_hochberg, holm, to_settle
from analysis.stats.judge import said_direction, said_size
from analysis.verdicts.labels import ALLOWED, PENDING, label

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
    seeds: int = 0  # pairs, where `baseline_seeds` is 0 and there are two nets
    baseline_seeds: int = 0
    study: str = ""
    dataset: str = ""
    split: str = ""
    p: float | None = None
    p_holm: float | None = None
    p_bh: float | None = None
    needed: str = ""  # what would settle what is open: seeds, images, other data
    command: str = ""
    direction: str = ""
    size: str = ""
    limit: str = ""  # why no word can be said whatever the number
    low90: float | None = None
    high90: float | None = None
    low_welch: float | None = None  # Satterthwaite's interval
    high_welch: float | None = None
    low_predicted: float | None = None  # of one measurement like the paper's
    high_predicted: float | None = None
    low_classes: float | None = None  # with the classes as a sample of classes, on fewer than the paper's
    high_classes: float | None = None
    values: str = ""  # of each seed or pair, those of two unpaired nets divided by a bar
    noises: str = ""  # kind: variance / number (degrees of freedom), of each source; the least variance of the whole

    plan: str = ""  # name and sha256 of the study's registered plan
    differs: str = ""  # between the two nets, in words (`contrasts`)

    @property
    def counted(self) -> str:
        """How many seeds there are, in words."""
        if self.baseline_seeds:
            return f"{self.seeds} vs {self.baseline_seeds} seeds"
        pairs = f"pair{'s' * (self.seeds != 1)} of " if self.claim.baseline else ""
        return f"{self.seeds} {pairs}seeds"

    def __post_init__(self) -> None:
        if self.verdict not in ALLOWED[self.evidence]:
            raise ValueError(f"{self.evidence or 'no'} evidence cannot say {self.verdict!r} about {self.claim.id}")


def command(claim: Claim, study: str) -> str:
    """What a person types to settle the claim in a study; empty where no target does."""
    if not claim.group:
        return ""
    config = f" --config studies=[{study}]" if study and claim.kind != "arithmetic" else ""
    return f"snakemake --cores all {claim.group}{config}"


def question(claim: Claim, null: float | None) -> Question:
    """What the claim asks, in its unit; `null` as in `Estimate`. A side without a size counts from its tolerance on."""
    slack = claim.tolerance or 0.0
    return Question(claim.relation, claim.number, slack, null if null is None else scaled(claim, null), slack)


def accepted(claim: Claim) -> tuple[float, float]:
    """The range that counts as the paper's value, in the claim's unit; (nan, nan) where it is no number."""
    return (math.nan, math.nan) if claim.number is None else question(claim, None).accepted


def matches(claim: Claim, ours: float | str, paper: str) -> bool:
    if isinstance(ours, str):
        return ours == paper
    if claim.number is None:
        raise UserError(f"claims.csv: {claim.id}: `paper` is {paper!r}, but a number is measured; write it in digits")
    low, high = accepted(claim)
    if claim.relation in ("greater", "less"):
        return low < ours < high
    return low <= ours <= high or math.isclose(ours, float(paper))


def of_estimate(claim: Claim, estimate: Estimate, evidence: str, limit: str = "", **place: Any) -> Outcome:
    """The outcome of a measured number; `place`: study, dataset, split and plan that it was measured in."""
    unit = scaled(claim, 1.0)

    def ends(name: str, span: tuple[float, float]) -> dict[str, float | None]:
        return {f"{end}{name}": _finite(unit * x) for end, x in zip(("low", "high"), span, strict=True)}

    sources = [f"{noise.kind}: {unit**2 * noise.variance:.9g} / {noise.n} ({noise.df:g})" for noise in estimate.noises]
    sources += [f"at least: {unit**2 * estimate.floor:.9g}"] if estimate.floor else []
    numbers: dict[str, Any] = {
        "ours": _finite(unit * estimate.value),
        **ends("", (estimate.low, estimate.high)),
        **ends("90", estimate.inside),
        **ends("_welch", estimate.welch()),
        **ends("_predicted", estimate.welch(one=True)),
        **ends("_classes", estimate.over_classes or (math.nan, math.nan)),
        "values": " | ".join(" ".join(f"{unit * value:.9g}" for value in arm) for arm in estimate.values),
        "noises": "; ".join(sources),
        **{name: getattr(estimate, name) for name in ("bound", "seeds", "baseline_seeds", "p")},
        "command": command(claim, place.get("study", "")),
        "limit": claim.confounded or limit,
    }
    return conclude(Outcome(claim, PENDING, "", evidence, n=estimate.images, **numbers, **place), estimate)


def _finite(number: float) -> float | None:
    return None if math.isnan(number) else number


def conclude(outcome: Outcome, estimate: Estimate) -> Outcome:
    """Fill in words, reason and what would settle it; the kind of evidence decides which words there are."""
    claim, evidence = outcome.claim, outcome.evidence
    direction, size, why = words(claim, evidence, estimate, outcome.limit)
    verdict = label(direction, size, evidence)
    if verdict == PENDING:
        outcome = replace(outcome, command=command(claim, claim.dataset))
    unsettled = evidence == "paper scale" and direction == axes.AGREES and size == axes.UNKNOWN
    open_ = not outcome.limit and (verdict == axes.CANNOT_TELL or unsettled)
    needed = _needed(claim, evidence, estimate) if open_ else ""
    at_this = f"if the number stays where it is, {needed}" if needed and estimate.conclusive else ""
    why = "; ".join(filter(None, [why, _over_classes(outcome, estimate), estimate.remark, at_this]))
    p = None if outcome.limit or not estimate.conclusive else outcome.p
    return replace(outcome, verdict=verdict, why=why, needed=needed, direction=direction, size=size, p=p)


def _over_classes(outcome: Outcome, estimate: Estimate) -> str:
    """The second interval in words; nothing where there is none, or no word to change."""
    if estimate.over_classes is None or outcome.limit or not estimate.conclusive or estimate.null is None:
        return ""
    low, high = (scaled(outcome.claim, end) for end in estimate.over_classes)
    side = estimate.low > estimate.null or estimate.high < estimate.null
    lost = side and estimate.over_classes[0] <= estimate.null <= estimate.over_classes[1]
    changed = ", which shows no side: other classes may show another effect" if lost else ""
    return f"with the classes as a sample of classes the 95 % interval is [{low:.2f}, {high:.2f}]{changed}"


def words(claim: Claim, evidence: str, estimate: Estimate, limit: str = "") -> tuple[str, str, str]:
    """Direction, size and the reason; on less than the paper's scale there is no size."""
    asked = question(claim, estimate.null)
    paper = evidence == "paper scale"
    if asked.null is None and not paper:
        of = "the paper's data, reduced or altered" if evidence == "reduced scale" else f"the {evidence}'s"
        return ("", axes.UNKNOWN, f"an absolute value of the paper needs its own data at full size; this is {of}")
    if limit or not estimate.conclusive:
        return "" if asked.null is None else axes.CANNOT_TELL, axes.UNKNOWN, limit
    outer, inner = (
        (scaled(claim, span[0]), scaled(claim, span[1])) for span in ((estimate.low, estimate.high), estimate.inside)
    )
    direction = axes.direction(asked, outer, inner)
    size = axes.size(asked, outer, inner) if paper else axes.UNKNOWN
    said = [said_direction(asked, direction, claim.unit), said_size(asked, size, claim.unit) if paper else ""]
    return direction, size, "; ".join(dict.fromkeys(filter(None, said)))


def scaled(claim: Claim, number: float) -> float:
    """A fraction in the claim's unit; plain numbers stay."""
    return 100 * number if claim.unit in PERCENT else number


def _needed(claim: Claim, evidence: str, estimate: Estimate) -> str:
    """How many seeds or images would settle it, with the noise that was seen and the number where it is."""
    if not estimate.conclusive and estimate.few:
        what = "pairs of seeds" if estimate.paired else "seeds of each net"
        return f"{estimate.few} {what} are the fewest for a verdict"
    if estimate.bound:
        return "longer training would settle it"
    unit = scaled(claim, 1.0)
    marks = [estimate.null] if estimate.null is not None and question(claim, estimate.null).side else []
    if evidence == "paper scale" or not marks:
        marks += [mark / unit for mark in accepted(claim) if math.isfinite(mark)]
    if estimate.conclusive and math.isfinite(estimate.value):
        away = [estimate.distance(mark) for mark in marks]
        settles = f"would settle it{', against the paper' if _against(claim, estimate) else ''}"
        return to_settle(estimate.noises, min(away), settles) if away else ""
    return ""


def _against(claim: Claim, estimate: Estimate) -> bool:
    """Whether the number, if it stays, ends against the paper: on the other side of no effect or, where no side counts, outside."""
    null = estimate.null
    if null is not None and (side := question(claim, null).side):
        return (estimate.value - null) * side < 0
    low, high = accepted(claim)
    return not low <= scaled(claim, estimate.value) <= high


def adjusted(outcomes: list[Outcome]) -> list[Outcome]:
    """Fill in p-values adjusted over the core claims, by Holm and by Benjamini and Hochberg.

    They are one family, registered by `Claim.core`: one that has no test yet counts as one that shows nothing.
    """
    raw = [(1.0 if outcome.p is None else outcome.p) if outcome.claim.core else None for outcome in outcomes]
    return [
        outcome if outcome.p is None else replace(outcome, p_holm=strict, p_bh=loose)
        for outcome, strict, loose in zip(outcomes, holm(raw), benjamini_hochberg(raw), strict=True)
    ]
