"""Judges claims on measurements: a number, two intervals, a word about direction and one about size."""

import math
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from analysis.stats import axes
from analysis.stats.axes import Interval, Question
from analysis.stats.samples import NONE, over_images, over_seeds
from analysis.stats.tables import Arm, Claim, read_claims, read_measurements
from analysis.text import fill

NULLS = {"difference": 0.0, "ratio": 1.0}
MINIMUM = 3  # runs of each arm, or pairs, from which on there are words


@dataclass(frozen=True)
class Verdict:
    """One row of verdicts.csv; numbers that do not exist are NaN."""

    id: str
    ours: float
    low: float
    high: float
    low90: float
    high90: float
    direction: str
    size: str
    seeds: int
    why: str


COLUMNS = tuple(field.name for field in fields(Verdict))


def question(claim: Claim) -> Question:
    """What the claim asks; of a side without a size the tolerance is the smallest effect that counts."""
    return Question(claim.relation, claim.paper, claim.tolerance, NULLS.get(claim.how), claim.tolerance)


def judge(claim: Claim, ours: Arm, base: Arm | None = None, minimum: int = MINIMUM) -> Verdict:
    """The verdict on one claim. `minimum`: runs of each arm, or pairs, with fewer of which there is no word."""
    arms = [ours] if base is None else [ours, base]
    remarks = [_died(name, arm) for name, arm in zip((claim.arm, claim.baseline), arms, strict=False)]
    if claim.spread:
        value, outer, inner, seeds = _by_images(claim, arms)
        few = "" if seeds else "no run of it is left"
        remarks.append("the interval covers the choice of images only")
    else:
        runs = [{seed: run.value for seed, run in arm.items()} for arm in arms]
        found = over_seeds(runs[0], None if base is None else runs[1], claim.how == "ratio")
        value, seeds = found.value, found.seeds
        outer, inner = found.spans()
        unit = "pairs" if found.paired else "runs" if base is None else "runs of each arm"
        few = "" if found.noises else "the runs do not vary at all, which shows no spread"
        few = f"{seeds} {unit}, and {minimum} are the fewest for a verdict" if seeds < minimum else few
        if found.lonely:
            remarks.append(f"runs left out because their seed has no living partner: {found.lonely}")
    asked = question(claim)
    direction, size = axes.direction(asked, outer, inner), axes.size(asked, outer, inner)
    reasons = [said_direction(asked, direction, claim.unit), said_size(asked, size, claim.unit)]
    if few or claim.limit:
        direction, size = axes.CANNOT_TELL if direction else "", axes.UNKNOWN
        reasons = [few, claim.limit]
    why = "; ".join(filter(None, [*reasons, *remarks]))
    return Verdict(claim.id, value, *outer, *inner, direction, size, seeds, why)


def _alive(arm: Arm) -> list[tuple[float, float]]:
    """Value and images of the runs that did not die."""
    return [(run.value, run.images or 0.0) for run in arm.values() if run.value is not None]


def _died(name: str, arm: Arm) -> str:
    dead = len(arm) - len(_alive(arm))
    return f"{dead} of {len(arm)} runs of {name} died; the number is of those that live" if dead else ""


def _by_images(claim: Claim, arms: list[Arm]) -> tuple[float, Interval, Interval, int]:
    """Several runs of an arm share their images, so they count as one run on as many."""
    alive = [_alive(arm) for arm in arms]
    if not all(alive):
        return math.nan, NONE, NONE, 0
    shares = [(math.fsum(value for value, _ in runs) / len(runs), min(n for _, n in runs)) for runs in alive]
    return *over_images(shares, claim.how), min(map(len, alive))


def said_direction(asked: Question, word: str, unit: str = "") -> str:
    """Why the word, in words; nothing of a plain value."""
    if not word:
        return ""
    nothing = {0.0: "no effect", 1.0: "a ratio of 1"}.get(asked.null or 0.0, f"{asked.null:g} {unit}".rstrip())
    if word in (axes.AGREES, axes.CONTRADICTS):
        claimed = "on the claimed side of" if asked.side else "within the claimed range around"
        other = "on the other side of" if asked.side else "outside of the claimed range around"
        return f"the 95 % interval lies {claimed if word == axes.AGREES else other} {nothing}"
    leaves = "leaves out" if word == axes.NOT_SHOWN else "does not leave out"
    return f"the 95 % interval includes {nothing}, and the 90 % interval {leaves} the claimed effect"


def said_size(asked: Question, word: str, unit: str = "") -> str:
    """Why the word, in words."""
    if asked.paper is None:
        return "the claim names no size"
    if asked.relation in axes.SIDES:
        does = {axes.MATCHES: "lies beyond", axes.DIFFERS: "falls short of", axes.UNKNOWN: "includes"}[word]
        return f"the 95 % interval {does} the mark {asked.paper:g} {unit}".rstrip()
    does = {
        axes.MATCHES: "the 90 % interval lies within",
        axes.DIFFERS: "the 95 % interval lies outside of",
        axes.UNKNOWN: "the intervals do not tell it from",
    }[word]
    return f"{does} {asked.paper:g} ± {asked.tolerance:g} {unit}".rstrip()


def judge_files(claims: Path, measurements: Path, minimum: int = MINIMUM) -> list[tuple[Claim, Verdict]]:
    """The verdict on every claim of a file, in its order."""
    arms = read_measurements(measurements)
    found = read_claims(claims, arms, measurements)
    sides = ((claim, arms.get(claim.baseline) if claim.how != "value" else None) for claim in found)
    return [(claim, judge(claim, arms[claim.arm], base, minimum)) for claim, base in sides]


def to_csv(verdicts: list[Verdict]) -> str:
    """verdicts.csv as text; numbers with twelve digits, absent ones empty."""
    text: str = pd.DataFrame(verdicts, columns=COLUMNS).to_csv(index=False, float_format="%.12g", lineterminator="\n")
    return text


def page(judged: list[tuple[Claim, Verdict]], title: str = "Verdicts on claims") -> str:
    """A small HTML page of verdicts that needs no network."""
    counts = Counter((verdict.direction or "plain value", verdict.size) for _, verdict in judged)
    shown = {"judged": judged, "title": title, "counts": sorted(counts.items())}
    return fill("analysis.stats", "report.html.j2", True, **shown)
