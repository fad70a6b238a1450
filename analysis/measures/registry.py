"""The one table of measures on runs and finished nets: name, function, words, page of the report.

A claim names its measure under `how`. Measures of layer tables and of manifests, which need no run, stand in `arithmetic`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.measures import convergence, estimates, examinations, kernels, races, towers
from analysis.measures.estimates import Asked, NoEstimate
from analysis.measures.inference import Estimate

Page = tuple[str, str]  # anchor and title
ABLATIONS, TABLES = ("ablations", "Ablations and training"), ("tables-1-and-2", "Tables 1 and 2")
RACES, INSIDE = ("relu-vs-tanh", "ReLU against tanh"), ("inside-the-net", "Inside the net")


@dataclass(frozen=True)
class Measure:
    """One way to make a number of results."""

    about: str  # in words, with the claim's `experiment`, `baseline` and `metric`
    estimate: Callable[[Asked], Estimate]
    page: Page
    reads: tuple[str, ...] = ("top1_error", "top5_error")  # what a claim's `metric` may begin with
    compared: bool = True  # whether it needs a baseline
    effect: bool = True  # whether a claim about it is one of the family of tests
    null: float | None = 0.0  # the value that means "no effect"
    training_set: bool = False  # it is read on the study's training set, whatever the claim's data
    examined: bool = False  # it is read in examinations of finished nets (`python -m alexnet examine`)

    def __call__(self, asked: Asked) -> Estimate:
        """The number with its interval; shares and errors are fractions."""
        found = self.estimate(asked)
        return estimates.settled(asked, found) if self.examined else found


def _ratio(asked: Asked) -> Estimate:
    raced = asked.experiment in asked.record.races
    return races.ratio(asked.results, asked.record, *asked.nets) if raced else convergence.ratio(asked)


def _inside(about: str, estimate: Callable[[Asked], Estimate], *reads: str, two: bool = False) -> Measure:
    """A measure on examinations; `two`: of two nets, one of the family of tests."""
    return Measure(about, estimate, INSIDE, reads, compared=two, effect=two, training_set=True, examined=True)


MEASURES: dict[str, Measure] = {
    "value": Measure("{metric} of {experiment}", estimates.error, TABLES, compared=False, effect=False, null=None),
    "difference": Measure("error of {experiment} minus error of {baseline}, on the same images", estimates.difference, ABLATIONS),
    "view_gain": Measure("error of the centre view minus error of ten views, {experiment}", estimates.view_gain, ABLATIONS, compared=False),
    "split_gap": Measure("absolute difference of the errors on two splits, {experiment}", estimates.split_gap, ABLATIONS, compared=False, effect=False, null=None),
    "ratio": Measure("epochs of {experiment} over epochs of {baseline}", _ratio, RACES, ("train_error", "validation_loss"), null=1.0, training_set=True),
    "rank": Measure("smallest step of the error in the order {experiment}", estimates.in_order, ABLATIONS),
    "each": Measure("smallest error among {experiment}, each without one part, minus error of {baseline}", estimates.each, ABLATIONS),
    "generalization_gap": _inside("validation minus training error of the finished net: {experiment} minus {baseline}", examinations.generalization_gap, "error_gap", two=True),
    "sample_difference": _inside("error of the finished net on training images: {experiment} minus {baseline}", examinations.sample_difference, "train_error", two=True),
    "tower_chroma": _inside("share of coloured first kernels: one tower of {experiment} minus the other", lambda asked: towers.difference_of_towers(kernels.tower_counts(asked)), "chroma"),
    "tower_chroma_runs": _inside("share of the runs of {experiment} whose towers differ in colour", lambda asked: towers.share_of_runs(kernels.tower_counts(asked)), "chroma"),
    "orientation_selectivity": _inside("share of first kernels of {experiment} that are selective ({metric}), after minus before training", kernels.selective_kernels, "oriented", "blob"),
    "retrieval_precision": _inside("nearest neighbours of the same class: last hidden layer of {experiment} minus the best baseline", examinations.retrieval, "same_class"),
    "code_precision": _inside("nearest neighbours of the same class: codes of 64 bits of {experiment} minus pixels", examinations.codes, "same_class_codes"),
    "pixel_distance": _inside("percentile rank in pixels of the nearest neighbours in the last hidden layer of {experiment}", examinations.pixel_ranks, "pixel_rank"),
    "geometric_mean": _inside("divergence of the halved {experiment} from the arithmetic mean of thinned nets minus that from the geometric mean", examinations.halving, "divergence"),
}  # fmt: skip
EXAMINED = tuple(name for name, measure in MEASURES.items() if measure.examined)


def measure(how: str, asked: Asked) -> Estimate:
    """The number that a study's results give."""
    if how not in MEASURES:
        raise NoEstimate(f"{how!r} is not measured on runs")
    return MEASURES[how](asked)
