"""Intervals from several sources of noise: their guarantee by integration, and the plans and corrections by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from analysis.measures.inference import LAB_SPREADS, LAB_TWINS, moments, seed_noise
from analysis.stats import intervals
from analysis.stats.intervals import Noise, benjamini_hochberg, half_width, mcnemar, p_value, to_settle


def test_one_source_is_students_interval() -> None:
    values = np.array([0.31, 0.35, 0.30, 0.38])
    noise = Noise("seeds", float(values.var(ddof=1)), 4, 3)
    low, _ = stats.t.interval(0.9, 3, values.mean(), stats.sem(values))
    assert half_width([noise], 0.9) == pytest.approx(values.mean() - low)
    distance = values.mean() - 0.3
    assert p_value(distance, [noise]) == pytest.approx(stats.ttest_1samp(values, 0.3).pvalue, rel=2e-3)
    assert p_value(0.0, [noise]) == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize("confidence", [0.90, 0.95])
@pytest.mark.parametrize("seeds", [(2, 2), (2, 10), (3, 3), (3, 10), (5, 5)])
def test_two_nets_with_any_ratio_of_spreads_are_covered(seeds: tuple[int, int], confidence: float) -> None:
    """Coverage by integration over both sample variances: E P(|Z| <= h), at least the confidence, never 100 %."""
    q = (np.arange(600) + 0.5) / 600
    squares = [stats.chi2.ppf(q, n - 1) / (n - 1) for n in seeds]
    for ratio in (0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0):
        true = np.array([ratio / seeds[0], 1.0 / seeds[1]])
        factors = [half_width([Noise("seeds", 1.0, 1, n - 1)], confidence) ** 2 for n in seeds]
        h2 = factors[0] * true[0] * squares[0][:, None] + factors[1] * true[1] * squares[1][None, :]
        coverage = float(np.mean(special.erf(np.sqrt(h2 / true.sum() / 2))))
        assert confidence - 2e-3 <= coverage < 1  # the grid is that coarse


def test_the_floor_holds_where_seeds_agree_by_luck() -> None:
    quiet = [Noise("seeds", 0.0, 2, 1), Noise("images", 0.0, 100, 99)]
    assert half_width(quiet, floor=0.04) == pytest.approx(stats.norm.ppf(0.975) * 0.2)
    assert p_value(0.6, quiet, floor=0.04) == pytest.approx(2 * stats.norm.sf(3), rel=2e-3)


def test_mcnemar_is_the_mid_p_of_the_binomial() -> None:
    ours = np.repeat([0, 1, 1, 0], [40, 12, 25, 5]).astype(float)
    base = np.repeat([0, 0, 1, 1], [40, 12, 25, 5]).astype(float)  # 12 worse, 5 better
    exact = stats.binomtest(5, 17).pvalue
    assert mcnemar(ours, base) == pytest.approx(exact - stats.binom.pmf(5, 17, 0.5))
    assert mcnemar(base, ours) == mcnemar(ours, base)
    assert mcnemar(base, base) is None
    assert mcnemar(1 - np.eye(2)[0], np.eye(2)[0]) == 1.0


def test_how_many_seeds_would_settle_it() -> None:
    noises = [Noise("seeds", 4.0, 3, 2), Noise("baseline seeds", 1.0, 3, 2), Noise("images", 9.0, 900, 899)]
    fewest = next(
        n for n in range(3, 200) if stats.t.ppf(0.975, n - 1) ** 2 * 5 / n + stats.t.ppf(0.975, 899) ** 2 * 0.01 < 1
    )
    assert to_settle(noises, 1.0) == f"about {fewest} seeds of each net would settle it"
    few = next(n for n in range(3, 200) if stats.t.ppf(0.975, n - 1) * 2 / math.sqrt(n) < 1)
    assert to_settle(noises[:1], 1.0) == f"about {few} seeds would settle it"
    assert to_settle([Noise("pairs of seeds", 4.0, 3, 2)], 1.0) == f"about {few} pairs of seeds would settle it"
    assert to_settle(noises, 1e-3).startswith("more than 200 seeds of each net would be needed")
    half = [stats.t.ppf(0.975, n - 1) * 2 / math.sqrt(n) for n in (199, 200, 201)]
    assert to_settle(noises[:1], (half[0] + half[1]) / 2) == "about 200 seeds would settle it"
    assert to_settle(noises[:1], (half[1] + half[2]) / 2).startswith("more than 200 seeds would be needed")
    assert to_settle(noises, 0.0) == to_settle([], 1.0) == ""


def test_images_are_named_where_seeds_alone_cannot_settle_it() -> None:
    images = Noise("images", 9.0, 900, 899)
    alone = stats.t.ppf(0.975, 899) * 0.1
    total = 900 * (alone / 0.05) ** 2
    said = to_settle([images], 0.05)
    assert said.endswith(" images would settle it")
    number = int(said.split()[1].replace(",", ""))
    assert 10_000 < total < 100_000 and number == 1000 * math.ceil(total / 1000)  # two digits, rounded up
    both = to_settle([Noise("seeds", 0.01, 3, 2), Noise("baseline seeds", 0.01, 3, 2), images], 0.1)
    n = next(n for n in range(3, 99) if stats.t.ppf(0.975, n - 1) ** 2 * 0.02 / n < 0.1**2 / 2)
    total = 900 * alone**2 / (0.1**2 / 2)
    assert both == f"about {100 * math.ceil(total / 100):,} images and {n} seeds of each net would settle it"
    steady = Noise("seeds", 1e-12, 2, 1)
    assert to_settle([steady, images], 0.1).endswith(" images and 2 seeds would settle it")
    most = Noise("images", 9.0, 10**8, 10**8 - 1)
    assert to_settle([most], half_width([most])) == "about 100,000,000 images would settle it"
    assert to_settle([images], 1e-5).startswith("more than 100,000,000 images would be needed")


@pytest.mark.parametrize("total", [4.4, 14.4, 97.5, 144.0])
def test_few_images_are_named_to_two_digits(total: float) -> None:
    images = Noise("images", 9.0, 900, 899)
    said = to_settle([images], half_width([images]) / math.sqrt(total / 900))
    step = 10 if total > 100 else 1
    assert said == f"about {step * math.ceil(total / step)} images would settle it"


def test_benjamini_and_hochberg_leave_out_what_is_not_tested() -> None:
    assert benjamini_hochberg([None, None]) == [None, None]
    got = benjamini_hochberg([0.02, None, 0.01, 0.5])
    assert got[1] is None
    assert [p for p in got if p is not None] == pytest.approx([0.03, 0.03, 0.5])


def test_the_luck_of_single_answers_is_told_from_the_choice_of_images() -> None:
    """With p_j the chance of an error on image j, the images' part is Var(p_j), whatever the number of seeds."""
    rng = np.random.default_rng(4)
    p = rng.beta(0.5, 0.8, 40_000)
    for seeds in (2, 5, 9):
        found = moments((rng.random((40_000, seeds)) < p[:, None]).astype(float))
        assert found.between_images - found.luck == pytest.approx(p.var(), rel=0.04)
        assert found.luck == pytest.approx(np.mean(p * (1 - p)) / seeds, rel=0.03)


def test_what_is_borrowed_and_when() -> None:
    lab = LAB_SPREADS["top1_error"]
    assert lab is not None and lab.df == 4
    assert 100 * lab.sd == pytest.approx(np.std(LAB_TWINS["top1_error"], ddof=1))
    assert "error_gap" not in LAB_SPREADS
    one, two, three = np.array([0.4]), np.array([0.4, 0.41]), np.array([0.4, 0.41, 0.42])
    assert seed_noise("seeds", one, None) is None
    assert seed_noise("seeds", two, None) == Noise("seeds", pytest.approx(5e-5), 2, 1)
    upper = lab.sd**2 * 4 / stats.chi2.ppf(0.025, 4)  # of its own 95 % interval
    assert seed_noise("seeds", one, lab) == Noise("seeds", pytest.approx(upper), 1, math.inf)
    assert seed_noise("seeds", two, lab) == Noise("seeds", pytest.approx(upper), 2, math.inf)
    assert seed_noise("seeds", three, lab) == Noise("seeds", pytest.approx(1e-4), 3, 2)
    assert intervals.student(math.inf, 0.95) == pytest.approx(stats.norm.ppf(0.975))
