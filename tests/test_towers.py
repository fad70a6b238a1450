"""Two towers in two processes against one device: the same losses and weights, and no way to hang or to be left behind."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from alexnet.errors import UserError
from alexnet.experiments.architecture import exchange, layer_table
from alexnet.net import execution
from alexnet.net.model import build
from alexnet.training import train, two_processes

FEW = 4  # epochs


def set_up(epochs=FEW, classes=6, precision="fp32"):
    """Change a tiny run to six steps an epoch; crops, colour noise and dropout stay on."""

    def change(config):
        config["training"]["epochs"] = epochs
        config["optimizer"]["batch_size"] = 8
        config["precision"] = precision
        config["data"]["classes"] = classes
        config["optimizer"]["schedule"]["stages"] = [{"until": 93, "weights": 0.002, "biases": 0.002}]

    return change


def weights(out):
    return torch.load(out / "model.pt", weights_only=True)["state_dict"]


def losses(out):
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    columns = ("train_loss", "train_error", "train_top5_error", "validation_loss", "validation_error")
    return np.array([[float(row[column]) for column in columns] for row in rows])


def distance(a, b):
    """Largest difference of two sets of weights, as a share of the largest weight of its tensor."""
    return max(((a[name] - b[name]).abs().max() / a[name].abs().max()).item() for name in a)


def test_twenty_four_steps_on_two_devices_are_those_of_one(configure, packed_set, tmp_path):
    config = configure(change=set_up())
    record = json.loads(config.read_text())
    assert record["augmentation"]["color_noise"] and record["model"]["drop_probability"] == 0.5
    for devices in ("1", "2"):
        train.train(config, packed_set, tmp_path / devices, devices, threads=2 if devices == "2" else 1)
    one, two = (json.loads((tmp_path / devices / "run.json").read_text()) for devices in ("1", "2"))
    np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / "2"), rtol=1e-5)
    assert distance(weights(tmp_path / "1"), weights(tmp_path / "2")) < 1e-5
    start = build(record).state_dict()
    assert distance(start, weights(tmp_path / "1")) > 1e-2  # they moved far more than they differ
    assert one["devices"] == ["cpu"] and one["threads"] == 1 and "traffic" not in one
    assert two["devices"] == ["cpu", "cpu"] and two["threads"] == 1 and two["exchange"] == "gloo"
    assert one["parameters"] == two["parameters"] == sum(w.numel() for w in start.values())

    # what crosses: half of what conv3 and the fully connected layers read, and its gradient; half of the output
    rows = layer_table(record["model"], record["data"]["crop"], 6)
    table = exchange(rows, 2)
    counted = sum(place["forward"] + place["backward"] for place in table)
    assert two["traffic"]["bytes_sent_per_image"] == 4 * counted
    assert sum((place["forward"] > 0) + (place["backward"] > 0) for place in table) == 9
    sizes = {row.name: int(np.prod(row.output_shape)) for row in rows}
    read = sizes["pool2"] + sizes["pool5"] + sizes["fc6"] + sizes["fc7"]
    assert two["traffic"]["bytes_sent_per_image"] == 4 * (2 * read + sizes["fc8"]) / 2
    assert two["traffic"]["exchanges"] == 6 * 9


def test_five_classes_are_three_and_two_units(configure, tmp_path):
    from conftest import make_packed_set

    data = make_packed_set(tmp_path / "odd", {"train": 48, "val": 24}, classes=5)
    config = configure(change=set_up(epochs=1, classes=5))
    for devices in ("1", "2"):
        train.train(config, data, tmp_path / devices, devices, threads=1)
    assert distance(weights(tmp_path / "1"), weights(tmp_path / "2")) < 1e-5


def test_in_bfloat16_they_agree_as_far_as_it_goes(configure, packed_set, tmp_path):
    config = configure(change=set_up(epochs=1, precision="bf16"))
    for devices in ("1", "2"):
        train.train(config, packed_set, tmp_path / devices, devices, threads=1)
    start = build(json.loads(config.read_text())).state_dict()
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    moved = {name: one[name] - start[name] for name in start}
    others = {name: two[name] - start[name] for name in start}
    for name in start:
        assert torch.nn.functional.cosine_similarity(moved[name].flatten(), others[name].flatten(), 0) > 0.99


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_a_checkpoint_of_one_goes_on_as_the_other(configure, packed_set, tmp_path, order):
    config = configure(change=set_up())
    train.train(config, packed_set, tmp_path / "whole", "1", threads=1)
    out = tmp_path / "run"
    process = start(config, packed_set, out, order[0])
    wait_for(lambda: checkpoints(out), process)
    process.kill()
    process.wait()
    train.train(config, packed_set, out, order[1], threads=1)
    record = json.loads((out / "run.json").read_text())
    assert [len(session["devices"]) for session in record["sessions"]] == [int(d) for d in order]
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(out), rtol=1e-5)
    assert distance(weights(tmp_path / "whole"), weights(out)) < 1e-5


# Faults ------------------------------------------------------------------------------------------------------------


def start(config, data, out, devices, *more):
    command = [sys.executable, "-m", "alexnet", "train", config, "--data", data, "--out", out]
    command = [*map(str, command), "--devices", devices, "--threads", "1", *more]
    # steps are slowed down by nothing: a checkpoint is written after each epoch of six steps
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def checkpoints(out):
    return list((out / "checkpoint").glob("*.pt"))


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def towers_of(process):
    """Process ids of the towers that a training started, the first tower first."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = []
    for pid in children:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"spawn_main" in words:
            found.append(int(pid))
    return sorted(found)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def long_run(configure, packed_set, tmp_path):
    """A training of many epochs in two processes, past its first checkpoint: process, towers, and how to go on."""
    config = configure(change=set_up(epochs=3000))
    out = tmp_path / "run"
    process = start(config, packed_set, out, "2", "--peer-timeout", "5")
    try:
        wait_for(lambda: checkpoints(out), process)
        pids = towers_of(process)
        assert len(pids) == 2
        yield process, pids, out
    finally:
        for pid in [*towers_of(process)] if process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


@pytest.mark.parametrize("tower", [0, 1])
def test_a_killed_tower_ends_the_run(long_run, tower):
    process, pids, out = long_run
    os.kill(pids[tower], signal.SIGKILL)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    last = error.splitlines()[-1]
    assert last.startswith("error: tower ") and "it goes on from its last checkpoint" in last
    assert "Traceback" not in error
    assert not any(map(running, pids))
    assert checkpoints(out) and not (out / "run.json").exists()


def test_a_tower_that_hangs_ends_the_run_within_the_timeout(long_run):
    process, pids, _ = long_run
    os.kill(pids[1], signal.SIGSTOP)
    started = time.monotonic()
    error = process.communicate(timeout=40)[1]
    assert time.monotonic() - started < 5 + two_processes.SECONDS_TO_END + 10
    assert process.returncode == 2
    assert "did not answer within 5 s" in error.splitlines()[-1]
    assert not any(map(running, pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_tower_outlives_the_command(long_run, how):
    process, pids, _ = long_run
    process.send_signal(how)
    process.wait(20)
    end = time.monotonic() + 10
    while any(map(running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(running, pids))


def test_a_loss_that_is_not_finite_is_said_once(configure, packed_set, tmp_path):
    def explode(config):
        set_up(epochs=2)(config)
        config["optimizer"]["schedule"]["stages"] = [{"until": 93, "weights": 1e6, "biases": 1e6}]

    with pytest.raises(UserError, match=r"the loss became .* lower the learning rates"):
        train.train(configure(change=explode), packed_set, tmp_path / "run", "2", threads=1)
    assert json.loads((tmp_path / "run" / "failed.json").read_text())["epoch"] in (1, 2)


# Choosing devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "there", "nets", "expected"),
    [
        ("auto", 0, 2, ("cpu",)),
        ("auto", 1, 2, ("cuda:0",)),
        ("auto", 2, 2, ("cuda:0",)),
        ("1", 2, 2, ("cuda:0",)),
        ("0", 2, 2, ("cpu",)),
        ("2", 0, 2, ("cpu", "cpu")),
        ("2", 4, 2, ("cuda:0", "cuda:1")),
    ],
)
def test_devices_are_chosen_by_what_is_there(monkeypatch, devices, there, nets, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)  # there is no such machine
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    plan = execution.plan(devices, 4, towers=nets)
    assert plan.devices == expected
    assert plan.exchange == ("" if len(expected) == 1 else "nccl" if there else "gloo")
    assert plan.threads == (2 if expected == ("cpu", "cpu") else 4)
    assert plan.deterministic == (expected[0] == "cpu")


@pytest.mark.parametrize(
    ("devices", "there", "nets", "words"),
    [("3", 0, 2, "choose auto"), ("2", 0, 1, "1 tower, not two"), ("2", 1, 2, "one CUDA device")],
)
def test_devices_that_cannot_be(monkeypatch, devices, there, nets, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(UserError, match=words):
        execution.plan(devices, 4, towers=nets)


def test_a_net_of_one_tower_is_refused(configure, packed_set, tmp_path):
    config = configure("one_gpu", change=set_up())
    with pytest.raises(UserError, match="1 tower"):
        train.train(config, packed_set, tmp_path / "run", "2")
