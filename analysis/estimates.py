"""Turns runs and predictions into one number with its 95 % interval, for each way in which a claim is measured.

Difference of two nets on the same images. With s the standard deviation between seeds, pooled within the
experiments of a study that have at least two seeds (df = sum(n_i - 1); other recipes, and one of which a run never left
chance, are left out unless compared), and d_j the difference of the two nets'
errors on image j, each averaged over seeds:

    variance = s^2 (1/n_experiment + 1/n_baseline) + Var_j(d_j) / n_images

Both terms enter a Student t interval with Welch-Satterthwaite degrees of freedom. It is conservative: the spread
over images of d_j contains part of the seed noise, which is thus counted twice.

All errors are fractions here; units of the paper are applied in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes ten times as long to import

from analysis.evidence import Results

CONFIDENCE = 0.95
ASSUMED_SEED_SD = (
    0.0015  # of an error rate; spread of near-identical nets in the authors' logs (#169-#171, #175)
)


class NoEstimate(Exception):
    """The results do not hold what is needed; the message says what is missing."""


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
    p: float | None = None  # two-sided, for `null`
    bound: str = ""  # ">=" or "<=": censored runs, the number is a bound
    conclusive: bool = True  # False: the data cannot carry a verdict, `remark` says why
    remark: str = ""


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds, with its degrees of freedom; df 0: no experiment has two seeds."""

    sd: float
    df: int


def pooled(groups: list[list[float]]) -> Spread:
    """Standard deviation within groups, pooled; groups of one value carry nothing."""
    squares, df = 0.0, 0
    for values in groups:
        if len(values) >= 2:
            squares += float(np.var(values, ddof=1)) * (len(values) - 1)
            df += len(values) - 1
    return Spread(math.sqrt(squares / df) if df else math.nan, df)


def half_width(error: float, df: float) -> float:
    """Half of the confidence interval of a mean with this standard error."""
    return float(stdtrit(df, 0.5 + CONFIDENCE / 2)) * error


def two_sided(t: float, df: float) -> float:
    """Two-sided p-value of Student's t."""
    return 2 * float(stdtr(df, -abs(t)))


def interval(
    value: float, parts: list[tuple[float, float]], null: float | None
) -> tuple[float, float, float | None]:
    """Student t interval around `value` and the p-value of `null`.

    `parts` are independent (variance, degrees of freedom); their sum has Welch-Satterthwaite degrees of freedom.
    """
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return value, value, None  # no spread was seen; that is no certainty
    df = variance**2 / sum(part**2 / free for part, free in parts if free > 0)
    error = math.sqrt(variance)
    p = None if null is None else two_sided((value - null) / error, df)
    return value - half_width(error, df), value + half_width(error, df), p


def untrained(results: Results, study: str) -> set[str]:
    """Experiments with a run at chance: a top-1 error above 0.95 (1 - 1/classes) on some split."""
    classes = results.studies[study].record.get("classes") if study in results.studies else None
    if not classes:
        return set()
    chance = 1 - 1 / classes
    table = results.evals[results.evals["study"] == study]
    return set(table.loc[table["top1_error"].astype(float) > 0.95 * chance, "experiment"])


def at_chance(results: Results, study: str, compared: set[str]) -> str:
    """Why a comparison shows nothing: one of the nets never trained; else nothing."""
    names = " and of ".join(sorted(untrained(results, study) & compared))
    return f"a run of {names} never left chance: that shows a failed training, no effect" if names else ""


def not_pooled(results: Results, study: str, compared: set[str]) -> set[str]:
    """Experiments whose spread between seeds says nothing about that of others, unless they are `compared`.

    Those with a run that never left chance; and other recipes, which are other nets, and averages of nets.
    """
    known = results.studies[study].experiments if study in results.studies else {}
    others = {name for name, about in known.items() if about["kind"] == "recipe" or "members" in about}
    return (untrained(results, study) | others) - compared


def seed_spread(
    results: Results, study: str, set_: str, split: str, view: str, metric: str, compared: set[str]
) -> Spread:
    """Spread of an error between seeds, pooled over the experiments of a study.

    Some experiments stay out of the pool, see `not_pooled`.
    """
    table = results.evals
    mask = (
        (table["study"] == study)
        & (table["set"] == set_)
        & (table["split"] == split)
        & (table["view"] == view)
    )
    left_out = not_pooled(results, study, compared)
    groups = table[mask & ~table["experiment"].isin(left_out)].groupby("experiment")
    return pooled([list(group[metric].astype(float)) for _, group in groups])


def _images(
    results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str
) -> pd.DataFrame:
    table = results.errors_by_image(study, experiment, set_, split, view, metric)
    if table.empty:
        raise NoEstimate(f"{experiment} has no evaluation on {set_}/{split} yet")
    return table


def _of_the_mean(differences: pd.Series) -> tuple[float, float]:
    n = len(differences)
    return (float(differences.var(ddof=1)) / n, n - 1) if n > 1 else (0.0, 0)


ONE_SEED = (
    "one seed cannot show whether the difference is more than the luck of a run; add seeds to the study"
)


def difference(
    results: Results,
    study: str,
    experiment: str,
    baseline: str,
    set_: str,
    split: str,
    view: str,
    metric: str,
) -> Estimate:
    """Error of `experiment` minus error of `baseline` on the same images (module docstring).

    Raises:
        NoEstimate: one of the two has no evaluation, or they share no image.
    """
    ours = _images(results, study, experiment, set_, split, view, metric)
    base = _images(results, study, baseline, set_, split, view, metric)
    paired = (ours.mean(axis=1) - base.mean(axis=1)).dropna()
    if paired.empty:
        raise NoEstimate(f"{experiment} and {baseline} were evaluated on different images of {set_}/{split}")
    spread = seed_spread(results, study, set_, split, view, metric, {experiment, baseline})
    n_ours, n_base = ours.shape[1], base.shape[1]
    value = float(paired.mean())
    if not spread.df:  # an interval over images alone would claim too much
        n = len(paired)
        return Estimate(value, math.nan, math.nan, n_ours, n_base, n, 0.0, conclusive=False, remark=ONE_SEED)
    seed_part = spread.sd**2 * (1 / n_ours + 1 / n_base)
    low, high, p = interval(value, [(seed_part, spread.df), _of_the_mean(paired)], 0.0)
    estimate = _unless_flat(Estimate(value, low, high, n_ours, n_base, len(paired), 0.0, p))
    return _unless_dead(estimate, at_chance(results, study, {experiment, baseline}))


def _unless_flat(estimate: Estimate) -> Estimate:
    """The estimate, or one that carries no verdict where nothing varied, so that no interval can be drawn."""
    if estimate.p is not None:
        return estimate
    return replace(estimate, conclusive=False, remark="nothing varied between seeds or images: no interval")


def _unless_dead(estimate: Estimate, dead: str) -> Estimate:
    """The estimate, or one that carries no verdict where a net never trained."""
    return replace(estimate, p=None, conclusive=False, remark=dead) if dead else estimate


def error(
    results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str, assume: bool
) -> Estimate:
    """Mean error of one experiment over seeds; `assume`: take the lab's seed spread where ours is unknown."""
    table = _images(results, study, experiment, set_, split, view, metric)
    spread = seed_spread(results, study, set_, split, view, metric, {experiment})
    images, seeds = table.mean(axis=1), table.shape[1]
    parts, remark = [_of_the_mean(images)], ""
    if spread.df:
        parts.append((spread.sd**2 / seeds, spread.df))
    elif assume:
        parts.append((ASSUMED_SEED_SD**2, 1e6))
        remark = f"one seed: a spread of {100 * ASSUMED_SEED_SD:.2f} points between seeds is assumed from the lab's logs"
    else:
        remark = "one seed: the interval covers the images only"
    low, high, _ = interval(float(images.mean()), parts, None)
    return Estimate(float(images.mean()), low, high, seeds, images=len(images), remark=remark)


def view_gain(results: Results, study: str, experiment: str, set_: str, split: str, metric: str) -> Estimate:
    """Error of the centre view minus error of ten views, for the same nets on the same images."""
    gains: dict[str, pd.DataFrame] = {}
    for name in sorted(set(results.evals.loc[results.evals["study"] == study, "experiment"])):
        one = results.errors_by_image(study, name, set_, split, "center", metric)
        ten = results.errors_by_image(study, name, set_, split, "ten", metric)
        both = (one - ten).dropna(how="all", axis=1).dropna()
        if not both.empty:
            gains[name] = both
    if experiment not in gains:
        raise NoEstimate(f"{experiment} has no evaluation with one and ten views on {set_}/{split} yet")
    table = gains[experiment]
    left_out = not_pooled(results, study, {experiment})
    spread = pooled([list(gain.mean(axis=0)) for name, gain in gains.items() if name not in left_out])
    images, seeds = table.mean(axis=1), table.shape[1]
    parts = [_of_the_mean(images)]
    remark = ""
    if spread.df:
        parts.append((spread.sd**2 / seeds, spread.df))
    else:
        remark = "one seed: the interval covers the images only"
    low, high, p = interval(float(images.mean()), parts, 0.0)
    estimate = Estimate(float(images.mean()), low, high, seeds, 0, len(images), 0.0, p, remark=remark)
    estimate = _unless_flat(estimate)
    if not spread.df:
        estimate = replace(estimate, p=None, conclusive=False, remark=f"{ONE_SEED}; {remark}")
    return _unless_dead(estimate, at_chance(results, study, {experiment}))


def split_gap(results: Results, study: str, experiment: str, set_: str, view: str, metric: str) -> Estimate:
    """Absolute difference of the errors on the validation and the test split of one set (different images)."""
    val = _images(results, study, experiment, set_, "val", view, metric).mean(axis=1)
    test = _images(results, study, experiment, set_, "test", view, metric).mean(axis=1)
    value = float(val.mean() - test.mean())
    low, high, _ = interval(value, [_of_the_mean(val), _of_the_mean(test)], None)
    if low <= 0 <= high:
        low, high = 0.0, max(-low, high)
    elif value < 0:
        low, high = -high, -low
    seeds = results.chosen(study, experiment, set_, "test", view).shape[0]
    remark = "the interval covers the images of both splits"
    return Estimate(abs(value), low, high, seeds, images=len(val) + len(test), remark=remark)


def _last_gap(row: pd.Series) -> float:
    return float(row["validation_error"] - row["train_error"])


def _last_error(row: pd.Series) -> float:
    return float(row["train_error"])


def gap(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Validation minus running training error at the last epoch: experiment minus baseline, over seeds."""
    return _at_the_end(results, study, experiment, baseline, _last_gap)


def train_difference(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Running training error of the last epoch: experiment minus baseline, over seeds."""
    return _at_the_end(results, study, experiment, baseline, _last_error)


def _at_the_end(
    results: Results, study: str, experiment: str, baseline: str, read: Callable[[pd.Series], float]
) -> Estimate:
    """Difference of what `read` makes of the last epoch of each run."""
    names = sorted(set(results.metrics.loc[results.metrics["study"] == study, "experiment"]))
    values = {
        name: [read(curve.iloc[-1]) for curve in results.curves(study, name).values()] for name in names
    }
    for name in (experiment, baseline):
        if not values.get(name):
            raise NoEstimate(f"{name} has no finished run yet")
    left_out = not_pooled(results, study, {experiment, baseline})
    spread = pooled([group for name, group in values.items() if name not in left_out])
    n_ours, n_base = len(values[experiment]), len(values[baseline])
    value = float(np.mean(values[experiment]) - np.mean(values[baseline]))
    if not spread.df:
        return Estimate(
            value, math.nan, math.nan, n_ours, n_base, null=0.0, conclusive=False, remark=ONE_SEED
        )
    parts: list[tuple[float, float]] = [(spread.sd**2 * (1 / n_ours + 1 / n_base), spread.df)]
    low, high, p = interval(value, parts, 0.0)
    remark = "the interval covers seeds only; all runs share their images"
    estimate = _unless_flat(Estimate(value, low, high, n_ours, n_base, null=0.0, p=p, remark=remark))
    return _unless_dead(estimate, at_chance(results, study, {experiment, baseline}))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted by Holm's step-down method; None stays None and does not count."""
    tested = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = running
    return adjusted
