"""Counts how often the code that judges results errs when the truth is known.

A setting is a claim, evidence, numbers of seeds and images, spreads between seeds, and what is true. Its campaigns are
fabricated (`worlds`, or epochs with log-normal luck) and judged by the functions that judge real results:
`inference.of_moments`, `of_two_nets`, `split_gap_of`, `convergence.ratio_of`, then `verdicts.words`. A word is wrong
if what it says is false of the truth (`wrong_words`).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.worlds import World, outcomes
from analysis.measures.convergence import Reached, ratio_of
from analysis.measures.inference import (
    LAB_GAIN_NETS,
    LAB_GAINS,
    Estimate,
    Spread,
    fewest,
    lab_spread,
    of_moments,
    of_two_nets,
    split_gap_of,
)
from analysis.paper.claims import Claim, load_claims
from analysis.stats import axes
from analysis.stats.trials import WORLDS
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
    unit = scaled(claim, 1.0)
    if claim.how == "ratio":
        yield from _ratios(setting, rng, repeats)
        return
    if claim.how in ("generalization_gap", "sample_difference"):
        for _ in range(repeats):
            if setting.world:
                yield of_two_nets(*WORLDS[setting.world](rng, setting.seeds))
                continue
            ours = rng.normal(setting.truth, setting.sd, setting.seeds) / unit
            base = rng.normal(0, setting.baseline_sd, setting.baseline_seeds) / unit
            yield of_two_nets(*numbered(list(ours), list(base)))
        return
    if claim.how == "split_gap":
        yield from _split_gaps(setting, claim, rng, repeats)
        return
    paper = setting.evidence == "paper scale"
    world = World(
        error=ERROR[claim.metric],
        effect=setting.truth / unit,
        sd=setting.sd / unit,
        baseline_sd=setting.baseline_sd / unit,
        images=setting.images,
        seeds=setting.seeds,
        baseline_seeds=setting.baseline_seeds,
    )
    if claim.how == "value":
        world = replace(world, error=setting.truth / unit, effect=0.0)
    borrowed = lab_spread(claim.metric) if paper else None
    if claim.how == "view_gain":
        yield from _view_gains(setting, claim, world, rng, repeats)
        return
    for found in outcomes(world, rng, repeats):
        paired = bool(world.baseline_seeds) and found.base is None
        yield of_moments(found, null_of(claim), borrowed, paired)


def _view_gains(
    setting: Setting, claim: Claim, world: World, rng: np.random.Generator, repeats: int
) -> Iterator[Estimate]:
    """One net in two views: the pair varies between seeds by one draw, the centre view by none of its own."""
    spread = Spread(LAB_GAINS[claim.metric], LAB_GAIN_NETS - 1) if setting.evidence == "paper scale" else None
    pair = replace(world, baseline_sd=0.0, baseline_seeds=setting.seeds)
    for found in outcomes(pair, rng, repeats):
        yield of_moments(found, 0.0, spread)


def _split_gaps(setting: Setting, claim: Claim, rng: np.random.Generator, repeats: int) -> Iterator[Estimate]:
    """The same nets on a validation split of 50,000 images and on a test split."""
    unit, error = scaled(claim, 1.0), ERROR[claim.metric]
    sides = [
        outcomes(World(value, 0.0, 0.0, 0.0, images, setting.seeds, 0), rng, repeats)
        for value, images in ((error, 50_000), (error + setting.truth / unit, setting.images))
    ]
    for pair in zip(*sides, strict=True):
        yield split_gap_of([(float(m.ours.mean()), m.between_images, m.images) for m in pair], setting.seeds)


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
    least = fewest(setting.evidence.partition(" ")[0]) if setting.world else 0  # others have as many by their setting
    kept = (replace(e, conclusive=e.conclusive and e.fewest >= least) for e in found)
    return Counter(words(claim, setting.evidence, estimate)[:2] for estimate in kept)


def wrong_in(setting: Setting, claims: dict[str, Claim], counts: Counter[tuple[str, str]]) -> int:
    """How many verdicts were wrong on the axis that erred more often."""
    claim = claim_of(setting, claims)
    false = wrong_words(claim, setting.evidence, setting.truth)
    return max(sum(n for said, n in counts.items() if said[axis] in false) for axis in (0, 1))


def calibrate(settings: list[Setting], repeats: int, seed: int) -> pd.DataFrame:
    """One row a setting: the setting, counts of verdicts, wrong ones, their rate, its standard error.

    `low` is the lower end of the rate's one-sided interval (Clopper and Pearson) that holds for all settings at once with
    95 % (Bonferroni): above 0.05 the rule errs too often.
    """
    from scipy.stats import binomtest

    claims = {claim.id: claim for claim in load_claims()}
    rows = []
    for setting in settings:
        counts = verdicts_in(setting, claims, repeats, seed)
        wrong = wrong_in(setting, claims, counts)
        test = binomtest(wrong, repeats, NOMINAL, alternative="greater")
        rate = wrong / repeats
        numbers = {
            "repeats": repeats,
            "wrong": wrong,
            "rate": rate,
            "standard_error": math.sqrt(max(rate, 1 / repeats) * (1 - rate) / repeats),
            "low": float(test.proportion_ci(1 - 0.05 / len(settings)).low),
        }
        said = {word.replace(" ", "_"): sum(n for pair, n in counts.items() if word in pair) for word in WORDS}
        rows.append(asdict(setting) | numbers | said)
    return pd.DataFrame(rows)


WORDS = (*(axes.AGREES, axes.NOT_SHOWN, axes.CONTRADICTS, axes.CANNOT_TELL), *(axes.MATCHES, axes.DIFFERS))
