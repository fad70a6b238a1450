"""Turns runs and predictions into one number with its 95 % interval, for each way in which a claim is measured.

Reads results and hands arrays to `inference`, which says how noise is counted. All errors are fractions here; units of the
paper are applied in `verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.evidence import Results
from analysis.inference import (
    FEW,
    LAB_GAIN_NETS,
    LAB_GAINS,
    Estimate,
    Spread,
    image_noise,
    lab_spread,
    moments,
    of_ends,
    of_moments,
    split_gap_of,
    with_interval,
)
from analysis.stats import intervals
from analysis.stats.intervals import Noise


class NoEstimate(Exception):
    """The results do not hold what is needed; the message says what is missing."""


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


def _unless_dead(estimate: Estimate, dead: str) -> Estimate:
    """The estimate, or one that carries no verdict where a net never trained."""
    return replace(estimate, conclusive=False, remark=dead, noises=()) if dead else estimate


def _borrowed(results: Results, study: str, spread: Spread | None) -> Spread | None:
    """The spread, where the study may borrow it: at paper scale on ImageNet, whose nets are those of the logs."""
    found = results.studies[study]
    return spread if found.tier == "paper" and found.training_set.startswith("ilsvrc") else None


def _images(
    results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str
) -> pd.DataFrame:
    table = results.errors_by_image(study, experiment, set_, split, view, metric)
    if table.empty:
        raise NoEstimate(f"{experiment} has no evaluation on {set_}/{split} yet")
    return table


def _shared(ours: pd.DataFrame, base: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Errors of both nets on the images that both saw, in the same order."""
    if not ours.index.equals(base.index):
        shared = ours.index.intersection(base.index)
        ours, base = ours.loc[shared], base.loc[shared]
    return ours.to_numpy(float), base.to_numpy(float)


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
    ours, base = _shared(
        _images(results, study, experiment, set_, split, view, metric),
        _images(results, study, baseline, set_, split, view, metric),
    )
    if not len(ours):
        raise NoEstimate(f"{experiment} and {baseline} were evaluated on different images of {set_}/{split}")
    estimate = of_moments(moments(ours, base), 0.0, _borrowed(results, study, lab_spread(metric)))
    if ours.shape[1] == base.shape[1] == 1:
        these = _these_two(ours[:, 0], base[:, 0])
        estimate = replace(estimate, remark="; ".join(filter(None, [estimate.remark, these])))
    return _unless_dead(estimate, at_chance(results, study, {experiment, baseline}))


def _these_two(ours: np.ndarray, base: np.ndarray) -> str:
    """What the images alone say about two sets of weights, where errors are 0 or 1."""
    if not (np.isin(ours, (0, 1)).all() and np.isin(base, (0, 1)).all()):
        return ""
    p = intervals.mcnemar(ours, base)
    return f"of these two nets, on these images alone: McNemar's mid-p = {p:.2g}" if p is not None else ""


def error(
    results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str
) -> Estimate:
    """Mean error of one experiment over seeds. One seed, and none to borrow: the interval covers the images only."""
    table = _images(results, study, experiment, set_, split, view, metric).to_numpy(float)
    found = moments(table)
    estimate = of_moments(found, None, _borrowed(results, study, lab_spread(metric)))
    if not estimate.conclusive:
        estimate = with_interval(replace(estimate, conclusive=True), (image_noise(found),))
        estimate = replace(estimate, remark="one seed: the interval covers the images only")
    elif estimate.seeds < FEW and "members" in results.studies[study].experiments.get(experiment, {}):
        average = "an average of nets varies less than one net, so this is too wide rather than too narrow"
        estimate = replace(estimate, remark=f"{estimate.remark}; {average}")
    return estimate


def view_gain(results: Results, study: str, experiment: str, set_: str, split: str, metric: str) -> Estimate:
    """Error of the centre view minus error of ten views, for the same nets on the same images."""
    one = results.errors_by_image(study, experiment, set_, split, "center", metric)
    ten = results.errors_by_image(study, experiment, set_, split, "ten", metric)
    both = (one - ten).dropna(how="all", axis=1).dropna()
    if both.empty:
        raise NoEstimate(f"{experiment} has no evaluation with one and ten views on {set_}/{split} yet")
    known = Spread(LAB_GAINS[metric], LAB_GAIN_NETS - 1) if metric in LAB_GAINS else None
    estimate = of_moments(moments(both.to_numpy(float)), 0.0, _borrowed(results, study, known))
    return _unless_dead(estimate, at_chance(results, study, {experiment}))


def split_gap(results: Results, study: str, experiment: str, set_: str, view: str, metric: str) -> Estimate:
    """Absolute difference of the errors on the validation and the test split of one set (different images).

    The same nets see both splits, so the luck of a run cancels; what is left is the choice of the images.
    """
    sides = []
    for split in ("val", "test"):
        table = _images(results, study, experiment, set_, split, view, metric).to_numpy(float)
        averaged = table.mean(axis=1)
        if len(averaged) < 2:
            raise NoEstimate(f"{experiment} was evaluated on one image of {set_}/{split}")
        sides.append((float(averaged.mean()), float(averaged.var(ddof=1)), len(averaged), table.shape[1]))
    return split_gap_of([side[:3] for side in sides], sides[1][3])


def _last_gap(row: pd.Series) -> float:
    return float(row["validation_error"] - row["train_error"])


def _last_error(row: pd.Series) -> float:
    return float(row["train_error"])


def gap(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Validation minus running training error at the last epoch: experiment minus baseline, over seeds.

    The choice of the validation images enters where both nets have an evaluation of them (centre view); the training
    images are those of the claim, not a sample of more.
    """
    set_, view = results.studies[study].training_set, "center"
    tables = [
        results.errors_by_image(study, name, set_, "val", view, "top1_error")
        for name in (experiment, baseline)
    ]
    images = None
    if not any(table.empty for table in tables):
        pair = _shared(*tables)
        images = image_noise(moments(*pair)) if len(pair[0]) > 1 else None
    return _at_the_end(results, study, experiment, baseline, _last_gap, images)


def train_difference(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Running training error of the last epoch: experiment minus baseline, over seeds."""
    return _at_the_end(results, study, experiment, baseline, _last_error, None)


def _at_the_end(
    results: Results,
    study: str,
    experiment: str,
    baseline: str,
    read: Callable[[pd.Series], float],
    images: Noise | None,
) -> Estimate:
    """Difference of what `read` makes of the last epoch of each run."""
    values = []
    for name in (experiment, baseline):
        values.append(np.array([read(curve.iloc[-1]) for curve in results.curves(study, name).values()]))
        if not len(values[-1]):
            raise NoEstimate(f"{name} has no finished run yet")
    estimate = of_ends(values[0], values[1], images)
    return _unless_dead(estimate, at_chance(results, study, {experiment, baseline}))
