"""Intervals and p-values from independent sources of noise, and the number of seeds that would settle a claim.

A measured number carries noise of several sources, each with a variance that is estimated by itself: the seeds of one
net, the seeds of the other, the test images. With v_i the estimated variance that source i adds to the number, f_i its
degrees of freedom and t_i the two-sided Student factor for f_i, the half-width of the interval is

    h = sqrt(sum(t_i^2 v_i))           (Banerjee, Sankhya 1960; for two sources: Behrens and Fisher's problem)

It covers the truth at least as often as its confidence says, for any ratio of the variances and any numbers of
seeds: with w_i the share of source i in the true variance and F the distribution function of chi-squared with one
degree of freedom, which is concave, the coverage is E F(sum w_i t_i^2 v_i / E v_i) >= sum w_i E F(t_i^2 v_i / E v_i), and
each of these expectations is the confidence. Welch's interval has no such bound: with 2 seeds against 10 and noise ten
times as large (in variance) on the side with two, it errs 11 times in 100 instead of 5 (normal draws, 200,000 repeats).
The price is a wider interval, above all with two seeds (t = 12.7).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import bdtr, stdtrit  # scipy.stats takes ten times as long to import

CONFIDENCE = 0.95  # of the printed interval: it decides direction, and that a value misses a range
INCLUSION = 0.90  # of the interval that must lie inside a range: two one-sided tests at 5 %
MOST_SEEDS, MOST_IMAGES = 200, 10**8  # further than that nobody plans


@dataclass(frozen=True)
class Noise:
    """One source of noise of a measured number."""

    kind: str  # "seeds", "baseline seeds", "pairs of seeds", "images" or "test images"
    variance: float  # of one draw
    n: int  # draws that were averaged
    df: float  # of the estimate of `variance`; inf: known

    @property
    def share(self) -> float:
        """Variance that the source adds to the number."""
        return self.variance / self.n


def noise_of(kind: str, values: np.ndarray) -> Noise:
    """Noise of the mean of independent values, at least two."""
    return Noise(kind, float(np.var(values, ddof=1)), len(values), len(values) - 1)


@lru_cache(maxsize=4096)
def student(df: float, confidence: float) -> float:
    """Two-sided Student factor: with infinite df the normal one."""
    return float(stdtrit(min(df, 1e9), 0.5 + confidence / 2))


def half_width(noises: Sequence[Noise], confidence: float = CONFIDENCE, floor: float = 0.0) -> float:
    """Half of the interval (module docstring); `floor`: a variance, well known, below which the whole cannot be."""
    squares = sum(student(noise.df, confidence) ** 2 * noise.share for noise in noises)
    return math.sqrt(max(squares, student(math.inf, confidence) ** 2 * floor))


def satterthwaite(noises: Sequence[Noise], confidence: float = CONFIDENCE, one: bool = False) -> float:
    """Half of Welch's interval: one Student factor for all noise, with Satterthwaite's degrees of freedom.

    Shorter than `half_width`, and without its guarantee. `one`: half of the interval that predicts one further measurement
    of a single seed of each net on as many images, such as the paper's own.
    """
    total = sum(noise.share for noise in noises)
    if not total:
        return math.nan
    known = sum(noise.share**2 / noise.df for noise in noises)
    df = total**2 / known if known else math.inf
    if one:
        total += sum(noise.variance if "seeds" in noise.kind else noise.share for noise in noises)
    return student(df, confidence) * math.sqrt(total)


def p_value(distance: float, noises: Sequence[Noise], floor: float = 0.0) -> float:
    """Two-sided p-value: one minus the largest confidence whose interval leaves out what is `distance` away.

    Found by bisection between 1e-12 and 1, to a thousandth of its size.
    """
    low, high = math.log(1e-12), 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        width = half_width(noises, 1 - math.exp(middle), floor)
        low, high = (low, middle) if width < abs(distance) else (middle, high)
    return math.exp((low + high) / 2)


def mcnemar(ours: np.ndarray, base: np.ndarray) -> float | None:
    """Mid-p value of McNemar's exact test for two nets on the same images (0: right, 1: wrong); None: nothing differs.

    The images on which exactly one of the nets is wrong are coin tosses if both have the same error (Fagerland,
    Lydersen and Laake 2013 for the mid-p form). It speaks of these two sets of weights, not of their recipes.
    """
    worse, better = int(np.sum(ours > base)), int(np.sum(ours < base))
    discordant, fewer = worse + better, min(worse, better)
    if not discordant:
        return None
    up_to = float(bdtr(fewer, discordant, 0.5))
    below = float(bdtr(fewer - 1, discordant, 0.5)) if fewer else 0.0
    return min(1.0, up_to + below)  # 2 (below + half of the point)


# How many would settle it -------------------------------------------------------------------------------------------


def planned(noises: Sequence[Noise], seeds: int) -> list[Noise]:
    """The same sources with `seeds` seeds a side."""
    return [replace(noise, n=seeds, df=seeds - 1) if "seeds" in noise.kind else noise for noise in noises]


def to_settle(noises: Sequence[Noise], distance: float, settles: str = "would settle it") -> str:
    """How many seeds (and images) make the half-width smaller than `distance`, in words; nothing for no distance.

    `settles`: what so many do.
    """
    if not distance > 0 or not noises:
        return ""
    alone = [noise for noise in noises if "seeds" not in noise.kind]
    seeds = [noise for noise in noises if "seeds" in noise.kind]
    if not seeds:
        return _images(alone, half_width(alone) / distance, settles)
    have = min(noise.n for noise in seeds)
    what = "seeds of each net" if len(seeds) > 1 else "pairs of seeds" if "pairs" in seeds[0].kind else "seeds"
    tried = range(max(2, have), MOST_SEEDS + 1)
    for n in tried:
        if half_width(planned(noises, n)) < distance:
            return f"about {max(n, 3)} {what} {settles}"
    share = distance / math.sqrt(2)  # half of the variance for each kind of noise
    for n in tried:
        if half_width(planned(seeds, n)) < share and alone:
            return _images(alone, half_width(alone) / share, f"and {n} {what} {settles}")
    return f"more than {MOST_SEEDS} {what} would be needed: too small beside its noise"


def _images(noises: Sequence[Noise], factor: float, settles: str) -> str:
    total = sum(noise.n for noise in noises) * factor**2
    if total > MOST_IMAGES:
        return f"more than {MOST_IMAGES:,} images would be needed: too small beside its noise"
    digits = max(0, math.floor(math.log10(total)) - 1)
    rounded = math.ceil(total / 10**digits) * 10**digits
    return f"about {rounded:,} images {settles}"


# Many tests at once --------------------------------------------------------------------------------------------------


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted by Holm's step-down method; None stays None and does not count."""
    tested = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for the rate of false discoveries; None stays None and does not count."""
    tested = [i for i, p in enumerate(ps) if p is not None]
    adjusted: list[float | None] = [None] * len(ps)
    if tested:
        from scipy.stats import false_discovery_control

        for i, p in zip(tested, false_discovery_control([ps[i] for i in tested]), strict=True):
            adjusted[i] = float(p)
    return adjusted
