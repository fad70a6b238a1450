"""What a record says of the code: of this checkout, whatever repository is around it or named in the environment."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from alexnet.runtime import provenance


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(["git", *named, *words], cwd=folder, env=clean, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def another_repository(folder: Path) -> str:
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "not ours")
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_is_that_of_the_checkout_where_a_hook_names_another(tmp_path, monkeypatch):
    """Git sets GIT_DIR for what its hooks run."""
    assert another_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert provenance.collect("train")["git_commit"] == git(ROOT, "rev-parse", "HEAD")


def test_a_copy_within_another_repository_has_no_commit(tmp_path, monkeypatch):
    """Where `alexnet-bench init` was called in somebody's own repository."""
    assert another_repository(tmp_path / "other")
    (tmp_path / "other/bench/alexnet").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "other/bench/alexnet")
    record = provenance.collect("train")
    assert (record["git_commit"], record["git_dirty"]) == (None, None)


def test_variables_that_choose_arithmetic_are_kept(monkeypatch):
    """They cap oneDNN and MKL, of which torch's own word for the instructions says nothing."""
    for name in provenance.ARITHMETIC:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert provenance.collect("train")["arithmetic"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_a_checkout_of_another_user_has_its_commit(tmp_path, monkeypatch):
    """As one that is mounted into a container, which git distrusts."""
    if os.getuid():
        pytest.skip("only root gives files away")
    commit = another_repository(tmp_path / "theirs")
    for path in (tmp_path / "theirs", *(tmp_path / "theirs").rglob("*")):
        os.chown(path, 4242, 4242)
    refused = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path / "theirs", capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "theirs/alexnet")
    record = provenance.collect("train")
    assert (record["git_commit"], record["git_dirty"]) == (commit, False)
