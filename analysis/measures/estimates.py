"""Measures a claim on runs and predictions: one number with its 95 % interval.

Reads results and hands arrays to `inference`, which says how noise is counted. All errors are fractions here; units of the
paper are applied in `verdicts`. Every measure takes what is `Asked`, and raises `NoEstimate` where the results do not hold it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.measures import inference
from analysis.measures.inference import Estimate, Moments, Spread
from analysis.results.evidence import COPIES, Results, Study
from analysis.stats import intervals

DEAD = 0.9  # a run is dead above this share of the error of guessing: 81 % among ten classes, 89.9 % among a thousand


class NoEstimate(Exception):
    """The results do not hold what is needed; the message says what is missing."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a study's results: which nets, on which images, in which view, by which metric."""

    results: Results
    study: str
    experiment: str  # several, with spaces between, for `rank` and `each`
    baseline: str = ""
    dataset: str = ""
    split: str = ""
    view: str = ""
    metric: str = ""

    @property
    def record(self) -> Study:
        return self.results.studies[self.study]

    @property
    def nets(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.experiment, self.baseline)))

    @property
    def where(self) -> str:
        return f"{self.dataset}/{self.split}"

    def each(self) -> list["Asked"]:
        """The same of each net by itself."""
        return [replace(self, experiment=net, baseline="") for net in self.nets]


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
    alive = set(zip(table["experiment"], table["seed"].astype(int), strict=True)) - dead
    return {name for name, _ in dead} - {name for name, _ in alive}


def blocks(results: Results, study: str, nets: Sequence[str]) -> tuple[set[int], set[int]]:
    """The seeds that a study lists for all of its `nets`, and those of them with a run that failed to train."""
    found = results.studies[study].experiments
    lists = [set(found[name]["seeds"]) for name in nets if found.get(name, {}).get("seeds")]
    registered = set.intersection(*lists) if lists else set()
    return registered, registered & {seed for name, seed in failed(results, study) if name in nets}


def awaited(study: Study, estimate: Estimate) -> tuple[int, int] | None:
    """Runs or pairs that are there and that the study's registered plan has, while it lacks some: nobody looks at a number before."""
    finished, planned = estimate.fewest + estimate.died, estimate.registered or estimate.few
    return (finished, planned) if study.plan and finished < planned else None


def settled(asked: Asked, estimate: Estimate, race: bool = False) -> Estimate:
    """The estimate with what is to be said of runs that failed; it carries no word with too few runs, or fewer than planned."""
    results, study = asked.results, asked.study
    dead = failed(results, study)
    said, stuck = [], False
    for name in dict.fromkeys(asked.nets):
        evaluated = results.evals[(results.evals["study"] == study) & (results.evals["experiment"] == name)]
        trained = {key[2] for key in (*results.runs, *results.diverged) if key[:2] == (study, name)}
        count, all_of = sum(of == name for of, _ in dead), len(trained | set(evaluated["seed"]))
        if count:
            left = "the number is of the others" if count < all_of else "that shows no effect"
            said.append(f"{count} of {all_of} runs of {name} failed to train: {left}")
            stuck = stuck or count == all_of
    registered, lost = blocks(results, study, asked.nets)
    copied = results.form(study, asked.record.training_set) in COPIES
    least = inference.fewest(asked.record.tier, race or copied)
    wanted = max(least, len(registered - lost))
    few = estimate.fewest < wanted
    stuck = stuck or not (estimate.conclusive or estimate.fewest < 2)  # more runs would not change that
    if few:
        unit = "pairs of seeds" if estimate.paired else "seeds of each net" if estimate.baseline_seeds else "seeds"
        why = "the fewest" if wanted == least else "planned, and no number is looked at before"
        said.append(f"too few {unit} for a verdict: {estimate.fewest}, where {wanted} are {why}")
    return replace(
        inference.with_remark(estimate, "; ".join(said), first=True),
        registered=len(registered),
        died=len(lost),
        conclusive=estimate.conclusive and not few and not stuck,
        few=wanted if few and not stuck else 0,
    )


def _borrowed(asked: Asked, spreads: Mapping[str, Spread]) -> Spread | None:
    """The spread of the metric, where the study may borrow it: at paper scale on ImageNet, whose nets are those of the logs."""
    study = asked.record
    return spreads.get(asked.metric) if study.tier == "paper" and study.training_set.startswith("ilsvrc") else None


def images(asked: Asked) -> pd.DataFrame:
    """Errors by image of the experiment's runs that trained; of all where none did."""
    place = asked.study, asked.experiment, asked.dataset, asked.split, asked.view, asked.metric
    table = asked.results.errors_by_image(*place)
    if table.empty:
        raise NoEstimate(f"{asked.experiment} has no evaluation on {asked.where} yet")
    dead = failed(asked.results, asked.study)
    alive = [seed for seed in table.columns if (asked.experiment, int(seed)) not in dead]
    return table[alive or list(table.columns)]


def compared(ours: pd.DataFrame, base: pd.DataFrame) -> tuple[Moments, bool]:
    """Moments of two nets on the images that both saw: of pairs of seeds where there are any, and whether there are."""
    shared = ours.index.intersection(base.index)
    ours, base = ours.loc[shared], base.loc[shared]
    if pairs := [seed for seed in ours.columns if seed in base.columns]:
        return inference.moments((ours[pairs] - base[pairs]).to_numpy(float)), True
    return inference.moments(ours.to_numpy(float), base.to_numpy(float)), False


def gains_by_class(ours: pd.DataFrame, base: pd.DataFrame, classes: pd.Series) -> pd.Series:
    """Error of one net minus that of the other in each class, in pairs of seeds where there are any."""
    pairs = [seed for seed in ours.columns if seed in base.columns]
    means = [(side[pairs] if pairs else side).mean(axis=1) for side in (ours, base)]
    gains: pd.Series = (means[0] - means[1]).dropna().groupby(classes).mean()
    return gains


def _with_classes(asked: Asked, estimate: Estimate, ours: pd.DataFrame, base: pd.DataFrame) -> Estimate:
    """The estimate with its second interval (`inference.of_classes`), where the classes of the images are known."""
    classes = asked.results.classes_by_image(asked.study, asked.dataset, asked.split, ours.index)
    return estimate if classes is None else inference.of_classes(estimate, gains_by_class(ours, base, classes))


def difference(asked: Asked) -> Estimate:
    """Error of the experiment minus error of the baseline on the same images."""
    ours, base = map(images, asked.each())
    if ours.index.intersection(base.index).empty:
        raise NoEstimate(f"{' and '.join(asked.nets)} were evaluated on different images of {asked.where}")
    found, paired = compared(ours, base)
    spread = _borrowed(asked, inference.LAB_SPREADS)
    if spread and paired:
        spread = Spread(math.sqrt(2) * spread.sd, spread.df)
    estimate = _with_classes(asked, inference.of_moments(found, 0.0, spread, paired), ours, base)
    if estimate.seeds == 1 and ours.shape[1] == base.shape[1] == 1:
        estimate = inference.with_remark(estimate, _these_two(ours.iloc[:, 0], base.iloc[:, 0]))
    return settled(asked, estimate)


def in_order(asked: Asked) -> Estimate:
    """Smallest step of the error from each net to the next."""
    return _smallest(asked, pairwise(asked.experiment.split()))


def each(asked: Asked) -> Estimate:
    """Smallest error of the nets minus that of the baseline."""
    return _smallest(asked, ((net, asked.baseline) for net in asked.experiment.split()))


def _smallest(asked: Asked, pairs: Iterable[tuple[str, str]]) -> Estimate:
    """Smallest difference of the error among `pairs` of nets; above zero: the first of each pair is the worse one.

    Both lower ends are the lowest of all pairs, so that the claim counts as shown only where it is for every pair (an
    intersection-union test: no adjustment is needed). The upper ends are the lowest upper ends: the claim counts as
    contradicted where one pair contradicts it, with the chance of error of that many tests, which the remark names.
    """
    asks = [replace(asked, experiment=first, baseline=second) for first, second in pairs]
    found = [difference(one) for one in asks]
    least = min(range(len(found)), key=lambda i: found[i].value)
    stuck = [one for one in found if not one.conclusive]
    spans = [found[least]] if stuck else found
    classes = [one.over_classes for one in spans if one.over_classes]
    fewest = min(one.fewest for one in found)
    remark = f"smallest of {len(found)} differences: {' minus '.join(asks[least].nets)}"
    return Estimate(
        found[least].value,
        min(one.low for one in spans),
        min(one.high for one in spans),
        fewest,
        images=found[least].images,
        null=0.0,
        conclusive=not stuck,
        few=max(one.few for one in found),
        registered=max(one.registered for one in found),
        died=min(one.fewest + one.died for one in found) - fewest,
        inner=(min(one.inside[0] for one in spans), min(one.inside[1] for one in spans)),
        paired=all(one.paired for one in found),
        over_classes=tuple(map(min, zip(*classes, strict=True))) if len(classes) == len(spans) else None,
        remark="; ".join([*(one.remark for one in stuck[:1]), remark]),
    )


def _these_two(ours: pd.Series, base: pd.Series) -> str:
    """What the images that both saw say alone about two sets of weights, where errors are 0 or 1."""
    both = pd.concat([ours, base], axis=1, join="inner").to_numpy(float)
    p = intervals.mcnemar(*both.T) if np.isin(both, (0, 1)).all() else None
    return "" if p is None else f"of these two nets, on these images alone: McNemar's mid-p = {p:.2g}"


def error(asked: Asked) -> Estimate:
    """Mean error of one experiment over seeds. One seed, and none to borrow: the interval covers the images only."""
    found = inference.moments(images(asked).to_numpy(float))
    estimate = inference.of_moments(found, None, _borrowed(asked, inference.LAB_SPREADS))
    if not estimate.conclusive:
        estimate = inference.with_interval(replace(estimate, conclusive=True), (inference.image_noise(found),))
        estimate = replace(estimate, remark="one seed: the interval covers the images only")
    elif estimate.seeds < 3 and "members" in asked.record.experiments.get(asked.experiment, {}):
        average = "an average of nets varies less than one net, so this is too wide rather than too narrow"
        estimate = inference.with_remark(estimate, average)
    return settled(asked, estimate)


def view_gain(asked: Asked) -> Estimate:
    """Error of the centre view minus error of ten views, for the same nets on the same images."""
    one, ten = (images(replace(asked, view=view)) for view in ("center", "ten"))
    both = (one - ten).dropna(how="all", axis=1).dropna()
    if both.empty:
        raise NoEstimate(f"{asked.experiment} has no evaluation with one and ten views on {asked.where} yet")
    borrowed = _borrowed(asked, inference.LAB_GAINS)
    estimate = inference.of_moments(inference.moments(both.to_numpy(float)), 0.0, borrowed)
    return settled(asked, _with_classes(asked, estimate, one, ten))


def split_gap(asked: Asked) -> Estimate:
    """Absolute difference of the errors on the validation and the test split of one set (different images).

    The same nets see both splits, so the luck of a run cancels; what is left is the choice of the images.
    """
    sides = []
    for split in ("val", "test"):
        sides.append(inference.moments(images(replace(asked, split=split)).to_numpy(float)))
        if sides[-1].images < 2:
            raise NoEstimate(f"{asked.experiment} was evaluated on one image of {asked.dataset}/{split}")
    return settled(asked, inference.split_gap_of(*sides))


def curves(results: Results, study: str, experiment: str) -> dict[int, pd.DataFrame]:
    """Epoch tables of the runs that trained; of all where none did."""
    found = results.curves(study, experiment)
    if not found:
        raise NoEstimate(f"{experiment} has no finished run yet")
    dead = failed(results, study)
    return {seed: curve for seed, curve in found.items() if (experiment, seed) not in dead} or found
