"""The workflow on a real Slurm of one node, started here: a job that is cancelled, and one that is preempted."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from test_workflow import copy_project

CONFIGURATION = Path("/etc/slurm")  # the plugin takes SLURM_CONF away
EPOCHS = 300  # seconds of training behind the first checkpoint, for which squeue is asked twice a second
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
SLURM = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port1}
AuthType=auth/munge
# A requeued job waits as many seconds as a credential lives, 120 if nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=20
CredType=cred/munge
SlurmUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
MinJobAge=600
ReturnToService=2
GresTypes=gpu
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports() -> int:
    """The first of two ports in a row that nothing listens on."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)


def call(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A folder with Snakemake's Slurm executor, which the lock leaves out (it slows every call of snakemake down)."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    names = ["snakemake-executor-plugin-slurm==2.8.0", "snakemake-executor-plugin-slurm-jobstep==0.6.1"]
    done = subprocess.run([*pip, *names], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Snakemake's Slurm executor could not be installed: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def slurm(tmp_path_factory, plugin):
    """A running Slurm of one node that pretends to have four cores and two GPUs."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started as root only")
    if (CONFIGURATION / "slurm.conf").exists():
        pytest.skip(f"{CONFIGURATION}/slurm.conf is there: this machine has a Slurm of its own")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host, port = socket.gethostname().split(".")[0], free_ports()
    text = SLURM.format(host=host, port=port, port1=port + 1, folder=folder, user=getpass.getuser())
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    devices = [folder / f"gpu{i}" for i in range(2)]
    for device in devices:
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # like /dev/null
    CONFIGURATION.mkdir(exist_ok=True)
    written = {CONFIGURATION / "slurm.conf": text, CONFIGURATION / "gres.conf": "AutoDetect=off\n"}
    for device in devices:
        written[CONFIGURATION / "gres.conf"] += f"Name=gpu File={device}\n"
    os.environ["PATH"] += ":/usr/sbin"
    munge = [
        *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
        *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", "--num-threads=2"),
        f"--seed-file={folder}/munged.seed",
    ]
    daemons = []
    try:
        for path, content in written.items():
            path.write_text(content)
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            with open(folder / f"{command[0]}.out", "w") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
            time.sleep(1)
        end = time.monotonic() + 60
        while "idle" not in subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout:
            logs = "".join(path.read_text()[-1500:] for path in folder.glob("*.log"))
            assert time.monotonic() < end, f"the node did not come up\n{logs}"
            assert all(daemon.poll() is None for daemon in daemons), logs
            time.sleep(0.5)
        yield folder
    finally:
        subprocess.run(["scancel", "-u", getpass.getuser()], capture_output=True)
        time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for path in written:
            path.unlink(missing_ok=True)


def jobs() -> dict[str, str]:
    """Number and comment (rule and wildcards) of each running job."""
    lines = call("squeue", "-h", "-t", "RUNNING", "-o", "%i %k").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if " " in line.strip())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)["state_dict"]


def test_jobs_that_are_cancelled_and_preempted_end_as_if_nothing_had_been(slurm, plugin, tmp_path):
    project = copy_project(tmp_path / "project")
    study = yaml.safe_load((project / "config/studies/tiny.yaml").read_text())
    study |= {"epochs": EPOCHS, "experiments": ["alexnet", "no_lrn"], "gpus": 1}
    study["evaluate"] = study["evaluate"][:1]
    (project / "config/studies/tiny.yaml").write_text(yaml.safe_dump(study))
    environment = {k: v for k, v in os.environ.items() if k not in ("ALEXNET_DATA", "SLURM_CONF")}
    environment["PYTHONPATH"] = str(plugin)
    options = [
        *("--workflow-profile", "profiles/slurm", "--slurm-status-command", "squeue", "--slurm-no-account"),
        *("--slurm-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "5"),
        *("--latency-wait", "15", "--cores", "4"),
    ]
    log = tmp_path / "snakemake.log"
    with open(log, "w") as output:
        workflow = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *options, "no_lrn"],
            cwd=project, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    runs = {name: project / f"results/tiny/runs/{name}/1" for name in ("alexnet", "no_lrn")}
    disturbed: dict[str, str] = {}
    try:
        end = time.monotonic() + 900
        while workflow.poll() is None and time.monotonic() < end:
            for number, comment in jobs().items() if len(disturbed) < 2 else ():
                for name, how in (("alexnet", ("scancel",)), ("no_lrn", ("scontrol", "requeue"))):
                    begun = list((runs[name] / "checkpoint").glob("*.pt"))
                    if name not in disturbed and comment.startswith("rule_train") and name in comment and begun:
                        call(*how, number)
                        disturbed[name] = number
            time.sleep(0.5)
        assert workflow.poll() == 0, log.read_text()[-6000:]
    finally:
        workflow.terminate()  # it cancels its jobs
        try:
            workflow.wait(30)
        except subprocess.TimeoutExpired:
            workflow.kill()
            workflow.wait()
        # Without control groups Slurm may leave what a requeued job had started.
        subprocess.run(["pkill", "-KILL", "-f", str(project)], check=False)
    assert set(disturbed) == {"alexnet", "no_lrn"}, log.read_text()[-3000:]
    data = project / "results/tiny/data/ilsvrc2012"

    def undisturbed(name: str) -> None:
        command = ["train", runs[name] / "config.json", "--data", data, "--out", tmp_path / name]
        alone = [sys.executable, "-m", "alexnet", *map(str, command), "--threads", "1", "--devices", "0"]
        subprocess.run(alone, cwd=project, env=environment, check=True, capture_output=True, timeout=300)

    with ThreadPoolExecutor() as side_by_side:
        list(side_by_side.map(undisturbed, runs))
    for name, folder in runs.items():
        record = json.loads((folder / "run.json").read_text())
        assert len(record["sessions"]) >= 2 and record["epochs"] == EPOCHS
        here, there = weights(folder), weights(tmp_path / name)
        assert all(torch.equal(here[key], there[key]) for key in here)


def test_gpus_are_lent_to_one_job_each(slurm):
    """What the profile relies on: two jobs that ask for a GPU see different ones, a third waits."""
    script = slurm / "gpu.sh"
    script.write_text("#!/bin/sh\necho $CUDA_VISIBLE_DEVICES\nsleep 8\n")
    for i in range(3):
        call("sbatch", "--gpus=1", "--mem=100", f"--output={slurm}/gpu-{i}.out", script)
    end = time.monotonic() + 30
    outputs = [slurm / f"gpu-{i}.out" for i in range(2)]
    while not all(path.exists() and path.read_text().strip() for path in outputs):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert sorted(path.read_text().strip() for path in outputs) == ["0", "1"]
    assert not (slurm / "gpu-2.out").exists()
