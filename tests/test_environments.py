"""Machines as people have them: terminals that are not UTF-8, users without a name or a home, data that may not be read."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fabricate
import pytest
from conftest import ROOT
from test_workflow import copy_project, snakemake

PRINTING = [("analysis", "claims", "--results"), ("analysis", "explain", "lrn-delta-top1", "--results")]


def run(*words: object, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command, text = [str(word) for word in words], {"encoding": "utf-8", "errors": "replace"}
    return subprocess.run(command, cwd=ROOT, env=inherited | environment, stdout=stdout, stderr=subprocess.PIPE, **text)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("printed") / "results"
    fabricate.campaign(folder, seeds=2, images=24)
    return str(folder)


@functools.cache
def in_utf8(*words: str) -> str:
    return run(sys.executable, "-m", *words, PYTHONIOENCODING="utf-8").stdout


@pytest.mark.parametrize("words", PRINTING, ids=lambda words: words[1])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_is_not_utf8_gets_replacement_characters(
    words: tuple[str, ...], encoding: str, results: str
) -> None:
    whole = in_utf8(*words, results)
    done = run(sys.executable, "-m", *words, results, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == whole.encode(encoding, "replace").decode("utf-8", "replace") != whole


def test_names_of_any_alphabet_are_printed_by_the_bench_too(tmp_path: Path) -> None:
    folder = tmp_path / "fotos à vendre"
    folder.mkdir()
    words = ("preflight", "imagenette", "--archives", folder, "--results", tmp_path, "--seconds", "0.01")
    done = run(sys.executable, "-m", "alexnet", *words, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, "") and "fotos ? vendre" in done.stdout


@pytest.mark.parametrize("words", PRINTING, ids=lambda words: words[1])
def test_an_output_that_takes_nothing_is_a_sentence(words: tuple[str, ...], results: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(sys.executable, "-m", *words, results, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


def test_a_user_without_a_name_runs_the_workflow(tmp_path: Path) -> None:
    """As in a container whose user is a number."""
    unnamed = ["unshare", "-U", "--map-user=4242", "--map-group=4242", "--"]
    if not shutil.which("unshare") or run(*unnamed, "true").returncode:
        pytest.skip("this machine gives no user namespace")
    project = copy_project(tmp_path / "project")
    bare = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = [*unnamed, sys.executable, "-m", "snakemake", "--cores", "1", "results/departures.json"]
    done = subprocess.run(command, cwd=project, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (project / "results/departures.json").exists()


@pytest.mark.parametrize(("home", "expected"), [("/proc/none", str(ROOT / ".snakemake/cache")), ("/tmp", "")])
def test_make_gives_snakemake_a_place_where_the_home_folder_has_none(home: str, expected: str) -> None:
    show = ("--eval", 'show: ; @echo "$${XDG_CACHE_HOME-}"', "show")
    done = run("env", "-u", "XDG_CACHE_HOME", "make", "--silent", *show, HOME=home)
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")
    assert run("make", "--silent", *show, HOME=home, XDG_CACHE_HOME="/mine").stdout == "/mine\n"


def test_data_that_cannot_be_read_are_a_sentence_whether_or_not_a_report_is_there(tmp_path: Path) -> None:
    """Snakemake takes an existing file for a source when the function that names its inputs fails."""
    project = copy_project(tmp_path / "project")
    for there in (False, True):
        for name in ("claims.csv", "alexnet.html") if there else ():
            (project / "reports").mkdir(exist_ok=True)
            (project / "reports" / name).write_text("of an earlier run")
        done = snakemake(project, "--dry-run", "--config", "studies=[imagenette]", ALEXNET_DATA=f"/data/{'x' * 300}")
        (error,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        assert done.returncode == 2 and re.search("lacks 1 file|cannot be read", error)
        assert "Traceback" not in done.stdout


def test_preflight_shows_all_studies_and_ends_with_the_worst_status(tmp_path: Path) -> None:
    """The rule's own command, with a stand-in for the program, whose screens take half a minute each."""
    names = ["imagenette", "tiny", "cifar10"]
    project = copy_project(tmp_path / "project")
    words = ("--dry-run", "-p", "--quiet", "host", "--config", f"studies=[{','.join(names)}]")
    (command,) = re.findall(r"^Shell command: (.*)$", snakemake(project, "preflight", *words).stdout, re.MULTILINE)
    (project / "results/logs").mkdir(parents=True)
    screens = "".join(f"screen of {name}\n" for name in names)
    for statuses, worst in (([0, 0, 0], 0), ([1, 0, 0], 1), ([0, 2, 1], 2), ([1, 2, 0], 2), ([0, 0, 1], 1)):
        ends = " ".join(f"{name}) return {status};;" for name, status in zip(names, statuses, strict=True))
        stand_in = f'python() {{ echo "screen of $4"; case $4 in {ends} esac; }}\n'
        shell = ["bash", "-euo", "pipefail", "-c", stand_in + command]
        done = subprocess.run(shell, cwd=project, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (worst, screens), done.stderr
        assert (project / "results/logs/preflight.log").read_text() == screens


@pytest.fixture(params=["alexnet", "analysis"])
def words(request: pytest.FixtureRequest, results: str) -> tuple[str, ...]:
    return {"alexnet": ("alexnet", "pack", "--list-sources"), "analysis": (*PRINTING[0], results)}[request.param]


def test_a_closed_output_is_no_traceback(words: tuple[str, ...]) -> None:
    """As cron, systemd and `nohup ... >&-` start programs."""
    done = run("sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_enough_is_no_error(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(sys.executable, "-m", *words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
