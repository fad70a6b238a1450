"""Training of tiny nets: it learns, repeats bit for bit, resumes bit for bit, and refuses what is wrong."""

import csv
import fcntl
import json

import pytest
import torch

from alexnet import experiments, train
from alexnet.__main__ import main
from alexnet.errors import UserError


@pytest.fixture
def configure(definitions, tmp_path):
    """Write the config.json of a tiny run, changed by `change` before the fingerprint is made."""

    def write(experiment="alexnet", seed=1, change=lambda config: None):
        experiments.definitions.cache_clear()
        experiments.load_study.cache_clear()
        config = experiments.resolve("tiny", experiment, seed, str(definitions))
        change(config)
        del config["fingerprint"]
        config["fingerprint"] = experiments.fingerprint(config)
        path = tmp_path / f"{config['fingerprint'][:8]}.json"
        path.write_text(json.dumps(config))
        return path

    return write


def weights(out):
    return torch.load(out / "model.pt", weights_only=True)["state_dict"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_writes_what_it_should(configure, packed_set, tmp_path, capsys):
    def longer(config):
        config["training"]["epochs"] = 30
        config["optimizer"]["schedule"]["stages"] = [{"until": 93, "weights": 0.01, "biases": 0.01}]

    out = tmp_path / "run"
    train.train(configure(change=longer), packed_set, out, threads=1)
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 31))
    assert float(rows[-1]["train_loss"]) < 0.8 * float(rows[0]["train_loss"])
    assert float(rows[-1]["validation_error"]) < 0.6  # chance is 0.83
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["epochs"] == 30
    assert record["parameters"] == sum(tensor.numel() for tensor in weights(out).values())
    assert record["data_fingerprint"] == json.loads((packed_set / "manifest.json").read_text())["fingerprint"]
    assert record["provenance"]["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert not (out / "checkpoint").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30 and "epoch 30/30" in lines[-1] and "images/s" in lines[-1] and "ETA" in lines[-1]


def test_same_seed_same_bits_other_seed_other_weights(configure, packed_set, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.train(configure(seed=seed), packed_set, tmp_path / name, threads=1)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_resumed_run_ends_as_an_uninterrupted_one(configure, packed_set, tmp_path, monkeypatch):
    config = configure(change=lambda c: c["training"].__setitem__("epochs", 3))
    train.train(config, packed_set, tmp_path / "whole", threads=1)

    original = train.Run.train_epoch

    def dies_in_epoch_three(self, epoch, report):
        if epoch == 2:
            raise KeyboardInterrupt
        return original(self, epoch, report)

    monkeypatch.setattr(train.Run, "train_epoch", dies_in_epoch_three)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, packed_set, tmp_path / "cut", threads=1)
    assert not (tmp_path / "cut" / "model.pt").exists()
    trained = []
    monkeypatch.setattr(
        train.Run,
        "train_epoch",
        lambda self, epoch, report: trained.append(epoch) or original(self, epoch, report),
    )
    train.train(config, packed_set, tmp_path / "cut", threads=1)
    assert trained == [2]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert len(record["sessions"]) == 2


def test_a_checkpoint_of_another_configuration_or_a_torn_one_is_not_used(
    configure, packed_set, tmp_path, capsys
):
    config = configure()
    out = tmp_path / "run"
    train.train(config, packed_set, tmp_path / "clean", threads=1)
    (out / "checkpoint").mkdir(parents=True)
    name = json.loads(config.read_text())["fingerprint"][:16]
    (out / "checkpoint" / f"{name}.pt").write_bytes(b"PK torn")
    train.train(config, packed_set, out, threads=1)
    assert "starting afresh" in capsys.readouterr().err
    assert same(weights(tmp_path / "clean"), weights(out))


def test_two_trainings_in_one_folder_are_refused(configure, packed_set, tmp_path):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with open(tmp_path / "run" / "checkpoint" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another training is running"):
            train.train(configure(), packed_set, tmp_path / "run", threads=1)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_evidence(configure, packed_set, tmp_path, capsys):
    def explode(config):
        for stage in config["optimizer"]["schedule"]["stages"]:
            stage["weights"] = 1e6

    path, out = configure(change=explode), tmp_path / "run"
    assert main(["train", str(path), "--data", str(packed_set), "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the loss became" in error and "lower the learning rates" in error
    assert json.loads((out / "failed.json").read_text())["loss"] in ("nan", "inf")
    assert not (out / "model.pt").exists()


def test_wrong_inputs_are_sentences(configure, packed_set, tmp_path, capsys):
    path = configure()
    edited = tmp_path / "edited.json"
    edited.write_text(path.read_text().replace('"momentum": 0.9', '"momentum": 0.8'))
    classes = configure(change=lambda c: c["data"].__setitem__("classes", 5))
    size = configure(change=lambda c: c["data"].__setitem__("image_size", 48))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    for config, data, words in [
        (tmp_path / "no.json", packed_set, "does not exist"),
        (tmp_path / "list.json", packed_set, "is no configuration"),
        (tmp_path / "latin.json", packed_set, "is not valid JSON"),
        (edited, packed_set, "was changed after `configure`"),
        (path, tmp_path / "nowhere", "manifest.json does not exist"),
        (classes, packed_set, "has 6 classes, study tiny says 5"),
        (size, packed_set, "images of 40 pixels"),
    ]:
        assert main(["train", str(config), "--data", str(data), "--out", str(tmp_path / "x")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    (packed_set / "mean.npy").unlink()
    with pytest.raises(UserError, match="mean.npy"):
        train.train(path, packed_set, tmp_path / "x", threads=1)
    with pytest.raises(UserError, match="two devices"):
        train.train(path, packed_set, tmp_path / "x", devices="2")
