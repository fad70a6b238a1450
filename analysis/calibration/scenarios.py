"""The settings of the calibration: seeds, images, spreads and truths for which the rule must hold."""

import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from analysis.calibration.simulation import LAB_SD, LAST, Setting, null_of
from analysis.measures.inference import fewest
from analysis.paper.claims import Claim, load_claims
from analysis.stats.trials import BREAKS, WORLDS
from analysis.verdicts.rules import accepted

JUST = 1e-6  # beyond the edge of a range
PAIRS = [(3, 3), (3, 10), (5, 5), (5, 10), (10, 10)]  # equal numbers are pairs; three carry a word at paper scale alone


def pairs(evidence: str) -> list[tuple[int, int]]:
    """Numbers of seeds that carry a word on this evidence."""
    least = fewest("paper" if evidence == "paper scale" else "proxy")
    return [pair for pair in PAIRS if min(pair) >= least]


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
    return [setting for part in (_errors, _same, _ends_and_ratios, _views_and_worlds) for setting in part(claims)]


PAPER, EVEN = "paper scale", (LAB_SD, LAB_SD)
UNEQUAL = ((1.0, 1.0), (3.0, 1.0), (0.3, 3.0))  # spreads of both nets, in points


def _grid(
    kind: str,
    claim: str,
    evidence: str,
    images: int,
    seeds: Iterable[tuple[int, int]],
    spreads: Iterable[tuple[float, float]],
    true: Iterable[float],
    **more: Any,
) -> Iterator[Setting]:
    """A setting for each pair of numbers of seeds, pair of spreads and truth."""
    for numbers, spread, truth in product(seeds, spreads, true):
        yield Setting(kind, claim, evidence, images, *numbers, *spread, truth, **more)


def _alone(*seeds: int) -> list[tuple[int, int]]:
    """Numbers of seeds of one net."""
    return [(n, 0) for n in seeds]


def _errors(claims: dict[str, Claim]) -> Iterator[Setting]:
    """Differences of two nets, on the paper's data and on less, and errors of one."""
    for name, images in (("gpu-delta-top1", 150_000), ("pool-delta-top1", 50_000), ("pca-delta", 150_000)):
        spreads = EVEN, (3 * LAB_SD, LAB_SD), (LAB_SD, 3 * LAB_SD)
        yield from _grid("difference", name, PAPER, images, pairs(PAPER), spreads, truths(claims[name]))
    for evidence, images in (("demo", 500), ("proxy", 4_000), ("reduced scale", 50_000)):
        weak = (*UNEQUAL, (0.0, 0.0))
        yield from _grid("difference", "gpu-delta-top1", evidence, images, pairs("proxy"), weak, (0.0, 2.0, -2.0))
    for name, images in (("abs-top1-2010", 150_000), ("tab2-1cnn", 50_000), ("abs-top5-2010", 150_000)):
        alone = [(LAB_SD, 0.0), (3 * LAB_SD, 0.0)]
        yield from _grid("value", name, PAPER, images, _alone(3, 5, 10), alone, truths(claims[name]))


def _same(claims: dict[str, Claim]) -> Iterator[Setting]:
    """Claims that two errors are about the same."""
    for images in (500, 50_000, 150_000):
        true = truths(claims["val-test-gap"])
        yield from _grid("equivalence", "val-test-gap", PAPER, images, _alone(3, 10), [(0.0, 0.0)], true)
    for (evidence, images), n in product((("proxy", 4_000), (PAPER, 50_000)), (5, 10)):
        for truth in (0.0, 0.5 - JUST, 0.5 + JUST, -0.5 - JUST, 2.0):
            spreads = EVEN, (3 * LAB_SD, LAB_SD)
            yield from _grid("equivalence", "lrn-delta-top1", evidence, images, [(n, n)], spreads, [truth], same=True)


def _ends_and_ratios(claims: dict[str, Claim]) -> Iterator[Setting]:
    """Errors of finished nets on training images, and ratios of epochs."""
    smallest = claims["pool-overfit"].tolerance or 0.0  # of interest: at least as much must not read "not shown"
    for evidence in ("proxy", PAPER):
        yield from _grid("gap", "pool-overfit", evidence, 0, pairs(evidence), UNEQUAL, (0.0, smallest, 2.0, -2.0))
    several = "relu-several-times"
    for name, evidence in ((several, "proxy"), (several, PAPER), ("relu-speedup-cifar10", PAPER)):
        known = truths(claims[name]) if evidence == PAPER else [0.5, 1.0, 2.0]
        spreads = (0.1, 0.1), (0.3, 0.1), (0.1, 0.3)
        slowest = (40.0, LAST, 200.0)  # no, half and all of the slower net's runs are censored
        for pair, spread, slow in product(pairs("proxy"), spreads, slowest):  # a race takes five at every tier
            yield from _grid("ratio", name, evidence, 0, [pair], [spread], known, slowest=slow)


def _views_and_worlds(claims: dict[str, Claim]) -> Iterator[Setting]:
    """Gains of views, and arms that are no normal draws, without effect: five pairs at a proxy, three at paper scale, and more."""
    gains = truths(claims["tenview-gain"])
    for evidence, images, seeds, sd in (("demo", 500, (5, 10), 1.0), (PAPER, 150_000, (3, 5, 10), 0.13)):
        yield from _grid("view gain", "tenview-gain", evidence, images, _alone(*seeds), [(sd, 0.0)], gains)
    for name, (evidence, numbers) in product(WORLDS, (("proxy", (5, 6, 10)), (PAPER, (3, 5)))):
        more = {"world": name, "broken": name if name in BREAKS else ""}
        yield from _grid("world", "pool-overfit", evidence, 0, [(n, n) for n in numbers], [(1.0, 1.0)], [0.0], **more)
