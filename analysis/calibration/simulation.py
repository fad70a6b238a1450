"""Counts how often the code that judges results errs when the truth is known.

A setting is a claim, evidence, numbers of seeds and images, spreads between seeds, and what is true. Its campaigns are
fabricated (`worlds`, or epochs with log-normal luck) and judged by the functions that judge real results:
`inference.of_moments`, `of_two_nets`, `split_gap_of`, `convergence.ratio_of`, then `verdicts.words`. A word is wrong
if what it says is false of the truth (`wrong_words`).
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.worlds import World, outcomes
from analysis.measures import inference
from analysis.measures.convergence import Reached, ratio_of
from analysis.measures.inference import Estimate
from analysis.paper.claims import Claim, load_claims
from analysis.stats import axes
from analysis.stats.samples import Runs
from analysis.stats.trials import arms
from analysis.verdicts.rules import question, scaled, words

NOMINAL = 0.05
LAB_SD = 0.12  # points; of the top-1 error between seeds, as the lab's five near-identical nets show
ERROR = {"top1_error": 0.40, "top5_error": 0.18, "error_gap": 0.40}
LAST = 90.0  # epochs after which a run is censored


@dataclass(frozen=True)
class Setting:
    """One row of the calibration. `truth` and the spreads are in the claim's unit; of ratios the spread is of the logarithm."""

    kind: str
    claim: str
    evidence: str
    images: int
    seeds: int
    baseline_seeds: int
    sd: float
    baseline_sd: float
    truth: float
    same: bool = False  # the claim is read as "about the same", within its tolerance
    slowest: float = 0.0  # of ratios: epochs that the slower net needs; beyond `LAST` runs are censored
    world: str = ""  # of `stats.trials`, instead of normal draws; without effect, in units of the spread
    broken: str = ""  # what the setting breaks of the rule's assumptions: shown, not counted


def claim_of(setting: Setting, claims: dict[str, Claim]) -> Claim:
    claim = claims[setting.claim]
    return replace(claim, paper="0", relation="about") if setting.same else claim


def null_of(claim: Claim) -> float | None:
    """The value that means "no effect", for the way in which the claim is measured."""
    return claim.measure.null if claim.measure else None


def campaigns(setting: Setting, claim: Claim, rng: np.random.Generator, repeats: int) -> Iterator[Estimate]:
    """Estimates of fabricated campaigns, by the functions that estimate from real ones."""
    unit, paper = scaled(claim, 1.0), setting.evidence == "paper scale"
    if claim.how == "ratio":
        yield from _ratios(setting, rng, repeats)
    elif claim.how in ("generalization_gap", "sample_difference"):
        for _ in range(repeats):
            yield inference.of_two_nets(*_ends(setting, unit, rng))
    elif claim.how == "split_gap":  # the same nets on a validation split of 50,000 images and on a test split
        error = ERROR[claim.metric]
        sides = [
            outcomes(World(value, 0.0, 0.0, 0.0, images, setting.seeds, 0), rng, repeats)
            for value, images in ((error, 50_000), (error + setting.truth / unit, setting.images))
        ]
        yield from map(inference.split_gap_of, *sides)
    else:
        counts = setting.images, setting.seeds, setting.baseline_seeds
        world = World(ERROR[claim.metric], setting.truth / unit, setting.sd / unit, setting.baseline_sd / unit, *counts)
        borrowed = inference.LAB_SPREADS.get(claim.metric)
        if claim.how == "value":
            world = replace(world, error=setting.truth / unit, effect=0.0)
        elif claim.how == "view_gain":  # the pair varies between seeds by one draw, the centre view by none of its own
            world = replace(world, baseline_sd=0.0, baseline_seeds=setting.seeds)
            borrowed = inference.LAB_GAINS.get(claim.metric)
        for found in outcomes(world, rng, repeats):
            paired = claim.how == "difference" and len(found.arms) == 1
            yield inference.of_moments(found, null_of(claim), borrowed if paper else None, paired)


def _ends(setting: Setting, unit: float, rng: np.random.Generator) -> tuple[Runs, Runs]:
    """Numbers of finished nets by seed."""
    if setting.world:
        return arms(setting.world, rng, setting.seeds)
    ours = rng.normal(setting.truth, setting.sd, setting.seeds) / unit
    base = rng.normal(0, setting.baseline_sd, setting.baseline_seeds) / unit
    return numbered(list(ours), list(base))


def _ratios(setting: Setting, rng: np.random.Generator, repeats: int) -> Iterator[Estimate]:
    slow = math.log(setting.slowest)
    centres = (slow, slow - math.log(setting.truth)) if setting.truth >= 1 else (slow + math.log(setting.truth), slow)
    for _ in range(repeats):
        sides = [
            [Reached(min(epoch, LAST), epoch > LAST) for epoch in np.exp(rng.normal(centre, sd, n))]
            for centre, sd, n in zip(
                centres, (setting.sd, setting.baseline_sd), (setting.seeds, setting.baseline_seeds), strict=True
            )
        ]
        yield ratio_of(*numbered(*sides), "ours", "baseline", "the mark")


def numbered(ours: list[Any], base: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Runs by seed: in pairs where both nets have as many, else without a common seed."""
    first = 0 if len(ours) == len(base) else len(ours)
    return dict(enumerate(ours)), dict(enumerate(base, start=first))


def wrong_words(claim: Claim, evidence: str, truth: float) -> set[str]:
    """Words of both axes that are false if `truth` (in the claim's unit) is true."""
    asked = question(claim, null_of(claim))
    low, high = asked.accepted
    strictly = claim.relation in ("greater", "less") and truth in (low, high)
    inside = low <= truth <= high and not strictly
    wrong = set()
    if evidence == "paper scale":
        wrong.add(axes.DIFFERS if inside else axes.MATCHES)
    if asked.null is None:
        return wrong
    if not asked.side:
        return wrong | ({axes.CONTRADICTS} if inside else {axes.AGREES})
    right = (truth - asked.null) * asked.side
    if right >= 0:
        wrong.add(axes.CONTRADICTS)
    if right <= 0:
        wrong.add(axes.AGREES)
    if asked.effect is not None and (truth - asked.effect) * asked.side >= 0:
        wrong.add(axes.NOT_SHOWN)
    return wrong


def verdicts_in(setting: Setting, claims: dict[str, Claim], repeats: int, seed: int) -> Counter[tuple[str, str]]:
    """Words (direction, size) on `repeats` campaigns; the draws depend on the setting and `seed` alone."""
    claim = claim_of(setting, claims)
    rng = np.random.default_rng([seed, zlib.crc32(repr(setting).encode())])
    found = campaigns(setting, claim, rng, repeats)
    tier = setting.evidence.partition(" ")[0]
    least = inference.fewest(tier) if setting.world else 0  # others have as many by their setting
    kept = (replace(e, conclusive=e.conclusive and e.fewest >= least) for e in found)
    return Counter(words(claim, setting.evidence, estimate)[:2] for estimate in kept)


def calibrate(settings: list[Setting], repeats: int, seed: int) -> pd.DataFrame:
    """One row a setting: the setting, counts of verdicts, wrong ones on the axis that erred more often, their rate, its standard error.

    `low` is the lower end of the rate's one-sided interval (Clopper and Pearson) that holds for all settings at once with
    95 % (Bonferroni): above 0.05 the rule errs too often.
    """
    from scipy.stats import binomtest

    claims = {claim.id: claim for claim in load_claims()}
    rows = []
    for setting in settings:
        counts = verdicts_in(setting, claims, repeats, seed)
        false = wrong_words(claim_of(setting, claims), setting.evidence, setting.truth)
        wrong = max(sum(n for said, n in counts.items() if said[axis] in false) for axis in (0, 1))
        test = binomtest(wrong, repeats, NOMINAL, alternative="greater")
        rate = wrong / repeats
        numbers = {"repeats": repeats, "wrong": wrong, "rate": rate}
        numbers["standard_error"] = math.sqrt(max(rate, 1 / repeats) * (1 - rate) / repeats)
        numbers["low"] = float(test.proportion_ci(1 - 0.05 / len(settings)).low)
        said = {word.replace(" ", "_"): sum(n for pair, n in counts.items() if word in pair) for word in WORDS}
        rows.append(asdict(setting) | numbers | said)
    return pd.DataFrame(rows)


WORDS = (*(axes.AGREES, axes.NOT_SHOWN, axes.CONTRADICTS, axes.CANNOT_TELL), *(axes.MATCHES, axes.DIFFERS))
