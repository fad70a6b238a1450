"""A results folder becomes tables; what is missing or stale is left out and named."""

from __future__ import annotations

import json
from pathlib import Path

import fabricate
import numpy as np
import pytest

from analysis.errors import UserError
from analysis.results.evidence import load_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fabricate.study(tmp_path, "demo")
    for seed in (1, 2):
        fabricate.run(tmp_path, "demo", "alexnet", seed, [0.8, 0.5, 0.3])
        errors = np.array([0, 1, 0, 1, 1, 0, 0, 0], float)
        fabricate.evaluation(tmp_path, "demo", "alexnet", seed, "ilsvrc2010", "test", errors, errors * (seed == 1))
    return tmp_path


def test_tables_hold_what_the_files_hold(folder: Path) -> None:
    results = load_results(folder)
    assert set(results.runs) == {("demo", "alexnet", 1), ("demo", "alexnet", 2)}
    assert results.studies["demo"].threshold == 0.5
    curve = results.curves("demo", "alexnet")[2]
    assert list(curve["train_error"]) == [0.8, 0.5, 0.3]
    ten = results.errors_by_image("demo", "alexnet", "ilsvrc2010", "test", "ten", "top1_error")
    assert ten.shape == (8, 2)
    assert ten.mean().to_dict() == {1: 0.375, 2: 0.0}
    top5 = results.errors_by_image("demo", "alexnet", "ilsvrc2010", "test", "center", "top5_error")
    assert float(top5[1].sum()) == 2  # images 1 and 3 are wrong and odd
    assert results.set_aside == []


def test_images_are_paired_by_name_not_by_position(folder: Path) -> None:
    import pandas as pd

    path = folder / "demo/evals/alexnet/2/ilsvrc2010-test.parquet"
    table = pd.read_parquet(path)
    table.iloc[::-1].to_parquet(path, index=False)
    results = load_results(folder)
    center = results.errors_by_image("demo", "alexnet", "ilsvrc2010", "test", "center", "top1_error")
    assert (center[1] == center[2]).all()


def test_a_stale_evaluation_is_set_aside_and_named(folder: Path) -> None:
    path = folder / "demo/study.json"
    record = json.loads(path.read_text())
    record["fingerprints"]["alexnet"]["2"] = "edited"
    path.write_text(json.dumps(record))
    results = load_results(folder)
    assert set(results.evals["seed"]) == {1}
    assert set(results.runs) == {("demo", "alexnet", 1)}
    said = "\n".join(results.set_aside)
    assert "evaluation demo/alexnet/seed 2 on ilsvrc2010-test: made with another configuration" in said
    assert "run demo/alexnet/seed 2: trained with another configuration" in said


def test_seeds_and_experiments_that_left_the_study_are_set_aside(folder: Path) -> None:
    path = folder / "demo/study.json"
    record = json.loads(path.read_text())
    del record["fingerprints"]["alexnet"]["1"]  # the seed of a pilot
    path.write_text(json.dumps(record))
    results = load_results(folder)
    assert set(results.evals["seed"]) == {2}
    assert set(results.runs) == {("demo", "alexnet", 2)}
    assert sum("demo/alexnet/seed 1" in line and "not part" in line for line in results.set_aside) == 2


def test_an_evaluation_of_other_weights_is_set_aside(folder: Path) -> None:
    path = folder / "demo/runs/alexnet/1/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": "0" * 64}))
    results = load_results(folder)
    assert set(results.evals["seed"]) == {2}
    assert "other weights" in results.set_aside[0]


def test_half_finished_campaigns_load(folder: Path) -> None:
    fabricate.run(folder, "demo", "no_lrn", 1, [0.9, 0.6])
    (folder / "demo/runs/no_lrn/1/run.json").unlink()  # still training
    (folder / "demo/evals/alexnet/2/ilsvrc2010-test.parquet").unlink()
    (folder / "demo/runs/tanh/3").mkdir(parents=True)
    (folder / "describe").mkdir()
    results = load_results(folder)
    assert results.curves("demo", "no_lrn") == {}
    assert len(results.set_aside) == 1
    assert "its table of predictions is missing" in results.set_aside[0]


def test_an_empty_folder_is_no_error_and_a_missing_one_is(tmp_path: Path) -> None:
    assert load_results(tmp_path).evals.empty
    with pytest.raises(UserError, match="does not exist"):
        load_results(tmp_path / "nothing")


def test_broken_records_are_named_and_not_used(folder: Path) -> None:
    path = folder / "demo/study.json"
    good = path.read_text()
    for broken, words in (
        ("{", "demo/study.json is not valid JSON"),
        ("[]", "demo/study.json holds a list where a record is expected"),
        (good.replace('"demo",\n "data"', '"great",\n "data"'), "demo/study.json: tier 'great' is none of"),
    ):
        path.write_text(broken)
        results = load_results(folder)
        assert results.runs == {} and words in results.set_aside[0], results.set_aside
    path.write_text(good)
    path = folder / "demo/evals/alexnet/1/ilsvrc2010-test.json"
    record = json.loads(path.read_text())
    del record["views"]
    path.write_text(json.dumps(record))
    results = load_results(folder)
    assert set(results.evals["seed"]) == {2}
    assert "ilsvrc2010-test.json at $: 'views' is a required property" in results.set_aside[0]
