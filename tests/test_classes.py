"""The second interval, in which the classes of a proxy are a sample of classes: by SciPy alone, on published and on made errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.measures.estimates import gains_by_class
from analysis.measures.inference import Estimate
from analysis.paper.claims import load_claims
from analysis.results.evidence import Results
from analysis.verdicts.judge import judge
from analysis.verdicts.rules import of_estimate

REFERENCE = Path(__file__).resolve().parents[1] / "reports/reference/results/imagenette"
CLAIMS = {claim.id: claim for claim in load_claims()}


def interval(gains: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """In points, of (images, pairs) differences of errors: t-factors of classes and of pairs, each on its own variance."""
    per_class = np.array([gains[classes == label].mean() for label in np.unique(classes)])
    squares = [(stats.t.ppf(0.975, len(of) - 1) * stats.sem(of)) ** 2 for of in (per_class, gains.mean(axis=0))]
    return 100 * (gains.mean() - math.sqrt(sum(squares))), 100 * (gains.mean() + math.sqrt(sum(squares)))


def errors(experiment: str, seed: int, view: str) -> np.ndarray:
    table = pd.read_parquet(REFERENCE / "evals" / experiment / str(seed) / "imagenette-val.parquet")
    return table[f"{view}_top1_error"].to_numpy(float)


@pytest.mark.parametrize("id_", ["gpu-delta-top1", "lrn-delta-lab", "disc-layer-2pct", "tenview-gain"])
def test_published_intervals_over_classes_come_out_again(id_: str, published_results: Results) -> None:
    claim = CLAIMS[id_]
    counts = json.loads((REFERENCE / "data/imagenette/manifest.json").read_text())["splits"]["val"]["per_class"]
    studies = {"imagenette": published_results.studies["imagenette"]}
    (found,) = judge(claim, replace(published_results, studies=studies))
    seeds = [int(path.name) for path in (REFERENCE / "evals" / claim.experiment).iterdir()]
    ours = np.array([errors(claim.experiment, seed, "center" if claim.how == "view_gain" else "ten") for seed in seeds])
    base = np.array([errors(claim.baseline or claim.experiment, seed, "ten") for seed in seeds])
    expected = interval((ours - base).T, np.repeat(np.arange(10), counts))
    assert (found.low_classes, found.high_classes) == pytest.approx(expected, rel=1e-9)


def test_classes_are_compared_in_pairs_and_without_pairs_by_the_means_of_the_nets() -> None:
    classes = pd.Series([0, 0, 1, 1])
    ours = pd.DataFrame({1: [1, 0, 1, 1], 2: [0, 0, 1, 0]})
    assert gains_by_class(ours, pd.DataFrame({2: [1, 0, 0, 0], 3: [1, 1, 1, 1]}), classes).tolist() == [-0.5, 0.5]
    assert gains_by_class(ours, pd.DataFrame({8: [1, 0, 0, 0], 9: [1, 1, 1, 1]}), classes).tolist() == [-0.5, 0.25]


def made(concentrated: bool, set_: str = "imagenette") -> Results:
    """Six pairs on ten classes of 100 images; the second net is worse by 4 points, all of it in one class or in each."""
    rng = np.random.default_rng(11)
    base = (rng.random((1000, 6)) < 0.3).astype(float)
    ours = base.copy()
    for pair in range(6):
        for label in range(10):
            right = label * 100 + np.flatnonzero(base[label * 100 : label * 100 + 100, pair] == 0)
            worse = (40 if label == 3 else 0) if concentrated else 4
            ours[rng.choice(right, worse, replace=False), pair] = 1
    results = fabricate.in_memory(
        {("one_gpu", set_, "val", "ten"): ours, ("alexnet", set_, "val", "ten"): base}, classes=10
    )
    return replace(results, manifests={("s", set_): {"splits": {"val": {"per_class": [100] * 10}}}})


def test_an_effect_of_one_class_alone_is_shown_for_these_classes_and_not_for_others() -> None:
    (found,) = judge(CLAIMS["gpu-delta-top1"], made(concentrated=True))
    assert found.direction == "agrees" and found.low is not None and found.low > 0
    assert found.low_classes is not None and found.low_classes < 0
    assert "which shows no side: other classes may show another effect" in found.why
    (found,) = judge(CLAIMS["gpu-delta-top1"], made(concentrated=False))
    assert found.low_classes is not None and found.low_classes > 0
    assert "with the classes as a sample of classes" in found.why and "other classes" not in found.why
    (found,) = judge(replace(CLAIMS["gpu-delta-top1"], confounded="a reason"), made(concentrated=True))
    assert "sample of classes" not in found.why  # there is no word to change
    touches = Estimate(0.02, 0.01, 0.03, 6, paired=True, null=0.0, over_classes=(0.0, 0.04))
    assert "which shows no side" in of_estimate(CLAIMS["gpu-delta-top1"], touches, "proxy").why
    neither = replace(touches, low=0.0)  # these classes show no side either, so there is none to lose
    assert "which shows no side" not in of_estimate(CLAIMS["gpu-delta-top1"], neither, "proxy").why
