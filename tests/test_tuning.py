"""Learning rates chosen on a pilot seed: names, scaled schedules, the search, the table, and the target `pilot`."""

from __future__ import annotations

import csv
import hashlib
import json

import pytest
import yaml
from conftest import TINY_STUDY
from test_workflow import copy_project, snakemake

from alexnet.errors import UserError
from alexnet.experiments import describe, resolve, tuning
from alexnet.training.schedule import rates

PILOT = {"seed": 7, "factors": [0.5, 1, 2], "epochs": 1}


def test_a_pilot_runs_name_gives_its_experiment_and_factor_back():
    for factor in (0.0625, 0.5, 1, 2, 16):
        assert tuning.arm_of(tuning.pilot_run("no_lrn", factor)) == ("no_lrn", factor)
    assert tuning.pilot_run("no_lrn", 0.5) == "no_lrn_rate_x0p5"
    assert tuning.arm_of("no_lrn") == ("no_lrn", None)


@pytest.mark.parametrize("name", ["code2012", "paper", "onetower2014"])
def test_a_factor_scales_every_rate_of_every_epoch_and_nothing_else(name):
    optimizer = yaml.safe_load(open("config/experiments.yaml"))["recipes"][name]["optimizer"]
    halved = optimizer | {"schedule": tuning.scaled(optimizer["schedule"], 0.5)}
    errors = [0.9] * 40  # a plateau: all its drops happen
    for epoch in range(0, 90, 3):
        before, after = (rates(o, epoch, 90, errors) for o in (optimizer, halved))
        groups = [f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc8") for kind in ("weights", "biases")]
        for group in groups:
            assert after.of(group) == pytest.approx(before.of(group) / 2, rel=1e-9)
        assert after.color_noise == before.color_noise


def test_the_search_goes_on_beyond_an_edge_by_the_grids_step():
    assert tuning.beyond({0.5: 0.4, 1: 0.3, 2: 0.5}) == []
    assert tuning.beyond({2: 0.5, 0.5: 0.3, 1: 0.4}) == [0.25]
    assert tuning.beyond({0.25: 0.2, 0.5: 0.3, 1: 0.4}) == [0.125]
    assert tuning.beyond({0.5: 0.5, 1: 0.4, 2: 0.3}) == [4]
    assert tuning.lowest({0.5: 0.3, 1: 0.3, 2: 0.3}) == 1


@pytest.fixture
def tuned(definitions):
    """The tiny study with a pilot and a table of its choices, `no_lrn` at half the rate."""
    study = TINY_STUDY | {"pilot": PILOT | {"at_rate_of": {"tanh": "no_lrn"}}, "seeds": [1, 2]}
    study["experiments"] = ["alexnet", "no_lrn", "tanh"]
    (definitions / "studies/tiny.yaml").write_text(yaml.safe_dump(study))
    resolve.forget()
    curves = {
        name: [
            {
                "factor": factor,
                "seed": 7,
                "epochs": 1,
                "validation_error": error,
                "fingerprint": resolve.resolve("tiny", tuning.pilot_run(name, factor), 7, str(definitions))[
                    "fingerprint"
                ],
            }
            for factor, error in zip(PILOT["factors"], errors, strict=True)
        ]
        for name, errors in (("alexnet", (0.5, 0.4, 0.6)), ("no_lrn", (0.3, 0.4, 1.0)))
    }
    tuning.write_choices("tiny", curves, str(definitions))
    yield definitions
    resolve.forget()


def test_runs_take_the_chosen_rate_and_say_so(tuned):
    base, half, shared = (resolve.resolve("tiny", name, 1, str(tuned)) for name in ("alexnet", "no_lrn", "tanh"))
    assert [one["rate"] for one in (base, half, shared)] == [{"factor": f} for f in (1.0, 0.5, 0.5)]
    rate = base["optimizer"]["schedule"]["stages"][0]["weights"]
    assert half["optimizer"]["schedule"]["stages"][0]["weights"] == rate / 2
    pilot = resolve.resolve("tiny", "no_lrn_rate_x2", 7, str(tuned))
    assert (pilot["rate"], pilot["training"]["epochs"]) == ({"factor": 2.0, "pilot": True}, 1)
    record = describe.study_record("tiny", str(tuned))["pilot"]
    assert record["rates"]["no_lrn"] == {"factor": 0.5, "tried": {"0.5": 0.3, "1": 0.4, "2": 1.0}}
    for factor in (0.5, 1, 2):
        run = tuning.pilot_run("no_lrn", factor)
        fingerprint = resolve.resolve("tiny", run, 7, str(tuned))["fingerprint"]
        assert record["fingerprints"][run] == {"7": fingerprint}


def test_without_a_pilot_a_configuration_has_no_rate_and_a_pilot_run_is_refused(definitions):
    assert "rate" not in resolve.resolve("tiny", "no_lrn", 1, str(definitions))
    with pytest.raises(UserError, match="study tiny has no `pilot`; no_lrn_rate_x2 needs one"):
        resolve.resolve("tiny", "no_lrn_rate_x2", 1, str(definitions))


def test_a_choice_that_is_missing_or_outdated_names_the_command(tuned):
    study = yaml.safe_load((tuned / "studies/tiny.yaml").read_text())
    (tuned / "studies/tiny.yaml").write_text(yaml.safe_dump(study | {"width": 0.125}))
    resolve.forget()
    with pytest.raises(UserError, match="chosen for another configuration.*pilot --config 'studies"):
        describe.study_record("tiny", str(tuned))
    (tuned / tuning.TABLE).unlink()
    resolve.forget()
    with pytest.raises(UserError, match="has no rate for tiny/no_lrn.*pilot --config 'studies"):
        resolve.resolve("tiny", "no_lrn", 1, str(tuned))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tiny,no_lrn,0.5,", "tiny,no_lrn,fast,", "line 5: `factor` must be above 0"),
        (",yes\n", ",\n", "alexnet has 0 rows with `chosen` yes"),
        ("study,experiment,factor", "study,experiment,times", "line 2 lacks `factor`"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tuned, old, new, said):
    path = tuned / tuning.TABLE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    resolve.forget()
    with pytest.raises(UserError, match=said):
        resolve.resolve("tiny", "no_lrn", 1, str(tuned))


@pytest.mark.parametrize(
    ("pilot", "said"),
    [
        (PILOT | {"seed": 1}, "`pilot.seed` 1 is also a seed of the study's runs"),
        (PILOT | {"at_rate_of": {"tanh": "conv6", "conv6": "alexnet"}}, "tanh takes the rate of conv6"),
        (PILOT | {"at_rate_of": {"tahn": "alexnet"}}, "unknown experiment 'tahn'; did you mean 'tanh'"),
        (PILOT | {"factors": [1]}, "pilot.factors"),
    ],
)
def test_a_pilot_that_cannot_be_is_refused(definitions, pilot, said):
    (definitions / "studies/tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY | {"pilot": pilot}))
    resolve.forget()
    with pytest.raises(UserError, match=said):
        resolve.load_study("tiny", str(definitions))
    resolve.forget()


def test_a_study_may_extend_another(definitions):
    diff = {"extends": "tiny", "width": 0.125, "seeds": [3], "pretraining": None, "experiments": ["alexnet"]}
    (definitions / "studies/wide.yaml").write_text(yaml.safe_dump(diff))
    tiny, wide = (resolve.load_study(name, str(definitions)) for name in ("tiny", "wide"))
    assert wide == {key: value for key, value in tiny.items() if key != "pretraining"} | {
        "width": 0.125,
        "seeds": [3],
        "experiments": ["alexnet"],
    }
    (definitions / "studies/wider.yaml").write_text(yaml.safe_dump({"extends": "wide", "width": 0.25}))
    assert resolve.load_study("wider", str(definitions)) == wide | {"width": 0.25}
    (definitions / "studies/wide.yaml").write_text(yaml.safe_dump({"extends": "wider"}))
    resolve.forget()
    with pytest.raises(UserError, match="wide.yaml: `extends` names 'wider', which extends this study in turn"):
        resolve.load_study("wider", str(definitions))


def test_a_study_names_its_plan_and_the_hash_of_its_text(tuned):
    study = yaml.safe_load((tuned / "studies/tiny.yaml").read_text())
    (tuned / "studies/tiny.yaml").write_text(yaml.safe_dump(study | {"plan": "trial"}))
    resolve.forget()
    with pytest.raises(UserError, match="`plan`: .*plans/trial.md does not exist"):
        describe.study_record("tiny", str(tuned))
    (tuned / "plans").mkdir()
    (tuned / "plans/trial.md").write_text("One contrast, five pairs.\n")
    (tuned / "plans/departures.md").write_text("# Departures\n\n1. **A sixth pair** (2026-11-30), as\n   one more.\n")
    record = describe.study_record("tiny", str(tuned))
    digest = hashlib.sha256(b"One contrast, five pairs.\n").hexdigest()
    assert record["plan"] == {"name": "trial", "sha256": digest, "departures": ["A sixth pair"]}


def test_target_pilot_searches_and_writes_the_table_that_ordinary_runs_read(tmp_path):
    """Really run. The factors are far too small, so that the search goes on beyond the largest."""
    folder = copy_project(tmp_path / "project")
    study = {key: value for key, value in TINY_STUDY.items() if key not in ("pretraining", "evaluate")} | {
        "pilot": {"seed": 7, "factors": [0.0001, 0.01], "epochs": 2},
        "experiments": ["alexnet", "no_lrn"],
        "evaluate": [{"set": "ilsvrc2012", "split": "val"}],
    }
    (folder / "config/studies/tiny.yaml").write_text(yaml.safe_dump(study))
    refused = snakemake(folder, "no_lrn")
    assert refused.returncode != 0 and "rates.csv has no rate for tiny/alexnet" in refused.stdout
    assert "Traceback" not in refused.stdout
    done = snakemake(folder, "pilot")
    assert done.returncode == 0, done.stdout[-3000:]
    rows = [row for row in csv.DictReader(open(folder / "config/rates.csv")) if row["study"] == "tiny"]
    for name in ("alexnet", "no_lrn"):
        errors = {float(row["factor"]): float(row["validation_error"]) for row in rows if row["experiment"] == name}
        for factor, error in errors.items():
            run = folder / f"results/tiny/runs/{tuning.pilot_run(name, factor)}/7/run.json"
            final = json.loads(run.read_text())["final"]["validation_error"]
            assert error == (1.0 if final is None else final)
        marked = [float(row["factor"]) for row in rows if row["experiment"] == name and row["chosen"] == "yes"]
        assert marked == [min(errors, key=lambda f: (errors[f], max(f, 1 / f)))]
        assert len(errors) == 2 + 3 or marked[0] not in (min(errors), max(errors))
    done = snakemake(folder, "results/tiny/runs/no_lrn/1/config.json", "results/tiny/study.json")
    assert done.returncode == 0, done.stdout[-3000:]
    chosen = next(row for row in rows if row["experiment"] == "no_lrn" and row["chosen"] == "yes")
    config = json.loads((folder / "results/tiny/runs/no_lrn/1/config.json").read_text())
    assert config["rate"] == {"factor": float(chosen["factor"])}
