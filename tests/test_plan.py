"""A study with a registered plan and a pilot: rows wait for all planned pairs, the pilot's runs are shown, kept and never judged."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pytest

from analysis.measures.inference import Estimate
from analysis.paper.claims import load_claims
from analysis.report.context import Context
from analysis.report.pages import campaign_state, claims, cost, training
from analysis.results import campaign, keep
from analysis.results.evidence import load_results
from analysis.verdicts.explain import explain
from analysis.verdicts.judge import judge, judge_all
from analysis.verdicts.rules import question, words
from analysis.verdicts.table import read_table, write_table

CLAIMS = {claim.id: claim for claim in load_claims()}
PLAN = {"name": "trial", "sha256": "ab" * 32}
PILOT = {
    "seed": 9,
    "epochs": 2,
    "at_rate_of": {"tanh": "alexnet"},
    "rates": {
        "alexnet": {"factor": 1.0, "tried": {"0.5": 0.42, "1": 0.4, "2": 0.41}},
        "no_lrn": {"factor": 0.25, "tried": {"0.125": 0.5, "0.25": 0.34, "0.5": 0.36, "1": 0.44}},
    },
    "fingerprints": {"no_lrn_rate_x0p5": {"9": "pilot of no_lrn"}},
}


def planned(folder: Path, pairs: int, of: int = 5) -> Path:
    """A campaign of which `pairs` of five planned pairs are finished."""
    fabricate.campaign(folder, images=100, seeds=pairs)
    about = [
        {"name": name, "baseline": "alexnet", "difference": {}, **record, "seeds": [*range(1, of + 1)]}
        for name, record in fabricate.ABOUT.items()
    ]
    fabricate.study(folder, "demo", plan=PLAN, pilot=PILOT, experiments=about)
    fabricate.run(folder, "demo", "no_lrn_rate_x0p5", 9, [0.6, 0.36], fingerprint="pilot of no_lrn")
    return folder


@pytest.fixture
def part(tmp_path: Path) -> Context:
    folder = planned(tmp_path / "part", 3)
    write_table(judge_all(list(CLAIMS.values()), load_results(folder)), tmp_path / "claims.csv")
    return Context(load_results(folder), read_table(tmp_path / "claims.csv"))


def test_a_planned_row_is_pending_without_a_number_until_all_pairs_exist(part: Context, tmp_path: Path) -> None:
    for name in ("gpu-delta-top1", "lrn-delta-top1", "drop-overfit", "relu-several-times", "relu-order"):
        (found,) = judge(CLAIMS[name], part.results)
        assert (found.verdict, found.why, found.ours, found.low) == ("pending", "3 of 5 pairs", None, None), name
    (value,) = judge(CLAIMS["abs-top1-2010"], part.results)
    assert value.why == "3 of 5 runs"
    said = "\n".join(explain(CLAIMS["gpu-delta-top1"], judge(CLAIMS["gpu-delta-top1"], part.results)))
    assert "3 of 5 pairs" in said and f"Plan           trial, sha256 {'ab' * 32}" in said
    html = str(claims.claims(part))
    assert f"registered plan <code>trial, sha256 {'ab' * 32}</code>" in html and "3 of 5 pairs" in html
    assert "gpu-delta-top1" not in str(training.ablations(part))
    whole = load_results(planned(tmp_path / "whole", 5))
    assert judge(CLAIMS["gpu-delta-top1"], whole)[0].direction == "agrees"


def test_no_pair_is_said_too(tmp_path: Path) -> None:
    folder = planned(tmp_path, 1)
    for file in folder.glob("demo/evals/no_lrn/*/*"):
        file.unlink()
    (found,) = judge(CLAIMS["lrn-delta-lab"], load_results(folder))
    assert found.why.startswith("demo: 0 of 5 pairs: no_lrn has no evaluation")


def diverge(folder: Path, experiment: str, seed: int) -> None:
    """What is left of a run whose loss stopped being finite: its configuration, and failed.json."""
    for kind in ("evals", "examined"):
        shutil.rmtree(folder / "demo" / kind / experiment / str(seed), ignore_errors=True)
    where = folder / "demo/runs" / experiment / str(seed)
    for path in where.iterdir():
        if path.name != "config.json":
            path.unlink()
    fabricate.write_json(where / "failed.json", {"epoch": 2, "step": 7, "loss": "nan", "history": []})


def test_a_run_that_diverged_counts_as_a_finished_block_and_is_told(tmp_path: Path) -> None:
    folder = planned(tmp_path / "six", 6, of=6)
    whole = judge(CLAIMS["lrn-delta-lab"], load_results(folder))[0]
    diverge(folder, "no_lrn", 3)
    (found,) = judge(CLAIMS["lrn-delta-lab"], load_results(folder))
    assert (found.verdict, found.seeds) == (whole.verdict, 5) and whole.seeds == 6
    assert "1 of 6 runs of no_lrn failed to train: the number is of the others" in found.why
    diverge(folder, "no_lrn", 5)  # four pairs are left, and five the fewest for a verdict: nothing is waited for
    (found,) = judge(CLAIMS["lrn-delta-lab"], load_results(folder))
    assert (found.verdict, found.seeds) == ("cannot tell", 4) and "2 of 6 runs of no_lrn failed" in found.why
    (other,) = judge(CLAIMS["gpu-delta-top1"], load_results(folder))
    assert other.seeds == 6
    for seed in (1, 2, 4, 6):
        diverge(folder, "no_lrn", seed)
    (found,) = judge(CLAIMS["lrn-delta-lab"], load_results(folder))
    assert (found.verdict, found.ours, found.why) == (
        "cannot tell",
        None,
        "each of 6 pairs has a run that failed to train",
    )


def test_finished_blocks_are_counted_among_all_that_are_registered(tmp_path: Path) -> None:
    folder = planned(tmp_path / "part", 4, of=6)
    diverge(folder, "no_lrn", 2)
    (found,) = judge(CLAIMS["lrn-delta-lab"], load_results(folder))
    assert (found.verdict, found.why) == ("pending", "4 of 6 pairs, 1 with a run that failed to train")


def test_a_diverged_run_is_kept_and_one_of_another_configuration_is_not_used(tmp_path: Path) -> None:
    folder = planned(tmp_path / "six", 6, of=6)
    diverge(folder, "no_lrn", 3)
    keep.keep(folder, tmp_path / "kept")
    kept = load_results(tmp_path / "kept")
    assert set(kept.diverged) == {("demo", "no_lrn", 3)} and not kept.set_aside
    config = folder / "demo/runs/no_lrn/3/config.json"
    old = config.stat().st_mtime - 10
    os.utime(config.with_name("failed.json"), (old, old))  # configured again, and not trained since
    results = load_results(folder)
    assert not results.diverged and "another configuration than the present one" in results.set_aside[0]


def test_the_registered_contrasts_and_smallest_effects_are_those_of_the_table_of_claims() -> None:
    text = (Path(__file__).parents[1] / "config/plans/campaign.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    contrasts = [row for row in rows if row[0] in CLAIMS]
    assert len(contrasts) == 16
    nets = {"no_conv2, 3, 4, 5": "no_conv2 no_conv3 no_conv4 no_conv5"}
    marks = {"about": "about", "above": "greater", "at least": "at_least"}
    for name, first, second, _, claimed, smallest in contrasts:
        claim = CLAIMS[name]
        words, _, number = claimed.rpartition(" ")
        assert (claim.experiment, claim.baseline) == (nets.get(first, first), second), name
        assert (claim.relation, claim.number) == (marks[words], float(number)), name
        asked = question(claim, 1.0 if claim.how == "ratio" else 0.0)
        if words == "above" and float(number) == asked.null:
            assert asked.effect == pytest.approx(float(smallest)), name
        else:
            assert not smallest, name
    regime = text.partition("- Regime: ")[2].partition(" need")[0]
    assert {name for name, claim in CLAIMS.items() if claim.base_gap == 5} == set(
        re.findall(r"[a-z]+(?:-[a-z]+)+", regime)
    )


@pytest.mark.parametrize(("gap", "verdict"), [(0.04, "cannot tell"), (0.06, "direction agrees")])
def test_a_test_of_overfitting_needs_a_base_that_overfits(tmp_path: Path, gap: float, verdict: str) -> None:
    fabricate.study(tmp_path, "demo")
    rng, count = np.random.default_rng(5), 2000
    for seed in range(1, 7):
        for name, more in (("alexnet", 0.0), ("no_dropout", 0.1)):
            train = np.arange(count) < count * 0.2
            val = np.arange(count) < count * (0.2 + gap + more + rng.normal(0, 0.002))
            fabricate.run(tmp_path, "demo", name, seed, [0.9, 0.5])
            fabricate.evaluation(tmp_path, "demo", name, seed, "ilsvrc2012", "val", rng.permutation(val) * 1.0)
            fabricate.examination(tmp_path, "demo", name, seed, rng.permutation(train) * 1.0)
    (found,) = judge(CLAIMS["drop-overfit"], load_results(tmp_path))
    assert found.verdict == verdict and found.low is not None and found.low > 5, found.why
    told = "this test needs a base net that overfits by more than 5 points; here alexnet does by 4"
    assert (told in found.limit) == (found.needed == "training until alexnet overfits") == (verdict == "cannot tell")


def test_an_effect_below_the_smallest_of_interest_is_not_shown(tmp_path: Path) -> None:
    """0.1 points [-0.4, 0.6] shows no side and leaves out 1 point: with the sign alone it would stay open."""
    claim, found = CLAIMS["intro-depth"], Estimate(0.001, -0.004, 0.006, 6, null=0.0, inner=(-0.003, 0.005))
    assert words(claim, "proxy", found)[0] == "not shown"
    assert words(replace(claim, tolerance=0.0), "proxy", found)[0] == "cannot tell"


def test_pilot_runs_are_known_counted_kept_and_never_judged(part: Context, tmp_path: Path) -> None:
    results, key = part.results, ("demo", "no_lrn_rate_x0p5", 9)
    assert set(results.pilots) == {key} and not results.set_aside
    assert key not in results.runs and key not in results.configs
    assert key[1] not in set(results.metrics["experiment"]) and key[1] not in part.trained(part.studies[0])
    fabricate.log(results.folder, *key, "epoch 2/2")
    assert not campaign_state.unfinished(results)
    first = re.search(r"Demo, pilot.*?</tr>", str(cost.measured(part)), re.DOTALL)
    assert first and f"{190 / 3600:.2f}" in first[0]
    assert "; 1 pilot run chose the rates; " in campaign.sentences(results)[0]
    assert f"Registered plan: trial, sha256 {'ab' * 32}." in campaign.sentences(results)[0]
    kept = tmp_path / "kept"
    assert not [line for line in keep.keep(results.folder, kept) if "rate_x" in line]
    where = kept / "demo/runs/no_lrn_rate_x0p5/9"
    assert {path.name for path in where.iterdir()} == {"config.json", "run.json", "metrics.csv"}
    assert set(load_results(kept).pilots) == {key} and not load_results(kept).set_aside


def test_a_foreign_pilot_run_is_set_aside(tmp_path: Path) -> None:
    folder = planned(tmp_path, 3)
    fabricate.run(folder, "demo", "no_lrn_rate_x0p5", 9, [0.6, 0.36], fingerprint="another")
    results = load_results(folder)
    assert not results.pilots and "another configuration than the present one" in results.set_aside[0]


def test_the_pilots_table_has_each_error_and_marks_the_chosen_one(part: Context) -> None:
    html = str(training.pilot(part.studies[0]))
    rows = {
        name: re.findall(r"<td[^>]*>(.*?)</td>", cells)
        for name, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    }
    assert re.findall(r"× ([0-9.]+)</th>", html) == ["0.125", "0.25", "0.5", "1", "2"]
    assert rows["alexnet"] == ["–", "–", "42.0", "40.0 ✓", "41.0", "1"]
    assert rows["no_lrn"] == ["50.0", "34.0 ✓", "36.0", "44.0", "–", "0.25"]
    assert rows["tanh"][-1] == "that of alexnet"
