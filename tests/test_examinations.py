"""What examinations say about claims, against numbers by hand, full enumeration and closed forms."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import fabricate
import numpy as np
import pytest
from scipy import stats

from analysis.measures import examinations, kernels
from analysis.measures.estimates import Asked, NoEstimate
from analysis.measures.registry import EXAMINED
from analysis.measures.towers import Towers, difference_of_towers, p_values, power, share_of_runs
from analysis.paper.claims import Claim, load_claims
from analysis.results.evidence import Results, load_results
from analysis.verdicts.judge import judge
from workflow.plan import EXAMINATIONS

CLAIMS = {claim.id: claim for claim in load_claims()}
CLAIMED = [claim for claim in CLAIMS.values() if claim.how in EXAMINED]


def outcome(folder: Path, claim: Claim | str):
    """What the only study there says about a claim."""
    found = judge(CLAIMS[claim] if isinstance(claim, str) else claim, load_results(folder))
    return found[0]


def net(folder: Path, experiment: str, seed: int, train: list[float], val: list[float], tier="demo", **more) -> None:
    """A finished run with its evaluation and its examination."""
    fabricate.run(folder, "demo", experiment, seed, [0.9, 0.5], tier=tier)
    fabricate.evaluation(folder, "demo", experiment, seed, "ilsvrc2012", "val", np.array(val), tier=tier)
    fabricate.examination(folder, "demo", experiment, seed, np.array(train), tier=tier, **more)


def test_every_way_of_measuring_is_used_by_a_claim_and_known_to_the_workflow() -> None:
    assert {claim.how for claim in CLAIMED} == set(EXAMINED)
    assert tuple(EXAMINED) == EXAMINATIONS


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
        shares(tables["no_dropout", key], tables["alexnet", key], n) for key, n in (("train", of), ("val", np.inf))
    ]
    squares = max(squares + sum(part for part, _ in parts), stats.norm.ppf(0.975) ** 2 * sum(f for _, f in parts))
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
    found = examinations.sample_difference(Asked(load_results(tmp_path), "demo", "no_dropout", "alexnet"))
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


def towers(first: list[int], second: list[int], kernels: int) -> Towers:
    return Towers(np.array([first, second]).T, (kernels, kernels))


def test_dealing_kernels_is_the_full_enumeration() -> None:
    """All 252 ways to deal ten kernels to two towers: the p-value is the share that differ as much."""
    kernels = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1, 0])
    observed = abs(kernels[:5].mean() - kernels[5:].mean())
    dealt = []
    for chosen in combinations(range(10), 5):
        rest = [i for i in range(10) if i not in chosen]
        dealt.append(abs(kernels[list(chosen)].mean() - kernels[rest].mean()))
    found = towers([2], [4], 5)
    assert found.p[0] == pytest.approx(np.mean(np.array(dealt) >= observed - 1e-12))
    drawn = found.dealt()[:, 0]
    for gap in np.unique(np.round(dealt, 9)):
        share = np.mean(np.isclose(dealt, gap))
        assert np.mean(np.isclose(drawn, gap)) == pytest.approx(share, abs=4 * (share / len(drawn)) ** 0.5)


def test_the_p_values_are_those_of_fisher() -> None:
    table = p_values(9, 9)
    for a in range(10):
        for b in range(10):
            assert table[a, b] == pytest.approx(stats.fisher_exact([[a, 9 - a], [b, 9 - b]]).pvalue)


def test_the_power_is_what_simulated_towers_give() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.binomial(12, 0.25, 4000), rng.binomial(12, 0.75, 4000)
    p = [stats.fisher_exact([[a, 12 - a], [b, 12 - b]]).pvalue for a, b in zip(first, second, strict=True)]
    assert power(12, 12) == pytest.approx(np.mean(np.array(p) < 0.05), abs=0.03)
    assert power(12, 12) < 0.8 < power(24, 24) < power(48, 48)


def test_towers_that_differ_by_nothing_are_rarely_told_apart() -> None:
    """Under the null of equal towers the lower bound is above zero in at most one case in twenty."""
    rng = np.random.default_rng(5)
    hits = sum(difference_of_towers(towers(*rng.binomial(24, 0.4, (2, 3)), 24)).low > 0 for _ in range(200))
    assert 0 < hits <= stats.binom.ppf(0.999, 200, 0.05)


def test_the_bound_is_above_zero_where_the_test_rejects_and_below_the_truth() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(100):
        found = difference_of_towers(towers(rng.binomial(20, 0.3, 3), rng.binomial(20, 0.6, 3), 20))
        p = float(found.remark.rpartition("= ")[2])
        assert (found.low > 0) == (p <= 0.05)
        covered += found.low <= 0.3
    assert covered >= stats.binom.ppf(0.001, 100, 0.95)


def test_the_share_of_runs_has_the_exact_binomial_interval() -> None:
    found = share_of_runs(towers([4, 6, 2, 20], [40, 39, 44, 21], 48))
    assert (found.value, found.values) == (0.75, ((1, 1, 1, 0),))
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 3, 2))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 4, 1))
    assert found.conclusive and not share_of_runs(towers([4], [40], 48)).conclusive


def test_what_few_kernels_do_not_show_refutes_nothing() -> None:
    few, many = (share_of_runs(towers([n // 3] * 5, [n // 2] * 5, n)) for n in (12, 48))
    assert few.value == many.value == 0
    assert few.high == many.high == pytest.approx(1 - 0.025 ** (1 / 5))  # Clopper and Pearson for 0 of 5
    assert not few.conclusive and many.conclusive
    assert "not seen, 0 of 5 runs" in few.remark and f"probability {power(12, 12):.2f}" in few.remark
    assert "too few to tell" in few.remark and "too few" not in many.remark


def test_which_tower_is_the_colourful_one_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    fabricate.study(tmp_path, "demo")
    for seed in range(1, 6):
        chroma = rng.uniform(0.0, 0.2, 24), rng.uniform(0.6, 0.8, 24)
        chroma[0][:4], chroma[1][:6] = 0.9, 0.1
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, chroma=chroma[:: 1 if seed < 5 else -1])
    special, every = outcome(tmp_path, "fig3-special"), outcome(tmp_path, "fig3-everyrun")
    assert special.verdict == every.verdict == "direction agrees"
    assert special.ours == pytest.approx(100 * (18 / 24 - 4 / 24)) and 0 < special.low < special.ours
    assert special.high == float("inf") and "4 and 18, 4 and 18, 4 and 18, 4 and 18, 18 and 4" in special.why
    assert (every.ours, every.seeds) == (100, 5)


@pytest.mark.parametrize(("runs", "allowed"), [(5, {"replicated", "direction agrees"}), (4, {"direction agrees"})])
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


def test_selective_kernels_are_counted_after_and_before_training(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    blobs = {1: 5, 2: 6, 3: 8, 4: 7, 5: 6}
    paths = [tmp_path / f"demo/examined/alexnet/{seed}/examination.json" for seed in blobs]
    for path, (seed, count) in zip(paths, blobs.items(), strict=True):
        chroma = np.where(np.arange(20) < count, 0.9, 0.1)
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, chroma=(chroma[:10], chroma[10:]))
        record = json.loads(path.read_text())
        before = record["untrained_kernels"]
        before["orientation_p"][:2], before["blob_p"][:1] = [0.03, 0.05], [0.02]
        path.write_text(json.dumps(record))
    after = {"fig3-types": [20 - count for count in blobs.values()], "fig3-blobs": list(blobs.values())}
    for claim, before in (("fig3-types", 2), ("fig3-blobs", 1)):
        o = outcome(tmp_path, claim)
        changes = (np.array(after[claim]) - before) / 20
        half = stats.t.ppf(0.975, 4) * stats.sem(changes)
        assert o.ours == pytest.approx(100 * changes.mean())
        assert (o.low, o.high) == pytest.approx((100 * (changes.mean() - half), 100 * (changes.mean() + half)))
        assert f"{5 * np.mean(after[claim]):.1f} % of 20 kernels, {5 * before:.1f} % before training" in o.why
        assert o.verdict == "direction agrees"
    for path in paths:
        record = json.loads(path.read_text())
        record["kernels"]["one_colour"] = [0.8] * 20
        path.write_text(json.dumps(record))
    o = outcome(tmp_path, "fig3-blobs")
    assert (o.verdict, o.needed) == ("cannot tell", "") and "too noisy" in o.why
    assert outcome(tmp_path, "fig3-types").verdict == "direction agrees"


def asked(rng: np.random.Generator, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of 60 queries, these and plain ones."""
    plain = [f"same_class_{key}" for key in ("pixels", "colours", "untrained", "codes")]
    plain += ["same_class", "pixel_rank", "untrained_pixel_rank", "class_pixel_rank"]
    return {key: rng.integers(0, 3, 60) / 6 for key in plain} | columns


def test_neighbours_are_compared_with_the_best_baseline_in_pairs_over_queries(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    fabricate.study(tmp_path, "demo")
    hard, layer, ranks = rng.integers(0, 4, 60) / 6, [], []
    for seed in range(1, 6):
        layer.append(np.minimum(1, hard + rng.integers(1, 4, 60) / 6))
        ranks.append(rng.uniform(0.2, 0.5, 60))
        queries = asked(rng, same_class=layer[-1], same_class_colours=hard, pixel_rank=ranks[-1])
        queries |= {"same_class_pixels": hard / 2, "same_class_codes": hard, "same_class_untrained": hard / 3}
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, queries=queries)
    o = outcome(tmp_path, "fig4-retrieval")
    gains = np.array(layer) - hard
    of_images, least = shares(list(gains))
    of_seeds = stats.t.ppf(0.975, 4) ** 2 * gains.mean(1).var(ddof=1) / 5
    half = np.sqrt(max(of_seeds + of_images, stats.norm.ppf(0.975) ** 2 * least))
    assert o.ours == pytest.approx(100 * gains.mean())
    assert o.low == pytest.approx(100 * (gains.mean() - half))
    assert f"{100 * hard.mean():.1f} % by histograms of colours" in o.why
    assert outcome(tmp_path, "fig4-autoenc").ours == pytest.approx(50 * hard.mean())
    old = {"same_class": np.ones(60), "same_class_pixels": np.zeros(60)}
    net(tmp_path, "alexnet", 6, [0, 1] * 9, [0, 1] * 9, queries=old)  # examined before there were baselines
    assert outcome(tmp_path, "fig4-retrieval").ours == pytest.approx(o.ours)
    pixels = outcome(tmp_path, "fig4-pixels")
    assert pixels.ours == pytest.approx(100 * np.mean(ranks))
    assert (pixels.verdict == "direction agrees") == (pixels.low > 10)


def test_halving_is_held_against_the_arithmetic_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    fabricate.study(tmp_path, "demo")
    gaps = []
    for seed in range(1, 6):
        columns = {key: rng.uniform(0.001, 0.002, 60) for key in ("geometric_halved", "geometric_arithmetic")}
        columns["geometric_halved_sampled"] = columns["geometric_halved"] + 0.001
        columns["arithmetic_halved"] = rng.uniform(0.003, 0.004, 60)
        columns |= {f"{key}_error": np.full(60, 0.25) for key in ("halved", "geometric", "thinned")}
        gaps.append(columns["arithmetic_halved"] - columns["geometric_halved"])
        net(tmp_path, "alexnet", seed, [0, 1] * 9, [0, 1] * 9, queries=asked(rng, **columns))
    o = outcome(tmp_path, "drop-geom")
    assert o.ours == pytest.approx(np.mean(gaps)) and o.verdict == "direction agrees"
    assert "before the luck of the sampled masks" in o.why and "top-1 error halved 25.0 %" in o.why


def test_a_net_without_dropout_says_nothing_about_thinned_nets(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    net(tmp_path, "alexnet", 1, [0, 1], [0, 1], queries=asked(np.random.default_rng(12)))
    o = outcome(tmp_path, "drop-geom")
    assert o.verdict == "pending"
    assert "does not hold arithmetic_halved" in o.why and o.why.count("does not hold") == 1


def test_records_of_before_the_new_measures_are_read_and_say_what_is_missing(published_results: Results) -> None:
    """The published examinations: errors of the finished nets as before, one sentence for what they lack."""
    old_ones = replace(published_results, studies={"imagenette": published_results.studies["imagenette"]})
    for claim in CLAIMED:
        found = [o for o in judge(claim, old_ones) if o.study == "imagenette" or o.verdict == "pending"]
        old = claim.how in ("generalization_gap", "sample_difference")
        assert (found[0].verdict != "pending") == old, claim.id
        if not old:
            assert "does not hold" in found[0].why and "python -m alexnet examine" in found[0].why


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
        kernels.tower_counts(Asked(results, "demo", CLAIMS["fig3-special"].experiment))


def test_a_net_that_never_trained_carries_no_verdict(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    for seed in (1, 2):
        net(tmp_path, "alexnet", seed, [1] * 30, [1] * 30)
    o = outcome(tmp_path, "fig3-special")
    assert (o.verdict, o.why) == ("cannot tell", "all 2 runs failed to train")
    results = load_results(tmp_path)
    with pytest.raises(NoEstimate, match="all examined runs of alexnet failed to train"):
        kernels.tower_counts(Asked(results, "demo", "alexnet"))


def test_a_dead_seed_stays_out_of_every_measure(tmp_path: Path) -> None:
    """Five runs that trained give the same numbers with a dead sixth and without it."""
    rng = np.random.default_rng(13)
    fabricate.study(tmp_path, "demo")
    for seed in range(1, 6):
        for name, share in (("alexnet", 0.3), ("no_dropout", 0.2)):
            train, val = (rng.random(300) < share) * 1.0, (rng.random(300) < 0.5) * 1.0
            net(tmp_path, name, seed, list(train), list(val))
    nets = {"alexnet", "no_dropout", ""}
    claims = [claim for claim in CLAIMED if {claim.experiment, claim.baseline} <= nets]
    assert {claim.how for claim in claims} == set(EXAMINED) - {"sample_difference"}
    before = [outcome(tmp_path, claim) for claim in claims]
    assert all(o.seeds == 5 for o in before)
    nothing = np.zeros(12), np.ones(12)
    net(tmp_path, "alexnet", 6, [1] * 300, [1] * 300, chroma=nothing)
    for then, claim in zip(before, claims, strict=True):
        now = outcome(tmp_path, claim)
        assert (now.ours, now.low, now.values, now.noises) == (then.ours, then.low, then.values, then.noises)
        assert "1 of 6 runs of alexnet failed to train" in now.why


def test_a_net_with_one_tower_has_no_towers_to_compare(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    net(tmp_path, "alexnet", 1, [0, 1], [0, 1], chroma=(np.array([0.1, 0.2, 0.3]), np.array([])))
    o = outcome(tmp_path, replace(CLAIMS["fig3-special"]))
    assert o.verdict == "pending"
    assert "no two towers" in o.why
