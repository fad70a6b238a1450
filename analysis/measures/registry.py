"""The one table of measures on runs and finished nets: name, function, words, page of the report.

A claim names its measure under `how`. Measures of layer tables and of manifests, which need no run, stand in `arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from analysis.measures import convergence, estimates, examinations, kernels, races, ranking, towers
from analysis.measures.estimates import NoEstimate
from analysis.measures.inference import Estimate
from analysis.results.evidence import Results, Study

Page = tuple[str, str]  # anchor and title
ABLATIONS, TABLES = ("ablations", "Ablations and training"), ("tables-1-and-2", "Tables 1 and 2")
RACES, INSIDE = ("relu-vs-tanh", "ReLU against tanh"), ("inside-the-net", "Inside the net")


@dataclass(frozen=True)
class Asked:
    """What is asked of a study's results: which nets, by which metric, on which images, in which view."""

    results: Results
    study: Study
    experiment: str  # several, with spaces between, for `rank` and `each`
    baseline: str
    metric: str
    dataset: str
    split: str
    view: str

    @property
    def nets(self) -> tuple[Results, str, str, str]:
        """Results, study and both nets, as most measures take them."""
        return self.results, self.study.name, self.experiment, self.baseline

    @property
    def net(self) -> tuple[Results, str, str]:
        return self.nets[:3]

    @property
    def images(self) -> tuple[str, str, str, str]:
        return self.dataset, self.split, self.view, self.metric


@dataclass(frozen=True)
class Measure:
    """One way to make a number of results."""

    about: str  # in words, with the claim's `experiment`, `baseline` and `metric`
    estimate: Callable[[Asked], Estimate]
    page: Page
    compared: bool = True  # whether it needs a baseline
    effect: bool = True  # whether a claim about it is one of the family of tests
    null: float | None = 0.0  # the value that means "no effect"
    training_set: bool = False  # it is read on the study's training set, whatever the claim's data
    examined: bool = False  # it is read in examinations of finished nets (`python -m alexnet examine`)

    def __call__(self, asked: Asked) -> Estimate:
        """The number with its interval; shares and errors are fractions.

        Raises:
            NoEstimate: the results do not hold what is needed.
        """
        found = self.estimate(asked)
        nets = (asked.experiment, asked.baseline)
        return estimates.settled(asked.results, asked.study.name, found, nets) if self.examined else found


def _ratio(asked: Asked) -> Estimate:
    if asked.experiment in asked.study.races:
        return races.ratio(asked.results, asked.study, asked.experiment, asked.baseline)
    return convergence.ratio(*asked.nets, asked.metric)


def _smallest(asked: Asked, pairs: list[tuple[str, str]]) -> Estimate:
    return ranking.smallest(asked.results, asked.study.name, pairs, *asked.images)


def _inside(about: str, estimate: Callable[[Asked], Estimate], two: bool = False) -> Measure:
    """A measure on examinations; `two`: of two nets, one of the family of tests."""
    return Measure(about, estimate, INSIDE, compared=two, effect=two, training_set=True, examined=True)


MEASURES: dict[str, Measure] = {
    "value": Measure(
        "{metric} of {experiment}", lambda a: estimates.error(*a.net, *a.images), TABLES, compared=False, effect=False, null=None,
    ),
    "difference": Measure(
        "error of {experiment} minus error of {baseline}, on the same images",
        lambda a: estimates.difference(*a.nets, *a.images), ABLATIONS,
    ),
    "view_gain": Measure(
        "error of the centre view minus error of ten views, {experiment}",
        lambda a: estimates.view_gain(*a.net, a.dataset, a.split, a.metric), ABLATIONS, compared=False,
    ),
    "split_gap": Measure(
        "absolute difference of the errors on two splits, {experiment}",
        lambda a: estimates.split_gap(*a.net, a.dataset, a.view, a.metric), ABLATIONS, compared=False, effect=False, null=None,
    ),
    "ratio": Measure("epochs of {experiment} over epochs of {baseline}", _ratio, RACES, null=1.0, training_set=True),
    "rank": Measure(
        "smallest step of the error in the order {experiment}",
        lambda a: _smallest(a, [*pairwise(a.experiment.split())]), ABLATIONS,
    ),
    "each": Measure(
        "smallest error among {experiment}, each without one part, minus error of {baseline}",
        lambda a: _smallest(a, [(net, a.baseline) for net in a.experiment.split()]), ABLATIONS,
    ),
    "generalization_gap": _inside(
        "validation minus training error of the finished net: {experiment} minus {baseline}",
        lambda a: examinations.generalization_gap(*a.nets), two=True,
    ),
    "sample_difference": _inside(
        "error of the finished net on training images: {experiment} minus {baseline}",
        lambda a: examinations.sample_difference(*a.nets), two=True,
    ),
    "tower_chroma": _inside(
        "share of coloured first kernels: one tower of {experiment} minus the other",
        lambda a: towers.difference_of_towers(kernels.tower_counts(*a.net)),
    ),
    "tower_chroma_runs": _inside(
        "share of the runs of {experiment} whose towers differ in colour",
        lambda a: towers.share_of_runs(kernels.tower_counts(*a.net)),
    ),
    "orientation_selectivity": _inside(
        "share of first kernels of {experiment} that are selective ({metric}), after minus before training",
        lambda a: kernels.selective_kernels(*a.net, a.metric),
    ),
    "retrieval_precision": _inside(
        "nearest neighbours of the same class: last hidden layer of {experiment} minus the best baseline",
        lambda a: examinations.retrieval(*a.net),
    ),
    "code_precision": _inside(
        "nearest neighbours of the same class: codes of 64 bits of {experiment} minus pixels",
        lambda a: examinations.codes(*a.net),
    ),
    "pixel_distance": _inside(
        "percentile rank in pixels of the nearest neighbours in the last hidden layer of {experiment}",
        lambda a: examinations.pixel_ranks(*a.net),
    ),
    "geometric_mean": _inside(
        "divergence of the halved {experiment} from the arithmetic mean of thinned nets minus that from the geometric mean",
        lambda a: examinations.halving(*a.net),
    ),
}  # fmt: skip
EXAMINED = tuple(name for name, measure in MEASURES.items() if measure.examined)


def measure(how: str, asked: Asked) -> Estimate:
    """The number that a study's results give.

    Raises:
        NoEstimate: they do not hold what is needed, or `how` is not measured on runs.
    """
    if how not in MEASURES:
        raise NoEstimate(f"{how!r} is not measured on runs")
    return MEASURES[how](asked)
