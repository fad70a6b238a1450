"""The workflow, really killed, doubled and made to fail: the same command again is all it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_towers import running, wait_for
from test_workflow import copy_project, planned, snakemake

from alexnet import sole
from alexnet.errors import UserError
from alexnet.files import held, sha256

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
