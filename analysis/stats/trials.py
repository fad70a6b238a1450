"""Runs of two arms with a known difference, from worlds that are not normal.

`HOLDS` are worlds in which the rule must not err more often than it says; `BREAKS` those in which no rule on so few runs can
keep that, with the reason. With n pairs, an arm of two peaks shows one peak alone in p^n + (1 - p)^n of all measurements,
and nothing in the numbers tells: 8.8 % for p = 0.4 and five pairs.
"""

from collections.abc import Callable

import numpy as np

from analysis.stats.samples import over_seeds

Arms = tuple[dict[str, float | None], dict[str, float | None]]
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
PEAK, SHARE = 8.0, 0.4  # distance of two peaks in standard deviations, and how many runs have the higher
RATES = 4
DIES = 0.1


def arms(world: str, rng: np.random.Generator, n: int) -> Arms:
    """The runs of both arms of one of the `WORLDS` by seed, of `n` seeds each; None: the run died."""
    return _numbered(*WORLDS[world](rng, n))


def _numbered(ours: np.ndarray, base: np.ndarray) -> Arms:
    first, second = ({str(i): None if np.isnan(x) else float(x) for i, x in enumerate(arm)} for arm in (ours, base))
    return first, second


def _peaks(rng: np.random.Generator, n: int) -> np.ndarray:
    return PEAK * ((rng.random(n) < SHARE) - SHARE) + rng.normal(0, 1, n)


def _lognormal(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    mean, sd = np.exp(sigma**2 / 2), np.sqrt(np.expm1(sigma**2) * np.exp(sigma**2))
    return (np.exp(rng.normal(0, sigma, n)) - mean) / sd


def _shared_luck(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    shared = rng.normal(0, 3, n)
    return shared + rng.normal(0, 1, n), shared + rng.normal(0, 0.5, n)


def _dead_runs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    ours, base = rng.normal(0, 1, n), rng.normal(0, 1, n)
    return np.where(rng.random(n) < DIES, np.nan, ours), np.where(rng.random(n) < DIES, np.nan, base)


def _at_rates(rng: np.random.Generator, n: int, pilot: bool) -> np.ndarray:
    """Runs of the best of some rates, all equally good; chosen on a pilot seed, or on the mean of the runs themselves."""
    runs = rng.normal(0, 1, (RATES, n + 1))
    return runs[np.argmin(runs[:, 0]), 1:] if pilot else runs[np.argmin(runs[:, 1:].mean(axis=1)), 1:]


def _until_shown(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A pair more until the interval excludes zero, from `n` pairs to four times as many."""
    ours, base = rng.normal(0, 1, (2, 4 * n))
    for k in range(n, 4 * n + 1):
        (low, high), _ = over_seeds(*_numbered(ours[:k], base[:k])).spans()
        if low > 0 or high < 0:
            break
    return ours[:k], base[:k]


HOLDS: dict[str, Draw] = {
    "one arm skewed, as logarithms of a spread of a half": lambda rng, n: (
        _lognormal(rng, n, 0.5),
        rng.normal(0, 1, n),
    ),
    "both arms of two peaks": lambda rng, n: (_peaks(rng, n), _peaks(rng, n)),
    "luck that both arms share": _shared_luck,
    "one run in ten dies": _dead_runs,
    "rates chosen on a pilot seed": lambda rng, n: (_at_rates(rng, n, True), _at_rates(rng, n, True)),
}
BREAKS: dict[str, Draw] = {
    "one arm of two peaks: so few runs may show one alone": lambda rng, n: (_peaks(rng, n), rng.normal(0, 1, n)),
    "one arm with a far tail: so few runs may miss it": lambda rng, n: (
        3 * _lognormal(rng, n, 1.0),
        rng.normal(0, 1, n),
    ),
    "one pair more until something is shown: fix their number before": _until_shown,
    "a rate chosen on the runs that judge it: choose it on a pilot seed": lambda rng, n: (
        _at_rates(rng, n, False),
        rng.normal(0, 1, n),
    ),
}
WORLDS = HOLDS | BREAKS
