"""The bench from its wheel: built and installed for real; the packages it needs are those of this environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT

SNAKEMAKE = ["-m", "snakemake", "--cores", "1", "--dry-run"]
DRY = "This was a dry-run"


def run(words: list[object], where: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    return subprocess.run([*map(str, words)], cwd=where, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel; what the bench needs is found beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = run(["git", "ls-files", "-z"], ROOT).stdout.split("\0")
    source = folder / "source"  # as in a fresh clone: nothing that a run left, and the build writes beside it
    for name in filter(None, tracked):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source], folder)
    assert built.returncode == 0, built.stderr
    assert run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], folder).returncode == 0
    (wheel,) = folder.glob("*.whl")
    put = run([*pip, "--python", folder / "env/bin/python", "install", "-q", "--no-deps", wheel], folder)
    assert put.returncode == 0, put.stderr
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "env/bin"


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "a b" / "bench"
    made = run([installed / "alexnet-bench", "init", folder], folder.parents[1])
    assert made.returncode == 0 and str(folder) in made.stdout, made.stderr
    return folder


def test_it_writes_what_a_clone_holds_but_the_tests(project):
    tracked = set(run(["git", "ls-files"], ROOT).stdout.split())
    left_out = {name for name in tracked if name.startswith(("tests/", ".")) or not (ROOT / name).exists()}
    written = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert written == tracked - left_out
    assert all((project / name).read_bytes() == (ROOT / name).read_bytes() for name in written)


def test_the_workflow_plans_in_that_folder_with_its_own_code(installed, project):
    planned = run([installed / "python", *SNAKEMAKE], project)
    assert planned.returncode == 0 and DRY in planned.stdout + planned.stderr, planned.stderr
    where = run([installed / "python", "-c", "import alexnet; print(alexnet.__file__)"], project)
    assert Path(where.stdout.strip()).is_relative_to(project)


def test_it_plans_in_another_working_directory_and_as_a_module_if_definitions_are_there(installed, project, tmp_path):
    words = [installed / "python", *SNAKEMAKE]
    directory = [*words, "--snakefile", project / "Snakefile", "--directory", tmp_path]
    (tmp_path / "Snakefile").write_text(
        f"module bench:\n    snakefile: {str(project / 'Snakefile')!r}\nuse rule * from bench\n"
    )
    for command in (directory, words):
        refused = run(command, tmp_path)
        assert refused.returncode != 0 and "Traceback" not in refused.stderr
        assert "error: the working directory lacks config/config.yaml" in refused.stderr
        assert "alexnet-bench init DIR" in refused.stderr
    (tmp_path / "config").symlink_to(project / "config")
    for command in (directory, words):
        planned = run(command, tmp_path)
        assert planned.returncode == 0 and DRY in planned.stdout + planned.stderr, planned.stderr


def test_a_folder_that_holds_something_is_left_alone(installed, tmp_path):
    (tmp_path / "mine").write_text("kept")
    refused = run([installed / "alexnet-bench", "init", tmp_path], tmp_path)
    assert (refused.returncode, refused.stderr) == (2, f"error: {tmp_path} is not empty; name a new folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    refused = run([installed / "alexnet-bench", "init", tmp_path / "mine" / "x"], tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith(f"error: cannot write to {tmp_path / 'mine'}")


def test_in_a_clone_there_is_nothing_to_write(tmp_path):
    refused = run([sys.executable, "-m", "alexnet.runtime.project", "init", tmp_path / "x"], ROOT)
    assert refused.returncode == 2 and "is a clone and holds all files already" in refused.stderr
    assert not (tmp_path / "x").exists()
