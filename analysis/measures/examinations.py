"""Turns examinations of finished nets (`python -m alexnet examine`) into estimates of what the paper says about their inside.

Noise between seeds is that of a net's own seeds; where images count too, they are another source, counted as `inference`
counts it: without the luck of single answers, which stands in the seeds' noise already. Training images are those that the
claim speaks of, so a sample of them varies less the more of them it holds (s^2 / n times 1 - n / N, Cochran 1977, s. 2.6),
and not at all if it holds all. One seed gives no interval.

Towers are compared by permutation: kernels are dealt to the towers anew, all seeds alike. The number is the absolute
difference, since nothing says which tower becomes the colourful one; its lower bound is what remains after taking
away the 95th percentile of what dealing gives. The bound is above zero exactly where fewer than one dealing in
twenty gives as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.measures.estimates import Estimate, NoEstimate, compared, failed, settled
from analysis.measures.inference import ONE_SEED, image_noise, moments, with_interval
from analysis.paper.claims import Claim
from analysis.results.evidence import Results
from analysis.results.integrity import apart, frame
from analysis.stats.intervals import CONFIDENCE, Noise
from analysis.stats.samples import over_seeds

HOWS = (
    "generalization_gap",
    "sample_difference",
    "tower_chroma",
    "tower_chroma_runs",
    "orientation_selectivity",
    "retrieval_precision",
    "pixel_distance",
    "geometric_mean",
)
COMMAND = "not examined yet (`python -m alexnet examine`)"
DEALINGS = 9_999  # of kernels to towers
ALPHA = 0.05


def estimate(claim: Claim, results: Results, study: str) -> Estimate:
    """The number that a study's examinations give for a claim; shares and errors are fractions.

    Raises:
        NoEstimate: a net that the claim is about was not examined, or it lacks what is asked.
    """
    ours, base = claim.experiment, claim.baseline
    if claim.how == "generalization_gap":
        found = generalization_gap(results, study, ours, base)
    elif claim.how == "sample_difference":
        found = sample_difference(results, study, ours, base)
    elif claim.how in ("tower_chroma", "tower_chroma_runs"):
        towers = tower_chroma(results, study, ours)
        found = difference_of_towers(towers) if claim.how == "tower_chroma" else share_of_runs(towers)
    elif claim.how == "orientation_selectivity":
        found = orientation_selectivity(results, study, ours)
    elif claim.how == "retrieval_precision":
        found = of_queries(results, study, ours, "same_class", "same_class_pixels", null=0.0)
    elif claim.how == "pixel_distance":
        found = of_queries(results, study, ours, "far_in_pixels", "", null=0.5)
    else:
        found = of_queries(results, study, ours, "thinned", "halved", null=0.0)
    return settled(results, study, found, (ours, base))


def examined(results: Results, study: str, experiment: str) -> dict[int, dict[str, object]]:
    """Examination of each run of an experiment that trained, by seed.

    Raises:
        NoEstimate: there is none.
    """
    dead = failed(results, study)
    found = {
        key[2]: record
        for key, record in results.examined.items()
        if key[:2] == (study, experiment) and key[1:] not in dead
    }
    if not found:
        raise NoEstimate(f"{experiment} is {COMMAND}")
    return dict(sorted(found.items()))


def by_image(results: Results, study: str, experiment: str, table: str, column: str) -> pd.DataFrame:
    """A column of `sample` or `queries`: one row an image (index: name), one column a seed."""
    columns = {}
    for seed, record in examined(results, study, experiment).items():
        path = Path(str(record["folder"])) / f"{table}.parquet"
        found = frame(path, ["name", column])
        columns[seed] = found[column].set_axis(apart(found["name"]))
    return pd.DataFrame(columns).dropna()


# Noise ------------------------------------------------------------------------------------------------------------


def _of_the_mean(values: np.ndarray, kind: str) -> Noise:
    """Noise of the mean of independent values: variance of one of them, and how many there are."""
    return Noise(kind, float(np.var(values, ddof=1)), len(values), len(values) - 1)


def _of_images(ours: pd.DataFrame, base: pd.DataFrame | None = None, of: int = 0) -> tuple[Noise, float]:
    """Noise of the choice of images, and the variance that images and luck together add at least (`inference.moments`).

    `of`: how many images there are to choose from; 0: no end of them.

    Raises:
        NoEstimate: the two nets share fewer than two images.
    """
    if base is None:
        found = moments(ours.to_numpy(float))
    elif len(ours.index.intersection(base.index)) < 2:
        raise NoEstimate("the two nets did not see the same images")
    else:
        found, _ = compared(ours, base)
    left = max(0.0, 1 - found.images / of) if of else 1.0
    noise = image_noise(found)
    return replace(noise, variance=left * noise.variance), left * found.between_images / found.images


def _two_nets(
    sides: Sequence[Mapping[str, float]], noises: Sequence[Noise], images: int, floor: float
) -> Estimate:
    """Difference of two nets with one number a seed, in pairs where seeds are shared; `noises`: of the images."""
    found = over_seeds(sides[0], sides[1])
    counts = (found.seeds, 0) if found.paired else (len(sides[0]), len(sides[1]))
    plain = Estimate(
        found.value, math.nan, math.nan, *counts, images, 0.0, paired=found.paired, values=found.values
    )
    return _around(plain, [*found.noises, *noises], [plain.fewest], floor)


def _around(plain: Estimate, noises: Sequence[Noise], seeds: Sequence[int], floor: float = 0.0) -> Estimate:
    """The estimate with its interval; `seeds`: of each net, one of which alone says nothing about the others."""
    if min(seeds) < 2:
        return _inconclusive(plain, ONE_SEED)
    return with_interval(plain, tuple(noises), floor)


def _inconclusive(found: Estimate, why: str) -> Estimate:
    remark = "; ".join(filter(None, [why, found.remark]))
    return replace(found, low=math.nan, high=math.nan, conclusive=False, remark=remark)


# Training and validation error of the finished net ------------------------------------------------------------------


def generalization_gap(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Validation minus training error of the finished net (top-1, centre view): experiment minus baseline.

    Both nets saw the same training images. The noise of either choice of images is that of the difference of the two nets
    on each image.

    Raises:
        NoEstimate: one of the two has no examination, or no evaluation of the validation split.
    """
    train = _sample_errors(results, study, experiment, baseline)
    set_ = results.studies[study].training_set
    held_out = [
        results.errors_by_image(study, name, set_, "val", "center", "top1_error")
        for name in (experiment, baseline)
    ]
    for name, table in zip((experiment, baseline), held_out, strict=True):
        if table.empty:
            raise NoEstimate(f"{name} has no evaluation on {set_}/val yet")
    sides = []
    for side in (0, 1):
        seeds = [seed for seed in train[side].columns if seed in held_out[side].columns]
        if not seeds:
            raise NoEstimate(f"{(experiment, baseline)[side]}: no seed was both examined and evaluated")
        gaps = held_out[side][seeds].mean() - train[side][seeds].mean()
        sides.append({str(seed): float(gap) for seed, gap in gaps.items()})
    of = _training_images(results, study, experiment)
    (noise, floor), (other, other_floor) = _of_images(*train, of), _of_images(held_out[0], held_out[1])
    return _two_nets(sides, [noise, other], len(train[0]) + len(held_out[0]), floor + other_floor)


def sample_difference(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Error of the finished net on the training images that were examined (top-1, centre view): experiment minus baseline.

    Raises:
        NoEstimate: one of the two has no examination.
    """
    ours, base = _sample_errors(results, study, experiment, baseline)
    sides = [{str(seed): float(mean) for seed, mean in table.mean().items()} for table in (ours, base)]
    noise, floor = _of_images(ours, base, _training_images(results, study, experiment))
    return _two_nets(sides, [noise], len(ours), floor)


def _sample_errors(
    results: Results, study: str, experiment: str, baseline: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    ours, base = (by_image(results, study, name, "sample", "top1_error") for name in (experiment, baseline))
    return ours, base


def _training_images(results: Results, study: str, experiment: str) -> int:
    """How many training images the examined ones were drawn from."""
    record = next(iter(examined(results, study, experiment).values()))
    sample = record["sample"]
    assert isinstance(sample, dict)
    return int(sample["of"])


# Neighbours, and thinned nets ---------------------------------------------------------------------------------------


def of_queries(
    results: Results, study: str, experiment: str, column: str, minus: str, null: float
) -> Estimate:
    """Mean over the queries of a column, or of the difference of two, over seeds and images.

    Raises:
        NoEstimate: no examination, or the column is not measured in this net.
    """
    table = by_image(results, study, experiment, "queries", column)
    if minus:
        table = (table - by_image(results, study, experiment, "queries", minus)).dropna()
    if len(table) < 2:
        raise NoEstimate(f"the examination of {experiment} does not hold {column}")
    per_seed = table.mean().to_numpy(float)
    count = len(per_seed)
    noise, floor = _of_images(table)
    noises = [noise, *([_of_the_mean(per_seed, "seeds")] if count > 1 else [])]
    plain = Estimate(float(per_seed.mean()), math.nan, math.nan, count, images=len(table), null=null)
    plain = replace(plain, values=(tuple(map(float, per_seed)),))
    return _around(plain, noises, [count], floor)


# First kernels ------------------------------------------------------------------------------------------------------


class Towers:
    """Share of chroma energy of the first layer's kernels, and what dealing them to the towers anew gives.

    Attributes:
        first, second: (seeds, kernels), of the first and of the other towers.
        differences: (seeds,), mean of the first minus mean of the second.
        dealt: (dealings, seeds), absolute differences under dealing.
        p: (seeds,), one-sided p-value of each seed.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        from scipy.stats import permutation_test

        def gap(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
            return np.abs(x.mean(axis=axis) - y.mean(axis=axis))

        self.first, self.second = first, second
        self.differences = first.mean(axis=1) - second.mean(axis=1)
        test = permutation_test(
            (first, second),
            gap,
            axis=1,
            vectorized=True,
            n_resamples=DEALINGS,
            alternative="greater",
            random_state=np.random.default_rng(2012),
        )
        self.dealt, self.p = np.asarray(test.null_distribution), np.atleast_1d(test.pvalue)


def tower_chroma(results: Results, study: str, experiment: str) -> Towers:
    """The towers of all examined seeds.

    Raises:
        NoEstimate: no examination, or a net without two towers of at least two kernels.
    """
    sides: list[list[np.ndarray]] = [[], []]
    for record in examined(results, study, experiment).values():
        kernels = record["kernels"]
        assert isinstance(kernels, dict)
        tower, chroma = np.array(kernels["tower"]), np.array(kernels["chroma"], float)
        for side, chosen in zip(sides, (tower == 0, tower == 1), strict=True):
            side.append(chroma[chosen])
    if min(len(values) for side in sides for values in side) < 2:
        raise NoEstimate(f"{experiment} has no two towers whose kernels could be compared")
    return Towers(np.array(sides[0]), np.array(sides[1]))


def difference_of_towers(towers: Towers) -> Estimate:
    """Absolute difference of the towers' chroma shares, mean over seeds, with a one-sided lower bound."""
    gaps = np.abs(towers.differences)
    value, dealt = float(gaps.mean()), towers.dealt.mean(axis=1)
    p = (1 + int(np.sum(dealt >= value * (1 - 1e-12)))) / (1 + len(dealt))
    remark = f"permutation test over kernels, {len(gaps)} runs: p = {p:.2g}"
    low = value - float(np.quantile(dealt, CONFIDENCE))
    return Estimate(value, low, math.inf, len(gaps), null=0.0, remark=remark)


def share_of_runs(towers: Towers) -> Estimate:
    """Share of the runs whose towers differ (p < 0.05), with the exact binomial interval; `null` is what luck gives."""
    from scipy.stats import binomtest

    hits, runs = int(np.sum(towers.p < ALPHA)), len(towers.p)
    span = binomtest(hits, runs).proportion_ci(CONFIDENCE, method="exact")
    listed = ", ".join(f"{p:.2g}" for p in towers.p)
    remark = f"{hits} of {runs} runs; p of each: {listed}"
    found = Estimate(hits / runs, float(span.low), float(span.high), runs, null=ALPHA, remark=remark)
    return _inconclusive(found, "one run cannot show what every run does") if runs < 2 else found


def orientation_selectivity(results: Results, study: str, experiment: str) -> Estimate:
    """Mean orientation selectivity of the first kernels after training minus before, over kernels and seeds."""
    changes = []
    for record in examined(results, study, experiment).values():
        kernels = record["kernels"]
        assert isinstance(kernels, dict)
        changes.append(np.array(kernels["orientation"], float) - np.array(kernels["initial_orientation"]))
    per_seed = np.array([change.mean() for change in changes])
    plain = Estimate(float(per_seed.mean()), math.nan, math.nan, len(per_seed), null=0.0)
    plain = replace(plain, values=(tuple(map(float, per_seed)),))
    noises = [_of_the_mean(per_seed, "seeds")] if len(per_seed) > 1 else []
    return _around(plain, noises, [len(per_seed)])
