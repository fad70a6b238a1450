"""Killed, told to end, or out of disk: the same command goes on, and ends with the bits of a run that nothing happened to.

The processes are real, and so are the signals.
"""

import csv
import errno
import hashlib
import json
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, make_packed_set
from test_towers import running, towers_of, wait_for

from alexnet.__main__ import main
from alexnet.batches.loader import TrainingBatches
from alexnet.errors import UserError
from alexnet.net.execution import Execution
from alexnet.packed.packed_set import mean_image, open_split
from alexnet.runtime import fingerprint, interruption
from alexnet.training import checkpoints, state, train, trainer


def short(epochs=2, rates=0.002):
    """Change a tiny run to six steps an epoch; crops, colour noise and dropout stay on."""

    def change(config):
        config["training"]["epochs"] = epochs
        config["optimizer"]["batch_size"] = 8
        config["optimizer"]["schedule"]["stages"] = [{"until": 93, "weights": rates, "biases": rates}]

    return change


def outcome(out):
    """What must be equal to the bit: weights, and each number of the history that is no time."""
    weights = torch.load(out / "model.pt", weights_only=True)["state_dict"]
    rows = [
        {name: value for name, value in row.items() if name not in ("seconds", "images_per_second")}
        for row in csv.DictReader(open(out / "metrics.csv"))
    ]
    return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}, rows


def command(config, data, out, devices="1", *more, script=("-m", "alexnet")):
    words = [sys.executable, *script, "train", config, "--data", data, "--out", out]
    return [*map(str, words), "--devices", devices, "--threads", "1", *more]


def start(words, **environment):
    """The process; its own process group, as a terminal would make it."""
    inherited = {name: value for name, value in os.environ.items() if name != interruption.WORKFLOW}
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def checkpoint(out):
    return list((out / "checkpoint").glob("*.pt"))


# Killed ------------------------------------------------------------------------------------------------------------


def dies(config, data, out, devices, place, *more, tower="0", after=""):
    """A training that kills itself at `place`; its log, which must say that it went on `after` that."""
    words = command(config, data, out, devices, *more, script=("tests/dies.py",))
    process = start(words, DIES=place, TOWER=tower)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == (2 if devices == "2" and tower != "-1" else -signal.SIGKILL), log
    assert (f"resumed after {after}" in log) if after else ("resumed" not in log), log
    return log


def test_killed_at_any_place_it_ends_with_the_same_bits(configure, packed_set, tmp_path, capsys):
    config, out = configure(change=short()), tmp_path / "killed"
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    each = ("--checkpoint-steps", "2")
    dies(config, packed_set, out, "1", "write 1", *each)
    assert not checkpoint(out)  # only a half of it was there
    dies(config, packed_set, out, "1", "step 0 5", *each)
    dies(config, packed_set, out, "1", "write 1", *each, after="epoch 0 and 4 steps")  # at 6: that of 4 stays
    dies(config, packed_set, out, "1", "validate 0", *each, after="epoch 0 and 4 steps")
    dies(config, packed_set, out, "1", "rename 1", *each, after="epoch 0 and 6 steps")  # at its end
    dies(config, packed_set, out, "1", "step 1 3", *each, after="epoch 0 and 6 steps")
    dies(config, packed_set, out, "1", "publish", *each, after="epoch 1 and 2 steps")
    assert not (out / "run.json").exists()
    capsys.readouterr()
    train.train(config, packed_set, out, threads=1)
    assert "resumed after epoch 2" in capsys.readouterr().err
    assert outcome(out) == outcome(tmp_path / "whole")
    record = json.loads((out / "run.json").read_text())
    assert record["checkpoints"] > 0 and 0 < record["checkpoint_seconds"] < record["wall_seconds"]
    assert [path.name for path in out.iterdir() if path.name.startswith(".") or path.is_dir()] == []


def test_killed_as_two_processes_it_ends_with_the_same_bits(configure, packed_set, tmp_path):
    config, out = configure(change=short()), tmp_path / "killed"
    train.train(config, packed_set, tmp_path / "whole", "2", threads=2)
    each = ("--checkpoint-steps", "2")
    log = dies(config, packed_set, out, "2", "step 0 3", *each, tower="1")
    assert log.splitlines()[-1].startswith("error: tower 1 was ended by SIGKILL")
    dies(config, packed_set, out, "2", "write 1", *each, tower="0", after="epoch 0 and 2 steps")
    dies(config, packed_set, out, "2", "step 1 1", *each, tower="-1", after="epoch 0 and 2 steps")
    process = start(command(config, packed_set, out, "2"))
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 0, log
    assert "resumed after epoch 1\n" in log
    assert outcome(out) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("other", [{"epoch": 1}, {"step": 3}])
def test_towers_that_read_another_place_in_a_checkpoint_do_not_go_on(configure, packed_set, tmp_path, other):
    """The other tower is one of words: it says where it would go on."""
    config = json.loads(configure(change=short()).read_text())
    theirs = iter([other.get("epoch", 0), other.get("step", 0)])
    link = SimpleNamespace(rank=0, numbers=lambda mine: [mine, next(theirs)])
    execution = Execution(("cpu", "cpu"), 1, "fp32", exchange="gloo")
    with pytest.raises(UserError, match="was not read alike by both towers; run the same again"):
        train._train(link, config, packed_set, tmp_path / "run", execution, None, state.BY_THE_CLOCK)


def test_a_checkpoint_by_the_clock(configure, packed_set, tmp_path, monkeypatch):
    """Of minutes that take no time, there is one after each step."""
    places = []
    original = trainer.Run.save_checkpoint
    monkeypatch.setattr(
        trainer.Run, "save_checkpoint", lambda run: places.append((run.state.epoch, run.state.step)) or original(run)
    )
    config = configure(change=short(epochs=1))
    train.train(config, packed_set, tmp_path / "often", threads=1, cadence=state.Cadence(minutes=1e-9))
    assert places == [(0, step) for step in range(1, 7)] + [(1, 0)]
    places.clear()
    train.train(config, packed_set, tmp_path / "rarely", threads=1)
    assert places == [(1, 0)]
    assert outcome(tmp_path / "often") == outcome(tmp_path / "rarely")


def test_steps_go_on_while_a_checkpoint_is_written_and_do_not_change_it(configure, packed_set, tmp_path, monkeypatch):
    """That of step 2 waits for step 4 before it is written."""
    two_later, original, found = threading.Event(), checkpoints.write, {}

    def write(path, content):
        assert two_later.wait(60)
        original(path, content)

    def due(run):
        if run.state.step == 2:
            found["then"] = [tensor.clone() for tensor in run.net.state_dict().values()]
        if run.state.step == 4:
            two_later.set()
            run.written()
            found["kept"] = checkpoints.load(run.checkpoint, run.key)
            found["now"] = [tensor.clone() for tensor in run.net.state_dict().values()]
        return trainer.SAVE if run.state.step == 2 else trainer.GO_ON

    monkeypatch.setattr(checkpoints, "write", write)
    monkeypatch.setattr(trainer.Run, "due", due)
    train.train(configure(change=short(epochs=1)), packed_set, tmp_path / "run", threads=1)
    kept = found["kept"]["net"].values()
    assert all(torch.equal(a, b) for a, b in zip(kept, found["then"], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(kept, found["now"], strict=True))


def test_no_checkpoint_is_written_of_a_step_whose_loss_is_not_finite(configure, packed_set, tmp_path, monkeypatch):
    steps, original = [], trainer.Step.__call__

    def third_is_lost(step, images, labels):
        steps.append(original(step, images, labels).clone())
        steps[-1][0] *= 1 if len(steps) < 3 else math.nan
        return steps[-1]

    monkeypatch.setattr(trainer.Step, "__call__", third_is_lost)
    with pytest.raises(trainer.Diverged, match="the loss became nan in epoch 1, step 2"):
        train.train(configure(change=short()), packed_set, tmp_path / "run", threads=1, cadence=state.Cadence(steps=1))
    assert json.loads(checkpoints.load(checkpoint(tmp_path / "run")[0], {})["state"])["step"] == 2


def test_a_last_checkpoint_that_finds_no_room_is_told(configure, packed_set, tmp_path, monkeypatch):
    def write(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "write", write)
    with pytest.raises(
        UserError, match=r"\.pt cannot be written \(No space left on device\); mend it and run the same"
    ):
        train.train(configure(change=short(epochs=1)), packed_set, tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(("ago", "what"), [(119, trainer.GO_ON), (121, trainer.SAVE)])
def test_a_minute_between_checkpoints_has_sixty_seconds(ago, what):
    run = SimpleNamespace(cadence=state.Cadence(minutes=2), saved=time.monotonic() - ago, _agreed=lambda wanted: wanted)
    assert trainer.Run.due(run) == what


def test_the_seconds_of_an_epoch_are_those_of_its_steps(configure, packed_set, tmp_path, monkeypatch):
    """By a clock on which a step takes 1e5 s and a checkpoint 1e6 s; it stops after three steps of six, and goes on."""
    passed, real, begin = [0.0], time.monotonic, checkpoints.Writer.begin
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(passed))
    monkeypatch.setattr(checkpoints.Writer, "begin", lambda *arguments: passed.append(1e6) or begin(*arguments))
    config, out = configure(change=short(epochs=1)), tmp_path / "run"
    for stop, ends in ((3, pytest.raises(interruption.Interrupted)), (0, nullcontext())):

        def due(run, stop=stop):
            passed.append(1e5)
            return trainer.STOP if run.state.step == stop else trainer.SAVE

        monkeypatch.setattr(trainer.Run, "due", due)
        with ends:
            train.train(config, packed_set, out, threads=1)
    (row,) = csv.DictReader(open(out / "metrics.csv"))
    assert float(row["seconds"]) == pytest.approx(6e5, rel=0.1)
    assert 48 / float(row["images_per_second"]) == pytest.approx(6e5, rel=0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_begins_inside_an_epoch_and_makes_nothing_before(configure, packed_set, workers, monkeypatch):
    config = json.loads(configure(change=short()).read_text())
    split = open_split(packed_set, "train")
    batches = TrainingBatches(split, config, mean_image(packed_set), workers)
    whole = [(images.clone(), labels) for images, labels in batches.epoch(1)]
    made = []
    original = TrainingBatches._fill
    monkeypatch.setattr(
        TrainingBatches,
        "_fill",
        lambda self, pixels, order, recipe, at, first, last: (
            made.append((first, last)) or original(self, pixels, order, recipe, at, first, last)
        ),
    )
    rest = [(images.clone(), labels) for images, labels in batches.epoch(1, first=4)]
    assert len(whole) == 6 and len(rest) == 2
    for (images, labels), (expected, truth) in zip(rest, whole[4:], strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, truth)
    assert min(first for first, _ in made) == 32
    assert sum(last - first for first, last in made) == 16
    assert list(batches.epoch(1, first=6)) == []


# Told to end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "number"), [("1", signal.SIGTERM), ("1", signal.SIGINT), ("2", signal.SIGTERM), ("2", signal.SIGINT)]
)
def test_told_to_end_it_writes_a_checkpoint_at_once(configure, packed_set, tmp_path, devices, number):
    config, out = configure(change=short(epochs=15)), tmp_path / "told"
    process = start(command(config, packed_set, out, devices))
    wait_for(lambda: checkpoint(out), process)
    pids = towers_of(process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to all of them
    else:
        process.send_signal(number)
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert "Traceback" not in log
    said = [line for line in log.splitlines() if "stopped by" in line]
    assert said == log.splitlines()[-1:]
    assert said[0].startswith(f"tiny/alexnet/1: stopped by {number.name} after epoch ")
    assert not any(map(running, pids))
    key = json.loads(config.read_text())["fingerprint"]
    state = json.loads(checkpoints.load(checkpoint(out)[0], {"config_fingerprint": key})["state"])
    assert 0 < state["epoch"] < 15 or state["step"]
    if devices == "2" and number == signal.SIGINT:
        return  # the bits of two were compared after the other signal
    train.train(config, packed_set, tmp_path / "whole", devices, threads=1)
    train.train(config, packed_set, out, devices, threads=1)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_told_in_the_validation_it_validates_again(configure, packed_set, tmp_path, monkeypatch):
    config = configure(change=short(epochs=1))
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    original = trainer.Run.validate
    monkeypatch.setattr(trainer.Run, "validate", lambda run: os.kill(os.getpid(), signal.SIGTERM) or original(run))
    with pytest.raises(interruption.Interrupted, match="stopped by SIGTERM after epoch 0 and 6 steps"):
        train.train(config, packed_set, tmp_path / "told", threads=1)
    monkeypatch.setattr(trainer.Run, "validate", original)
    train.train(config, packed_set, tmp_path / "told", threads=1)
    assert outcome(tmp_path / "told") == outcome(tmp_path / "whole")


def test_it_ends_with_the_workflow_that_started_it(configure, packed_set, tmp_path):
    workflow = subprocess.Popen(["sleep", "600"])
    words = command(configure(change=short(epochs=3000)), packed_set, tmp_path / "run")
    process = start(words, **{interruption.WORKFLOW: str(workflow.pid)})
    try:
        wait_for(lambda: checkpoint(tmp_path / "run"), process)
        workflow.kill()
        workflow.wait()
        assert "stopped by SIGTERM" in process.communicate(timeout=10)[1]
        assert process.returncode == 143
    finally:
        workflow.kill()
        process.kill()
        process.wait()


def test_it_does_not_begin_when_the_workflow_is_gone_already(configure, packed_set, tmp_path):
    workflow = subprocess.Popen(["true"])
    workflow.wait()
    words = command(configure(), packed_set, tmp_path / "run")
    process = start(words, **{interruption.WORKFLOW: str(workflow.pid)})
    assert process.communicate(timeout=60)[1] == "interrupted by SIGTERM\n"
    assert process.returncode == 143 and not (tmp_path / "run").exists()


def test_another_verb_is_ended_with_a_sentence(tmp_path):
    words = [sys.executable, "-m", "alexnet", "synthesize", "--out", str(tmp_path), "--train-per-class", "9999"]
    process = start([*words, "--workers", "1"])
    wait_for(lambda: any(tmp_path.iterdir()), process)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert log.splitlines()[-1] == "interrupted by SIGTERM" and "Traceback" not in log


# A full disk ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_it_with_a_sentence_and_leaves_the_checkpoint(configure, packed_set, tmp_path):
    """The largest file that the process may write shrinks while it runs: the second checkpoint finds no room."""
    config, out = configure(change=short(epochs=15)), tmp_path / "full"
    process = start(command(config, packed_set, out))
    wait_for(lambda: checkpoint(out), process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    last = log.splitlines()[-1]
    assert last.startswith("error: tiny/alexnet/1: ") and "cannot be written (File too large)" in last
    assert "Traceback" not in log
    assert list((out / "checkpoint").glob(".*")) == []
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    train.train(config, packed_set, out, threads=1)
    assert outcome(out) == outcome(tmp_path / "whole")
    assert len(json.loads((out / "run.json").read_text())["sessions"]) == 2


# Files that are no checkpoint of this run ----------------------------------------------------------------------------


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["HARM"]),))


def sealed(content):
    """With a hash that fits, as one who knows the format would write it."""
    return content + checkpoints.MARK + hashlib.sha256(content).hexdigest().encode() + b"\n"


def test_a_file_that_is_no_checkpoint_of_this_run_is_refused_and_nothing_of_it_used(
    configure, packed_set, tmp_path, monkeypatch, capsys
):
    config = configure(change=short())
    out = tmp_path / "run"
    monkeypatch.setattr(trainer.Run, "due", lambda run: trainer.STOP if run.state.step == 2 else trainer.GO_ON)
    with pytest.raises(interruption.Interrupted):
        train.train(config, packed_set, out, threads=1)
    monkeypatch.undo()
    path = checkpoint(out)[0]
    good = path.read_bytes()
    record = checkpoints.load(path, {})
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    wanted = outcome(tmp_path / "whole")

    def saved(**changes):
        writer = checkpoints.Writer(path)
        writer.begin({k: v for k, v in record.items() if k != "format"} | changes)
        writer.wait()
        return path.read_bytes()

    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    less = {name: tensor for name, tensor in record["net"].items() if "fc8" not in name}
    for content, words in [
        (good[: len(good) // 2], "is torn or no checkpoint"),
        (b"", "is torn or no checkpoint"),
        (bytes(flipped), "has changed since it was written"),
        (sealed(pickle.dumps(Harmful(), 2)), "holds something else than tensors"),
        (sealed(b"PK"), "holds something else than tensors"),
        (saved(config_fingerprint="0" * 64), "belongs to another config"),
        (saved(data_fingerprint="other"), "belongs to another data"),
        (saved(start="other"), "belongs to another start"),
        (saved(net=less), "does not fit this net"),
        (saved(state="[]"), "does not fit this net"),
        (saved(state=json.dumps({"epochs": 1})), "does not fit this net"),
    ]:
        out.mkdir(exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        capsys.readouterr()
        train.train(config, packed_set, out, threads=1)
        log = capsys.readouterr().err
        assert f"{path} {words}" in log and "starting afresh" in log and "resumed" not in log
        assert outcome(out) == wanted
    assert not (tmp_path / "harm").exists()
    path.parent.mkdir()
    path.write_bytes(good)
    train.train(config, packed_set, out, threads=1)
    log = capsys.readouterr().err
    assert "resumed after epoch 0 and 2 steps" in log and "training code" not in log  # the good one was good
    assert outcome(out) == wanted
    path.parent.mkdir()
    saved(code_sha256="0123456789abcdef")
    train.train(config, packed_set, out, threads=1)
    now = fingerprint.code_sha256("train")[:10]
    assert f"the checkpoint is of training code 0123456789, this checkout has {now}" in capsys.readouterr().err
    assert outcome(out) == wanted


def test_data_that_were_packed_anew_under_the_same_name_start_afresh(
    configure, packed_set, tmp_path, capsys, monkeypatch
):
    config, out = configure(change=short()), tmp_path / "run"
    monkeypatch.setattr(trainer.Run, "due", lambda run: trainer.STOP if run.state.step == 3 else trainer.GO_ON)
    with pytest.raises(interruption.Interrupted):
        train.train(config, packed_set, out, threads=1)
    monkeypatch.undo()
    make_packed_set(packed_set, {"train": 48, "val": 24}, seed=1)
    train.train(config, packed_set, out, threads=1)
    assert "belongs to another data; starting afresh" in capsys.readouterr().err
    train.train(config, packed_set, tmp_path / "whole", threads=1)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_a_checkpoint_of_a_changed_configuration_is_said_and_left_alone(
    configure, packed_set, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    monkeypatch.setattr(trainer.Run, "due", lambda run: trainer.STOP if run.state.step == 3 else trainer.GO_ON)
    with pytest.raises(interruption.Interrupted):
        train.train(configure(change=short()), packed_set, out, threads=1)
    monkeypatch.undo()
    other = configure(change=short(rates=0.001))
    train.train(other, packed_set, out, threads=1)
    assert "belongs to another configuration; starting afresh" in capsys.readouterr().err
    train.train(other, packed_set, tmp_path / "whole", threads=1)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_times_between_checkpoints_that_cannot_be_are_refused(tmp_path, capsys):
    for flag, value in (("--checkpoint-minutes", "0"), ("--checkpoint-minutes", "nan"), ("--checkpoint-steps", "-1")):
        with pytest.raises(SystemExit):
            main(["train", "c.json", "--data", "d", "--out", "o", flag, value])
        assert flag in capsys.readouterr().err


def test_a_training_waits_for_one_that_is_about_to_end(configure, packed_set, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOCK_SECONDS", 0.2)
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    script = "import sys, time; from pathlib import Path; from alexnet.runtime.files import locked\nwith locked(Path(sys.argv[1])):\n    print(True, flush=True); time.sleep(float(sys.argv[2]))"
    holder = subprocess.Popen([sys.executable, "-c", script, folder / "lock", "60"], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"True\n"
    with pytest.raises(UserError, match="another training is running"):
        train.train(configure(change=short(1)), packed_set, tmp_path / "run", threads=1)
    holder.kill()
    holder.wait()
    train.train(configure(change=short(1)), packed_set, tmp_path / "run", threads=1)
    assert (tmp_path / "run" / "run.json").exists()
