"""Meta-regression, against published results of metafor and closed forms."""

import numpy as np
import pytest
from scipy import stats

from analysis.stats.metaregression import fit

# Thirteen trials of the BCG vaccine (Colditz et al. 1994): cases and others among the vaccinated, the same of the controls,
# latitude, year.
BCG = np.array([
    (4, 119, 11, 128, 44, 1948), (6, 300, 29, 274, 55, 1949), (3, 228, 11, 209, 42, 1960),
    (62, 13536, 248, 12619, 52, 1977), (33, 5036, 47, 5761, 13, 1973), (180, 1361, 372, 1079, 44, 1953),
    (8, 2537, 10, 619, 19, 1973), (505, 87886, 499, 87892, 13, 1980), (29, 7470, 45, 7232, 27, 1968),
    (17, 1699, 65, 1600, 42, 1961), (186, 50448, 141, 27197, 18, 1974), (5, 2493, 3, 2338, 33, 1969),
    (27, 16886, 29, 17825, 33, 1976),
], float)  # fmt: skip
A, B, C, D, LATITUDE, YEAR = BCG.T
RISK = np.log(A / (A + B)) - np.log(C / (C + D))
VARIANCE = 1 / A - 1 / (A + B) + 1 / C - 1 / (C + D)
ONES = np.ones(len(BCG))


@pytest.mark.parametrize(
    ("columns", "tau2", "coefficients", "errors"),
    [  # Viechtbauer, Journal of Statistical Software 36(3), 2010, and the manual of metafor; errors without Knapp and Hartung
        ((ONES,), 0.3132, (-0.7145,), (0.1798,)),
        ((ONES, LATITUDE), 0.0764, (0.2515, -0.0291), (0.2491, 0.0072)),
        ((ONES, LATITUDE, YEAR), 0.1108, (-3.5455, -0.0280, 0.0019), (29.0959, 0.0102, 0.0147)),
    ],
)
def test_it_finds_what_metafor_publishes(columns, tau2, coefficients, errors):
    x = np.column_stack(columns)
    found = fit(RISK, x, VARIANCE)
    assert found.tau2 == pytest.approx(tau2, abs=6e-5)
    assert found.b == pytest.approx(coefficients, rel=1e-4, abs=6e-5)
    w = 1 / (VARIANCE + found.tau2)
    plain = np.sqrt(np.diag(found.covariance) / (w @ (RISK - x @ found.b) ** 2 / found.df))
    assert plain == pytest.approx(errors, rel=1e-4, abs=6e-5)


def test_with_equal_variances_it_is_least_squares():
    """Then REML's variance is the residual one less the known one, and the interval is that of ordinary regression."""
    generator = np.random.default_rng(3)
    x = np.column_stack([np.ones(7), [-3, -3, -2.4, -2.4, -2, -2, -1], [-2.9, -1.5, -2.9, -1.5, -2.9, -1.5, -1.5]])
    y = x @ [1.0, 0.3, -0.2] + generator.normal(0, 0.5, 7)
    found = fit(y, x, np.full(7, 0.04))
    b, (residual,), *_ = np.linalg.lstsq(x, y, rcond=None)
    residual /= 4
    assert residual > 0.04 and found.tau2 == pytest.approx(residual - 0.04, rel=1e-5)
    new = np.array([1.0, 0.0, 0.0])
    value, half = found.predict(new, noise=0.04)
    leverage = new @ np.linalg.inv(x.T @ x) @ new
    assert value == pytest.approx(new @ b)
    assert half == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(residual * (1 + leverage)), rel=1e-5)


@pytest.mark.parametrize(("between", "exact"), [(5.0, True), (0.2, False)])
def test_its_interval_holds_a_further_setting_as_often_as_it_says(between, exact):
    """More often where the known noise is most of it: six settings do not tell it from noise between them."""
    generator, held, repeats = np.random.default_rng(5), 0, 600
    x = np.column_stack([np.ones(6), [-3, -3, -2.4, -2.4, -2, -2], [-2.9, -1.5] * 3])
    v = np.array([3, 3, 3, 3, 3, 1.5]) / 9
    new, truth = np.array([1.0, -1.0, -1.5]), np.array([1.0, 0.3, -0.2])
    for _ in range(repeats):
        value, half = fit(x @ truth + generator.normal(0, np.sqrt(v + between)), x, v).predict(new, noise=1 / 3)
        held += abs(generator.normal(new @ truth, np.sqrt(1 / 3 + between)) - value) < half
    low, high = stats.binom.ppf([0.001, 0.999], repeats, 0.95)
    assert low <= held and (held <= high or not exact)


@pytest.mark.parametrize("x", [np.eye(3), np.ones((4, 2))])
def test_too_few_settings_or_ones_that_do_not_vary_are_refused(x):
    with pytest.raises(ValueError, match=f"{len(x)} settings cannot settle {x.shape[1]} coefficients"):
        fit(np.arange(len(x), dtype=float), x, np.ones(len(x)))
