"""Training of tiny nets: it learns, repeats bit for bit, resumes bit for bit, and refuses what is wrong."""

import csv
import fcntl
import hashlib
import json
import math
import os
import time

import numba
import numpy as np
import pytest
import torch
from conftest import make_packed_set
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.net.model import build
from alexnet.runtime import fingerprint
from alexnet.training import train, trainer


def weights(out):
    return torch.load(out / "model.pt", weights_only=True)["state_dict"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_writes_what_it_should(configure, packed_set, tmp_path, capsys):
    def longer(config):
        config["training"]["epochs"] = 60
        config["optimizer"]["schedule"]["stages"] = [
            {"until": 62, "weights": 0.01, "biases": 0.01},
            {"until": 93, "weights": 0.001, "biases": 0.001},
        ]

    out = tmp_path / "run"
    train.train(configure(change=longer), packed_set, out, threads=1)
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 61))
    assert float(rows[-1]["train_loss"]) < 0.8 * float(rows[0]["train_loss"])
    assert float(rows[-1]["validation_error"]) < 0.6  # chance is 0.83
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["epochs"] == 60
    assert record["parameters"] == sum(tensor.numel() for tensor in weights(out).values())
    named = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("metrics.csv", "model.pt")}
    assert record["files"] == named and record["weights_sha256"] == named["model.pt"]
    assert record["data_fingerprint"] == json.loads((packed_set / "manifest.json").read_text())["fingerprint"]
    assert [(change["epoch"], change["reason"]) for change in record["rate_changes"]] == [
        (1, "stage 1 of 2"),
        (41, "stage 2 of 2"),
    ]
    assert record["provenance"]["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert record["provenance"]["packages"]["numba"] == numba.__version__
    assert record["provenance"]["code_sha256"] == fingerprint.code_sha256("train")
    assert record["vector_instructions"] == torch.backends.cpu.get_cpu_capability()
    assert not (out / "checkpoint").exists()
    output, log = capsys.readouterr()
    assert [line for line in log.splitlines() if ": rates " in line] == [
        "tiny/alexnet/1  epoch 1: rates 0.01, biases 0.01 (stage 1 of 2)",
        "tiny/alexnet/1  epoch 41: rates 0.001, biases 0.001 (stage 2 of 2)",
    ]
    lines = output.splitlines()
    assert len(lines) == 60 and "epoch 60/60" in lines[-1] and "images/s" in lines[-1] and "ETA" in lines[-1]


@pytest.mark.parametrize("look", [1, 2, 50])
def test_each_step_is_reported_once(configure, packed_set, tmp_path, monkeypatch, look):
    told = []
    monkeypatch.setattr(trainer, "LOOK", {"cpu": look})
    monkeypatch.setattr(train.Progress, "batch", lambda self, epoch, done, loss: told.append((epoch, done)))
    train.train(configure(), packed_set, tmp_path / "run", threads=1)
    assert told == [(epoch, done) for epoch in (0, 1) for done in (16, 32, 48)]


def test_the_loss_of_the_last_step_of_an_epoch_is_looked_at_too(configure, packed_set, tmp_path, monkeypatch):
    class Ends(trainer.Step):
        """Its third loss, the last of the first epoch, is no number."""

        count = 0

        def __call__(self, *batch):
            self.count += 1
            return super().__call__(*batch) * (math.nan if self.count == 3 else 1)

    monkeypatch.setattr(trainer, "Step", Ends)
    with pytest.raises(trainer.Diverged):
        train.train(configure(), packed_set, tmp_path / "run", threads=1)
    assert json.loads((tmp_path / "run/failed.json").read_text())["step"] == 2


def test_same_seed_same_bits_other_seed_other_weights(configure, packed_set, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.train(configure(seed=seed), packed_set, tmp_path / name, threads=1)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_resumed_run_ends_as_an_uninterrupted_one(configure, packed_set, tmp_path, monkeypatch):
    def thaws(config):
        """The first layer stands still until the last epoch, and takes nothing from before along."""
        config["training"]["epochs"] = 3
        config["optimizer"]["schedule"]["stages"] = [
            {"until": 62, "weights": 1e-3, "biases": 1e-3, "layers": {"conv1": {"weights": 0.0, "biases": 0.0}}},
            {"until": 93, "weights": 1e-3, "biases": 1e-3},
        ]

    config = configure(change=thaws)
    train.train(config, packed_set, tmp_path / "whole", threads=1)

    original = trainer.Run.train_epoch

    def dies_in_epoch_three(self, epoch, report):
        if epoch == 2:
            raise KeyboardInterrupt
        return original(self, epoch, report)

    monkeypatch.setattr(trainer.Run, "train_epoch", dies_in_epoch_three)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, packed_set, tmp_path / "cut", threads=1)
    assert not (tmp_path / "cut" / "model.pt").exists()
    trained = []
    monkeypatch.setattr(
        trainer.Run, "train_epoch", lambda self, epoch, report: trained.append(epoch) or original(self, epoch, report)
    )
    train.train(config, packed_set, tmp_path / "cut", threads=1)
    assert trained == [2]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert len(record["sessions"]) == 2


def test_a_checkpoint_of_another_configuration_or_a_torn_one_is_not_used(configure, packed_set, tmp_path, capsys):
    config = configure()
    out = tmp_path / "run"
    train.train(config, packed_set, tmp_path / "clean", threads=1)
    (out / "checkpoint").mkdir(parents=True)
    name = json.loads(config.read_text())["fingerprint"][:16]
    (out / "checkpoint" / f"{name}.pt").write_bytes(b"PK torn")
    leftover = out / ".model.pt.12345.tmp"  # of a training that was killed while it published
    leftover.write_bytes(b"PK half")
    train.train(config, packed_set, out, threads=1)
    assert "starting afresh" in capsys.readouterr().err and not leftover.exists()
    assert same(weights(tmp_path / "clean"), weights(out))


def test_losses_and_errors_are_means_over_the_images(configure, tmp_path):
    """A net that stands still, without dropout and augmentation, on batches of unequal size: torch's on all images at once."""
    data = make_packed_set(tmp_path / "ilsvrc2012", {"train": 48, "val": 300})

    def still(config):
        config["training"]["epochs"], config["model"]["drop_probability"] = 1, 0.0
        config["optimizer"] |= {"batch_size": 20, "partial_batch": "use"}
        config["optimizer"]["schedule"]["stages"] = [{"until": 93, "weights": 0.0, "biases": 0.0}]
        nothing = {"random_crop": False, "horizontal_flip": False, "color_noise": 0.0, "color_divisor": 1.0}
        config["augmentation"] |= nothing

    path = configure(change=still)
    train.train(path, data, tmp_path / "run", threads=1)
    (row,) = csv.DictReader(open(tmp_path / "run" / "metrics.csv"))
    net = build(json.loads(path.read_text())).eval()
    mean = np.load(data / "mean.npy")[4:36, 4:36]
    for split, name in (("train", "train"), ("val", "validation")):
        labels = torch.arange(300 if split == "val" else 48) % 6
        images = np.load(data / f"{split}.npy")[:, 4:36, 4:36] - mean
        with torch.no_grad():
            scores = net(torch.from_numpy(images).permute(0, 3, 1, 2))
        five = (scores.topk(5).indices == labels[:, None]).any(1)
        assert float(row[f"{name}_loss"]) == pytest.approx(
            torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-4
        )
        assert float(row[f"{name}_error"]) == pytest.approx((scores.argmax(1) != labels).double().mean().item())
        assert float(row[f"{name}_top5_error"]) == pytest.approx(1 - five.double().mean().item())


def test_inputs_from_the_future_are_named_and_the_checkpoint_stays(
    configure, packed_set, tmp_path, capsys, monkeypatch
):
    config, out = configure(), tmp_path / "run"
    later = time.time() + 3600
    os.utime(config, (later, later))
    train.train(config, packed_set, out, threads=1)
    assert f"{config} is dated later than now: the clock was set back" in capsys.readouterr().err
    os.utime(config)
    monkeypatch.setattr(trainer.Run, "train_epoch", None)  # nothing is trained again
    train.train(config, packed_set, out, threads=1)
    assert "dated later" not in capsys.readouterr().err and not (out / "checkpoint").exists()


def test_two_trainings_in_one_folder_are_refused(configure, packed_set, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOCK_SECONDS", 0.0)
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with open(tmp_path / "run" / "checkpoint" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another training is running"):
            train.train(configure(), packed_set, tmp_path / "run", threads=1)


@pytest.mark.parametrize("look", [1, 50])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_evidence(
    configure, packed_set, tmp_path, capsys, monkeypatch, look
):
    """As on a device, which is asked for losses now and then: the record names the step all the same."""
    monkeypatch.setattr(trainer, "LOOK", {"cpu": look})

    def explode(config):
        for stage in config["optimizer"]["schedule"]["stages"]:
            stage["weights"] = 1e20

    path, out = configure(change=explode), tmp_path / "run"
    assert main(["train", str(path), "--data", str(packed_set), "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the loss became" in error and "lower the learning rates" in error
    record = json.loads((out / "failed.json").read_text())
    assert record["loss"] in ("nan", "inf")
    assert (record["epoch"], record["step"]) == (1, 1)  # the first loss after a step; there are three steps
    assert not (out / "model.pt").exists()


class ReadsBack(TorchDispatchMode):
    """Counts the operations that take a value from a device, and so wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        target = (kwargs or {}).get("device")
        copied = func is torch.ops.aten._to_copy.default and target is not None and torch.device(target).type == "cpu"
        self.count += copied or func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_step_between_two_looks_reads_a_value_back(configure, packed_set, tmp_path, monkeypatch):
    """A tensor on a GPU gives its values by an operation or by `tolist`, and each would wait. The bits are those of looks at every step."""
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (reads.append(self.shape), tolist(self))[1])
    inside, real_epoch = ReadsBack(), trainer.Run.train_epoch

    def counted(run, epoch, report):
        reads.clear()
        with inside:
            row = real_epoch(run, epoch, report)
        seen.append(len(reads))
        return row

    monkeypatch.setattr(trainer.Run, "train_epoch", counted)
    seen, reads = [], []
    for look in (1, 50):
        monkeypatch.setattr(trainer, "LOOK", {"cpu": look})
        train.train(configure(), packed_set, tmp_path / str(look), threads=1)
    steps = 3  # of an epoch; the ends of it: sums noted, sums of the row
    assert inside.count == 0
    assert set(seen[: len(seen) // 2]) == {steps + 2} and set(seen[len(seen) // 2 :]) == {1 + 2}
    assert same(weights(tmp_path / "1"), weights(tmp_path / "50"))


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
        (tmp_path / "list.json", packed_set, "is torn or no such record"),
        (tmp_path / "latin.json", packed_set, "is torn or no such record"),
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


def test_rates_fall_at_a_plateau_also_after_an_interruption(configure, packed_set, tmp_path, monkeypatch):
    def change(config):
        config["training"]["epochs"] = 6
        config["optimizer"]["schedule"] = {
            "rule": "plateau", "epochs": 6, "weights": 1e-6, "factor": 10, "drops": 2, "patience": 1,
        }  # fmt: skip

    config = configure("paper", change=change)
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    rows = list(csv.DictReader(open(tmp_path / "whole" / "metrics.csv")))
    lowest, rate, drops, wanted = 2.0, 1e-6, 0, []
    for row in rows:  # the rule of section 5, written out; such small rates leave the error where it is
        wanted.append(rate)
        if float(row["validation_error"]) >= lowest and drops < 2:
            rate, drops = rate / 10, drops + 1
        lowest = min(lowest, float(row["validation_error"]))
    assert drops == 2
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(wanted)
    assert [float(row["bias_learning_rate"]) for row in rows] == pytest.approx(wanted)

    original = trainer.Run.train_epoch

    def dies(self, epoch, report):
        if epoch == 4:
            raise KeyboardInterrupt
        return original(self, epoch, report)

    monkeypatch.setattr(trainer.Run, "train_epoch", dies)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, packed_set, tmp_path / "cut", threads=1)
    monkeypatch.setattr(trainer.Run, "train_epoch", original)
    train.train(config, packed_set, tmp_path / "cut", threads=1)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_frozen_first_layer_stays_and_the_noise_goes_off(configure, packed_set, tmp_path):
    def frozen(config):
        still = {"weights": 0.0, "biases": 0.0}
        config["training"]["epochs"] = 1
        config["optimizer"]["schedule"]["stages"] = [
            {"until": 93, "weights": 1e-3, "biases": 1e-3, "layers": {"conv1": still}, "color_noise": False}
        ]

    config = configure(change=frozen)
    train.train(config, packed_set, tmp_path / "run", threads=1)
    before, after = build(json.loads(config.read_text())).state_dict(), weights(tmp_path / "run")
    assert torch.equal(before["layers.conv1.weight"], after["layers.conv1.weight"])
    assert torch.equal(before["layers.conv1.bias"], after["layers.conv1.bias"])
    assert not torch.equal(before["layers.conv2.weight"], after["layers.conv2.weight"])
    (row,) = csv.DictReader(open(tmp_path / "run" / "metrics.csv"))
    assert (float(row["conv1_learning_rate"]), float(row["color_noise"])) == (0.0, 0.0)
    stays = configure(change=lambda c: frozen(c) or c["augmentation"].__setitem__("color_noise_stays", True))
    train.train(stays, packed_set, tmp_path / "stays", threads=1)
    (row,) = csv.DictReader(open(tmp_path / "stays" / "metrics.csv"))
    assert float(row["color_noise"]) == 0.1
    assert not same(after, weights(tmp_path / "stays"))


def test_bfloat16_trains_another_net_than_single_precision_but_a_near_one(configure, packed_set, tmp_path):
    def one_epoch(config):
        config["training"]["epochs"] = 1

    for name in ("alexnet", "bf16"):
        train.train(configure(name, change=one_epoch), packed_set, tmp_path / name, threads=1)
    single, half = weights(tmp_path / "alexnet"), weights(tmp_path / "bf16")
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    assert not same(single, half)
    start = build(json.loads(configure("alexnet", change=one_epoch).read_text())).state_dict()
    for name in ("layers.conv2.weight", "layers.fc7.weight"):
        moved, apart = (single[name] - start[name]).norm(), (single[name] - half[name]).norm()
        assert apart < 0.2 * moved
    assert json.loads((tmp_path / "bf16" / "run.json").read_text())["precision"] == "bf16"


def test_fine_tuning_starts_from_the_weights_that_the_configuration_names(configure, packed_set, tmp_path, capsys):
    def still(config):  # no step moves anything, so what is published is what it started from
        config["training"]["epochs"] = 1
        config["optimizer"]["schedule"] = {
            "rule": "stages", "epochs": 1, "stages": [{"until": 1, "weights": 0.0, "biases": 0.0}],
        }  # fmt: skip

    before = configure("conv6", change=lambda config: config["training"].__setitem__("epochs", 1))
    train.train(before, packed_set, tmp_path / "before", threads=1)

    def start(config):
        still(config)
        config["starts_from"] = {
            "experiment": "conv6",
            "except": ["fc8"],
            "fingerprint": json.loads(before.read_text())["fingerprint"],
        }

    config = configure("conv6", change=start)
    source = tmp_path / "before" / "model.pt"
    train.train(config, packed_set, tmp_path / "after", threads=1, start=source)
    given, taken = weights(tmp_path / "before"), weights(tmp_path / "after")
    fresh = build(json.loads(config.read_text())).state_dict()
    for name in given:
        assert torch.equal(taken[name], (fresh if ".fc8." in name else given)[name]), name
    assert not torch.equal(fresh["layers.fc8.weight"], given["layers.fc8.weight"])
    record = json.loads((tmp_path / "after" / "run.json").read_text())
    assert record["started_from_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()

    narrow = configure(
        "conv6",
        change=lambda c: c["training"].__setitem__("epochs", 1) or c["model"]["layers"]["fc7"].__setitem__("units", 8),
    )
    train.train(narrow, packed_set, tmp_path / "narrow", threads=1)

    def misfit(config):
        start(config)
        config["starts_from"]["fingerprint"] = json.loads(narrow.read_text())["fingerprint"]

    for path, begin, words in [
        (config, None, "--start"),
        (before, source, "starts from random weights"),
        (config, tmp_path / "narrow" / "model.pt", "another configuration"),
        (configure("conv6", change=misfit), tmp_path / "narrow" / "model.pt", "layers.fc7.weight"),
    ]:
        arguments = ["--start", str(begin)] if begin else []
        out = tmp_path / "refused"
        assert main(["train", str(path), "--data", str(packed_set), "--out", str(out), *arguments]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and words in error
        assert not (out / "model.pt").exists()


def test_too_few_images_for_a_batch_is_a_sentence(configure, packed_set, tmp_path):
    def large(config):
        config["optimizer"] |= {"batch_size": 64, "partial_batch": "drop"}

    with pytest.raises(UserError, match="48 training images are less than a batch of 64"):
        train.train(configure(change=large), packed_set, tmp_path / "run", threads=1)
