"""The rule of verdicts on fabricated campaigns of known truth: how often it errs, and that a sharper rule would be caught."""

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

from analysis.__main__ import main
from analysis.calibration import power, simulation, worlds
from analysis.calibration.record import behaviour
from analysis.calibration.scenarios import all_settings
from analysis.calibration.simulation import NOMINAL, Setting, calibrate, wrong_words
from analysis.calibration.worlds import World
from analysis.paper.claims import load_claims
from analysis.stats import intervals, trials
from analysis.stats.intervals import Noise
from analysis.stats.samples import over_images
from analysis.verdicts.judge import judge

CLAIMS = {claim.id: claim for claim in load_claims()}
REPEATS = 400
JUST = 1e-6

SMALL = [
    # no effect: both directions are wrong
    Setting("difference", "gpu-delta-top1", "proxy", 500, 5, 5, 1.0, 1.0, 0.0),
    Setting("difference", "gpu-delta-top1", "proxy", 4_000, 10, 10, 1.0, 3.0, 0.0),
    Setting("difference", "gpu-delta-top1", "demo", 500, 5, 10, 3.0, 1.0, 0.0),  # no pairs
    Setting("difference", "gpu-delta-top1", "demo", 500, 5, 5, 0.0, 0.0, 0.0),  # images are all the noise
    # the opposite of what the paper says
    Setting("difference", "gpu-delta-top1", "reduced scale", 50_000, 5, 5, 1.0, 1.0, -1.7),
    # at paper scale: just outside of the range, and no effect within the range
    Setting("difference", "gpu-delta-top1", "paper scale", 150_000, 10, 10, 0.12, 0.12, 1.2 - JUST),
    Setting("difference", "gpu-delta-top1", "paper scale", 150_000, 3, 3, 0.12, 0.12, 2.2 + JUST),
    Setting("difference", "pool-delta-top1", "paper scale", 50_000, 5, 10, 0.36, 0.12, 0.0),
    Setting("value", "abs-top1-2010", "paper scale", 150_000, 5, 0, 0.12, 0.0, 38.1 + JUST),
    Setting("value", "abs-top1-2010", "paper scale", 150_000, 5, 0, 0.12, 0.0, 37.5),
    Setting("equivalence", "val-test-gap", "paper scale", 150_000, 5, 0, 0.0, 0.0, 0.1 + JUST),
    Setting("equivalence", "lrn-delta-top1", "paper scale", 50_000, 10, 10, 0.12, 0.12, 0.5 + JUST, same=True),
    Setting("gap", "pool-overfit", "proxy", 0, 5, 10, 3.0, 1.0, 0.0),
    Setting("view gain", "tenview-gain", "paper scale", 150_000, 5, 0, 0.13, 0.0, 1.1 - JUST),
    # ratios: exactly 1, and just below "at least 2"; half of the slower net's runs are censored in the last two
    Setting("ratio", "relu-several-times", "proxy", 0, 5, 5, 0.1, 0.3, 1.0, slowest=40),
    Setting("ratio", "relu-several-times", "proxy", 0, 5, 5, 0.3, 0.1, 1.0, slowest=90),
    Setting("ratio", "relu-several-times", "paper scale", 0, 5, 5, 0.3, 0.1, 2 - JUST, slowest=90),
]  # fmt: skip


def rates(settings: list[Setting]) -> np.ndarray:
    return np.array(calibrate(settings, REPEATS, seed=7)["rate"])


def test_at_most_one_verdict_in_twenty_is_wrong() -> None:
    """In every setting; three Monte-Carlo standard errors (1.1 points each) are allowed."""
    assert max(rates(SMALL)) <= NOMINAL + 3 * math.sqrt(NOMINAL * (1 - NOMINAL) / REPEATS)


def test_half_an_interval_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = intervals.half_width
    monkeypatch.setattr(intervals, "half_width", lambda *args, **more: whole(*args, **more) / 2)
    bound = NOMINAL + 3 * math.sqrt(NOMINAL * (1 - NOMINAL) / REPEATS)
    found = dict(zip((s.kind for s in SMALL), (False for _ in SMALL), strict=True))
    for setting, rate in zip(SMALL, rates(SMALL), strict=True):
        found[setting.kind] |= bool(rate > bound)
    assert all(found.values()), found  # for every kind of claim


def test_pooled_spread_or_welch_would_be_caught() -> None:
    """The setting with 2 seeds against 10 is one in which the usual rules err far more often than they say."""
    rng = np.random.default_rng(0)
    ours, base = rng.normal(0, 3, (20_000, 2)), rng.normal(0, 1, (20_000, 10))
    for equal in (True, False):
        p = stats.ttest_ind(ours, base, axis=1, equal_var=equal).pvalue
        assert np.mean(p < 0.05) > 0.08
    half = [intervals.half_width(noises(x, y)) for x, y in zip(ours[:5000], base[:5000], strict=True)]
    distance = np.abs(ours.mean(axis=1) - base.mean(axis=1))[:5000]
    assert np.mean(distance > np.array(half)) < 0.05


def noises(ours: np.ndarray, base: np.ndarray) -> list[Noise]:
    return [Noise("seeds", float(np.var(x, ddof=1)), len(x), len(x) - 1) for x in (ours, base)]


def test_the_rule_has_power_too() -> None:
    """It is not right by saying nothing: five pairs find large effects, ten replicate the paper's."""
    large = Setting("difference", "gpu-delta-top1", "proxy", 4_000, 5, 5, 0.5, 0.5, 4.0)
    exact = Setting("difference", "gpu-delta-top1", "paper scale", 150_000, 10, 10, 0.12, 0.12, 1.7)
    said = calibrate([large, exact], 200, 1)
    assert said["agrees"][0] > 180
    assert said["agrees"][1] > 180 and said["matches"][1] > 180


ALLOWED = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("name", trials.HOLDS)
@pytest.mark.parametrize(("evidence", "pairs"), [("proxy", 5), ("paper scale", 3)])
def test_words_are_wrong_at_most_one_in_twenty_where_draws_are_not_normal(name: str, evidence: str, pairs: int) -> None:
    """2,000 campaigns without effect, counted here: at most 5 % and two standard errors."""
    setting = Setting("world", "pool-overfit", evidence, 0, pairs, pairs, 1.0, 1.0, 0.0, world=name)
    counts = simulation.verdicts_in(setting, CLAIMS, 2000, 5)
    wrong = sum(n for words, n in counts.items() if words[0] in ("agrees", "contradicts"))
    assert wrong / 2000 <= ALLOWED


def test_where_no_rule_holds_the_calibration_says_so() -> None:
    """Worlds that are shown and not counted do err more often, and by the bound that is given for two peaks."""
    settings = [s for s in all_settings() if s.broken and s.evidence == "proxy" and s.seeds == 5]
    assert {s.world for s in settings} == set(trials.BREAKS)
    two = next(s for s in settings if "two peaks" in s.world)
    rate = calibrate([two], 2000, 5)["rate"][0]
    one_peak = trials.SHARE**5 + (1 - trials.SHARE) ** 5  # nothing in such numbers tells of the other peak
    assert one_peak == pytest.approx(0.088, abs=1e-4) and rate >= one_peak - 3 * math.sqrt(0.088 * 0.912 / 2000)


CLUSTER, CORRELATED = 20, 0.3  # images that are alike, and how much


def clustered(rng: np.random.Generator, images: int, truth: float) -> tuple[float, float]:
    """The 95 % interval of a share counted on images that come in clusters, as if they were independent."""
    clusters = rng.random((images // CLUSTER, 1)) < truth
    own = rng.random((images // CLUSTER, CLUSTER)) < truth
    same = rng.random((images // CLUSTER, CLUSTER)) < np.sqrt(CORRELATED)
    share = float(np.where(same, clusters, own).mean())
    return over_images([(share, float(images))], "value")[1]


def test_images_in_clusters_are_no_independent_images() -> None:
    """What `spread=images` cannot see: the interval of a share misses the truth far more often than it says."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(500):
        low, high = clustered(rng, 2000, 0.3)
        missed += not low <= 0.3 <= high
    assert 0.2 < missed / 500 < 0.6


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_borrowed_spread_never_carries_a_word(times: int, seeds: int) -> None:
    """One or two seeds at paper scale, that vary up to three times as much as in the lab's logs."""
    rng = np.random.default_rng(times)
    for _ in range(20):
        nets = {}
        for name in ("alexnet", "one_gpu"):
            luck = rng.normal(0, times * 0.0012, seeds)
            nets[name, "ilsvrc2010", "test", "ten"] = (rng.random((2000, seeds)) < 0.375 + luck).astype(float)
        found = judge(CLAIMS["gpu-delta-top1"], fabricate.in_memory(nets, tier="paper", classes=1000))[0]
        assert (found.direction, found.size) == ("cannot tell", "unknown") and found.low is not None


def test_the_noise_of_both_ways_of_drawing_is_the_same() -> None:
    """Image by image and by kind: the same mean and spread of seed errors, image variance and luck."""
    world = World(0.4, 0.02, 0.01, 0.005, 800, 3, 2)
    drawn = []
    for draw in (worlds.by_image, worlds.by_kind):
        found = list(draw(world, np.random.default_rng(3), 1500))
        drawn.append(np.array([[*(arm.mean() for arm in m.arms), m.between_images, m.luck] for m in found]))
    error = np.sqrt(sum(d.var(axis=0, ddof=1) for d in drawn) / 1500)
    assert (np.abs(drawn[0].mean(axis=0) - drawn[1].mean(axis=0)) < 4 * error).all()
    spread = drawn[0][:, :2].std(axis=0) / drawn[1][:, :2].std(axis=0)
    assert spread == pytest.approx([1, 1], abs=0.1)
    truth = drawn[0][:, 0].mean() - drawn[0][:, 1].mean()
    assert truth == pytest.approx(0.02, abs=4 * (drawn[0][:, 0] - drawn[0][:, 1]).std() / math.sqrt(1500))
    assert drawn[0][:, 1].mean() == pytest.approx(0.4, abs=4 * drawn[0][:, 1].std() / math.sqrt(1500))


def test_two_nets_of_a_world_disagree_on_a_fifth_of_the_images() -> None:
    p, weight, taste = worlds.kinds(0.4)
    assert p.mean() == pytest.approx(0.4) and weight.mean() == pytest.approx(1)
    assert (weight * taste).sum() == pytest.approx(0)
    assert 2 * np.mean(p * (1 - p)) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("claim", "evidence", "truth", "wrong"),
    [
        ("gpu-delta-top1", "proxy", 0.0, {"agrees", "contradicts"}),
        ("gpu-delta-top1", "proxy", 0.1, {"contradicts"}),
        ("gpu-delta-top1", "proxy", 1.8, {"contradicts", "not shown"}),
        ("gpu-delta-top1", "proxy", -3.0, {"agrees"}),
        ("gpu-delta-top1", "paper scale", 1.7, {"contradicts", "not shown", "differs"}),
        ("gpu-delta-top1", "paper scale", 1.1, {"contradicts", "matches"}),
        ("gpu-delta-top1", "paper scale", -1.7, {"agrees", "matches"}),
        ("pool-delta-top1", "paper scale", 0.0, {"agrees", "contradicts", "differs"}),
        ("abs-top1-2010", "paper scale", 37.0, {"differs"}),
        ("abs-top1-2010", "paper scale", 38.2, {"matches"}),
        ("val-test-gap", "paper scale", 0.2, {"matches"}),
        ("relu-several-times", "paper scale", 1.9, {"contradicts", "matches"}),
        ("relu-several-times", "proxy", 1.9, {"contradicts"}),
    ],
)
def test_which_words_are_false(claim: str, evidence: str, truth: float, wrong: set[str]) -> None:
    assert wrong_words(CLAIMS[claim], evidence, truth) == wrong


def test_the_full_calibration_covers_what_it_should() -> None:
    settings = all_settings()
    assert len(set(settings)) == len(settings)
    counted = [s for s in settings if not s.broken]
    assert {s.seeds for s in counted} >= {3, 5, 10}
    assert {s.images for s in counted} >= {500, 4_000, 50_000, 150_000}
    assert {s.evidence for s in counted} == {"demo", "proxy", "reduced scale", "paper scale"}
    assert {CLAIMS[s.claim].how for s in counted} == {
        "difference",
        "value",
        "view_gain",
        "split_gap",
        "generalization_gap",
        "ratio",
    }
    assert {s.world for s in settings} - {""} == set(trials.WORLDS)
    assert any(s.sd != s.baseline_sd for s in counted if s.kind == "difference")
    for kind in ("difference", "gap", "ratio"):  # no effect, the paper's direction, and the opposite
        signs = {np.sign(s.truth - (1 if kind == "ratio" else 0)) for s in counted if s.kind == kind}
        assert signs == {-1, 0, 1}


def test_the_published_calibration_errs_in_no_setting() -> None:
    published = pd.read_csv(Path(simulation.__file__).parents[2] / "reports" / "reference" / "calibration.csv")
    counted = published[published["broken"].isna()]
    assert len(counted) > 1000 and (counted["repeats"] >= 1000).all()
    assert (counted["low"] <= NOMINAL).all()
    assert (counted["wrong"] / counted["repeats"] - counted["rate"]).abs().max() < 1e-5
    listed = {(s.kind, s.claim, s.evidence, s.images, s.seeds, s.baseline_seeds, s.sd, s.truth) for s in all_settings()}
    columns = ["kind", "claim", "evidence", "images", "seeds", "baseline_seeds", "sd", "truth"]
    assert set(published[columns].itertuples(index=False, name=None)) == listed


def test_the_published_calibration_is_of_the_present_rule() -> None:
    """After a change of the rule, or of a claim that it stands on: run `python -m analysis calibrate` again."""
    about = json.loads(
        (Path(simulation.__file__).parents[2] / "reports" / "reference" / "calibration.json").read_text()
    )
    assert about["behaviour"] == behaviour()
    assert about["settings"] == len(all_settings())


def test_power_grows_with_seeds_and_the_costs_follow() -> None:
    rows = power.table(60, 1, [CLAIMS["gpu-delta-top1"], CLAIMS["drop-overfit"], CLAIMS["tab2-5cnn-val"]])
    assert list(rows["claim"]) == ["gpu-delta-top1", "tab2-5cnn-val"]  # drop-overfit has no size
    gpu, ensemble = rows.iloc[0], rows.iloc[1]
    assert gpu["replicated_3"] < gpu["replicated_10"] and gpu["replicated_10"] > 0.9
    assert gpu["runs"] == 2 * gpu["seeds_80"]
    assert gpu["gpu_hours"] == gpu["runs"] * 5.5 * 24 * 2
    assert ensemble["runs"] == 5 * ensemble["seeds_80"]
    assert gpu["direction_80"] == 3 and math.isnan(ensemble["direction_80"])


def test_power_is_what_a_closed_form_says() -> None:
    """Absolute value, ten seeds: P(the 90 % t interval lies within the range) by integration over the spread."""
    claim = replace(CLAIMS["abs-top1-2010"], tolerance=0.25)
    counts = simulation.verdicts_in(power.setting(claim, 10, 150_000), {claim.id: claim}, 2000, 3)
    p, _, _ = worlds.kinds(0.375)
    luck = np.mean(p * (1 - p)) / 150_000
    sd = math.sqrt(power.setting(claim, 10, 150_000).sd ** 2 + 1e4 * luck)
    images = 1e4 * np.var(p) / 150_000
    q = (np.arange(4000) + 0.5) / 4000
    s2 = sd**2 * stats.chi2.ppf(q, 9) / 9
    half = np.sqrt(stats.t.ppf(0.95, 9) ** 2 * s2 / 10 + stats.norm.ppf(0.95) ** 2 * images)
    room = np.maximum(0.25 - half, 0) / math.sqrt(sd**2 / 10 + images)
    expected = np.mean(2 * stats.norm.cdf(room) - 1)
    assert 0.1 < expected < 0.9
    assert sum(n for words, n in counts.items() if words[1] == "matches") / 2000 == pytest.approx(
        expected, abs=4 * math.sqrt(0.25 / 2000)
    )


def test_the_verb_writes_the_same_file_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.calibration.record.all_settings", lambda: SMALL[:3])
    options = ["calibrate", "--repeats", "100", "--seed", "3", "--out"]
    assert main([*options, str(tmp_path / "a.csv")]) == 0
    assert main([*options, str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert len(pd.read_csv(tmp_path / "a.csv")) == 3
    about = json.loads((tmp_path / "a.json").read_text())
    assert about["command"].endswith("calibrate --out a.csv --repeats 100 --seed 3")
    assert main(["calibrate", "--repeats", "5", "--out", str(tmp_path / "c.csv")]) == 2
