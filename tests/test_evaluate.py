"""Evaluation against explicit loops, joined through synset names, counted exactly."""

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
from conftest import make_packed_set, seal

from alexnet.__main__ import main
from alexnet.batches.views import VIEWS, ten_views
from alexnet.errors import UserError
from alexnet.evaluation.evaluate import Scores, evaluate, finished, same_classes, write_scores
from alexnet.experiments import resolve
from alexnet.net.model import build
from alexnet.packed.packed_set import open_split
from alexnet.training import train


@pytest.fixture
def run(definitions, packed_set, tmp_path):
    resolve.forget()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(resolve.resolve("tiny", "alexnet", 1, str(definitions))))
    train.train(config, packed_set, tmp_path / "run", threads=1)
    return config, packed_set, tmp_path / "run" / "model.pt"


def test_both_views_equal_an_explicit_loop(run, tmp_path):
    config_path, data, weights = run
    record = evaluate(config_path, data, weights, tmp_path / "evals", threads=1)
    table = pd.read_parquet(tmp_path / "evals" / "ilsvrc2012-val.parquet")
    config, saved = json.loads(config_path.read_text()), torch.load(weights, weights_only=True)
    net = build(config).eval()
    net.load_state_dict(saved["state_dict"])
    split = open_split(data, "val")
    mean = np.load(data / "mean.npy")[4:36, 4:36].transpose(2, 0, 1)
    errors = {"center": [], "ten": []}
    for image, label in zip(split.images, split.labels, strict=True):
        views = ten_views(image[None], 32)[0].astype(np.float32).transpose(0, 3, 1, 2) - mean
        with torch.no_grad():
            each = net(torch.from_numpy(views)).softmax(1)
        for view, p in (("center", each[4]), ("ten", each.mean(0))):  # probabilities are averaged, not logits
            errors[view].append(float(p.argmax() != label))
            row = table.iloc[len(errors["center"]) - 1]
            np.testing.assert_allclose(row[f"{view}_loss"], -np.log(p[label].item()), rtol=1e-4)
            assert row[f"{view}_prediction"] == p.argmax().item()
            assert row[f"{view}_top5_error"] == (label not in p.topk(5).indices.tolist())
    for view, expected in errors.items():
        assert record["views"][view]["top1_error"] == pytest.approx(np.mean(expected))
        np.testing.assert_array_equal(table[f"{view}_top1_error"], expected)
    assert record["images"] == len(table) == 24 and record["views"]["ten"]["top5_error"] > 0
    assert list(table["name"]) == split.names
    content = (tmp_path / "evals" / "ilsvrc2012-val.parquet").read_bytes()
    assert record["files"] == {"ilsvrc2012-val.parquet": hashlib.sha256(content).hexdigest()}
    assert json.loads((tmp_path / "evals" / "ilsvrc2012-val.json").read_text()) == record


def test_it_is_done_on_one_device_also_where_each_tower_had_its_own(run):
    config, _, weights = run
    assert [finished(config, weights, devices, 1)[3] for devices in ("2", "auto")] == [torch.device("cpu")] * 2
    with pytest.raises(UserError, match="--devices 3: choose auto"):
        finished(config, weights, "3", 1)


def test_threads_are_those_of_the_study_or_those_asked_for(run):
    config, _, weights = run
    before = torch.get_num_threads()
    try:
        for asked, used in ((2, 2), (None, 1)):
            finished(config, weights, "auto", asked)
            assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)


def test_no_record_stands_beside_predictions_that_could_not_be_written(tmp_path):
    scores = Scores(["a", "b"], torch.tensor([0, 1]), {view: torch.eye(2) for view in VIEWS})
    record = {"study": "s", "experiment": "e", "seed": 1, "set": "x", "split": "val"}
    write_scores(tmp_path, record, scores, 0.0, False)
    table = tmp_path / "x-val.parquet"
    assert pyarrow.parquet.read_schema(table).names == list(pd.read_parquet(table).columns)  # no index
    assert (tmp_path / "x-val.json").exists()
    table.unlink()
    table.mkdir()
    with pytest.raises(IsADirectoryError):
        write_scores(tmp_path, record, scores, 0.0, False)
    assert not (tmp_path / "x-val.json").exists()


def test_views_of_the_printed_recipe_lose_their_own_mean(definitions, packed_set, tmp_path):
    config = resolve.resolve("tiny", "paper", 1, str(definitions))
    assert config["augmentation"]["mean"] == "aligned"
    (tmp_path / "paper.json").write_text(json.dumps(config))
    train.train(tmp_path / "paper.json", packed_set, tmp_path / "paper", threads=1)
    weights = tmp_path / "paper" / "model.pt"
    record = evaluate(tmp_path / "paper.json", packed_set, weights, tmp_path / "e", threads=1)
    net = build(config).eval()
    net.load_state_dict(torch.load(weights, weights_only=True)["state_dict"])
    split = open_split(packed_set, "val")
    centred = split.images[:].astype(np.float32) - np.load(packed_set / "mean.npy")  # before any crop is cut
    views = ten_views(centred, 32).transpose(0, 1, 4, 2, 3)
    with torch.no_grad():
        p = net(torch.from_numpy(views.copy()).flatten(0, 1)).softmax(1).unflatten(0, (24, 10)).mean(1)
    losses = -np.log(p[range(24), split.labels].numpy())
    table = pd.read_parquet(tmp_path / "e" / "ilsvrc2012-val.parquet")
    np.testing.assert_allclose(table["ten_loss"], losses, rtol=1e-4)
    assert record["views"]["ten"]["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_labels_are_joined_through_synsets_never_through_numbers(run, tmp_path):
    config, data, weights = run
    other = make_packed_set(tmp_path / "ilsvrc2010", {"test": 24})
    evaluate(config, data, weights, tmp_path / "a", threads=1)
    straight = evaluate(config, other, weights, tmp_path / "a", "test", threads=1)
    # The same images under another numbering: class i becomes class 5 - i, names and labels both.
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["classes"].reverse()
    (other / "manifest.json").write_text(json.dumps(manifest))
    index = pd.read_csv(other / "test.csv", keep_default_na=False)
    index["label"] = 5 - index["label"]
    index.to_csv(other / "test.csv", index=False)
    seal(other)
    renumbered = evaluate(config, other, weights, tmp_path / "b", "test", threads=1)
    assert renumbered["views"] == straight["views"]


def test_images_that_have_changed_are_refused(run, tmp_path):
    config, data, weights = run
    images = np.load(data / "val.npy")
    images[7, 0, 0, 0] ^= 1
    np.save(data / "val.npy", images)
    with pytest.raises(UserError, match=r"val\.npy: image 7 .* is not the one that was packed"):
        evaluate(config, data, weights, tmp_path / "e", threads=1)


def test_other_classes_are_refused(packed_set):
    split = open_split(packed_set, "val")
    with pytest.raises(UserError, match="1 classes that the net was not trained on and lacks 1"):
        same_classes([*split.wnids[:-1], "n99999999"], split)


def test_weights_of_another_run_or_no_weights_are_sentences(run, definitions, tmp_path, capsys):
    config, data, weights = run
    other = tmp_path / "other.json"
    other.write_text(json.dumps(resolve.resolve("tiny", "no_lrn", 1, str(definitions))))
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"not weights")
    for config_path, path, words in [
        (other, weights, "another configuration"),
        (config, garbage, "not a weights file"),
        (config, tmp_path / "no.pt", "does not exist"),
    ]:
        arguments = [str(config_path), "--data", str(data), "--weights", str(path), "--out", str(tmp_path / "e")]
        assert main(["evaluate", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "e").exists()


def test_a_pickle_that_runs_code_does_not_run(run, tmp_path):
    config, data, _ = run
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"config_fingerprint": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="not a weights file"):
        evaluate(config, data, tmp_path / "evil.pt", tmp_path / "e")
    assert not marker.exists()
