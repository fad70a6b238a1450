"""Values from elsewhere that would be code, and the page that says which test stands for what."""

import ast
import re
import shutil

import pytest
import yaml
from conftest import ROOT, TINY_STUDY
from test_workflow import copy_project, snakemake

from alexnet.errors import UserError
from alexnet.experiments import definitions

HOSTILE = ["x; touch harm", "$(touch harm)", "`touch harm`", "x && touch harm", "x | sh", "x\ntouch harm", "{threads}"]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_that_a_shell_would_read_are_refused(value, tmp_path):
    for key in ("results", "report", "definitions"):
        config = {key: f"{value}.html" if key == "report" else value}
        with pytest.raises(UserError, match=f"`{key}`"):
            definitions.check(config, "config", "config")
    with pytest.raises(UserError, match="studies"):
        definitions.check({"studies": [value]}, "config", "config")

    (tmp_path / "studies").mkdir()
    shutil.copy(ROOT / "config/experiments.yaml", tmp_path)

    def refused(**changes):
        (tmp_path / "studies/tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY | changes))
        with pytest.raises(UserError):
            definitions.load_study("tiny", str(tmp_path))

    place = {"set": "ilsvrc2012", "split": "train"}
    known = TINY_STUDY["sets"]["ilsvrc2012"]
    refused(sets=TINY_STUDY["sets"] | {value: known})
    refused(sets=TINY_STUDY["sets"] | {"ilsvrc2012": known | {"source": value}})
    refused(sets=TINY_STUDY["sets"] | {"ilsvrc2012": known | {"splits": [value]}})
    refused(train=place | {"split": value})
    refused(synthetic=TINY_STUDY["synthetic"] | {"seed": value})
    refused(store={"format": value})
    refused(store={"format": "jpeg", "quality": value})
    refused(experiments=[value])
    for key in ("threads", "gpus", "image_size"):
        refused(**{key: value})
    refused(seeds=[value])
    (tmp_path / "studies/tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY))
    assert definitions.load_study("tiny", str(tmp_path))["seeds"] == [1]  # what all were made from is fine


@pytest.mark.heavy
def test_targets_that_a_shell_would_read_are_no_targets(tmp_path):
    folder = copy_project(tmp_path / "project")
    for run in ("al;touch harm;/1", "alexnet/$(touch harm)", "../../harm/1"):
        done = snakemake(folder, f"results/tiny/runs/{run}/config.json")
        assert done.returncode != 0 and "MissingRuleException" in done.stdout, done.stdout
    assert not list(tmp_path.rglob("harm"))


def test_torch_loads_weights_alone():
    """Each call of torch.load says so, and nothing else in the code runs what it reads."""
    loading = set()
    for path in [*(ROOT / "alexnet").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), path
            words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert "True" not in (words.get("allow_pickle"), words.get("shell")), path
            if name == "torch.load":
                assert words["weights_only"] == "True", path
                loading.add(path.name)
            if name == "yaml.load":
                assert "Safe" in ast.unparse(call), path
    assert loading == {"tensors.py"}


def test_each_line_of_the_threat_model_has_tests_that_exist():
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][1:]
    written = set(
        re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py")), re.M)
    )
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.split("|")[3])
        assert named and set(named) <= written, row
