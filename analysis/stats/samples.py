"""The number that the runs of one or two arms give, with its noise: in pairs where both arms have the same seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from analysis.stats.axes import Interval
from analysis.stats.intervals import CONFIDENCE, INCLUSION, Noise, half_width

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
    scale = np.log if log else np.asarray
    if base is not None and (shared := [seed for seed in ours if seed in base]):
        alive = living(ours), living(base)
        both = [seed for seed in shared if seed in alive[0] and seed in alive[1]]
        gains = np.array([scale(alive[0][seed]) - scale(alive[1][seed]) for seed in both])
        size = max((abs(float(scale(side[seed]))) for side in alive for seed in both), default=0.0)
        noise = _noise("pairs of seeds", gains, size)
        lonely = len(alive[0]) + len(alive[1]) - 2 * len(both)
        return Sample(_mean(gains, log), noise, len(both), True, lonely, log, (_plain(gains, log),))
    arms = [np.array(list(living(arm).values()), float) for arm in (ours, base) if arm is not None]
    values = [scale(arm) for arm in arms]
    found = [
        _noise(kind, arm, float(np.abs(arm).max(initial=0.0)))
        for kind, arm in zip(("seeds", "baseline seeds"), values, strict=False)
    ]
    some = all(len(arm) > 1 for arm in values) and any(found)
    means = [_mean(arm) for arm in values]
    value = means[0] - (means[1] if len(means) > 1 else 0.0)
    seeds = min(map(len, values))
    plain = tuple(_plain(arm, log) for arm in values)
    value = exp(value) if log else value
    return Sample(value, sum(found, ()) if some else (), seeds, log=log, values=plain)


def _plain(values: np.ndarray, log: bool) -> tuple[float, ...]:
    return tuple(map(float, np.exp(values) if log else values))


def _mean(values: np.ndarray, log: bool = False) -> float:
    mean = float(values.mean()) if len(values) else math.nan
    return exp(mean) if log else mean


def _noise(kind: str, values: np.ndarray, size: float) -> tuple[Noise, ...]:
    """The noise of the mean of `values`; none of one value, or of equal ones (numbers of this `size`)."""
    n = len(values)
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    return (Noise(kind, spread**2, n, n - 1),) if spread > ROUNDING * size else ()


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
    log = how == "ratio"
    scale = _log if log else float
    values = [scale(share) for share, _ in shares]
    value = values[0] - sum(values[1:])
    outer, inner = (
        _both(values, [binomial(*side, confidence) for side in shares], scale) for confidence in (CONFIDENCE, INCLUSION)
    )
    if log:
        return exp(value), _exp(outer), _exp(inner)
    return value, outer, inner


def _both(values: list[float], spans: list[Interval], scale: Callable[[float], float]) -> Interval:
    ends = [(scale(low), scale(high)) for low, high in spans]
    if len(ends) == 1:
        return ends[0]
    below = math.hypot(values[0] - ends[0][0], ends[1][1] - values[1])
    above = math.hypot(ends[0][1] - values[0], values[1] - ends[1][0])
    value = values[0] - values[1]
    return value - below, value + above


def _exp(span: Interval) -> Interval:
    return exp(span[0]), exp(span[1])


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf
