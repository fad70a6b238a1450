"""Cards of a machine that an `nvidia-smi` of ours makes up: who may use which, and never two one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from alexnet.errors import UserError
from alexnet.runtime import gpu_leases

A, B, C = "GPU-aaaa1111-0000", "GPU-bbbb2222-0000", "GPU-cccc3333-0000"
M, N = "MIG-1111aaaa-0000", "MIG-2222bbbb-0000"
PLAIN = f"GPU 0: NVIDIA X (UUID: {A})\nGPU 1: NVIDIA X (UUID: {B})\nGPU 2: NVIDIA X (UUID: {C})\n"
SPLIT = (
    f"GPU 0: NVIDIA X (UUID: {A})\n"
    f"  MIG 1g.5gb      Device  0: (UUID: {M})\n"
    f"  MIG 1g.5gb      Device  1: (UUID: {N})\n"
    f"GPU 1: NVIDIA X (UUID: {B})\n"
)
PAIR = "".join(PLAIN.splitlines(keepends=True)[:2])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make this a machine with such a list of cards, and locks of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "locks").mkdir()

    def make(text, rc=0):
        (folder / "list").write_text(text)
        script = folder / "nvidia-smi"
        script.write_text(f'#!/bin/sh\n[ "$1" = -L ] && cat {folder}/list\nexit {rc}\n')
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "locks"))
    monkeypatch.setattr(gpu_leases.tempfile, "tempdir", None)
    monkeypatch.delenv(gpu_leases.VISIBLE, raising=False)
    return make


@pytest.mark.parametrize(
    ("text", "visible", "expected"),
    [
        (PLAIN, None, [A, B, C]),
        (PLAIN, "", []),
        (PLAIN, "-1", []),
        (PLAIN, "NoDevFiles", []),
        (PLAIN, "2,0", [C, A]),
        (PLAIN, "1, 1", [B]),
        (PLAIN, "1,7,0", [B]),  # CUDA stops at the first that is not there
        (PLAIN, f"{C},{A}", [C, A]),
        (PLAIN, "GPU-bb", [B]),
        (PLAIN, "GPU-", []),  # of three
        (SPLIT, None, [M, N, B]),
        (SPLIT, N, [N]),
        (SPLIT, "MIG-1", [M]),
        (SPLIT, "0,1", [M, B]),
        (SPLIT, A, [M]),
        ("", None, []),
        ("No devices were found\n", None, []),
    ],
)
def test_what_a_process_may_use(machine, text, visible, expected):
    machine(text)
    assert gpu_leases.cards({} if visible is None else {gpu_leases.VISIBLE: visible}) == expected


def test_a_driver_that_fails_or_is_not_there_means_no_cards(machine, monkeypatch, tmp_path):
    machine(PLAIN, rc=9)
    assert gpu_leases.cards({}) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_leases.cards({}) == []


@pytest.mark.parametrize(
    ("devices", "there", "expected"),
    [("0", 4, 0), ("1", 4, 1), ("2", 4, 2), ("2", 1, 1), ("auto", 4, 1), ("auto", 0, 0), ("1", 0, 0), ("nine", 3, 0)],
)
def test_a_run_takes_one_card_unless_two_are_asked_for(devices, there, expected):
    assert gpu_leases.wanted(devices, there) == expected


HOLD = """
import sys, time
from alexnet.runtime.gpu_leases import leased
with leased(sys.argv[1]) as taken:
    print(",".join(taken), flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(devices, seconds=60.0):
    words = [sys.executable, "-c", HOLD, devices, str(seconds)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_two_processes_have_one_card_and_a_killed_one_gives_it_back(machine, capsys):
    machine(PAIR)
    processes = [holder("1"), holder("1")]
    try:
        first, second = (process.stdout.readline().strip() for process in processes)
        assert {first, second} == {A, B}
        waiting = holder("1")
        processes.append(waiting)
        assert waiting.stderr.readline() == "waiting for 1 of 2 GPUs to be free\n"
        os.kill(processes[0].pid, signal.SIGKILL)
        assert waiting.stdout.readline().strip() == first
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("verb", ["evaluate", "examine"])
def test_a_finished_net_waits_for_a_card_as_a_training_does(machine, verb):
    machine(PAIR.splitlines()[0] + "\n")
    first = holder("1")
    words = [sys.executable, "-m", "alexnet", verb, "no.json", "--data", ".", "--weights", "no.pt", "--out", "."]
    waiting = None
    try:
        assert first.stdout.readline().strip() == A
        waiting = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr.readline() == "waiting for 1 of 1 GPUs to be free\n"
        os.kill(first.pid, signal.SIGKILL)
        assert "no.json does not exist" in waiting.communicate(timeout=120)[1] and waiting.returncode == 2
    finally:
        for process in filter(None, [first, waiting]):
            process.kill()


def test_runs_of_two_cards_neither_block_each_other_nor_are_passed_over(machine):
    """Two that want both cards, then one that wants one: they come in turn, each alone."""
    machine(PAIR)
    processes = []
    try:
        for devices in ("1", "2", "2"):
            processes.append(holder(devices, 0.5))
            time.sleep(0.1)
        got = [process.communicate(timeout=60)[0].strip().split(",") for process in processes]
        assert [sorted(cards) for cards in got[1:]] == [[A, B]] * 2 and len(got[0]) == 1
        assert [process.returncode for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()


def test_within_a_lease_cuda_sees_those_cards_alone(machine, monkeypatch):
    machine(PLAIN)
    monkeypatch.setenv(gpu_leases.VISIBLE, "1,2")
    with gpu_leases.leased("2") as taken:
        assert taken == [B, C] and os.environ[gpu_leases.VISIBLE] == f"{B},{C}"
    with gpu_leases.leased("auto") as taken:
        assert taken == [B]
    assert os.environ[gpu_leases.VISIBLE] == "1,2"
    with gpu_leases.leased("0") as taken:
        assert taken == [] and os.environ[gpu_leases.VISIBLE] == "1,2"
    monkeypatch.delenv(gpu_leases.VISIBLE)
    with pytest.raises(RuntimeError), gpu_leases.leased("1"):
        raise RuntimeError
    assert gpu_leases.VISIBLE not in os.environ
    with gpu_leases.leased("2") as again:  # an error gave it back
        assert again == [A, B]


def test_a_folder_of_locks_that_is_somebody_elses_is_refused(machine, tmp_path):
    machine(PLAIN)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks" / f"alexnet-gpus-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="belongs to somebody else"), gpu_leases.leased("1"):
        pass


def test_runs_of_a_paper_scale_study_keep_all_cards_busy(tmp_path):
    words = [sys.executable, "tests/makespan.py", "--folder", str(tmp_path / "project"), "--second-per-run", "5"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["runs"], found["cards"], found["two_on_a_card"]) == (55, 4, 0)
    assert found["makespan"] >= found["lower_bound"]
    # no card waits while a run does, but for the time in which Snakemake starts it: 0.3 s, and 2 s beside other tests on a
    # slow machine; on two cards the work alone would take twice the lower bound
    most = found["greedy_bound"] + 3 * found["runs"] / found["cards"]
    assert found["makespan"] <= most < 2 * found["lower_bound"]
