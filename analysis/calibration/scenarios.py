"""The settings of the calibration: seeds, images, spreads and truths for which the rule must hold."""

from __future__ import annotations

import math
from collections.abc import Iterator

from analysis.calibration.simulation import LAB_SD, LAST, Setting, null_of
from analysis.measures.inference import fewest
from analysis.paper.claims import Claim, load_claims
from analysis.stats.trials import BREAKS, WORLDS
from analysis.verdicts.rules import accepted

PAIRS = [(3, 3), (3, 10), (5, 5), (5, 10), (10, 10)]  # equal numbers are pairs; three carry a word at paper scale alone


def pairs(evidence: str) -> list[tuple[int, int]]:
    """Numbers of seeds that carry a word on this evidence."""
    least = fewest("paper" if evidence == "paper scale" else "proxy")
    return [pair for pair in PAIRS if min(pair) >= least]


JUST = 1e-6  # beyond the edge of a range


def truths(claim: Claim) -> list[float]:
    """No effect, the paper's, the opposite, and both sides of each edge of the accepted range that make sense."""
    null, number = null_of(claim), claim.number
    assert number is not None
    low, high = accepted(claim)
    edges = [x for edge in (low, high) if math.isfinite(edge) for x in (edge - JUST, edge + JUST)]
    out = [number, *edges]
    if null is not None:
        opposite = 1 / number if null == 1 else -number
        out += [null, opposite]
    if claim.relation == "greater" or null == 1:
        out.append(2 * number if number else 0.5)
    bottom = 0.0 if claim.how in ("value", "split_gap", "ratio") else -math.inf
    return sorted({round(x, 9) for x in out if x > bottom or (x == 0 and claim.how == "split_gap")})


def all_settings() -> list[Setting]:
    """Every setting of the full calibration."""
    claims = {claim.id: claim for claim in load_claims()}
    return [
        *_paper_differences(claims),
        *_weak_differences(),
        *_values(claims),
        *_same(claims),
        *_ends(claims),
        *_ratio_settings(claims),
        *_view_gain_settings(claims),
        *_worlds(),
    ]


def _paper_differences(claims: dict[str, Claim]) -> Iterator[Setting]:
    for name, images in (("gpu-delta-top1", 150_000), ("pool-delta-top1", 50_000), ("pca-delta", 150_000)):
        for seeds, base in pairs("paper scale"):
            for ours, theirs in ((1, 1), (3, 1), (1, 3)):
                for truth in truths(claims[name]):
                    spread = ours * LAB_SD, theirs * LAB_SD
                    yield Setting("difference", name, "paper scale", images, seeds, base, *spread, truth)


def _weak_differences() -> Iterator[Setting]:
    for images in (500, 4_000, 50_000):
        for seeds, base in pairs("proxy"):
            for spread in ((1.0, 1.0), (3.0, 1.0), (0.3, 3.0), (0.0, 0.0)):
                for truth in (0.0, 2.0, -2.0):
                    for evidence in (
                        ("demo",) if images == 500 else ("proxy",) if images == 4_000 else ("reduced scale",)
                    ):
                        yield Setting("difference", "gpu-delta-top1", evidence, images, seeds, base, *spread, truth)


def _values(claims: dict[str, Claim]) -> Iterator[Setting]:
    for name, images in (("abs-top1-2010", 150_000), ("tab2-1cnn", 50_000), ("abs-top5-2010", 150_000)):
        for seeds in (3, 5, 10):
            for times in (1, 3):
                for truth in truths(claims[name]):
                    sd = times * LAB_SD
                    yield Setting("value", name, "paper scale", images, seeds, 0, sd, 0.0, truth)


def _same(claims: dict[str, Claim]) -> Iterator[Setting]:
    for images in (500, 50_000, 150_000):
        for seeds in (3, 10):
            for truth in truths(claims["val-test-gap"]):
                yield Setting("equivalence", "val-test-gap", "paper scale", images, seeds, 0, 0.0, 0.0, truth)
    for evidence, images in (("proxy", 4_000), ("paper scale", 50_000)):
        for seeds in (5, 10):
            for truth in (0.0, 0.5 - JUST, 0.5 + JUST, -0.5 - JUST, 2.0):
                for spread in ((LAB_SD, LAB_SD), (3 * LAB_SD, LAB_SD)):
                    place = evidence, images, seeds, seeds, *spread, truth
                    yield Setting("equivalence", "lrn-delta-top1", *place, same=True)


def _ends(claims: dict[str, Claim]) -> Iterator[Setting]:
    smallest = claims["pool-overfit"].tolerance or 0.0  # of interest: at least as much must not read "not shown"
    for evidence in ("proxy", "paper scale"):
        for seeds, base in pairs(evidence):
            for spread in ((1.0, 1.0), (3.0, 1.0), (0.3, 3.0)):
                for truth in (0.0, smallest, 2.0, -2.0):
                    yield Setting("gap", "pool-overfit", evidence, 0, seeds, base, *spread, truth)


def _ratio_settings(claims: dict[str, Claim]) -> Iterator[Setting]:
    for name, evidence in (
        ("relu-several-times", "proxy"),
        ("relu-several-times", "paper scale"),
        ("relu-speedup-cifar10", "paper scale"),
    ):
        known = truths(claims[name]) if evidence == "paper scale" else [0.5, 1.0, 2.0]
        for seeds, base in pairs("proxy"):  # a race takes five at every tier
            for spread in ((0.1, 0.1), (0.3, 0.1), (0.1, 0.3)):
                for slowest in (40.0, LAST, 200.0):  # no, half and all of the slower net's runs are censored
                    for truth in known:
                        place = evidence, 0, seeds, base, *spread, truth
                        yield Setting("ratio", name, *place, slowest=slowest)


def _view_gain_settings(claims: dict[str, Claim]) -> Iterator[Setting]:
    for evidence, images, sd in (("demo", 500, 1.0), ("paper scale", 150_000, 0.13)):
        for seeds in (3, 5, 10) if evidence == "paper scale" else (5, 10):
            for truth in truths(claims["tenview-gain"]):
                yield Setting("view gain", "tenview-gain", evidence, images, seeds, 0, sd, 0.0, truth)


def _worlds() -> Iterator[Setting]:
    """Arms that are no normal draws, without effect: five pairs at a proxy, three at paper scale, and more."""
    for name in WORLDS:
        for evidence, numbers in (("proxy", (5, 6, 10)), ("paper scale", (3, 5))):
            for seeds in numbers:
                place = evidence, 0, seeds, seeds, 1.0, 1.0, 0.0
                broken = name if name in BREAKS else ""
                yield Setting("world", "pool-overfit", *place, world=name, broken=broken)
