"""Intervals of errors and their differences: what each source of noise adds.

Errors of nets on the same images. Seeds of two nets with the same number share initial weights, order, crops and masks, so
their errors are subtracted image by image (a pair), and the difference is treated as the errors of one net; nets without a
common seed are independent. y_jk is the error (or difference) of seed k on image j. The variances are estimated each by itself
(`stats.intervals` makes an interval of them):

    seeds        s^2, between the means of a net's own seeds, or of the pairs, n - 1 degrees of freedom. It holds the luck of
                 a run and the luck of that run's answers on single images. Nothing is pooled over experiments: how
                 much their seeds vary differs, and a pool would be wrong for the one that varies most
    baseline     the same for the other net, where there are no pairs
    images       of the seed-averaged (difference of) errors d_j between images, less what is the luck of single
                 answers, r^2 / n, with r^2 the mean over images of the variance between seeds: that stands in s^2
                 already. The whole is never taken to be below Var_j(d_j) / images

With fewer than `fewest` runs of each net, or pairs, or fewer than the study plans, there is no word about a claim. At paper scale an interval is shown even so:
it takes the upper end of the spread of five near-identical nets in the authors' own logs (`LAB_TWINS`), and the remark says so.

All errors are fractions here; units of the paper are applied in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import chdtri

from analysis.stats import intervals
from analysis.stats.intervals import INCLUSION, Noise
from analysis.stats.samples import Runs, Sample, around, living, over_seeds

# Nets 169, 170, 171, 175 and 170-256 of the authors' program (layers/layer-params-*.cfg, trailing notes): the same
# layers and nearly the same rates; one centre view, ILSVRC-2012 validation, %.
LAB_TWINS = {
    "top1_error": (42.530, 42.341, 42.336, 42.516, 42.273),
    "top5_error": (19.549, 19.583, 19.766, 19.486, 19.660),
}
# Spread of the gain of ten views over 16 nets of the same files, as fractions; these nets differ more than seeds do.
LAB_GAINS = {"top1_error": 0.0013, "top5_error": 0.0009}
LAB_GAIN_NETS = 16
MINIMUM = {"paper": 3}  # runs of each net, or pairs, that a verdict takes at a tier; five elsewhere
FEW = 5


def fewest(tier: str, race: bool = False) -> int:
    """How many runs of each net, or pairs, a verdict takes; races of Fig. 1, and lossy copies of the data, take five at every tier."""
    return FEW if race else MINIMUM.get(tier, FEW)


@dataclass(frozen=True)
class Estimate:
    """A measured number. Errors and their differences are fractions, ratios are plain."""

    value: float
    low: float
    high: float
    seeds: int
    baseline_seeds: int = 0
    images: int = 0
    null: float | None = None  # value that means "no effect"; None: an absolute value
    bound: str = ""  # ">=" or "<=": censored runs, the number is a bound
    conclusive: bool = True  # False: the data cannot carry a verdict, `remark` says why
    remark: str = ""
    inner: tuple[float, float] | None = None  # the 90 % interval, which decides what lies inside a range
    noises: tuple[Noise, ...] = field(default=(), repr=False)
    floor: float = 0.0
    log: bool = False  # noises are those of the logarithm
    paired: bool = False  # `seeds` counts pairs
    few: int = 0  # how many runs of each net, or pairs, a word would take; 0: there are enough
    registered: int = 0  # seeds that the study lists for all of its nets; 0: it lists none
    died: int = 0  # of these, seeds of which a run failed to train
    values: tuple[tuple[float, ...], ...] = field(default=(), repr=False)  # of each seed, an arm each, or of each pair
    over_classes: tuple[float, float] | None = None  # the 95 % interval in which the classes are a sample of classes

    @property
    def fewest(self) -> int:
        """Runs of the net that has fewer, or pairs."""
        return min(self.seeds, self.baseline_seeds or self.seeds)

    def welch(self, one: bool = False) -> tuple[float, float]:
        """Satterthwaite's interval or, with `one`, the one that predicts the paper's single measurement; NaN: none."""
        if self.bound or not self.noises:
            return math.nan, math.nan
        return around(self.value, intervals.satterthwaite(self.noises, one=one), self.log)

    @cached_property
    def p(self) -> float | None:
        """Two-sided p-value of `null`; None where there is no test."""
        if self.null is None or not (self.conclusive or self.few) or self.bound or not self.noises:
            return None
        return intervals.p_value(self.distance(self.null), self.noises, self.floor)

    @property
    def inside(self) -> tuple[float, float]:
        """The interval that must lie within a range: two one-sided tests at 5 %."""
        return self.inner or (self.low, self.high)

    def distance(self, mark: float) -> float:
        """How far the number is from `mark`, on the scale of its noise."""
        if self.log:
            return abs(math.log(self.value / mark)) if mark > 0 else math.inf
        return abs(self.value - mark)


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds that is taken from elsewhere, with its degrees of freedom."""

    sd: float
    df: int

    @property
    def upper(self) -> float:
        """Upper end of its own 95 % interval."""
        return self.sd * math.sqrt(self.df / float(chdtri(self.df, 1 - (1 - intervals.CONFIDENCE) / 2)))


def lab_spread(metric: str) -> Spread | None:
    """Spread of five near-identical nets in the authors' logs, as a fraction; None: they do not log the metric."""
    if metric not in LAB_TWINS:
        return None
    return Spread(float(np.std(LAB_TWINS[metric], ddof=1)) / 100, len(LAB_TWINS[metric]) - 1)


def seed_noise(kind: str, values: np.ndarray, borrowed: Spread | None) -> Noise | None:
    """Noise between the seeds whose numbers are `values`; None: one seed, and no spread to borrow."""
    n = len(values)
    if borrowed and n < MINIMUM["paper"]:
        return Noise(kind, borrowed.upper**2, n, math.inf)
    return Noise(kind, float(np.var(values, ddof=1)), n, n - 1) if n > 1 else None


ONE_SEED = "one seed cannot show whether the difference is more than the luck of a run; add seeds to the study"


@dataclass(frozen=True)
class Moments:
    """All that an interval needs of the errors (images, seeds) of one net or, on the same images, of two."""

    ours: np.ndarray  # mean error of each seed
    base: np.ndarray | None  # of each seed of the other net; None: there is none
    between_images: float  # variance over images of the seed-averaged error, or difference of errors
    luck: float  # part of it that is luck of single answers: sum over the nets of r^2 / seeds
    images: int


def moments(ours: np.ndarray, base: np.ndarray | None = None) -> Moments:
    """Of errors with one row an image and one column a seed; rows of `base` are the same images."""
    n = len(ours)
    sides = [ours] if base is None else [ours, base]
    averaged = ours.mean(axis=1) - (0.0 if base is None else base.mean(axis=1))
    luck = sum(float(side.var(axis=1, ddof=1).mean()) / side.shape[1] for side in sides if side.shape[1] > 1)
    spread = float(averaged.var(ddof=1)) if n > 1 else 0.0
    return Moments(ours.mean(axis=0), None if base is None else base.mean(axis=0), spread, luck, n)


def image_noise(found: Moments) -> Noise:
    """Noise of the choice of images, without the luck of single answers."""
    return Noise("images", max(0.0, found.between_images - found.luck), found.images, found.images - 1)


def of_moments(found: Moments, null: float | None, borrowed: Spread | None = None, paired: bool = False) -> Estimate:
    """Mean error, or difference of mean errors, with its interval (module docstring); `paired`: of differences of pairs.

    One seed of a net and nothing borrowed: no interval, not conclusive.
    """
    value = float(found.ours.mean()) - (0.0 if found.base is None else float(found.base.mean()))
    n, n_base = len(found.ours), 0 if found.base is None else len(found.base)
    plain = Estimate(value, math.nan, math.nan, n, n_base, found.images, null, paired=paired)
    arms = (found.ours,) if found.base is None else (found.ours, found.base)
    plain = replace(plain, values=tuple(tuple(map(float, arm)) for arm in arms))
    sides = [seed_noise("pairs of seeds" if paired else "seeds", found.ours, borrowed)]
    if found.base is not None:
        sides.append(seed_noise("baseline seeds", found.base, borrowed))
    known = [side for side in sides if side is not None]
    if len(known) < len(sides):
        return replace(plain, conclusive=False, remark=ONE_SEED, noises=tuple(known))
    few = borrowed is not None and plain.fewest < MINIMUM["paper"]
    noises = (*known, image_noise(replace(found, luck=0.0) if few else found))
    estimate = with_interval(plain, noises, found.between_images / found.images)
    if borrowed and few:
        assumed = (
            f"a spread of {100 * borrowed.upper:.2f} points between seeds is assumed for this interval, the upper end of that of "
            f"{borrowed.df + 1} similar nets in the authors' logs"
        )
        estimate = with_remark(estimate, assumed)
    return estimate


def with_interval(estimate: Estimate, noises: tuple[Noise, ...], floor: float = 0.0) -> Estimate:
    """The estimate with both intervals around its value; inconclusive where nothing varied at all."""
    outer = intervals.half_width(noises, floor=floor)
    if outer == 0:
        same = "nothing varied between seeds or images: no interval"
        return replace(estimate, low=estimate.value, high=estimate.value, conclusive=False, remark=same)
    inner = intervals.half_width(noises, INCLUSION, floor)

    low, high = around(estimate.value, outer, estimate.log)
    inside = around(estimate.value, inner, estimate.log)
    return replace(estimate, low=low, high=high, inner=inside, noises=noises, floor=floor)


def of_classes(estimate: Estimate, by_class: Sequence[float]) -> Estimate:
    """The estimate with a second interval, in which the classes are a sample of all that there could be.

    `by_class`: the number of each class, mean over seeds and images. Their variance replaces that of images, which it holds already.
    """
    if not estimate.noises or len(by_class) < 2:
        return estimate
    seeds = [noise for noise in estimate.noises if "seeds" in noise.kind]
    half = intervals.half_width([*seeds, *of_the_mean(np.asarray(by_class, float), "classes")])
    return replace(estimate, over_classes=around(estimate.value, half, estimate.log))


def split_gap_of(sides: list[tuple[float, float, int]], seeds: int) -> Estimate:
    """Absolute difference of two mean errors, each given with its variance between images and their number."""
    (val, val_variance, n_val), (test, test_variance, n_test) = sides
    noises = (Noise("images", val_variance, n_val, n_val - 1), Noise("test images", test_variance, n_test, n_test - 1))
    signed = with_interval(Estimate(val - test, math.nan, math.nan, seeds, images=n_val + n_test), noises)
    remark = "the interval covers the images of both splits"
    low, high = _absolute(signed.low, signed.high)
    return replace(signed, value=abs(val - test), low=low, high=high, inner=_absolute(*signed.inside), remark=remark)


def _absolute(low: float, high: float) -> tuple[float, float]:
    """Interval of the absolute value."""
    if low <= 0 <= high:
        return 0.0, max(-low, high)
    return (low, high) if low > 0 else (-high, -low)


def of_the_mean(values: np.ndarray, kind: str) -> tuple[Noise, ...]:
    """Noise of the mean of independent values: variance of one of them, and how many there are; none of one value."""
    return (Noise(kind, float(np.var(values, ddof=1)), len(values), len(values) - 1),) if len(values) > 1 else ()


def of_sample(found: Sample, counts: tuple[int, int], images: int = 0) -> Estimate:
    """The number of two nets' runs, still without an interval; `counts`: runs of each, where they are no pairs."""
    counts = (found.seeds, 0) if found.paired else counts
    plain = Estimate(found.value, math.nan, math.nan, *counts, images, 1.0 if found.log else 0.0, log=found.log)
    return replace(plain, paired=found.paired, values=found.values)


def of_one_net(
    values: np.ndarray, null: float = 0.0, noises: Sequence[Noise] = (), images: int = 0, floor: float = 0.0
) -> Estimate:
    """Mean of one number a seed; `noises`: of the images."""
    plain = Estimate(float(values.mean()), math.nan, math.nan, len(values), images=images, null=null)
    return of_seeds(
        replace(plain, values=(tuple(map(float, values)),)), [*noises, *of_the_mean(values, "seeds")], floor
    )


def of_two_nets(ours: Runs, base: Runs, noises: Sequence[Noise] = (), images: int = 0, floor: float = 0.0) -> Estimate:
    """Difference of two nets with one number a seed, in pairs where seeds are shared; `noises`: of the images."""
    found = over_seeds(ours, base)
    plain = of_sample(found, (len(living(ours)), len(living(base))), images)
    return of_seeds(plain, [*found.noises, *noises], floor)


def of_seeds(plain: Estimate, noises: Sequence[Noise], floor: float = 0.0) -> Estimate:
    """The estimate with its interval; one seed of a net says nothing about the others."""
    return inconclusive(plain, ONE_SEED) if plain.fewest < 2 else with_interval(plain, tuple(noises), floor)


def inconclusive(found: Estimate, why: str) -> Estimate:
    """The number with what keeps a word from being said about it."""
    return replace(with_remark(found, why, first=True), conclusive=False)


def with_remark(found: Estimate, remark: str, first: bool = False) -> Estimate:
    """The number with one remark more, before or after its others."""
    parts = (remark, found.remark) if first else (found.remark, remark)
    return replace(found, remark="; ".join(filter(None, parts)))
