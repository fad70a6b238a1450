"""What examinations say about claims, against numbers by hand, full enumeration and closed forms."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import fabricate
import numpy as np
import pytest
from scipy import stats

from analysis.measures import examinations
from analysis.measures.estimates import NoEstimate
from analysis.measures.examinations import Towers, difference_of_towers, share_of_runs
from analysis.paper.claims import Claim, load_claims
from analysis.results.evidence import load_results
from analysis.verdicts.judge import judge

CLAIMS = {claim.id: claim for claim in load_claims()}
EXAMINED = [claim for claim in CLAIMS.values() if claim.how in examinations.HOWS]


def outcome(folder: Path, claim: Claim | str):
    """What the only study there says about a claim."""
    found = judge(CLAIMS[claim] if isinstance(claim, str) else claim, load_results(folder))
    return found[0]


def net(
    folder: Path, experiment: str, seed: int, train: list[float], val: list[float], tier="demo", **more
) -> None:
    """A finished run with its evaluation and its examination."""
    fabricate.run(folder, "demo", experiment, seed, [0.9, 0.5], tier=tier)
    fabricate.evaluation(folder, "demo", experiment, seed, "ilsvrc2012", "val", np.array(val), tier=tier)
    fabricate.examination(folder, "demo", experiment, seed, np.array(train), tier=tier, **more)


def test_every_way_of_measuring_is_used_by_a_claim_and_known_to_the_workflow() -> None:
    assert {claim.how for claim in EXAMINED} == set(examinations.HOWS)
    rules = (Path(__file__).parents[1] / "workflow/rules/common.smk").read_text()
    listed = rules.partition("EXAMINATIONS = (")[2].partition(")")[0]
    assert [word.strip(' ",\n') for word in listed.split(",")][:-1] == list(examinations.HOWS)


def shares(ours: list, base: list | None = None, of: float = np.inf) -> tuple[float, float]:
    """Squared half-width that images add, and the least of all noise: arrays of a seed each, by the formulas of `inference`."""
    nets = [np.array(net, float) for net in (ours, base) if net is not None]
    nets = [nets[0] - nets[1]] if base is not None else nets  # pairs of seeds
    answers = nets[0].mean(0)
    n, luck = len(answers), sum(net.var(axis=0, ddof=1).mean() / len(net) for net in nets)
    left = 1 - n / of
    between = np.var(answers, ddof=1)
    part = left * max(0.0, between - luck) / n
    return stats.t.ppf(0.975, n - 1) ** 2 * part, left * between / n


@pytest.mark.parametrize("of", [3600, 500])  # a sample of the training images, and all of them
def test_the_gap_is_that_of_the_finished_net(tmp_path: Path, of: int) -> None:
    rng = np.random.default_rng(0)
    fabricate.study(tmp_path, "demo")
    gaps: dict[str, list[float]] = {"alexnet": [], "no_dropout": []}
    tables: dict[tuple[str, str], list[np.ndarray]] = {}
    for name, (of_train, of_val) in {"alexnet": (0.3, 0.4), "no_dropout": (0.1, 0.45)}.items():
        for seed in range(1, 6):
            train, val = (rng.random(500) < of_train) * 1.0, (rng.random(400) < of_val) * 1.0
            net(tmp_path, name, seed, list(train), list(val), of=of)
            gaps[name].append(val.mean() - train.mean())
            for key, errors in (("train", train), ("val", val)):
                tables.setdefault((name, key), []).append(errors)
    o = outcome(tmp_path, "drop-overfit")
    value = np.mean(gaps["no_dropout"]) - np.mean(gaps["alexnet"])
    assert o.ours == pytest.approx(100 * value)
    pairs = np.array(gaps["no_dropout"]) - gaps["alexnet"]
    squares = stats.t.ppf(0.975, 4) ** 2 * stats.sem(pairs) ** 2
    parts = [
        shares(tables["no_dropout", key], tables["alexnet", key], n)
        for key, n in (("train", of), ("val", np.inf))
    ]
    squares = max(
        squares + sum(part for part, _ in parts), stats.norm.ppf(0.975) ** 2 * sum(f for _, f in parts)
    )
    assert (o.low, o.high) == pytest.approx((100 * (value - squares**0.5), 100 * (value + squares**0.5)))
    assert (o.verdict, o.seeds, o.baseline_seeds, o.n) == ("direction agrees", 5, 0, 900)


def test_dropout_in_training_no_longer_decides_the_gap(tmp_path: Path) -> None:
    """Running training errors that differ only because dropout was on leave the gap of equal finished nets at zero."""
    rng = np.random.default_rng(1)
    fabricate.study(tmp_path, "demo")
    for seed in (1, 2, 3):
        train, val = (rng.random(300) < 0.2) * 1.0, (rng.random(300) < 0.4) * 1.0
        for name, running in (("alexnet", 0.35), ("no_dropout", 0.15)):
            net(tmp_path, name, seed, list(train), list(val))
            fabricate.run(tmp_path, "demo", name, seed, [0.9, running])
    o = outcome(tmp_path, "drop-overfit")
    assert o.ours == pytest.approx(0)
    assert o.verdict == "cannot tell"


def test_where_all_training_images_were_seen_only_seeds_make_the_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    fabricate.study(tmp_path, "demo")
    means: dict[str, list[float]] = {"alexnet": [], "no_dropout": []}
    for name, error in {"alexnet": 0.2, "no_dropout": 0.3}.items():
        for seed in (1, 2, 3):
            errors = (rng.random(400) < error + 0.01 * seed) * 1.0
            means[name].append(errors.mean())
            net(tmp_path, name, seed, list(errors), [0, 1] * 20, of=400)
    found = examinations.sample_difference(load_results(tmp_path), "demo", "no_dropout", "alexnet")
    half = stats.t.ppf(0.975, 2) * stats.sem(np.subtract(means["no_dropout"], means["alexnet"]))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


def test_one_seed_and_missing_parts_give_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fabricate.ABOUT, "no_weight_decay", {"kind": "ablation"})
    fabricate.study(tmp_path, "demo")
    assert outcome(tmp_path, "wd-train-err").verdict == "pending"
    for name, errors in (("alexnet", [0, 1] * 20), ("no_weight_decay", [0, 1, 1, 1] * 10)):
        net(tmp_path, name, 1, errors, errors)
    o = outcome(tmp_path, "wd-train-err")
    assert o.ours == pytest.approx(25)
    assert (o.verdict, o.low) == ("cannot tell", None)
    assert "one seed" in o.why


def test_dealing_kernels_is_the_full_enumeration() -> None:
    """All 20 ways to deal six kernels to two towers: the p-value is the share that differ as much."""
    first, second = np.array([[0.1, 0.2, 0.35]]), np.array([[0.5, 0.72, 0.9]])
    towers = Towers(first, second)
    everything = np.concatenate([first, second], axis=1)[0]
    observed = abs(first.mean() - second.mean())
    dealt = []
    for chosen in combinations(range(6), 3):
        side = list(chosen)
        rest = [i for i in range(6) if i not in side]
        dealt.append(abs(everything[side].mean() - everything[rest].mean()))
    assert towers.p[0] == pytest.approx(np.mean(np.array(dealt) >= observed - 1e-12))
    np.testing.assert_allclose(np.sort(towers.dealt[:, 0]), np.sort(dealt))


def test_towers_that_differ_by_nothing_are_rarely_told_apart() -> None:
    """Under the null of equal towers the lower bound is above zero in at most one case in twenty."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        sides = [rng.beta(2, 4, (2, 12)) for _ in range(2)]
        hits += difference_of_towers(Towers(*sides)).low > 0
    assert 0 < hits <= stats.binom.ppf(0.999, 200, 0.05)


def test_the_bound_is_above_zero_where_the_test_rejects_and_below_the_truth() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(100):
        sides = rng.normal(0.3, 0.1, (3, 20)), rng.normal(0.5, 0.1, (3, 20))
        found = difference_of_towers(Towers(*sides))
        p = float(found.remark.rpartition("= ")[2])
        assert (found.low > 0) == (p <= 0.05)
        covered += found.low <= 0.2
    assert covered >= stats.binom.ppf(0.001, 100, 0.95)


def test_the_share_of_runs_has_the_exact_binomial_interval() -> None:
    rng = np.random.default_rng(7)
    sides = rng.normal(0.2, 0.05, (4, 15)), rng.normal(0.6, 0.05, (4, 15))
    sides[1][3] = rng.permutation(sides[0][3])  # one run without a difference
    found = share_of_runs(Towers(*sides))
    assert found.value == 0.75
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 3, 2))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 4, 1))
    assert found.conclusive and not share_of_runs(Towers(sides[0][:1], sides[1][:1])).conclusive


def test_which_tower_is_the_colourful_one_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    fabricate.study(tmp_path, "demo")
    for seed in range(1, 6):
        chroma = rng.uniform(0.0, 0.2, 10), rng.uniform(0.6, 0.8, 10)
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, chroma=chroma[:: 1 if seed < 3 else -1])
    special, every = outcome(tmp_path, "fig3-special"), outcome(tmp_path, "fig3-everyrun")
    assert special.verdict == every.verdict == "direction agrees"
    assert 40 < special.ours < 80 and 0 < special.low < special.ours
    assert special.high == float("inf")
    assert (every.ours, every.seeds) == (100, 5)


@pytest.mark.parametrize(
    ("runs", "allowed"), [(5, {"replicated", "direction agrees"}), (4, {"direction agrees"})]
)
def test_one_run_without_specialisation_refutes_that_every_run_has_it(
    tmp_path: Path, runs: int, allowed: set[str]
) -> None:
    rng = np.random.default_rng(9)
    fabricate.study(tmp_path, "demo", tier="paper", classes=1000)
    for seed in range(1, 6):
        same = rng.uniform(0, 0.2, 24)
        other = rng.uniform(0.6, 0.8, 24) if seed <= runs else rng.permutation(same)
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, tier="paper", chroma=(same, other))
    every = outcome(tmp_path, "fig3-everyrun")
    assert every.verdict in allowed
    assert every.ours == 20 * runs
    assert (every.high == 100) == (runs == 5)  # the one exception keeps "every" out of the interval
    assert outcome(tmp_path, "fig3-special").verdict == "replicated"


def test_neighbours_are_paired_over_queries(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    fabricate.study(tmp_path, "demo")
    hard, layer, far = rng.integers(0, 4, 60) / 6, [], []
    for seed in range(1, 6):
        layer.append(np.minimum(1, hard + rng.integers(0, 3, 60) / 6))
        far.append(rng.integers(3, 7, 60) / 6)
        queries = {"same_class": layer[-1], "same_class_pixels": hard, "far_in_pixels": far[-1]}
        queries |= {"halved": np.full(60, 0.1), "thinned": rng.uniform(0.3, 0.5, 60)}
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, queries=queries)
    o = outcome(tmp_path, "fig4-retrieval")
    gains = np.array(layer) - hard
    of_images, least = shares(list(gains))
    of_seeds = stats.t.ppf(0.975, 4) ** 2 * gains.mean(1).var(ddof=1) / 5
    half = np.sqrt(max(of_seeds + of_images, stats.norm.ppf(0.975) ** 2 * least))
    assert o.ours == pytest.approx(100 * gains.mean())
    assert o.low == pytest.approx(100 * (gains.mean() - half))
    pixels = outcome(tmp_path, "fig4-pixels")
    assert pixels.ours == pytest.approx(100 * np.mean(far))
    assert (pixels.verdict == "direction agrees") == (pixels.low > 50)
    assert outcome(tmp_path, "drop-geom").verdict == "direction agrees"


def test_a_net_without_dropout_says_nothing_about_thinned_nets(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    nothing = np.full(30, np.nan)
    queries = {"same_class": np.ones(30), "same_class_pixels": np.zeros(30), "far_in_pixels": np.ones(30)}
    net(tmp_path, "alexnet", 1, [0, 1], [0, 1], queries=queries | {"halved": nothing, "thinned": nothing})
    o = outcome(tmp_path, "drop-geom")
    assert o.verdict == "pending"
    assert "does not hold thinned" in o.why


def test_examinations_of_other_weights_are_set_aside(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    net(tmp_path, "alexnet", 1, [0, 1], [0, 1])
    path = tmp_path / "demo/examined/alexnet/1/examination.json"
    path.write_text(path.read_text().replace("e" * 64, "f" * 64))
    fabricate.examination(tmp_path, "demo", "tanh", 1, np.array([0, 1]))
    results = load_results(tmp_path)
    assert results.examined == {}
    assert any("other weights" in sentence for sentence in results.set_aside)
    assert any("its run is not there" in sentence for sentence in results.set_aside)
    with pytest.raises(NoEstimate, match="not examined yet"):
        examinations.estimate(CLAIMS["fig3-special"], results, "demo")


def test_a_net_that_never_trained_carries_no_verdict(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    for seed in (1, 2):
        net(tmp_path, "alexnet", seed, [1] * 30, [1] * 30)
    o = outcome(tmp_path, "fig3-special")
    assert o.verdict == "pending"
    assert "not examined yet" in o.why  # an examination of a net that failed to train is none


def test_a_net_with_one_tower_has_no_towers_to_compare(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    net(tmp_path, "alexnet", 1, [0, 1], [0, 1], chroma=(np.array([0.1, 0.2, 0.3]), np.array([])))
    o = outcome(tmp_path, replace(CLAIMS["fig3-special"]))
    assert o.verdict == "pending"
    assert "no two towers" in o.why
