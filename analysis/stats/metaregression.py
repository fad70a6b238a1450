"""Random-effects meta-regression: an effect as a linear function of what its settings vary.

    y_i = x_i b + u_i + e_i,   Var e_i = v_i (known),   Var u_i = tau^2

tau^2 maximizes the restricted likelihood (REML). The coefficients have Knapp and Hartung's variance and Student's t with
n - p degrees of freedom (Statistics in Medicine 2003); so has the interval that predicts a further setting.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from analysis.stats.intervals import CONFIDENCE, student


@dataclass(frozen=True)
class Fit:
    """Coefficients `b` with their covariance; `tau2` is the variance between settings."""

    b: np.ndarray
    covariance: np.ndarray
    tau2: float
    df: int

    def predict(self, x: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
        """The effect in a further setting `x`, and half the width of its 95 % prediction interval.

        Args:
            noise: variance with which that setting's effect is measured; 0: the interval is of the true effect.
        """
        variance = float(x @ self.covariance @ x) + self.tau2 + noise
        return float(x @ self.b), student(self.df, CONFIDENCE) * math.sqrt(variance)


def fit(y: np.ndarray, x: np.ndarray, v: np.ndarray) -> Fit:
    """Fit `y` (n effects) on `x` (n x p, a column of ones included) with sampling variances `v` (n, above zero).

    Raises:
        ValueError: there are no more settings than coefficients, or the columns of `x` depend on each other.
    """
    n, p = x.shape
    if n <= p or np.linalg.matrix_rank(x) < p:
        raise ValueError(f"{n} settings cannot settle {p} coefficients")

    def at(tau2: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Coefficients, inverse of x'wx and weighted residual square."""
        w = 1 / (v + tau2)
        inverse = np.linalg.inv(x.T @ (w[:, None] * x))
        b = inverse @ (x.T @ (w * y))
        return b, inverse, float(w @ (y - x @ b) ** 2)

    def deviance(tau2: float) -> float:
        _, inverse, square = at(tau2)
        return float(np.log(v + tau2).sum() - np.linalg.slogdet(inverse)[1] + square)

    most = 10 * float(np.var(y, ddof=1)) + 10 * float(v.max())
    found = minimize_scalar(deviance, bounds=(0, most), method="bounded", options={"xatol": 1e-9 * most})
    tau2 = float(found.x) if found.fun < deviance(0.0) else 0.0
    b, inverse, square = at(tau2)
    return Fit(b, inverse * square / (n - p), tau2, n - p)
