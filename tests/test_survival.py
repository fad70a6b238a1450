"""The workflow, really killed, doubled and made to fail: the same command again is all it takes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
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

from alexnet.errors import UserError
from alexnet.runtime import workflow_lock
from alexnet.runtime.files import sha256

STRACE = shutil.which("strace")
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
    folder = with_study(tmp_path / "project", experiments=["alexnet", "no_lrn"], epochs=140)
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *RUNS]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_for(lambda: list(folder.glob("results/tiny/runs/*/1/checkpoint/*.pt")), process, 180)
        second = snakemake(folder, *RUNS)
        assert second.returncode == 2
        assert [line for line in second.stdout.splitlines() if line.startswith("error: ")] == [
            "error: another workflow is at work on results; wait for it or end it (a report in the meantime: "
            "snakemake --cores 1 draft)"
        ]
        assert planned(folder, RUNS[0])["train"] == 1  # looking is allowed
        pids = trainings(folder)
        assert pids
        process.kill()
        process.wait()
        end = time.monotonic() + 60
        while any(map(running, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(running, pids))
    finally:
        process.kill()
        process.communicate()
    done = snakemake(folder, *RUNS)
    assert done.returncode == 0, done.stdout[-4000:]
    for run in (folder / name for name in RUNS):
        whole = folder / "whole" / run.parent.parent.name
        words = [sys.executable, "-m", "alexnet", "train", run.parent / "config.json", "--out", whole]
        words = [*map(str, words), "--data", "results/tiny/data/ilsvrc2012", "--devices", "0", "--threads", "1"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        assert sha256(whole / "model.pt") == sha256(run.parent / "model.pt")


def test_the_lock_ends_with_its_process(tmp_path):
    code = "import sys, time; from pathlib import Path; from alexnet.runtime import workflow_lock\nlock = workflow_lock.take(Path(sys.argv[1])); print(1, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"1\n"
    with pytest.raises(UserError, match="another workflow is at work"):
        workflow_lock.take(tmp_path)
    torn = tmp_path / "demo/study.json"
    torn.parent.mkdir()
    torn.touch()
    workflow_lock.remove_torn(tmp_path)
    assert torn.exists()  # it may be in the middle of being written
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    workflow_lock.take(tmp_path).release()
    workflow_lock.remove_torn(tmp_path)
    assert not torn.exists()


def test_only_outputs_of_a_workflow_are_removed_as_torn(tmp_path):
    """A configuration that somebody sent may name any folder, and results that somebody sent may lead anywhere."""
    foreign, results = tmp_path / "home", tmp_path / "results"
    for path, text in (
        (foreign / "tsconfig.json", "{} // a comment"),
        (foreign / "project/lines.json", "{}\n{}\n"),
        (foreign / "project/study.json", ""),
        (foreign / "runs/alexnet/1/config.json", ""),
        (results / "demo/notes/lines.json", "{}\n{}\n"),
        (results / "logs/demo/study.json", ""),
        (results / "demo/evals/alexnet/1/ilsvrc2012-val.json", ""),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (results / "demo/runs").symlink_to(foreign / "runs")
    torn = results / "demo/evals/alexnet/1/ilsvrc2012-val.json"
    before = set(tmp_path.rglob("*"))
    for folder in (foreign, results, tmp_path / ("x" * 270)):  # the last is no name that a folder can have
        workflow_lock.remove_torn(folder)
    assert set(tmp_path.rglob("*")) == before  # nor a lock, where no workflow ever worked
    workflow_lock.take(results).release()
    workflow_lock.remove_torn(results)
    assert set(tmp_path.rglob("*")) == (before | {results / workflow_lock.NAME}) - {torn}


@pytest.mark.parametrize("words", [["-call"], ["--cores", "all"], ["-c2", "-k"], ["-kc", "1", "--rerun-incomplete"]])
def test_one_workflow_works_on_a_results_folder_however_it_is_called(tmp_path, words):
    """Also from another checkout; looking, and a draft of what is there, are allowed."""
    folders = [with_study(tmp_path / name, experiments=["alexnet"]) for name in ("one", "other")]
    config = ["--config", f"results={tmp_path}/results"]
    lock = workflow_lock.take(tmp_path / "results")
    try:
        for folder in folders:
            done = subprocess.run(
                [sys.executable, "-m", "snakemake", *words, *config],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=120,
            )
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            assert done.returncode == 2 and said == [
                f"error: another workflow is at work on {tmp_path}/results; wait for it or end it (a report in the "
                "meantime: snakemake --cores 1 draft)"
            ], done.stderr
            assert "Traceback" not in done.stderr
        assert [path.name for path in (tmp_path / "results").iterdir()] == [workflow_lock.NAME]
        if words == ["-call"]:
            for looking in (["-n"], ["--unlock"], ["--list-target-rules"], ["--summary"], ["departures"]):
                assert snakemake(folders[0], *looking, *config).returncode == 0
    finally:
        lock.release()


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
        later = time.time() + 3600  # what was packed before, as it is dated for a clock that was an hour ahead
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
    for path in (folder / "results/tiny/data/ilsvrc2012").iterdir():  # as `touch` does
        os.utime(path)
    done = snakemake(folder, RUNS[0])
    assert done.returncode == 0, done.stdout
    assert "resumed after epoch 8" in log.read_text()
    assert sha256(run / "model.pt") == expected
    assert not (run / "checkpoint").exists()
    assert planned(folder, RUNS[0]) == {}


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


def test_outputs_that_a_power_cut_tore_are_made_again_by_the_same_command(tmp_path):
    folder = with_study(tmp_path / "project", experiments=["alexnet"])
    evaluation = "results/tiny/evals/alexnet/1/ilsvrc2012-val.json"
    targets = [evaluation, "results/describe/alexnet.json"]
    assert snakemake(folder, *targets).returncode == 0
    run = folder / "results/tiny/runs/alexnet/1"
    before = {path: sha256(path) for path in (run / "model.pt", run / "config.json", folder / targets[1])}
    whole = sorted(path for path in (folder / "results").rglob("*.json"))
    for path in (run / "model.pt", run / "config.json"):
        path.write_bytes(b"")
    text = (folder / targets[1]).read_text()
    (folder / targets[1]).write_text(text[: len(text) // 2])
    (folder / evaluation).write_bytes(bytes(200))
    done = snakemake(folder, *targets)
    assert done.returncode == 0, done.stdout[-3000:]
    said = [line for line in done.stdout.splitlines() if "was cut off" in line]
    assert len(said) == 4 and all(line.endswith("; it is made again") for line in said)
    assert {path: sha256(path) for path in before} == before
    assert sorted(path for path in (folder / "results").rglob("*.json")) == whole
    assert "was cut off" not in snakemake(folder, *targets).stdout


@pytest.mark.parametrize("verb", ["configure", "describe", "study", "departures"])
def test_a_record_goes_whole_into_a_file_or_to_standard_output(verb, definitions, tmp_path):
    words = {
        "configure": ["--study", "tiny", "--experiment", "tanh", "--seed", "3"],
        "describe": ["--study", "tiny", "--experiment", "tanh"],
        "study": ["--study", "tiny"],
        "departures": [],
    }[verb]
    call = [sys.executable, "-m", "alexnet", verb, *words, "--definitions", str(definitions)]
    shown = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    out = tmp_path / "new/record.json"
    trace = ["strace", "-f", "-e", "trace=fsync,rename", "-o", str(tmp_path / "trace")] if STRACE else []
    subprocess.run([*trace, *call, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    assert out.read_text() == shown and list(out.parent.iterdir()) == [out]
    if STRACE:
        lines = re.findall(r"(fsync|rename)\(", (tmp_path / "trace").read_text())
        assert lines[:2] == ["fsync", "rename"]
