"""Runs of two arms with a known difference, from worlds that are not normal.

`HOLDS` are worlds in which the rule must not err more often than it says; `BREAKS` those in which no rule on so few runs can
keep that, with the reason. With n pairs, an arm of two peaks shows one peak alone in p^n + (1 - p)^n of all measurements,
and nothing in the numbers tells: 8.8 % for p = 0.4 and five pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.stats.samples import over_seeds

Arms = tuple[dict[str, float | None], dict[str, float | None]]
PEAK, SHARE = 8.0, 0.4  # distance of two peaks in standard deviations, and how many runs have the higher
RATES = 4
DIES = 0.1


def _numbered(ours: np.ndarray, base: np.ndarray) -> Arms:
    return dict(zip(map(str, range(len(ours))), map(float, ours), strict=True)), {
        str(i): float(x) for i, x in enumerate(base)
    }


def _peaks(rng: np.random.Generator, n: int) -> np.ndarray:
    return PEAK * ((rng.random(n) < SHARE) - SHARE) + rng.normal(0, 1, n)


def _lognormal(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    mean, sd = np.exp(sigma**2 / 2), np.sqrt(np.expm1(sigma**2) * np.exp(sigma**2))
    return (np.exp(rng.normal(0, sigma, n)) - mean) / sd


def skewed(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(_lognormal(rng, n, 0.5), rng.normal(0, 1, n))


def both_of_two_peaks(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(_peaks(rng, n), _peaks(rng, n))


def shared_luck(rng: np.random.Generator, n: int) -> Arms:
    shared = rng.normal(0, 3, n)
    return _numbered(shared + rng.normal(0, 1, n), shared + rng.normal(0, 0.5, n))


def dead_runs(rng: np.random.Generator, n: int) -> Arms:
    arms = _numbered(rng.normal(0, 1, n), rng.normal(0, 1, n))
    for arm in arms:
        arm.update({seed: None for seed in arm if rng.random() < DIES})
    return arms


def _at_rates(rng: np.random.Generator, n: int, pilot: bool) -> np.ndarray:
    """Runs of the best of some rates, all equally good; chosen on a pilot seed, or on the mean of the runs themselves."""
    runs = rng.normal(0, 1, (RATES, n + 1))
    return runs[np.argmin(runs[:, 0]), 1:] if pilot else runs[np.argmin(runs[:, 1:].mean(axis=1)), 1:]


def rates_of_a_pilot(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(_at_rates(rng, n, True), _at_rates(rng, n, True))


def one_rate_of_its_own_runs(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(_at_rates(rng, n, False), rng.normal(0, 1, n))


def one_of_two_peaks(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(_peaks(rng, n), rng.normal(0, 1, n))


def far_tail(rng: np.random.Generator, n: int) -> Arms:
    return _numbered(3 * _lognormal(rng, n, 1.0), rng.normal(0, 1, n))


def until_shown(rng: np.random.Generator, n: int) -> Arms:
    """A pair more until the interval excludes zero, from `n` pairs to four times as many."""
    ours, base = rng.normal(0, 1, (2, 4 * n))
    for k in range(n, 4 * n + 1):
        arms = _numbered(ours[:k], base[:k])
        (low, high), _ = over_seeds(*arms).spans()
        if low > 0 or high < 0:
            break
    return arms


HOLDS: dict[str, Callable[[np.random.Generator, int], Arms]] = {
    "one arm skewed, as logarithms of a spread of a half": skewed,
    "both arms of two peaks": both_of_two_peaks,
    "luck that both arms share": shared_luck,
    "one run in ten dies": dead_runs,
    "rates chosen on a pilot seed": rates_of_a_pilot,
}
BREAKS: dict[str, Callable[[np.random.Generator, int], Arms]] = {
    "one arm of two peaks: so few runs may show one alone": one_of_two_peaks,
    "one arm with a far tail: so few runs may miss it": far_tail,
    "one pair more until something is shown: fix their number before": until_shown,
    "a rate chosen on the runs that judge it: choose it on a pilot seed": one_rate_of_its_own_runs,
}
WORLDS = HOLDS | BREAKS
