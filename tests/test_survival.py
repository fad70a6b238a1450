"""The workflow, really killed, doubled and made to fail: the same command again is all it takes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_towers import running, wait_for
from test_workflow import copy_project, planned, snakemake

from alexnet import sole
from alexnet.errors import UserError
from alexnet.files import held, into_the_present, sha256

RUNS = [f"results/tiny/runs/{name}/1/run.json" for name in ("alexnet", "no_lrn")]


def with_study(folder: Path, **changes: object) -> Path:
    """The project with a changed study."""
    copy_project(folder)
    path = folder / "config/studies/tiny.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return folder


def trainings(folder: Path) -> list[int]:
    """Process ids of trainings at work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"train" in words and b"alexnet" in words and Path(os.readlink(path / "cwd")) == folder:
                found.append(int(path.name))
        except OSError:
            pass
    return found


def test_a_killed_workflow_goes_on_where_it_was(tmp_path):
    folder = with_study(tmp_path / "project", experiments=["alexnet", "no_lrn"], epochs=60)
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *RUNS]
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: list(folder.glob("results/tiny/runs/*/1/checkpoint/*.pt")), process, 180)
        second = snakemake(folder, *RUNS)
        assert second.returncode == 2
        assert [line for line in second.stdout.splitlines() if not line.startswith("Using ")] == [
            f"error: another workflow is at work in {folder}; wait for it or end it (a report in the meantime: "
            "snakemake --cores 1 --nolock draft)"
        ]
        assert planned(folder, RUNS[0])["train"] == 1  # looking is allowed
        pids = trainings(folder)
        assert pids
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while any(map(running, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(running, pids))
    finally:
        process.kill()
        process.communicate()
    assert list((folder / ".snakemake/locks").iterdir())  # Snakemake's own, left behind
    done = snakemake(folder, *RUNS)
    assert done.returncode == 0, done.stdout[-4000:]
    for run in (folder / name for name in RUNS):
        whole = folder / "whole" / run.parent.parent.name
        words = [sys.executable, "-m", "alexnet", "train", run.parent / "config.json", "--out", whole]
        words = [
            *map(str, words),
            "--data",
            "results/tiny/data/ilsvrc2012",
            "--devices",
            "0",
            "--threads",
            "1",
        ]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        assert sha256(whole / "model.pt") == sha256(run.parent / "model.pt")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cores", "all"], True),
        (["--cores", "2", "no_lrn", "-k"], True),
        (["-c2", "draft"], True),
        (["-n"], False),
        (["-npr"], False),
        (["--dry-run", "no_lrn"], False),
        (["--cores", "1", "--nolock", "draft"], False),
        (["--list-target-rules"], False),
        (["--report=a.html"], False),
        (["--config", "results=elsewhere", "no_conv2"], True),
    ],
)
def test_calls_that_only_look_take_no_lock(tmp_path, arguments, expected):
    assert sole.works(arguments) == expected
    lock = sole.take(tmp_path, arguments)
    assert (lock is not None) == expected
    if lock:
        with held(tmp_path / ".snakemake" / "alexnet.lock") as ours:
            assert not ours
        lock.__exit__(None, None, None)


def test_a_lock_ends_with_its_process_and_leftovers_of_snakemake_go(tmp_path):
    code = "import sys, time; from pathlib import Path; from alexnet import sole\nlock = sole.take(Path(sys.argv[1]), []); print(1, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"1\n"
    left = tmp_path / ".snakemake/locks/0.input.lock"
    left.parent.mkdir()
    left.touch()
    with pytest.raises(UserError, match="another workflow is at work"):
        sole.take(tmp_path, [])
    assert left.exists()
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    lock = sole.take(tmp_path, [])
    assert lock is not None and not left.exists()
    lock.__exit__(None, None, None)


def test_a_clock_that_is_set_back_costs_no_training(tmp_path):
    folder = with_study(tmp_path / "project", experiments=["alexnet"], epochs=8)
    run = folder / "results/tiny/runs/alexnet/1"
    assert snakemake(folder, RUNS[0]).returncode == 0
    expected = sha256(run / "model.pt")
    for name in ("run.json", "model.pt", "metrics.csv"):
        (run / name).unlink()
    words = [sys.executable, "-m", "snakemake", "--cores", "2", RUNS[0]]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        wait_for(lambda: list(run.glob("checkpoint/*.pt")), process, 180)
        later = (
            time.time() + 3600
        )  # what was packed before, as it is dated for a clock that was an hour ahead
        for path in (folder / "results/tiny/data/ilsvrc2012").iterdir():
            os.utime(path, (later, later))
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    log = folder / "results/logs/tiny/alexnet/1/train.log"
    assert process.returncode == 1 and "clock skew" in said, said
    assert "the clock was set back" in log.read_text()
    assert not (run / "model.pt").exists() and list(run.glob("checkpoint/*.pt"))
    done = snakemake(folder, RUNS[0])
    assert done.returncode == 0 and "dated later than now" in done.stdout, done.stdout
    assert "resumed after epoch 8" in log.read_text()
    assert sha256(run / "model.pt") == expected
    assert not (run / "checkpoint").exists()
    assert planned(folder, RUNS[0]) == {}


def test_files_from_the_future_keep_their_order(tmp_path):
    now = time.time()
    dates = {"old": now - 500, "packed": now + 100, "trained": now + 160, "below/evaluated": now + 300}
    (tmp_path / "below").mkdir()
    for name, date in dates.items():
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (date, date))
    assert into_the_present(tmp_path) == 3
    found = {name: (tmp_path / name).stat().st_mtime for name in dates}
    assert found["old"] == pytest.approx(dates["old"])
    assert found["below/evaluated"] == pytest.approx(now, abs=20) and found["below/evaluated"] <= time.time()
    for earlier, later in pairwise(("packed", "trained", "below/evaluated")):
        assert found[later] - found[earlier] == pytest.approx(dates[later] - dates[earlier])
    assert into_the_present(tmp_path) == 0


def test_results_that_cannot_be_written_are_a_sentence(tmp_path):
    folder = with_study(tmp_path / "project", experiments=["alexnet"])
    (folder / "results").mkdir()
    call = shlex.join([sys.executable, "-m", "snakemake", "--cores", "1", RUNS[0]])
    if os.getuid():  # root may write everywhere but where nobody may
        (folder / "results").chmod(0o555)
        words = ["sh", "-c", call]
    else:
        mount = "mount --bind results results && mount -o remount,bind,ro results"
        if subprocess.run(["unshare", "-m", "sh", "-c", mount], cwd=folder, capture_output=True).returncode:
            pytest.skip("this root may not mount, so nothing is read-only for it")
        words = ["unshare", "-m", "sh", "-c", f"{mount} && exec {call}"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "error: results cannot be written" in done.stderr and "Traceback" not in done.stderr
