"""Golden values: the nets cover what was published, this checkout computes what the published commits did, and what that proves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricate
import golden as made
import pandas as pd
import pytest

from alexnet.runtime import fingerprint
from analysis.errors import UserError
from analysis.report.context import Context
from analysis.report.pages import campaign_state
from analysis.results import golden, reruns
from analysis.results.evidence import load_results

# What is trained -------------------------------------------------------------------------------------------------


def test_the_nets_have_each_kind_that_a_published_run_has() -> None:
    paths = sorted(made.PUBLISHED.glob("*/runs/*/*/config.json"))
    wanted = {kind for path in paths for kind in made.kinds(json.loads(path.read_text()))}
    assert len(paths) >= 227 and len(wanted) > 100
    assert wanted == {kind for name in made.NETS for kind in made.kinds(made.published(name))}


@pytest.mark.parametrize("name", made.NETS)
def test_a_shrunk_net_has_the_kinds_of_the_published_one(name: str) -> None:
    config = made.published(name)
    assert made.kinds(made.shrunk(config)) == made.kinds(config)


@pytest.mark.parametrize(
    ("where", "value", "kind"),
    [
        (("model", "activation"), "tanh", "model.activation = tanh"),
        (("precision",), "bf16", "lrn in bf16"),
        (("model", "layers", "conv2", "after"), ["pool"], "model.layers.conv.after = ['pool']"),
        (("model", "lrn", "size"), 7, "model.lrn.size = 7"),
        (("optimizer", "weight_decay"), 0.0, "optimizer.weight_decay = 0"),
        (("augmentation", "mean"), "aligned", "augmentation.mean = aligned"),
        (("starts_from",), {}, "from weights"),
    ],
)
def test_another_setting_is_another_kind(where: tuple[str, ...], value: object, kind: str) -> None:
    config = made.published("imagenette/alexnet/2")
    assert kind not in made.kinds(config)
    part: Any = config
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    assert kind in made.kinds(config)


# What comes out --------------------------------------------------------------------------------------------------


def test_this_checkout_computes_what_the_committed_values_say(tmp_path: Path) -> None:
    table = made.committed()
    found = made.rows(made.command, tmp_path, "", made.command)
    (machine,) = found[made.MACHINE].drop_duplicates().to_dict("records")
    same = table[(table[made.MACHINE] == pd.Series(machine)).all(axis=1)]
    if same.empty:
        pytest.skip(f"no golden values of {', '.join(map(str, list(machine.values())[:4]))} with these images")
    both = found.merge(same, on=["stage", "net", "measure"], suffixes=("", "_committed"))
    # probes may change, which makes them other code; training and evaluation of what was published may not
    own = both["code_sha256"] == both["code_sha256_committed"]
    wrong = both[(own | (both["stage"] != "examine")) & (both["sha256"] != both["sha256_committed"])]
    told = [f"{of.measure} of {of.net} by {of.code_sha256_committed[:10]}" for of in wrong.itertuples()]
    assert not told, f"this code comes to something else than {', '.join(told)}"


def test_the_committed_table_has_the_values_of_this_code() -> None:
    table = made.committed()
    for stage in ("train", "evaluate", "examine"):
        code = fingerprint.code_sha256(stage)
        nets = table[(table["stage"] == stage) & (table["code_sha256"] == code)]["net"]
        assert set(nets) == set(made.NETS), f"the code of `{stage}` has changed: run `python tests/golden.py`"


def test_a_value_is_of_what_was_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.make_images(made.command, tmp_path / "images")
    name = made.NETS[0]

    def values(folder: str) -> made.Values:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "large").symlink_to(tmp_path / "images" / "large")
        return made.train_net(made.command, tmp_path / folder, name)[0]

    first = values("first")
    assert values("second") == first
    monkeypatch.setattr("alexnet.training.trainer.zlib.crc32", lambda key: 1)  # other thinned nets
    third = values("third")
    assert {measure for measure in first if third[measure] == first[measure]} <= {("examine", "neighbours")}
    monkeypatch.undo()
    monkeypatch.setattr("alexnet.evaluation.evaluate.log_loss", lambda probabilities, labels: probabilities[:, 0])
    fourth = values("fourth")
    assert {measure for measure in first if fourth[measure] != first[measure]} == {("evaluate", "scores")}


# What it proves --------------------------------------------------------------------------------------------------

OLD, OTHER = "c" * 64, "d" * 64  # the first is the code of fabricated runs


def write_table(path: Path, *changes: tuple[str, str, str, dict[str, str]]) -> None:
    """Values of old code and of this checkout's; a change is (stage, code, net, other cells)."""
    rows = []
    for stage in ("train", "evaluate", "examine"):
        for code in (OLD, fingerprint.code_sha256(stage)):
            for net in ("a", "b"):
                row = {"stage": stage, "code_sha256": code, "net": net, "measure": "m", "sha256": f"{stage} {net}"}
                row |= {"cpu": "Some CPU", "vector_instructions": "AVX9", "torch": "2.0", "numba": "1", "images": "i"}
                for of, by, which, cells in changes:
                    row |= cells if (of, by, which) == (stage, code, net) else {}
                rows.append(row)
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A results folder of runs by old code, beside a table of golden values with some changes."""

    def make(*changes: tuple[str, str, str, dict[str, str]]) -> Path:
        golden._read.cache_clear()
        write_table(tmp_path / "golden.csv", *changes)
        monkeypatch.setattr(golden, "TABLE", tmp_path / "golden.csv")
        fabricate.campaign(tmp_path / "results", images=60)
        return tmp_path / "results"

    return make


def change(results: Path, run: str, **values: Any) -> None:
    path = results / f"demo/runs/{run}/run.json"
    record = json.loads(path.read_text())
    provenance = {**record["provenance"], **values.pop("provenance", {})}
    path.write_text(json.dumps({**record, **values, "provenance": provenance}))


def said(results: Path) -> str:
    found = campaign_state.warnings(Context(load_results(results), pd.DataFrame()))
    return "" if found is None else " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_code_whose_values_agree_is_the_same_computation_and_is_said_once(campaign: Callable[..., Path]) -> None:
    results = campaign()
    runs = len(list(results.glob("demo/runs/*/*/run.json")))
    assert campaign_state.outdated(load_results(results)) == set()
    assert said(results).startswith(
        f"other code, same computation {runs} of {runs} runs were made by 1 other version of the code. 2 small nets"
    )
    assert "(Some CPU, AVX9, torch 2.0)" in said(results) and "code has changed" not in said(results)


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_one_net_that_differs_in_one_stage_proves_nothing(campaign: Callable[..., Path], stage: str) -> None:
    results = campaign((stage, OLD, "b", {"sha256": "another"}))
    assert len(campaign_state.outdated(load_results(results))) == len(load_results(results).runs)
    assert "code has changed since this run" in said(results) and "same computation" not in said(results)


def test_a_probe_that_differs_is_named_and_does_not_touch_the_training(campaign: Callable[..., Path]) -> None:
    results = campaign(("examine", OLD, "b", {"sha256": "another", "measure": "a probe"}))
    assert campaign_state.outdated(load_results(results)) == set()
    assert "torch 2.0), but not when examined: a probe, m." in said(results)


@pytest.mark.parametrize("cells", [{"cpu": "Another"}, {"vector_instructions": "AVX2"}, {"images": "j"}, {"net": "c"}])
def test_values_of_other_machines_images_or_nets_are_not_compared(
    campaign: Callable[..., Path], cells: dict[str, str]
) -> None:
    results = campaign(*(("train", OLD, net, cells) for net in ("a", "b")))
    assert campaign_state.outdated(load_results(results))


def test_runs_of_a_changed_checkout_and_on_a_gpu_stay_unproven(campaign: Callable[..., Path]) -> None:
    results = campaign()
    change(results, "alexnet/1", provenance={"git_dirty": True})
    change(results, "no_lrn/2", devices=["cuda:0"], gpus=["NVIDIA H100"])
    change(results, "no_lrn/1", provenance={"code_sha256": OTHER})  # of which there are no values
    unproven = {("demo", "alexnet", 1), ("demo", "no_lrn", 2), ("demo", "no_lrn", 1)}
    assert campaign_state.outdated(load_results(results)) == unproven
    assert said(results).endswith(
        "is not shown to compute the same; 1 of them used uncommitted code, 1 of them ran on a GPU, whose results cannot be compared "
        "bit for bit. See provenance"
    )
    assert f"3 of {len(load_results(results).runs)} runs were made by training code" in said(results)


def test_a_rerun_by_code_that_computes_the_same_is_not_by_other_code(campaign: Callable[..., Path]) -> None:
    campaign()
    now = fingerprint.code_sha256("train")
    facts = dict.fromkeys(reruns.COLUMNS, "x")
    one = reruns.Rerun(("demo", "alexnet", 1), facts | {"code_sha256": now}, facts | {"code_sha256": OLD})
    assert one.differs == ""
    other = reruns.Rerun(one.key, facts | {"code_sha256": OTHER, "threads": "2"}, one.published)
    assert other.other == {"code", "threads"}
    assert other.differs == "threads 2 instead of x, code dddddddddd instead of cccccccccc"


def test_a_table_that_cannot_be_read_is_a_sentence(campaign: Callable[..., Path]) -> None:
    campaign()
    golden._read.cache_clear()
    golden.TABLE.write_text("stage,net\ntrain,a\n")
    with pytest.raises(UserError, match="golden.csv .*python tests/golden.py"):
        golden.known()


def test_of_the_published_runs_those_of_changed_checkouts_stay_unproven() -> None:
    results = load_results(made.PUBLISHED)
    changed = {key for key, run in results.runs.items() if run["provenance"]["git_dirty"] is not False}
    assert campaign_state.outdated(results) == changed and len(changed) == 6
    assert all(results.runs[key]["gpus"] for key in changed)
