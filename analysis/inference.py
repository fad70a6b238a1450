"""Turns arrays of errors, one column a seed, into a number with its interval: what each source of noise adds.

Errors of nets on the same images. y_jk is the error of seed k on image j. Three variances are estimated, each by
itself (`intervals` makes an interval of them):

    seeds        s^2, between the mean errors of a net's own seeds, n - 1 degrees of freedom. It holds the luck of a
                 run and the luck of that run's answers on single images. Nothing is pooled over experiments: how
                 much their seeds vary differs, and a pool would be wrong for the one that varies most
    baseline     the same for the other net
    images       of the seed-averaged (difference of) errors d_j between images, less what is the luck of single
                 answers, r^2 / n, with r^2 the mean over images of the variance between seeds: that stands in s^2
                 already. The whole is never taken to be below Var_j(d_j) / images

One seed of a net says nothing about s^2. At paper scale, with one or two seeds, the spread of five near-identical nets
in the authors' own logs (`LAB_TWINS`) is taken, pooled with the seeds that are there, and the remark says so; the luck of
single answers then stays in the images' part, since nobody knows how much of it the logs' spread holds. Elsewhere one seed
gives no interval.

All errors are fractions here; units of the paper are applied in `verdicts`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis.stats import intervals
from analysis.stats.intervals import INCLUSION, Noise

# Nets 169, 170, 171, 175 and 170-256 of the authors' program (layers/layer-params-*.cfg, trailing notes): the same
# layers and nearly the same rates; one centre view, ILSVRC-2012 validation, %.
LAB_TWINS = {
    "top1_error": (42.530, 42.341, 42.336, 42.516, 42.273),
    "top5_error": (19.549, 19.583, 19.766, 19.486, 19.660),
}
# Spread of the gain of ten views over 16 nets of the same files, as fractions; these nets differ more than seeds do.
LAB_GAINS = {"top1_error": 0.0013, "top5_error": 0.0009}
LAB_GAIN_NETS = 16
FEW = 3  # seeds from which on a net's own spread is used at paper scale


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

    @cached_property
    def p(self) -> float | None:
        """Two-sided p-value of `null`; None where there is no test."""
        if self.null is None or not self.conclusive or self.bound or not self.noises:
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


def lab_spread(metric: str) -> Spread | None:
    """Spread of five near-identical nets in the authors' logs, as a fraction; None: they do not log the metric."""
    if metric not in LAB_TWINS:
        return None
    return Spread(float(np.std(LAB_TWINS[metric], ddof=1)) / 100, len(LAB_TWINS[metric]) - 1)


def seed_noise(kind: str, values: np.ndarray, borrowed: Spread | None) -> Noise | None:
    """Noise between the seeds whose numbers are `values`; None: one seed, and no spread to borrow."""
    n = len(values)
    own = float(np.var(values, ddof=1)) if n > 1 else 0.0
    if borrowed and n < FEW:
        df = borrowed.df + n - 1
        return Noise(kind, (borrowed.df * borrowed.sd**2 + (n - 1) * own) / df, n, df)
    return Noise(kind, own, n, n - 1) if n > 1 else None


ONE_SEED = (
    "one seed cannot show whether the difference is more than the luck of a run; add seeds to the study"
)
TWO_SEEDS = "with two seeds Student's factor is 12.7, with three 4.3, with five 2.8"


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


def of_moments(found: Moments, null: float | None, borrowed: Spread | None = None) -> Estimate:
    """Mean error, or difference of mean errors, with its interval (module docstring).

    One seed of a net and nothing borrowed: no interval, not conclusive.
    """
    value = float(found.ours.mean()) - (0.0 if found.base is None else float(found.base.mean()))
    n, n_base = len(found.ours), 0 if found.base is None else len(found.base)
    plain = Estimate(value, math.nan, math.nan, n, n_base, found.images, null)
    sides = [seed_noise("seeds", found.ours, borrowed)]
    if found.base is not None:
        sides.append(seed_noise("baseline seeds", found.base, borrowed))
    known = [side for side in sides if side is not None]
    if len(known) < len(sides):
        return replace(plain, conclusive=False, remark=ONE_SEED, noises=tuple(known))
    few = borrowed is not None and min(n, n_base or n) < FEW
    noises = (*known, image_noise(replace(found, luck=0.0) if few else found))
    estimate = with_interval(plain, noises, found.between_images / found.images)
    if borrowed and few:
        assumed = (
            f"fewer than {FEW} seeds: a spread of {100 * borrowed.sd:.2f} points between seeds is assumed, that of "
            f"{borrowed.df + 1} similar nets in the authors' logs"
        )
        estimate = replace(estimate, remark="; ".join(filter(None, [estimate.remark, assumed])))
    return estimate


def with_interval(estimate: Estimate, noises: tuple[Noise, ...], floor: float = 0.0) -> Estimate:
    """The estimate with both intervals around its value; inconclusive where nothing varied at all."""
    outer = intervals.half_width(noises, floor=floor)
    if outer == 0:
        same = "nothing varied between seeds or images: no interval"
        return replace(estimate, low=estimate.value, high=estimate.value, conclusive=False, remark=same)
    inner = intervals.half_width(noises, INCLUSION, floor)

    def around(half: float) -> tuple[float, float]:
        if estimate.log:
            return estimate.value * math.exp(-half), estimate.value * math.exp(half)
        return estimate.value - half, estimate.value + half

    low, high = around(outer)
    few = any("seeds" in noise.kind and noise.df == 1 for noise in noises)
    remark = "; ".join(filter(None, [estimate.remark, TWO_SEEDS if few else ""]))
    return replace(
        estimate, low=low, high=high, inner=around(inner), noises=noises, floor=floor, remark=remark
    )


def split_gap_of(sides: list[tuple[float, float, int]], seeds: int) -> Estimate:
    """Absolute difference of two mean errors, each given with its variance between images and their number."""
    (val, val_variance, n_val), (test, test_variance, n_test) = sides
    noises = (
        Noise("images", val_variance, n_val, n_val - 1),
        Noise("test images", test_variance, n_test, n_test - 1),
    )
    signed = with_interval(Estimate(val - test, math.nan, math.nan, seeds, images=n_val + n_test), noises)
    remark = "the interval covers the images of both splits"
    low, high = _absolute(signed.low, signed.high)
    return replace(
        signed, value=abs(val - test), low=low, high=high, inner=_absolute(*signed.inside), remark=remark
    )


def _absolute(low: float, high: float) -> tuple[float, float]:
    """Interval of the absolute value."""
    if low <= 0 <= high:
        return 0.0, max(-low, high)
    return (low, high) if low > 0 else (-high, -low)


def of_ends(ours: np.ndarray, base: np.ndarray, images: Noise | None = None) -> Estimate:
    """Difference of the means of two sets of runs, one number a run; `images`: noise of the choice of images."""
    count = images.n if images else 0
    plain = Estimate(
        float(ours.mean() - base.mean()), math.nan, math.nan, len(ours), len(base), count, null=0.0
    )
    sides = (seed_noise("seeds", ours, None), seed_noise("baseline seeds", base, None))
    known = tuple(side for side in sides if side is not None)
    if len(known) < 2:
        return replace(plain, conclusive=False, remark=ONE_SEED, noises=known)
    estimate = with_interval(plain, (*known, *([images] if images else [])))
    covered = "" if images else "the interval covers seeds only; all runs share their images"
    return replace(estimate, remark="; ".join(filter(None, [estimate.remark, covered])))
