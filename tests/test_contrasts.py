"""Contrasts that isolate what a claim is about: their arms, the marks of epochs, effects that a word needs together."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabricate
import numpy as np
import pytest
from scipy import stats

from alexnet.experiments import definitions, resolve, tuning
from analysis.paper.claims import load_claims
from analysis.results.evidence import Results, load_results
from analysis.verdicts import contrasts
from analysis.verdicts.explain import explain
from analysis.verdicts.judge import judge
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import table_of

CLAIMS = {claim.id: claim for claim in load_claims()}
VAL = ("ilsvrc2012", "val", "ten")


def ratio_by_hand(ours: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratios of pairs, with Student's 95 % interval on logarithms."""
    logs = np.log(ours) - np.log(base)
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    return tuple(np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]))


def falling(epochs: dict[float, float], last: float) -> list[float]:
    """A training error of 0.9 before the first epoch that crosses each mark after so many epochs, and ends at `last`."""
    at = [0.0, *epochs.values(), 40.0]
    errors = [0.9, *epochs.keys(), last]
    return [float(np.interp(epoch, at, errors)) for epoch in np.arange(1, 41)]


@pytest.fixture(scope="module")
def by_marks() -> tuple[Results, dict[str, list[dict[float, float]]]]:
    """Five pairs that reach 65, 60 and 55 % and not all 50 %: four times as slow at the first mark, hardly at the third."""
    tanh = [{0.65: 8.0 + s, 0.60: 10.0 + s, 0.55: 15.0} for s in range(5)]
    relu = [{0.65: 2.0, 0.60: 6.0 + s % 2, 0.55: 10.0 + 10 * (s % 2) + s} for s in range(5)]
    curves = {("tanh", s + 1): falling(at, 0.51) for s, at in enumerate(tanh)}
    curves |= {("zero_biases", s + 1): falling(at, 0.40) for s, at in enumerate(relu)}
    return fabricate.in_memory({}, curves=curves), {"tanh": tanh, "zero_biases": relu}


def test_several_times_faster_needs_every_mark_that_both_nets_reach(by_marks) -> None:
    results, epochs = by_marks
    found = judge(CLAIMS["relu-several-times"], results)[0]
    hand = {
        mark: ratio_by_hand(*([at[mark] for at in epochs[name]] for name in ("tanh", "zero_biases")))
        for mark in (0.65, 0.60, 0.55)
    }
    assert hand[0.65][1] > 1 and hand[0.60][1] > 1 and hand[0.55][1] < 1
    assert found.low == pytest.approx(min(low for _, low, _ in hand.values()))
    assert found.high == pytest.approx(max(high for _, _, high in hand.values()))
    assert found.ours == pytest.approx(hand[0.55][0])  # the least certain
    assert found.direction == "cannot tell"
    assert ", ".join(f"{hand[mark][0]:.2f} at {100 * mark:g} %" for mark in hand) in found.why
    assert "at 50 %" not in found.why


def with_loss(folder: Path, name: str, seed: int, losses: list[float], drop: int) -> None:
    """A run with these validation losses whose rate changes after epoch `drop`."""
    fabricate.run(folder, "demo", name, seed, [0.5] * len(losses), [0.5] * len(losses), losses)
    path = folder / "demo" / "runs" / name / str(seed) / "metrics.csv"
    rows = list(csv.DictReader(path.open()))
    for row in rows[drop:]:
        row["learning_rate"] = "0.001"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def iterations(folder: Path, drop: int) -> Outcome:
    """The row on iterations, where dropout takes `14 + 2 seed` epochs and none half of that, with a lower loss later."""
    fabricate.study(folder, "demo")
    for seed in range(1, 6):
        for name, at in (("alexnet", 14 + 2 * seed), ("no_dropout", 7 + seed)):
            losses = [float(np.interp(e, [0, at, 40], [2.2, 1.2, 0.7])) for e in range(1, 41)]
            with_loss(folder, name, seed, losses, drop)
            record = folder / "demo" / "runs" / name / str(seed) / "run.json"
            if drop < 40:
                record.write_text(record.read_text().replace('"learning_rate": 0.01', '"learning_rate": 0.001'))
    return judge(CLAIMS["drop-iters"], load_results(folder))[0]


def test_iterations_are_epochs_to_a_loss_at_the_first_rate(tmp_path: Path) -> None:
    whole = iterations(tmp_path / "whole", 40)
    assert whole.ours == pytest.approx(2) and not whole.bound
    late = iterations(tmp_path / "late", 14)  # only the nets without dropout get there before the rate changes
    epochs = [7 + seed for seed in range(1, 6)]
    assert late.bound == ">=" and late.ours == pytest.approx(14 / stats.gmean(epochs))
    assert "5 of 5 runs of alexnet never reached a validation loss of 1.2 at the first learning rate" in late.why


def errors_of(true: dict[str, float], seeds: int = 5) -> dict[tuple[str, str, str, str], np.ndarray]:
    """Errors on 4000 images, the same of each seed but for a point in 2000."""
    rng, found = np.random.default_rng(5), {}
    for name, error in true.items():
        columns = [(rng.permutation(4000) < 4000 * (error + k / 2000)) * 1.0 for k in range(seeds)]
        found[name, *VAL] = np.stack(columns, axis=1)
    return found


@pytest.mark.parametrize(
    ("conv4", "word"), [(0.40, "agrees"), (0.309, "cannot tell"), (0.302, "not shown"), (0.20, "contradicts")]
)
def test_every_layer_matters_only_if_each_of_them_does(conv4: float, word: str) -> None:
    true = {"alexnet": 0.30, "no_conv2": 0.45, "no_conv3": 0.41, "no_conv4": conv4, "no_conv5": 0.42}
    errors = errors_of(true)
    found = judge(CLAIMS["intro-depth"], fabricate.in_memory(errors))[0]
    assert found.direction == word
    pair = errors["no_conv4", *VAL] - errors["alexnet", *VAL]
    assert found.ours == pytest.approx(100 * pair.mean()) and found.seeds == 5
    assert "smallest of 4 differences: no_conv4 minus alexnet" in found.why


def test_a_study_without_the_clean_baseline_says_so_in_one_sentence(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo", experiments=[{"name": name} for name in ("alexnet", "no_lrn")])
    for claim, said in (
        ("lrn-delta-top1", "text_no_spatial_norm is not trained in study demo"),
        ("pca-delta", "no_pca_color and text_color_undivided are not trained in study demo"),
    ):
        found = judge(CLAIMS[claim], load_results(tmp_path))[0]
        assert (found.verdict, found.why) == ("pending", said)


def test_half_the_size_is_told_by_the_smaller_of_parameters_and_units(tmp_path: Path) -> None:
    fabricate.describes(tmp_path)
    results = load_results(tmp_path)
    one, two = (results.layers[name]["totals"] for name in ("one_gpu", "alexnet"))
    found = judge(CLAIMS["gpu-half-bias-favour"], results)[0]
    assert found.ours == min(one[key] / two[key] for key in ("parameters", "units")) > 0.5
    one["parameters"] = two["parameters"] // 3
    assert judge(CLAIMS["gpu-half-bias-favour"], results)[0].verdict == "does not hold"
    assert math.isclose(two["parameters"] / one["parameters"], 3, rel_tol=1e-6)


# What else differs -------------------------------------------------------------------------------------------------


def resolved(name: str, study: str = "ilsvrc2012") -> dict[str, Any]:
    return resolve.resolve(study, name, 2, fabricate.CONFIG)


@pytest.mark.parametrize(
    ("name", "baseline", "words"),
    [
        ("no_lrn", "text_no_spatial_norm", ["conv1, conv2 without lrn"]),
        ("no_lrn", "alexnet", ["conv1, conv2 without lrn", "conv2 without spatial norm"]),
        ("no_pca_color", "text_color_undivided", ["color noise: 0 against 0.1"]),
        ("no_pca_color", "alexnet", ["color noise: 0 against 0.1", "color divisor: 1 against 1.1"]),
        ("tanh", "zero_biases", ["activation: tanh against relu"]),
        ("no_conv3", "alexnet", ["without conv3", "reads of conv4: all against own tower"]),
        ("non_overlapping_pooling", "alexnet", ["pool.kernel: 2 against 3", "pad of conv2: 1 against 2", "pad of conv4: 0 against 1"]),
    ],
)  # fmt: skip
def test_a_contrast_names_all_that_differs(name: str, baseline: str, words: list[str]) -> None:
    assert contrasts.between(resolved(name), resolved(baseline)) == words


def test_as_many_entries_as_things_differ() -> None:
    """Each of these changes is one thing; all of their combinations list as many."""
    base = resolved("alexnet")
    changes: list[dict[str, Any]] = [
        {"model": {"activation": "tanh"}},
        {"model": {"layers": {"conv4": {"bias": 0.0}, "fc7": {"bias": 0.0}}}},
        {"augmentation": {"random_crop": False}},
        {"optimizer": {"schedule": tuning.scaled(base["optimizer"]["schedule"], 0.5)}, "rate": {"factor": 0.5}},
        {"precision": "bf16"},
    ]
    for count in range(len(changes) + 1):
        for chosen in itertools.combinations(changes, count):
            ours = base
            for change in chosen:
                ours = definitions.merge(ours, change)
            words = contrasts.between(ours, base)
            assert len(words) == count, words
            assert ("all learning rates × 0.5" in words) == (changes[3] in chosen)


def test_a_trained_row_says_what_differs(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=60)
    for name in ("no_lrn", "alexnet"):
        for path in tmp_path.glob(f"demo/runs/{name}/*/config.json"):
            config = json.loads(path.read_text())
            whole = {key: resolved(name)[key] for key in ("model", "augmentation", "optimizer")}
            path.write_text(json.dumps(config | whole))
    found = judge(CLAIMS["lrn-delta-lab"], load_results(tmp_path))[0]
    assert found.differs == "conv1, conv2 without lrn; conv2 without spatial norm"
    assert table_of([found])["differs"].tolist() == [found.differs]
    for text in ("=1+1", "@SUM(1)", "-cmd|x", "+1+cmd|x", "\t=1"):  # a program that opens tables would compute them
        assert table_of([replace(found, differs=text)])["differs"].tolist() == [f"'{text}"]
    for text in ("-0.48 -0.44 1e-05", "-inf"):
        assert table_of([replace(found, values=text)])["values"].tolist() == [text]
    assert f"Differs        {found.differs}" in explain(CLAIMS["lrn-delta-lab"], [found])
