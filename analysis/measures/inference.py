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

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import chdtri

from analysis.stats import intervals
from analysis.stats.axes import Interval
from analysis.stats.intervals import INCLUSION, Noise, noise_of
from analysis.stats.samples import Runs, Sample, around, living, over_seeds

# Nets 169, 170, 171, 175 and 170-256 of the authors' program (layers/layer-params-*.cfg, trailing notes): the same
# layers and nearly the same rates; one centre view, ILSVRC-2012 validation, %.
LAB_TWINS = {
    "top1_error": (42.530, 42.341, 42.336, 42.516, 42.273),
    "top5_error": (19.549, 19.583, 19.766, 19.486, 19.660),
}
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


# By metric, as fractions: of the `LAB_TWINS`, and of the gain of ten views over 16 nets of the same files, which differ more than seeds do.
LAB_SPREADS = {name: Spread(float(np.std(of, ddof=1)) / 100, len(of) - 1) for name, of in LAB_TWINS.items()}
LAB_GAINS = {"top1_error": Spread(0.0013, 15), "top5_error": Spread(0.0009, 15)}


def seed_noise(kind: str, values: np.ndarray, borrowed: Spread | None) -> Noise | None:
    """Noise between the seeds whose numbers are `values`; None: one seed, and no spread to borrow."""
    if borrowed and len(values) < MINIMUM["paper"]:
        return Noise(kind, borrowed.upper**2, len(values), math.inf)
    return noise_of(kind, values) if len(values) > 1 else None


ONE_SEED = "one seed cannot show whether the difference is more than the luck of a run; add seeds to the study"


@dataclass(frozen=True)
class Moments:
    """All that an interval needs of the errors (images, seeds) of one net or, on the same images, of two."""

    arms: tuple[np.ndarray, ...]  # mean error of each seed, of one net or of both
    between_images: float  # variance over images of the seed-averaged error, or difference of errors
    luck: float  # part of it that is luck of single answers: sum over the nets of r^2 / seeds
    images: int


def moments(*sides: np.ndarray) -> Moments:
    """Of the errors of one net, or of two on the same images; one row an image and one column a seed."""
    n = len(sides[0])
    averaged = sides[0].mean(axis=1) - sum(side.mean(axis=1) for side in sides[1:])
    luck = sum(float(side.var(axis=1, ddof=1).mean()) / side.shape[1] for side in sides if side.shape[1] > 1)
    spread = float(averaged.var(ddof=1)) if n > 1 else 0.0
    return Moments(tuple(side.mean(axis=0) for side in sides), spread, luck, n)


def image_noise(found: Moments) -> Noise:
    """Noise of the choice of images, without the luck of single answers."""
    return Noise("images", max(0.0, found.between_images - found.luck), found.images, found.images - 1)


def of_moments(found: Moments, null: float | None, borrowed: Spread | None = None, paired: bool = False) -> Estimate:
    """Mean error, or difference of mean errors, with its interval (module docstring); `paired`: of differences of pairs.

    One seed of a net and nothing borrowed: no interval, not conclusive.
    """
    arms = found.arms
    seeds = len(arms[0]), len(arms[1]) if len(arms) > 1 else 0
    value = float(arms[0].mean() - sum(arm.mean() for arm in arms[1:]))
    plain = Estimate(value, math.nan, math.nan, *seeds, images=found.images, null=null, paired=paired)
    plain = replace(plain, values=tuple(tuple(map(float, arm)) for arm in arms))
    kinds = "pairs of seeds" if paired else "seeds", "baseline seeds"
    sides = [seed_noise(kind, arm, borrowed) for kind, arm in zip(kinds, arms, strict=False)]
    known = tuple(side for side in sides if side is not None)
    if len(known) < len(sides):
        return replace(plain, conclusive=False, remark=ONE_SEED, noises=known)
    few = borrowed is not None and plain.fewest < MINIMUM["paper"]
    noises = (*known, image_noise(replace(found, luck=0.0) if few else found))
    estimate = with_interval(plain, noises, found.between_images / found.images)
    if not (borrowed and few):
        return estimate
    logged = f"the upper end of that of {borrowed.df + 1} similar nets in the authors' logs"
    assumed = f"a spread of {100 * borrowed.upper:.2f} points between seeds is assumed for this interval, {logged}"
    return with_remark(estimate, assumed)


def with_interval(estimate: Estimate, noises: tuple[Noise, ...], floor: float = 0.0) -> Estimate:
    """The estimate with both intervals around its value; inconclusive where nothing varied at all."""
    outer = intervals.half_width(noises, floor=floor)
    if outer == 0:
        same = "nothing varied between seeds or images: no interval"
        return replace(estimate, low=estimate.value, high=estimate.value, conclusive=False, remark=same)
    low, high = around(estimate.value, outer, estimate.log)
    inside = around(estimate.value, intervals.half_width(noises, INCLUSION, floor), estimate.log)
    return replace(estimate, low=low, high=high, inner=inside, noises=noises, floor=floor)


def of_classes(estimate: Estimate, by_class: Sequence[float]) -> Estimate:
    """The estimate with a second interval, in which the classes are a sample of all that there could be.

    `by_class`: the number of each class, mean over seeds and images. Their variance replaces that of images, which it holds already.
    """
    if not estimate.noises or len(by_class) < 2:
        return estimate
    seeds = [noise for noise in estimate.noises if "seeds" in noise.kind]
    half = intervals.half_width([*seeds, noise_of("classes", np.asarray(by_class, float))])
    return replace(estimate, over_classes=around(estimate.value, half, estimate.log))


def split_gap_of(val: Moments, test: Moments) -> Estimate:
    """Absolute difference of the mean errors of the same nets on two sets of images."""
    noises = image_noise(replace(val, luck=0.0)), replace(image_noise(replace(test, luck=0.0)), kind="test images")
    value, seeds = float(val.arms[0].mean() - test.arms[0].mean()), len(test.arms[0])
    signed = with_interval(Estimate(value, math.nan, math.nan, seeds, images=val.images + test.images), noises)
    remark = "the interval covers the images of both splits"
    low, high = _absolute(signed.low, signed.high)
    return replace(signed, value=abs(value), low=low, high=high, inner=_absolute(*signed.inside), remark=remark)


def _absolute(low: float, high: float) -> tuple[float, float]:
    """Interval of the absolute value."""
    if low <= 0 <= high:
        return 0.0, max(-low, high)
    return (low, high) if low > 0 else (-high, -low)


def of_sample(found: Sample, counts: tuple[int, int], images: int = 0) -> Estimate:
    """The number of two nets' runs, still without an interval; `counts`: runs of each, where they are no pairs."""
    counts = (found.seeds, 0) if found.paired else counts
    plain = Estimate(found.value, math.nan, math.nan, *counts, images, 1.0 if found.log else 0.0, log=found.log)
    return replace(plain, paired=found.paired, values=found.values)


def of_one_net(
    values: np.ndarray, null: float = 0.0, noises: Sequence[Noise] = (), images: int = 0, floor: float = 0.0
) -> Estimate:
    """Mean of one number a seed; `noises`: of the images. One seed says nothing about the others."""
    plain = Estimate(float(values.mean()), math.nan, math.nan, len(values), images=images, null=null)
    plain = replace(plain, values=(tuple(map(float, values)),))
    if plain.fewest < 2:
        return inconclusive(plain, ONE_SEED)
    return with_interval(plain, (*noises, noise_of("seeds", values)), floor)


def of_two_nets(ours: Runs, base: Runs, noises: Sequence[Noise] = (), images: int = 0, floor: float = 0.0) -> Estimate:
    """Difference of two nets with one number a seed, in pairs where seeds are shared; `noises`: of the images."""
    found = over_seeds(ours, base)
    plain = of_sample(found, (len(living(ours)), len(living(base))), images)
    if plain.fewest < 2:
        return inconclusive(plain, ONE_SEED)
    return with_interval(plain, (*found.noises, *noises), floor)


def bounded(found: Estimate, bound: str) -> Estimate:
    """The estimate as a `bound`, if there is one: its intervals are open on that side."""

    def opened(span: Interval) -> Interval:
        return 0.0 if bound == "<=" else span[0], math.inf if bound == ">=" else span[1]

    low, high = opened((found.low, found.high))
    return replace(found, low=low, high=high, inner=opened(found.inside), bound=bound)


def inconclusive(found: Estimate, why: str) -> Estimate:
    """The number with what keeps a word from being said about it."""
    return replace(with_remark(found, why, first=True), conclusive=False)


def with_remark(found: Estimate, remark: str, first: bool = False) -> Estimate:
    """The number with one remark more, before or after its others."""
    parts = (remark, found.remark) if first else (found.remark, remark)
    return replace(found, remark="; ".join(filter(None, parts)))
