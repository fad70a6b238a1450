"""The number that the runs of one or two arms give, with its noise: in pairs where both arms have the same seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from analysis.stats.axes import Interval
from analysis.stats.intervals import CONFIDENCE, INCLUSION, Noise, half_width, noise_of

Runs = Mapping[str, float | None]  # by seed; None: the run died
NONE: Interval = (math.nan, math.nan)
ROUNDING = 1e-12  # relative spread up to which numbers are equal


@dataclass(frozen=True)
class Sample:
    """What runs give. Of a ratio, `value` is the geometric mean and noises are those of the logarithm."""

    value: float
    noises: tuple[Noise, ...]  # empty: too few runs, or runs that do not vary
    seeds: int  # living runs of the arm with fewer, or pairs of which both live
    paired: bool = False
    lonely: int = 0  # living runs without a partner, left out of pairs
    log: bool = False
    values: tuple[tuple[float, ...], ...] = ()  # of each run, an arm each, or of each pair; ratios as such

    def spans(self) -> tuple[Interval, Interval]:
        """The 95 and the 90 % interval; NaN where there is none."""
        if not self.noises or not math.isfinite(self.value):
            return NONE, NONE
        outer, inner = (half_width(self.noises, confidence) for confidence in (CONFIDENCE, INCLUSION))
        return around(self.value, outer, self.log), around(self.value, inner, self.log)


def around(value: float, half: float, log: bool = False) -> Interval:
    """The interval of that half-width around a number, on its logarithm if `log`."""
    if log:
        return value * math.exp(-half), value * exp(half)
    return value - half, value + half


def exp(number: float) -> float:
    """The exponential; what is too large for it becomes infinite."""
    return math.inf if number >= 709 else math.exp(number)


def living(runs: Runs) -> dict[str, float]:
    """The runs that did not die."""
    return {seed: value for seed, value in runs.items() if value is not None}


def over_seeds(ours: Runs, base: Runs | None = None, log: bool = False) -> Sample:
    """Mean of the runs of one arm, or difference of the means of two; with `log` the ratio of geometric means.

    Runs of two arms with the same seed are a pair. If there are any, pairs alone count, and one in which a run died is left
    out; else the arms are independent, each with the spread of its own runs.
    """
    alive = [living(arm) for arm in (ours, base) if arm is not None]
    paired = base is not None and not base.keys().isdisjoint(ours)
    both = [seed for seed in alive[0] if seed in alive[-1]]
    sides = [np.array([arm[seed] for seed in (both if paired else arm)], float) for arm in alive]
    sides = [np.log(side) for side in sides] if log else sides
    size = [float(np.abs(side).max(initial=0.0)) for side in sides]
    if paired:
        found = _noise("pairs of seeds", sides[0] - sides[1], max(size))
        arms, lonely = [sides[0] - sides[1]], sum(map(len, alive)) - 2 * len(both)
    else:
        found = sum(map(_noise, ("seeds", "baseline seeds"), sides, size), ())
        arms, lonely = sides, 0
    if any(len(arm) < 2 for arm in arms):
        found = ()
    means = [float(arm.mean()) if len(arm) else math.nan for arm in arms]
    value = means[0] - sum(means[1:])
    values = tuple(tuple(map(float, np.exp(arm) if log else arm)) for arm in arms)
    return Sample(exp(value) if log else value, found, min(map(len, arms)), paired, lonely, log, values)


def _noise(kind: str, values: np.ndarray, size: float) -> tuple[Noise, ...]:
    """The noise of the mean of `values`; none of one value, or of equal ones (numbers of this `size`)."""
    found = noise_of(kind, values) if len(values) > 1 else None
    return (found,) if found and math.sqrt(found.variance) > ROUNDING * size else ()


# Images ---------------------------------------------------------------------------------------------------------------


def binomial(share: float, n: float, confidence: float) -> Interval:
    """Clopper and Pearson's interval of a share that was counted on `n` images."""
    tail, k = (1 - confidence) / 2, share * n
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def over_images(shares: list[tuple[float, float]], how: str) -> tuple[float, Interval, Interval]:
    """A share of images, or the difference or ratio of two, each given with its number of images: value, both intervals.

    Each side has the interval of `binomial`; of two sides the distances to their ends are added in squares (as
    `half_width` adds half-widths; Zou and Donner 2008), which allows for any correlation above zero.
    """
    scale, back = (lambda share: math.log(share) if share > 0 else -math.inf, exp) if how == "ratio" else (float, float)
    values = [scale(share) for share, _ in shares]
    value = values[0] - sum(values[1:])
    spans = []
    for confidence in (CONFIDENCE, INCLUSION):
        (low, high), *other = [tuple(map(scale, binomial(*side, confidence))) for side in shares]
        for (least, most), base in zip(other, values[1:], strict=True):
            low, high = (
                value - math.hypot(values[0] - low, most - base),
                value + math.hypot(high - values[0], base - least),
            )
        spans.append((back(low), back(high)))
    return back(value), spans[0], spans[1]
