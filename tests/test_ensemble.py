"""Averages of nets against a written-out mean, and what may not be averaged."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from alexnet.__main__ import main
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import resolve
from alexnet.training import train


@pytest.fixture
def members(definitions, packed_set, tmp_path):
    """config.json of an ensemble of two trained nets, and their evaluations."""
    study = definitions / "studies/tiny.yaml"
    record = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(record | {"seeds": [1, 2], "experiments": ["alexnet", "ensemble"]}))
    resolve.forget()
    evaluations = []
    for seed in (1, 2):
        out = tmp_path / f"alexnet{seed}"
        out.mkdir()
        (out / "config.json").write_text(json.dumps(resolve.resolve("tiny", "alexnet", seed, str(definitions))))
        train.train(out / "config.json", packed_set, out, threads=1)
        evaluate(out / "config.json", packed_set, out / "model.pt", out, threads=1, keep_probabilities=True)
        evaluations.append(out / "ilsvrc2012-val.json")
    config = tmp_path / "ensemble.json"
    config.write_text(json.dumps(resolve.resolve("tiny", "ensemble", 1, str(definitions))))
    return config, evaluations


def call(config, evaluations, out):
    return main(["ensemble", str(config), "--members", *map(str, evaluations), "--out", str(out)])


def test_it_is_the_mean_of_the_probabilities(members, tmp_path):
    config, evaluations = members
    assert call(config, evaluations, tmp_path / "e") == 0
    each = [np.load(path.with_suffix(".probabilities.npy")) for path in evaluations]
    assert each[0].shape == (2, 24, 6)
    np.testing.assert_allclose(each[0].sum(2), 1, rtol=1e-5)
    mean = (each[0].astype(float) + each[1]) / 2
    table = pd.read_parquet(tmp_path / "e" / "ilsvrc2012-val.parquet")
    record = json.loads((tmp_path / "e" / "ilsvrc2012-val.json").read_text())
    for number, view in enumerate(("center", "ten")):
        wrong = mean[number].argmax(1) != table["label"]
        np.testing.assert_array_equal(table[f"{view}_top1_error"], wrong)
        assert record["views"][view]["top1_error"] == pytest.approx(wrong.mean())
        np.testing.assert_allclose(table[f"{view}_loss"], -np.log(mean[number][range(24), table["label"]]), rtol=1e-5)
    assert record["experiment"] == "ensemble" and record["images"] == 24
    assert list(record["members"]) == ["alexnet/1", "alexnet/2"]
    assert call(config, evaluations[::-1], tmp_path / "r") == 0  # whatever the order of the arguments
    assert pd.read_parquet(tmp_path / "r" / "ilsvrc2012-val.parquet").equals(table)


def test_what_does_not_belong_together_is_a_sentence(members, tmp_path, capsys):
    config, evaluations = members
    first, second = evaluations
    probabilities = second.with_suffix(".probabilities.npy")

    def refused(words, config=config, members=evaluations):
        assert call(config, members, tmp_path / "refused") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and words in error, error
        assert not (tmp_path / "refused").exists()

    refused("missing: alexnet/2", members=[first])
    refused("each once", members=[first, first])
    refused("use the verb evaluate", config=first.with_name("config.json"))
    refused("does not exist", members=[first, tmp_path / "no.json"])
    kept = probabilities.read_bytes()
    record = json.loads(second.read_text())
    np.save(probabilities, np.load(probabilities)[::-1])
    refused("ilsvrc2012-val.probabilities.npy has changed since")
    record["files"] = {}  # as in records that name no hashes
    second.write_text(json.dumps(record))
    np.save(probabilities, np.zeros((2, 23, 6), np.float32))
    refused("2 views x 24 images")
    probabilities.write_bytes(b"torn")
    refused("cannot be read")
    probabilities.unlink()
    refused("--keep-probabilities")
    probabilities.write_bytes(kept)
    second.write_text(json.dumps(record | {"data_fingerprint": "another"}))
    refused("differ in `data_fingerprint`")
    second.write_text("[]")
    refused("ilsvrc2012-val.json is torn or no such record; evaluate that member")
    second.write_text(json.dumps(record))
    table = pd.read_parquet(second.with_suffix(".parquet"))
    table.iloc[::-1].to_parquet(second.with_suffix(".parquet"), index=False)
    refused("hold different images")
    assert main(["train", str(config), "--data", "x", "--out", str(tmp_path / "t")]) == 2
    assert "use the verb ensemble" in capsys.readouterr().err
