"""A results folder at the size of ILSVRC with known numbers, and the verdicts that a statistician works out by hand.

Nothing of `inference` or `intervals` is used on this side: means, variances and Student's factors are computed from the
arrays that were written, with NumPy and SciPy.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.paper.claims import load_claims
from analysis.results.evidence import Results, load_results
from analysis.verdicts.judge import judge, judge_all
from analysis.verdicts.rules import Outcome

CLAIMS = {claim.id: claim for claim in load_claims()}
TEST, VAL = 150_000, 50_000
SEEDS = {"alexnet": 5, "one_gpu": 5, "no_lrn": 4, "non_overlapping_pooling": 3, "tanh": 3, "no_weight_decay": 3}
SEEDS |= {"no_conv3": 1}
#            2010 test: mean error of the ten views; 2012 val
ERRORS = {
    "alexnet": (0.374727, 0.40664), "one_gpu": (0.39168, 0.42), "no_lrn": (0.39, 0.42034),
    "non_overlapping_pooling": (0.37, 0.41058), "tanh": (0.42, 0.45), "no_weight_decay": (0.40, 0.43),
    "no_conv3": (0.40, 0.42664),
}  # fmt: skip
LUCK = [-0.0008, 0.0005, 0.0, 0.0009, -0.0006]  # of seeds 1 to 5
UNSTEADY = {"non_overlapping_pooling": 4.0}  # times that
FINGERPRINTS = {name: {str(s): f"{{study}}-{name}-{s}" for s in range(1, 6)} for name in SEEDS}
CURVES = {  # running training error by epoch, a list a seed
    "alexnet": [[0.5, 0.24, 0.2, 0.19], [0.5, 0.23, 0.2, 0.195], [0.52, 0.245, 0.2, 0.187]],
    "tanh": [[0.9, 0.8, 0.7, 0.6]] * 3,  # never at 25 %
    "no_weight_decay": [[0.6, 0.3, 0.26, 0.23], [0.6, 0.3, 0.26, 0.235], [0.6, 0.3, 0.26, 0.228]],
    "non_overlapping_pooling": [[0.5, 0.26, 0.2, 0.17], [0.5, 0.26, 0.2, 0.172], [0.5, 0.26, 0.2, 0.171]],
}  # fmt: skip


def nets(rng: np.random.Generator, hard: np.ndarray, error: float, seeds: int, unsteady: float = 1.0) -> np.ndarray:
    """Errors (images, seeds), 0 or 1, each seed with exactly round(n (error + its luck)) ones."""
    columns = []
    for seed in range(seeds):
        score = hard + rng.normal(0, 0.3, len(hard))
        wrong = np.argsort(-score)[: round(len(hard) * (error + unsteady * LUCK[seed]))]
        column = np.zeros(len(hard))
        column[wrong] = 1
        columns.append(column)
    return np.stack(columns, axis=1)


Arrays = dict[tuple[str, str, str], np.ndarray]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Arrays]:
    """The folder, read back, and the arrays that were written: (experiment, set, view) -> errors."""
    folder = tmp_path_factory.mktemp("ilsvrc")
    fabricate.describes(folder)
    rng = np.random.default_rng(2012)
    arrays: Arrays = {}
    for study, split, images in (("ilsvrc2010", "test", TEST), ("ilsvrc2012", "val", VAL)):
        sets = [{"set": study, "split": split}]
        prints = {name: {s: text.format(study=study) for s, text in of.items()} for name, of in FINGERPRINTS.items()}
        facts = {"classes": 1000, "training_set": study, "evaluate": sets, "fingerprints": prints}
        fabricate.study(folder, study, "paper", 0.25, **facts)
        counts = {"train": 1_281_000, "val": 50_000} | ({"test": TEST} if study == "ilsvrc2010" else {})
        fabricate.manifest(folder, study, study, counts, classes=1000)
        hard = rng.normal(0, 1, images)
        for name, seeds in SEEDS.items():
            if study == "ilsvrc2010" and name not in ("alexnet", "one_gpu"):
                continue
            error = ERRORS[name][study == "ilsvrc2012"]
            ten = nets(rng, hard, error, seeds, UNSTEADY.get(name, 1.0))
            center = nets(rng, hard, error + 0.0155, seeds, UNSTEADY.get(name, 1.0))
            arrays[name, study, "ten"], arrays[name, study, "center"] = ten, center
            for seed in range(seeds):
                place = (folder, study, name, seed + 1, study, split)
                fabricate.evaluation(*place, center[:, seed], ten[:, seed], tier="paper", lean=True)
        if study == "ilsvrc2010":
            val = rng.normal(0, 1, VAL)
            arrays["alexnet", study, "val"] = nets(rng, val, 0.376, SEEDS["alexnet"])
            for seed in range(SEEDS["alexnet"]):
                column = arrays["alexnet", study, "val"][:, seed]
                fabricate.evaluation(folder, study, "alexnet", seed + 1, study, "val", column, tier="paper", lean=True)
    return load_results(folder), arrays


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Arrays]:
    """A folder of runs that were not evaluated, with the curves `CURVES`."""
    folder = tmp_path_factory.mktemp("curves")
    prints = {name: {s: text.format(study="ilsvrc2012") for s, text in of.items()} for name, of in FINGERPRINTS.items()}
    facts = {"classes": 1000, "training_set": "ilsvrc2012", "fingerprints": prints}
    fabricate.study(folder, "ilsvrc2012", "paper", 0.25, **facts)
    for name, curves in CURVES.items():
        for seed, curve in enumerate(curves, start=1):
            fabricate.run(folder, "ilsvrc2012", name, seed, curve, tier="paper")
    return load_results(folder), {}


def judged(made: tuple[Results, Arrays], name: str) -> Outcome:
    return judge(CLAIMS[name], made[0])[0]


def t(df: float, confidence: float = 0.95) -> float:
    return float(stats.t.ppf(0.5 + confidence / 2, df))


def half(arrays: list[np.ndarray], confidence: float = 0.95) -> float:
    """Half-width in points of a mean error, or of the difference of two: every source with its own Student factor."""
    n = len(arrays[0])
    seeds = [np.var(a.mean(axis=0), ddof=1) / a.shape[1] for a in arrays]
    luck = sum(np.mean(np.var(a, axis=1, ddof=1)) / a.shape[1] for a in arrays)
    averaged = arrays[0].mean(axis=1) - (arrays[1].mean(axis=1) if len(arrays) > 1 else 0)
    images = max(0.0, np.var(averaged, ddof=1) - luck) / n
    square = sum(t(a.shape[1] - 1, confidence) ** 2 * s for a, s in zip(arrays, seeds, strict=True))
    square += t(n - 1, confidence) ** 2 * images
    floor = stats.norm.ppf(0.5 + confidence / 2) ** 2 * np.var(averaged, ddof=1) / n
    return 100 * math.sqrt(max(square, floor))


def gains(pair: list[np.ndarray]) -> np.ndarray:
    """Differences of equal seeds, image by image."""
    pairs = min(side.shape[1] for side in pair)
    return pair[0][:, :pairs] - pair[1][:, :pairs]


def test_an_absolute_error(made: tuple[Results, Arrays]) -> None:
    """37.47 %, five seeds: the 90 % interval is far within 37.5 +- 0.6."""
    found, array = judged(made, "abs-top1-2010"), made[1]["alexnet", "ilsvrc2010", "ten"]
    assert found.ours == pytest.approx(100 * array.mean())
    assert (found.low, found.high) == pytest.approx((found.ours - half([array]), found.ours + half([array])))
    assert found.ours - half([array], 0.9) > 36.9 and found.ours + half([array], 0.9) < 38.1
    assert (found.verdict, found.evidence, found.n, found.seeds) == ("replicated", "paper scale", TEST, 5)


def test_a_difference_of_the_papers_size(made: tuple[Results, Arrays]) -> None:
    """1.695 points against 1.7 +- 0.5, five seeds each."""
    found = judged(made, "gpu-delta-top1")
    pair = gains([made[1][name, "ilsvrc2010", "ten"] for name in ("one_gpu", "alexnet")])
    assert found.ours == pytest.approx(100 * pair.mean(), abs=1e-9)
    assert found.high == pytest.approx(found.ours + half([pair]))
    assert found.low > 0 and found.ours - half([pair], 0.9) > 1.2 and found.ours + half([pair], 0.9) < 2.2
    assert (found.verdict, found.direction, found.size) == ("replicated", "agrees", "matches")
    assert found.low90 == pytest.approx(found.ours - half([pair], 0.9))
    adjusted = {o.claim.id: o for o in judge_all([CLAIMS["gpu-delta-top1"], CLAIMS["lrn-delta-lab"]], made[0])}
    ps = sorted(o.p for o in adjusted.values() if o.p is not None)
    assert adjusted["gpu-delta-top1"].p_holm == pytest.approx(2 * ps[0] if found.p == ps[0] else max(2 * ps[0], ps[1]))
    assert [o.p_bh for o in adjusted.values()] == pytest.approx(
        stats.false_discovery_control([o.p for o in adjusted.values()])
    )


def test_the_record_holds_all_that_the_words_follow_from(made: tuple[Results, Arrays]) -> None:
    """Values of the pairs and the images' noise, as the table prints them, give interval and words again."""
    for name in ("gpu-delta-top1", "lrn-delta-lab", "pool-delta-top1"):
        found = judged(made, name)
        values = np.array(list(map(float, found.values.split())))
        *sources, least = found.noises.split("; ")
        parts = [re.fullmatch(r"(.+): (\S+) / (\d+) \((\S+)\)", part) for part in sources]
        of_seeds, of_images = ({"variance": float(m[2]), "n": int(m[3]), "df": float(m[4])} for m in parts if m)
        assert of_seeds == pytest.approx({"variance": values.var(ddof=1), "n": len(values), "df": len(values) - 1})
        for level, end in ((0.95, found.high), (0.9, found.high90)):
            square = sum(t(p["df"], level) ** 2 * p["variance"] / p["n"] for p in (of_seeds, of_images))
            floor = stats.norm.ppf(0.5 + level / 2) ** 2 * float(least.removeprefix("at least: "))
            assert end == pytest.approx(values.mean() + math.sqrt(max(square, floor)))
        low, high, low90, high90 = found.low, found.high, found.low90, found.high90
        paper, slack = CLAIMS[name].number, CLAIMS[name].tolerance
        assert (found.direction == "agrees") == (low > 0)
        assert (found.size == "matches") == (paper - slack <= low90 and high90 <= paper + slack)
        assert (found.size == "differs") == (high < paper - slack or low > paper + slack)


def test_a_difference_too_small_for_its_seeds(made: tuple[Results, Arrays]) -> None:
    """0.39 points with three pairs: zero is within the interval; the pairs that would do are counted."""
    found = judged(made, "pool-delta-top1")
    pair = gains([made[1][name, "ilsvrc2012", "ten"] for name in ("non_overlapping_pooling", "alexnet")])
    assert (found.low, found.high) == pytest.approx((found.ours - half([pair]), found.ours + half([pair])))
    assert found.low < 0 < found.high and found.verdict == "cannot tell"
    s2 = 1e4 * np.var(pair.mean(axis=0), ddof=1)
    luck = np.mean(np.var(pair, axis=1, ddof=1)) / 3
    images = 1e4 * max(0.0, np.var(pair.mean(axis=1), ddof=1) - luck) / VAL
    away = min(abs(found.ours - mark) for mark in (0.0, -0.1, 0.9))
    n = next(n for n in range(3, 200) if math.sqrt(t(n - 1) ** 2 * s2 / n + t(VAL - 1) ** 2 * images) < away)
    assert found.needed == f"about {n} pairs of seeds would settle it"


def test_one_pair_shows_an_interval_of_the_labs_spread_and_no_word(made: tuple[Results, Arrays]) -> None:
    """2.0 points, one pair: the upper end of the spread of the lab's five near-identical nets, for both nets."""
    found = judged(made, "disc-layer-2pct")
    ours, base = (made[1][name, "ilsvrc2012", "ten"][:, 0] for name in ("no_conv3", "alexnet"))
    lab = np.var([42.530, 42.341, 42.336, 42.516, 42.273], ddof=1) * 4 / stats.chi2.ppf(0.025, 4)
    images = 1e4 * np.var(ours - base, ddof=1) / VAL
    wide = stats.norm.ppf(0.975) * math.sqrt(2 * lab + images)
    assert found.high - found.ours == pytest.approx(wide, rel=1e-4)
    assert "is assumed for this interval" in found.why
    assert (found.verdict, found.direction, found.size) == ("cannot tell", "cannot tell", "unknown")


def test_the_gain_of_ten_views(made: tuple[Results, Arrays]) -> None:
    found = judged(made, "tenview-gain")
    gain = made[1]["alexnet", "ilsvrc2010", "center"] - made[1]["alexnet", "ilsvrc2010", "ten"]
    assert found.ours == pytest.approx(1.55, abs=0.01)
    assert found.low == pytest.approx(found.ours - half([gain]))
    assert found.verdict == "replicated"  # 1.1 to 1.9
    assert 1.1 < found.ours - half([gain], 0.9) < found.ours + half([gain], 0.9) < 1.9


def test_a_gap_between_splits_is_an_equivalence(made: tuple[Results, Arrays]) -> None:
    """At most 0.1 (+ 0.05) points of top-5 error: two independent sets of images."""
    found = judged(made, "val-test-gap")
    odd = [np.arange(n) % 2 for n in (VAL, TEST)]  # the fabricated top-5 error is that of every second image
    sides = [
        made[1]["alexnet", "ilsvrc2010", name].mean(axis=1) * half_of
        for name, half_of in zip(("val", "ten"), odd, strict=True)
    ]
    value = 100 * (sides[0].mean() - sides[1].mean())
    errors = [1e4 * np.var(side, ddof=1) / len(side) for side in sides]
    wide = math.sqrt(t(VAL - 1) ** 2 * errors[0] + t(TEST - 1) ** 2 * errors[1])
    assert found.ours == pytest.approx(abs(value))
    assert found.high == pytest.approx(max(value + wide, wide - value), rel=1e-6)
    assert abs(value) - wide < 0.15 < abs(value) + wide  # ILSVRC has too few images for it
    sd = math.sqrt(sum(errors))  # were both splits equally hard, the gap would be a normal draw around zero
    chance = stats.norm.cdf(0.1 / sd) - stats.norm.cdf(-0.1 / sd)
    assert f"so small a gap would come up in {100 * chance:.0f} % of draws" in found.why and chance < 0.5
    assert found.verdict == "cannot tell" and "images would settle it" in found.needed


def test_about_the_same_within_the_tolerance(made: tuple[Results, Arrays]) -> None:
    """Were the claim "no difference, within 0.5", 1.37 points would refute it and 0.39 points stay open or agree."""
    claim = replace(CLAIMS["lrn-delta-lab"], paper="0", relation="about", tolerance=0.5)
    pair = gains([made[1][name, "ilsvrc2012", "ten"] for name in ("no_lrn", "alexnet")])
    found = judge(claim, made[0])[0]
    assert found.ours - half([pair]) > 0.5 and found.verdict == "not replicated"
    found = judge(replace(claim, tolerance=3.0), made[0])[0]
    assert found.ours + half([pair]) < 3 and found.verdict == "replicated"


def test_a_ratio_of_epochs_without_and_with_runs_that_never_got_there(raced: tuple[Results, Arrays]) -> None:
    def epochs(curve: list[float]) -> float:
        i = next(i for i, error in enumerate(curve) if error <= 0.25)
        return i + (curve[i - 1] - 0.25) / (curve[i - 1] - curve[i])

    base = np.log([epochs(curve) for curve in CURVES["alexnet"]])
    claim = replace(CLAIMS["relu-several-times"], metric="train_error", baseline="alexnet")  # the study's mark
    slower = replace(claim, experiment="no_weight_decay", paper="1.5")
    found = judge(slower, raced[0])[0]
    ours = np.log([epochs(curve) for curve in CURVES["no_weight_decay"]])
    wide = t(2) * stats.sem(ours - base)
    assert found.ours == pytest.approx(math.exp(ours.mean() - base.mean()))
    assert found.low == pytest.approx(found.ours * math.exp(-wide))
    assert found.low > 1.5 and found.verdict == "replicated" and not found.bound

    found = judge(claim, raced[0])[0]  # tanh: censored at epoch 4, the spread is that of the other side
    wide = t(2) * math.sqrt(2 * np.var(base, ddof=1) / 3)
    assert found.bound == ">=" and found.high == math.inf
    assert found.ours == pytest.approx(4 / math.exp(base.mean()))
    assert found.low == pytest.approx(found.ours * math.exp(-wide))
    assert 1 < found.low < 2 and found.size == "unknown"
    assert found.verdict == "direction agrees"


def test_counts_and_arithmetic(made: tuple[Results, Arrays]) -> None:
    assert judged(made, "data-val").verdict == "holds"
    assert judged(made, "data-test").verdict == "holds"
    conv1 = judged(made, "fig2-layer1")
    assert (conv1.verdict, conv1.ours) == ("paper miscounts", 55 * 55 * 96)
    assert judged(made, "fig2-layer5").ours == 13 * 13 * 256


def test_reduced_scale_says_directions_only(made: tuple[Results, Arrays], tmp_path: Path) -> None:
    """The paper's data with half the width: the same numbers, no "replicated"."""
    fabricate.study(tmp_path, "ilsvrc2010", "paper", 0.25, classes=1000, width=0.5)
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 1, 20_000)
    for name, error in (("alexnet", 0.374727), ("one_gpu", 0.39168)):
        array = nets(rng, hard, error, 5)
        for seed in range(5):
            fabricate.run(tmp_path, "ilsvrc2010", name, seed + 1, [0.9])
            fabricate.evaluation(
                tmp_path, "ilsvrc2010", name, seed + 1, "ilsvrc2010", "test", array[:, seed], lean=True
            )
    results = load_results(tmp_path)
    found = judge(CLAIMS["gpu-delta-top1"], results)[0]
    assert (found.evidence, found.verdict, found.needed) == ("reduced scale", "direction agrees", "")
    value = judge(CLAIMS["abs-top1-2010"], results)[0]
    assert (value.evidence, value.verdict) == ("reduced scale", "pending")
    assert value.why.startswith(
        "an absolute value of the paper needs its own data at full size; this is the paper's data, reduced"
    )
    assert "width 0.5" in results.set_aside[0]
    both = replace(made[0], studies=made[0].studies | {"half": replace(results.studies["ilsvrc2010"], name="half")})
    both = replace(both, evals=_with(both, results), _read={})
    evidences = [o.evidence for o in judge(CLAIMS["gpu-delta-top1"], both)]
    assert evidences == ["paper scale", "reduced scale", "proxy"]  # the study on ILSVRC-2012 is other data


def _with(both: Results, more: Results) -> pd.DataFrame:
    return pd.concat([both.evals, more.evals.assign(study="half")], ignore_index=True)
