"""Whether two towers differ in their coloured kernels, by how much, and in how many runs.

Nothing says which tower becomes the colourful one, so the number is the absolute difference of their shares. Its null deals the
kernels to the towers anew, each seed by itself: how many coloured ones a tower gets then is hypergeometric. The lower bound is what
remains after taking away the 95th percentile of what dealing gives; above zero where fewer than one dealing in twenty gives as much.

"Every run" can be refuted, by a run that does not show it, only where the test would have seen it: `power` says how likely that is.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.measures.inference import Estimate, inconclusive
from analysis.stats.intervals import CONFIDENCE

DEALINGS = 9_999
ALPHA = 0.05
AGNOSTIC, SPECIFIC = 0.25, 0.75  # shares of coloured kernels for "largely colour-agnostic" and "-specific"
ENOUGH = 0.8  # power below which a run without a difference says nothing


@dataclass(frozen=True)
class Towers:
    """Coloured kernels of both towers, by seed."""

    counts: np.ndarray  # (seeds, 2)
    sizes: tuple[int, int]  # kernels of either tower

    @cached_property
    def gaps(self) -> np.ndarray:
        """(seeds,) absolute differences of the towers' shares."""
        return np.abs(self.counts[:, 0] / self.sizes[0] - self.counts[:, 1] / self.sizes[1])

    @cached_property
    def p(self) -> np.ndarray:
        """(seeds,) exact p-values of the differences."""
        table = p_values(*self.sizes)
        return table[self.counts[:, 0], self.counts[:, 1]]

    def dealt(self) -> np.ndarray:
        """(DEALINGS, seeds) absolute differences where the coloured kernels of each seed are dealt anew."""
        rng, total = np.random.default_rng(2012), self.counts.sum(1)
        first = rng.hypergeometric(total, sum(self.sizes) - total, self.sizes[0], (DEALINGS, len(total)))
        return np.abs(first / self.sizes[0] - (total - first) / self.sizes[1])


def p_values(first: int, second: int) -> np.ndarray:
    """(first + 1, second + 1): share of all dealings of the kernels to the towers that differ at least as much as the counts a, b."""
    from scipy.stats import hypergeom

    out = np.ones((first + 1, second + 1))
    for total in range(first + second + 1):
        a = np.arange(max(0, total - second), min(first, total) + 1)
        chance = hypergeom(first + second, total, first).pmf(a)
        gap = np.abs(a / first - (total - a) / second)
        out[a, total - a] = [chance[gap >= one - 1e-12].sum() for one in gap]
    return out


def power(first: int, second: int) -> float:
    """Probability that towers with `AGNOSTIC` and `SPECIFIC` shares of coloured kernels differ with p < `ALPHA`."""
    from scipy.stats import binom

    chance = np.outer(
        binom(first, AGNOSTIC).pmf(np.arange(first + 1)), binom(second, SPECIFIC).pmf(np.arange(second + 1))
    )
    return float(chance[p_values(first, second) < ALPHA].sum())


def difference_of_towers(towers: Towers) -> Estimate:
    """Absolute difference of the towers' shares of coloured kernels, mean over seeds, with a one-sided lower bound."""
    value, dealt = float(towers.gaps.mean()), towers.dealt().mean(axis=1)
    p = (1 + int(np.sum(dealt >= value * (1 - 1e-12)))) / (1 + len(dealt))
    remark = (
        f"coloured kernels by run, of {towers.sizes[0]} and {towers.sizes[1]}: "
        f"{', '.join(f'{a} and {b}' for a, b in towers.counts)}; "
        f"kernels dealt anew to the towers give as much with p = {p:.2g}"
    )
    low = round(value - float(np.quantile(dealt, CONFIDENCE, method="inverted_cdf")), 12)  # equal shares are equal
    values = (tuple(map(float, towers.gaps)),)
    return Estimate(value, low, math.inf, len(towers.counts), null=0.0, remark=remark, values=values)


def share_of_runs(towers: Towers) -> Estimate:
    """Share of the runs whose towers differ (p < 0.05), with the exact binomial interval; `null` is what luck gives."""
    from scipy.stats import binomtest

    shown = towers.p < ALPHA
    hits, runs = int(shown.sum()), len(shown)
    span = binomtest(hits, runs).proportion_ci(CONFIDENCE, method="exact")
    seen = power(*towers.sizes)
    listed = ", ".join(f"{p:.2g}" for p in towers.p)
    told = f"seen in {hits} of {runs} runs" if hits else f"not seen, 0 of {runs} runs"
    remark = (
        f"{told} (p of each: {listed}); towers with colour in {100 * AGNOSTIC:.0f} % and {100 * SPECIFIC:.0f} % of their kernels would be "
        f"seen with probability {seen:.2f}"
    )
    values = (tuple(map(float, shown)),)
    found = Estimate(hits / runs, float(span.low), float(span.high), runs, null=ALPHA, remark=remark, values=values)
    if runs < 2:
        return inconclusive(found, "one run cannot show what every run does")
    few = f"{sum(towers.sizes)} kernels are too few to tell: a run that shows nothing refutes nothing"
    return inconclusive(found, few) if seen < ENOUGH else found
