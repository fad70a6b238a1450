"""Runs that were trained again: same bits, other bits, other machine, other experiment, and copies, each told as what it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import fabricate
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import cost, provenance
from analysis.results import campaign, reruns
from analysis.results.evidence import load_results
from analysis.results.integrity import MANIFEST

RUN = "demo/runs/{}/2/run.json"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A study of two seeds as it was published."""
    fabricate.campaign(tmp_path / "all", seeds=2, images=60)
    assert main(["keep", "--results", str(tmp_path / "all"), "--out", str(tmp_path / "published")]) == 0
    return tmp_path / "published"


@pytest.fixture
def again(published: Path) -> Path:
    """The base and `no_lrn` with seed 2, trained on another day with the same end; all else is gone."""
    folder = published.parent / "again"
    shutil.copytree(published, folder)
    (folder / MANIFEST).unlink()
    for path in folder.glob("demo/runs/*/*/run.json"):
        if path.relative_to(folder).as_posix() in (RUN.format("alexnet"), RUN.format("no_lrn")):
            change(path, sessions=[{"started": "2027-02-03T04:00:00", "finished": "2027-02-03T05:00:00"}])
        else:
            shutil.rmtree(path.parent)
    return folder


def change(path: Path, **values: Any) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | values))


def compare(again: Path, published: Path, *more: str) -> int:
    return main(["compare", "--results", str(again), "--with", str(published), *more])


def test_runs_that_ended_with_the_same_weights_are_told_and_recorded(again, published, capsys):
    assert compare(again, published, "--record") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"demo/{name}/2: the same weights, bit for bit" for name in ("alexnet", "no_lrn")]
    html = provenance.page(load_results(published))
    assert "2 runs of 2 kinds were trained again" in html and "2 of 2 ended with the same weights" in html
    assert len(re.findall(r"2027-02-03", html)) == 2
    before = (published / "demo/reruns.csv").read_bytes()
    assert compare(again, published, "--record") == 0
    assert (published / "demo/reruns.csv").read_bytes() == before  # a rerun is noted once


def test_other_weights_are_an_answer_with_the_size_of_the_difference(again, published, capsys):
    path = again / RUN.format("no_lrn")
    final = json.loads(path.read_text())["final"] | {"train_error": 0.5, "validation_error": 0.625}
    change(path, weights_sha256="0" * 64, final=final, files={})
    epochs = pd.read_csv(path.with_name("metrics.csv"))
    epochs.loc[len(epochs) - 1, ["train_error", "validation_error"]] = 0.5, 0.625
    epochs.to_csv(path.with_name("metrics.csv"), index=False)
    old = json.loads((published / RUN.format("no_lrn")).read_text())["final"]
    assert compare(again, published, "--record") == 1
    printed = capsys.readouterr().out
    assert (
        f"demo/no_lrn/2: other weights; training error 50.00 instead of {100 * old['train_error']:.2f} %, "
        f"validation error 62.50 instead of {100 * old['validation_error']:.2f} %\n"
    ) in printed
    html = provenance.page(load_results(published))
    assert "1 of 2 ended with the same weights" in html and "other weights; training error 50.00" in html


def test_another_machine_is_named_and_does_not_count_as_the_same_one(again, published, capsys):
    path = again / RUN.format("alexnet")
    made = json.loads(path.read_text())["provenance"] | {"cpu": "Another processor"}
    change(path, provenance=made, threads=2, weights_sha256="0" * 64)
    assert compare(again, published, "--record") == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith("(processor Another processor instead of A <fast> & cheap processor, threads 2 instead of 1)")
    html = provenance.page(load_results(published))
    assert "1 run of 1 kind was trained again" in html and "1 of 1 ended" in html
    assert "A &lt;fast&gt; &amp; cheap processor" in html


def test_a_run_that_was_trained_again_twice_is_one_run(again, published):
    shutil.rmtree((again / RUN.format("no_lrn")).parent)
    for hour in ("05", "06"):
        change(again / RUN.format("alexnet"), sessions=[{"finished": f"2027-02-03T{hour}:00:00"}])
        assert compare(again, published, "--record") == 0
    html = provenance.page(load_results(published))
    assert "1 run of 1 kind was trained again from the start, 2 times in all" in html and "2 of 2 ended" in html


def test_other_code_is_named_and_another_processor_that_calls_itself_the_same(again, published, capsys):
    for name, weights in (("alexnet", {}), ("no_lrn", {"weights_sha256": "0" * 64})):
        path = again / RUN.format(name)
        made = json.loads(path.read_text())["provenance"] | {"code_sha256": "d" * 64}
        change(path, provenance=made, **weights)
    assert compare(again, published, "--record") == 1
    html = provenance.page(load_results(published))
    assert "2 runs were trained again 2 times with something else, which the table names; 1 of 2 ended" in html
    assert "code dddddddddd instead of cccccccccc" in html
    assert compare(again, published, "--record", "--processor", "cheap processor, AVX2") == 1
    assert "(processor cheap processor, AVX2 instead of A <fast> & cheap processor" in capsys.readouterr().out


def test_a_gpu_is_named_wherever_the_machine_is(again, published, capsys):
    path = again / RUN.format("alexnet")
    change(path, devices=["cuda:0"], gpus=["NVIDIA H100"])
    assert compare(again, published, "--record") == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith("bit for bit (device cuda:0 (NVIDIA H100) instead of cpu)")
    results = load_results(again)
    (sentence,) = campaign.sentences(results)
    assert "on A <fast> & cheap processor, NVIDIA H100; " in sentence
    shown = provenance.page(results)
    assert shown.count("cuda:0 (NVIDIA H100)") == 1
    measured = cost.measured(Context(results, pd.DataFrame()))
    assert "A &lt;fast&gt; &amp; cheap processor, 1 thread; NVIDIA H100, 1 thread" in measured
    change(path, devices=["cuda:0", "cuda:1"], gpus=[])  # by code that did not ask for their names
    assert "cuda:0 and cuda:1" in campaign.sentences(load_results(again))[0]


def test_another_experiment_under_the_same_name_is_not_compared(again, published, capsys):
    (again / "demo/data/ilsvrc2012/manifest.json").unlink()  # else a run on other images would not be used
    change(again / RUN.format("alexnet"), data_fingerprint="0" * 64)
    assert compare(again, published, "--record") == 0
    assert "demo/alexnet/2: other images than the published run: not compared" in capsys.readouterr().out
    assert "alexnet" not in (published / "demo/reruns.csv").read_text()


def test_a_copy_is_no_rerun(published, tmp_path, capsys):
    assert compare(tmp_path / "all", published) == 2  # what was kept, with the release of the system in its records
    assert "holds no run that was trained again" in capsys.readouterr().err


def test_runs_without_their_study_are_told_what_is_missing(again, published, capsys):
    (again / "demo/study.json").unlink()
    assert compare(again, published) == 2
    assert "or lacks the study.json of their study, without which no run is read" in capsys.readouterr().err


def test_records_stay_when_runs_are_added_and_lapse_when_the_run_is_replaced(again, published, tmp_path):
    assert compare(again, published, "--record") == 0
    options = ["keep", "--results", str(tmp_path / "all"), "--out", str(published), "--add"]
    assert main(options) == 0 and "Trained again" in provenance.page(load_results(published))
    assert {one.key[1] for one in reruns.recorded(load_results(published))} == {"alexnet", "no_lrn"}
    change(published / RUN.format("alexnet"), data_fingerprint="0" * 64)
    assert {one.key[1] for one in reruns.recorded(load_results(published))} == {"no_lrn"}


def test_a_broken_table_is_a_sentence(again, published, capsys):
    (published / "demo/reruns.csv").write_text("experiment,seed\nalexnet,2\n")
    assert compare(again, published, "--record") == 2
    error = capsys.readouterr().err
    assert "reruns.csv lacks config_fingerprint, " in error and "; delete it" in error and "Traceback" not in error


def test_the_page_shows_runs_intervals_and_verdicts_side_by_side(again, published, tmp_path):
    out = tmp_path / "comparison.html"
    assert compare(again, published, "--out", str(out)) == 0
    text = " ".join(re.sub(r"<[^>]+>", " ", out.read_text().partition("<main>")[2]).split())
    assert "All 2 runs that were trained again ended with the published weights, bit for bit." in text
    path = again / RUN.format("no_lrn")
    final = json.loads(path.read_text())["final"]
    moved = {"train_error": final["train_error"], "validation_error": final["validation_error"] + 0.03}
    change(path, weights_sha256="0" * 64, final=final | moved, files={})
    epochs = pd.read_csv(path.with_name("metrics.csv"))
    epochs.loc[len(epochs) - 1, ["validation_error"]] = moved["validation_error"]
    epochs.to_csv(path.with_name("metrics.csv"), index=False)
    assert compare(again, published, "--out", str(out)) == 1
    text = " ".join(re.sub(r"<[^>]+>", " ", out.read_text().partition("<main>")[2]).split())
    assert "Of 2 runs trained again, 1 ended with the published weights, bit for bit" in text
    seeds = [
        json.loads(p.read_text())["final"]["validation_error"] for p in published.glob("demo/runs/no_lrn/*/run.json")
    ]
    half = 12.706 * abs(seeds[0] - seeds[1]) * 100  # t of one degree of freedom; sqrt(2) times the deviation of two
    assert f"different 3.00 [−{half:.2f}, {half:.2f}]" in text
    assert "<script" not in out.read_text() and "Verdicts that differ" in text


def test_equal_errors_with_other_weights_are_equal_to_rounding(again, published, tmp_path):
    change(again / RUN.format("no_lrn"), weights_sha256="0" * 64, files={})
    out = tmp_path / "comparison.html"
    assert compare(again, published, "--out", str(out)) == 1
    assert "bit for bit; 1 ended with errors that are equal to rounding.</b>" in out.read_text()
