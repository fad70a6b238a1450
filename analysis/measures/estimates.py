"""Measures a claim on runs and predictions: one number with its 95 % interval.

Reads results and hands arrays to `inference`, which says how noise is counted. All errors are fractions here; units of the
paper are applied in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.measures.inference import (
    LAB_GAIN_NETS,
    LAB_GAINS,
    Estimate,
    Moments,
    Spread,
    fewest,
    image_noise,
    lab_spread,
    moments,
    of_classes,
    of_moments,
    split_gap_of,
    with_interval,
    with_remark,
)
from analysis.results.evidence import COPIES, Results
from analysis.stats import intervals

DEAD = 0.9  # a run is dead above this share of the error of guessing: 81 % among ten classes, 89.9 % among a thousand


class NoEstimate(Exception):
    """The results do not hold what is needed; the message says what is missing."""


def failed(results: Results, study: str) -> set[tuple[str, int]]:
    """Runs (experiment, seed) that failed to train: diverged, or a top-1 error above `DEAD` times that of guessing on some split."""
    chance = results.studies[study].chance if study in results.studies else math.nan
    table = results.evals[results.evals["study"] == study]
    dead = table[table["top1_error"].astype(float) > DEAD * chance]
    diverged = {key[1:] for key in results.diverged if key[0] == study}
    return diverged | set(zip(dead["experiment"], dead["seed"].astype(int), strict=True))


def untrained(results: Results, study: str) -> set[str]:
    """Experiments of which every evaluated run failed to train."""
    dead, table = failed(results, study), results.evals[results.evals["study"] == study]
    alive = {run for run in zip(table["experiment"], table["seed"].astype(int), strict=True) if run not in dead}
    return {name for name, _ in dead} - {name for name, _ in alive}


def blocks(results: Results, study: str, nets: Sequence[str]) -> tuple[set[int], set[int]]:
    """The seeds that a study lists for all of its `nets`, and those of them with a run that failed to train."""
    found = results.studies[study].experiments
    lists = [set(found[name]["seeds"]) for name in nets if found.get(name, {}).get("seeds")]
    registered = set.intersection(*lists) if lists else set()
    return registered, registered & {seed for name, seed in failed(results, study) if name in nets}


def settled(results: Results, study: str, estimate: Estimate, nets: Sequence[str], race: bool = False) -> Estimate:
    """The estimate with what is to be said of runs that failed; it carries no word with too few runs, or fewer than planned."""
    dead = failed(results, study)
    said, stuck = [], False
    for name in dict.fromkeys(filter(None, nets)):
        evaluated = results.evals[(results.evals["study"] == study) & (results.evals["experiment"] == name)]
        runs = {key[2] for key in (*results.runs, *results.diverged) if key[:2] == (study, name)} | set(
            evaluated["seed"]
        )
        count, all_of = sum(of == name for of, _ in dead), len(runs)
        if count:
            left = "the number is of the others" if count < all_of else "that shows no effect"
            said.append(f"{count} of {all_of} runs of {name} failed to train: {left}")
            stuck = stuck or count == all_of
    registered, lost = blocks(results, study, nets)
    copied = results.form(study, results.studies[study].training_set) in COPIES
    least = fewest(results.studies[study].tier, race or copied)
    wanted = max(least, len(registered - lost))
    few = estimate.fewest < wanted
    stuck = stuck or not (estimate.conclusive or estimate.fewest < 2)  # more runs would not change that
    if few:
        unit = "pairs of seeds" if estimate.paired else "seeds of each net" if estimate.baseline_seeds else "seeds"
        why = "the fewest" if wanted == least else "planned, and no number is looked at before"
        said.append(f"too few {unit} for a verdict: {estimate.fewest}, where {wanted} are {why}")
    conclusive = estimate.conclusive and not few and not stuck
    told = with_remark(estimate, "; ".join(said), first=True)
    told = replace(told, registered=len(registered), died=len(lost))
    return replace(told, conclusive=conclusive, few=wanted if few and not stuck else 0)


def _borrowed(results: Results, study: str, spread: Spread | None) -> Spread | None:
    """The spread, where the study may borrow it: at paper scale on ImageNet, whose nets are those of the logs."""
    found = results.studies[study]
    return spread if found.tier == "paper" and found.training_set.startswith("ilsvrc") else None


def images(
    results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str
) -> pd.DataFrame:
    """Errors by image of the runs that trained; of all where none did.

    Raises:
        NoEstimate: there is no evaluation.
    """
    table = results.errors_by_image(study, experiment, set_, split, view, metric)
    if table.empty:
        raise NoEstimate(f"{experiment} has no evaluation on {set_}/{split} yet")
    dead = failed(results, study)
    alive = [seed for seed in table.columns if (experiment, int(seed)) not in dead]
    return table[alive or list(table.columns)]


def compared(ours: pd.DataFrame, base: pd.DataFrame) -> tuple[Moments, bool]:
    """Moments of two nets on the images that both saw: of pairs of seeds where there are any, and whether there are."""
    shared = ours.index.intersection(base.index)
    ours, base = ours.loc[shared], base.loc[shared]
    if pairs := [seed for seed in ours.columns if seed in base.columns]:
        return moments((ours[pairs] - base[pairs]).to_numpy(float)), True
    return moments(ours.to_numpy(float), base.to_numpy(float)), False


def gains_by_class(ours: pd.DataFrame, base: pd.DataFrame, classes: pd.Series) -> pd.Series:
    """Error of one net minus that of the other in each class, in pairs of seeds where there are any."""
    pairs = [seed for seed in ours.columns if seed in base.columns]
    means = [(side[pairs] if pairs else side).mean(axis=1) for side in (ours, base)]
    gains: pd.Series = (means[0] - means[1]).dropna().groupby(classes).mean()
    return gains


def difference(
    results: Results, study: str, experiment: str, baseline: str, set_: str, split: str, view: str, metric: str
) -> Estimate:
    """Error of `experiment` minus error of `baseline` on the same images (module docstring).

    Raises:
        NoEstimate: one of the two has no evaluation, or they share no image.
    """
    ours, base = (images(results, study, name, set_, split, view, metric) for name in (experiment, baseline))
    if ours.index.intersection(base.index).empty:
        raise NoEstimate(f"{experiment} and {baseline} were evaluated on different images of {set_}/{split}")
    found, paired = compared(ours, base)
    spread = _borrowed(results, study, lab_spread(metric))
    if spread and paired:
        spread = Spread(math.sqrt(2) * spread.sd, spread.df)
    estimate = of_moments(found, 0.0, spread, paired)
    if (classes := results.classes_by_image(study, set_, split, ours.index)) is not None:
        estimate = of_classes(estimate, gains_by_class(ours, base, classes))
    if estimate.seeds == 1 and ours.shape[1] == base.shape[1] == 1:
        estimate = with_remark(estimate, _these_two(ours.iloc[:, 0], base.iloc[:, 0]))
    return settled(results, study, estimate, (experiment, baseline))


def _these_two(ours: pd.Series, base: pd.Series) -> str:
    """What the images that both saw say alone about two sets of weights, where errors are 0 or 1."""
    both = pd.concat([ours, base], axis=1, join="inner").to_numpy(float)
    p = intervals.mcnemar(*both.T) if np.isin(both, (0, 1)).all() else None
    return "" if p is None else f"of these two nets, on these images alone: McNemar's mid-p = {p:.2g}"


def error(results: Results, study: str, experiment: str, set_: str, split: str, view: str, metric: str) -> Estimate:
    """Mean error of one experiment over seeds. One seed, and none to borrow: the interval covers the images only."""
    found = moments(images(results, study, experiment, set_, split, view, metric).to_numpy(float))
    estimate = of_moments(found, None, _borrowed(results, study, lab_spread(metric)))
    if not estimate.conclusive:
        estimate = with_interval(replace(estimate, conclusive=True), (image_noise(found),))
        estimate = replace(estimate, remark="one seed: the interval covers the images only")
    elif estimate.seeds < 3 and "members" in results.studies[study].experiments.get(experiment, {}):
        average = "an average of nets varies less than one net, so this is too wide rather than too narrow"
        estimate = with_remark(estimate, average)
    return settled(results, study, estimate, (experiment,))


def view_gain(results: Results, study: str, experiment: str, set_: str, split: str, metric: str) -> Estimate:
    """Error of the centre view minus error of ten views, for the same nets on the same images."""
    one, ten = (images(results, study, experiment, set_, split, view, metric) for view in ("center", "ten"))
    both = (one - ten).dropna(how="all", axis=1).dropna()
    if both.empty:
        raise NoEstimate(f"{experiment} has no evaluation with one and ten views on {set_}/{split} yet")
    known = Spread(LAB_GAINS[metric], LAB_GAIN_NETS - 1) if metric in LAB_GAINS else None
    estimate = of_moments(moments(both.to_numpy(float)), 0.0, _borrowed(results, study, known))
    if (classes := results.classes_by_image(study, set_, split, both.index)) is not None:
        estimate = of_classes(estimate, both.mean(axis=1).groupby(classes).mean())
    return settled(results, study, estimate, (experiment,))


def split_gap(results: Results, study: str, experiment: str, set_: str, view: str, metric: str) -> Estimate:
    """Absolute difference of the errors on the validation and the test split of one set (different images).

    The same nets see both splits, so the luck of a run cancels; what is left is the choice of the images.
    """
    sides = []
    for split in ("val", "test"):
        table = images(results, study, experiment, set_, split, view, metric).to_numpy(float)
        averaged = table.mean(axis=1)
        if len(averaged) < 2:
            raise NoEstimate(f"{experiment} was evaluated on one image of {set_}/{split}")
        sides.append((float(averaged.mean()), float(averaged.var(ddof=1)), len(averaged), table.shape[1]))
    estimate = split_gap_of([side[:3] for side in sides], sides[1][3])
    return settled(results, study, estimate, (experiment,))


def curves(results: Results, study: str, experiment: str) -> dict[int, pd.DataFrame]:
    """Epoch tables of the runs that trained; of all where none did.

    Raises:
        NoEstimate: there is no finished run.
    """
    found = results.curves(study, experiment)
    if not found:
        raise NoEstimate(f"{experiment} has no finished run yet")
    dead = failed(results, study)
    return {seed: curve for seed, curve in found.items() if (experiment, seed) not in dead} or found
