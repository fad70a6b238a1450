"""A study with a registered plan and a pilot: rows wait for all planned pairs, the pilot's runs are shown, kept and never judged."""

from __future__ import annotations

import re
from pathlib import Path

import fabricate
import pytest

from analysis.paper.claims import load_claims
from analysis.report.context import Context
from analysis.report.pages import campaign_state, claims_table, cost, pilot, training
from analysis.results import campaign, keep
from analysis.results.evidence import load_results
from analysis.verdicts.explain import explain
from analysis.verdicts.judge import judge, judge_all
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


def planned(folder: Path, pairs: int) -> Path:
    """A campaign of which `pairs` of five planned pairs are finished."""
    fabricate.campaign(folder, images=100, seeds=pairs)
    about = [
        {"name": name, "baseline": "alexnet", "difference": {}, **record, "seeds": [1, 2, 3, 4, 5]}
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
    html = str(claims_table.claims(part))
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
    html = str(pilot.pilot(part.studies[0]))
    rows = {
        name: re.findall(r"<td[^>]*>(.*?)</td>", cells)
        for name, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    }
    assert re.findall(r"× ([0-9.]+)</th>", html) == ["0.125", "0.25", "0.5", "1", "2"]
    assert rows["alexnet"] == ["–", "–", "42.0", "40.0 ✓", "41.0", "1"]
    assert rows["no_lrn"] == ["50.0", "34.0 ✓", "36.0", "44.0", "–", "0.25"]
    assert rows["tanh"][-1] == "that of alexnet"
