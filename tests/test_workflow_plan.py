"""The plan of the workflow: what it asks for, against what published campaigns left, and records that a power cut tore."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

from alexnet.errors import UserError
from workflow.mistakes import Checked, checked
from workflow.plan import Plan

PUBLISHED = ROOT / "reports/reference/results"
CONFIG = {"results": str(PUBLISHED), "definitions": str(ROOT / "config"), "downloads": {}, "archives": ["data"]}
WILDCARDS = SimpleNamespace(study="cifar10", experiment="no_lrn", wider="1", race="fig1_relu_2012")


class Made:
    """A checkpoint that Snakemake has made: the file of a study's race or search."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, **wildcards: object) -> SimpleNamespace:
        return SimpleNamespace(output=[str(self.folder / "made.json")])


def plan(*studies: str, made: Path | None = None) -> Plan:
    checkpoint = Made(made) if made else None
    return Plan(ROOT, CONFIG | {"studies": list(studies)}, SimpleNamespace(choose=checkpoint, search_rate=checkpoint))


@pytest.mark.parametrize("study", ["imagenette", "cifar10_full_length"])
def test_every_published_evaluation_is_one_that_the_plan_asks_for(study: str) -> None:
    asked = {str(file) for file in plan(study).evidence()}
    published = {str(path) for path in PUBLISHED.glob(f"{study}/evals/*/*/*.json")}
    assert published and published <= asked
    runs = {
        path.parent.relative_to(PUBLISHED / study / "runs") for path in PUBLISHED.glob(f"{study}/runs/*/*/run.json")
    }
    evaluated = {Path(path).parent.relative_to(PUBLISHED / study / "evals") for path in published}
    assert evaluated <= runs


def test_the_runs_of_the_published_races_are_those_that_the_plan_asks_for(tmp_path: Path) -> None:
    races = plan("cifar10", made=tmp_path)
    for path in PUBLISHED.glob("cifar10/races/*.json"):
        (tmp_path / "made.json").write_text(path.read_text())
        swept = races.swept(SimpleNamespace(study="cifar10", race=path.stem))
        _, fastest = races.races("cifar10", [path.stem])
        wanted = {*swept, *fastest(WILDCARDS)}
        there = {str(run) for run in PUBLISHED.glob(f"cifar10/runs/{path.stem}_lr*/*/run.json")}
        assert there and there == wanted, path.stem


def test_each_run_has_the_fingerprint_that_was_published() -> None:
    studies = plan("cifar10", "cifar10_full_length", "imagenette")
    checked_runs = 0
    for path in PUBLISHED.glob("*/runs/*/*/run.json"):
        study, experiment, seed = path.parts[-5], path.parts[-3], path.parts[-2]
        run = SimpleNamespace(study=study, experiment=experiment, seed=seed)
        assert studies.run_fingerprint(run) == json.loads(path.read_text())["config_fingerprint"], path
        checked_runs += 1
    assert checked_runs == 506  # 89 of them of pilots


def test_an_experiment_asks_for_what_it_is_compared_with_and_nothing_else() -> None:
    files = plan("imagenette").experiment_files("no_lrn")
    assert {Path(file).parts[-3] for file in files if "/evals/" in file} == {
        "no_lrn",
        "alexnet",
        "text_no_spatial_norm",
    }
    assert not [file for file in files if "/runs/" in file]


@pytest.mark.parametrize(
    ("target", "study", "words"),
    [
        (
            "no_conv3",
            "cifar10",
            r"no_conv3 needs; it is in demo, .*imagenette.*: choose one, --config 'studies=\[demo\]'",
        ),
        (
            "fig1_tanh_2012",
            "demo",
            r"fig1_tanh_2012 needs; it is in cifar10: choose one, --config 'studies=\[cifar10\]'",
        ),
        ("fig1", "demo", r"fig1 needs; it is in cifar10, cifar10_fig1: choose one"),
    ],
)
def test_a_target_that_no_chosen_study_has_names_the_studies_that_do(
    target: str, study: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan(study)
    files = planned.experiment_files(target) if target in planned.known else planned.group_files(target)
    (refuse,) = filter(callable, files)
    with pytest.raises(SystemExit, match="2"):
        refuse(WILDCARDS)
    assert re.fullmatch(rf"error: no chosen study \({study}\) has what {words}.*\n", capsys.readouterr().err)


def test_one_chosen_study_that_has_a_target_is_enough() -> None:
    assert not [*filter(callable, plan("cifar10", "demo").experiment_files("no_conv3"))]


@pytest.mark.parametrize("text", ["", '{"experiment": "fig1_re', "[]", "null", '{"experiment": "another", "tried": 3}'])
def test_a_torn_record_of_a_race_or_a_pilot_ends_in_a_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.json").write_text(text)
    _, fastest = plan("cifar10", made=tmp_path).races("cifar10", ["fig1_relu_2012"])
    tuned = Checked(plan("cifar10", made=tmp_path))
    for ask in (fastest, tuned.pilot_factors):
        with pytest.raises(SystemExit, match="2"):
            ask(WILDCARDS)
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / 'made.json'} is torn or no such record") and said.count("\n") == 1
        assert "delete it and run the same again" in said


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda asked: asked.training_data(SimpleNamespace(study="demo", experiment="no_lrn")),
            "study demo is not among",
        ),
        (
            lambda asked: asked.training_data(SimpleNamespace(study="demmo", experiment="no_lrn")),
            "unknown study 'demmo'; did",
        ),
        (
            lambda asked: asked.training_data(SimpleNamespace(study="cifar10", experiment="tahn")),
            "unknown experiment 'tahn'; did",
        ),
        (
            lambda asked: asked.training_data(SimpleNamespace(study="cifar10", experiment="conv6_pretraining")),
            "study cifar10 has no `pretraining`",
        ),
        (
            lambda asked: asked.pilot_runs(SimpleNamespace(study="cifar10", experiment="tanh", wider=0)),
            "has no `pilot`",
        ),
    ],
)
def test_names_in_the_path_of_an_asked_file_are_a_sentence(function: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        function(plan("cifar10"))


def test_checked_gives_what_the_function_gives() -> None:
    assert checked(int)("7") == 7

    def wrong() -> None:
        raise UserError("x: choose y")

    with pytest.raises(SystemExit):
        checked(wrong)()
