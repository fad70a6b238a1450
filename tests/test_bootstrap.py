"""workflow/scripts/bootstrap.sh, really run: real venv, real pip, hashes checked; only the packages are tiny."""

import base64
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "workflow/scripts/bootstrap.sh"
BASE_PYTHON = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
TOOLS = ["awk", "bash", "cat", "cut", "df", "dirname", "du", "env", "flock", "grep", "mkdir", "mv", "rm", "sed"]
TOOLS += ["sha256sum", "sleep", "tail"]

# Builds the editable wheel of the toy project without setuptools. `pause` lets a test strike in the middle.
BACKEND = """
import base64, hashlib, pathlib, time, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    pause = pathlib.Path("pause")
    if pause.exists():
        time.sleep(float(pause.read_text()))
    files = {
        "toy.pth": str(pathlib.Path.cwd()),
        "toy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n",
        "toy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{name},,\\n" for name in files) + "toy-1.0.dist-info/RECORD,,\\n"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, "toy-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in {**files, "toy-1.0.dist-info/RECORD": record}.items():
            wheel.writestr(name, text)
    return "toy-1.0-py3-none-any.whl"
"""


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def write_wheel(folder: Path, version: str) -> str:
    """A wheel of the package `pinned`; returns its line for the lock."""
    name = f"pinned-{version}-py3-none-any.whl"
    info = f"pinned-{version}.dist-info"
    files = {
        "pinned.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: pinned\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(path, text)
    return f"./{name} --hash=sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"


class Project:
    """A toy checkout with the real bootstrap.sh, and a PATH that holds only what the test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"the tests need {tool}"
            (self.bin / tool).symlink_to(found)
        scripts = self.root / "workflow/scripts"
        scripts.mkdir(parents=True)
        shutil.copy2(SCRIPT, scripts)
        (self.root / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "toy"\nversion = "1.0"\ndependencies = ["pinned>=1"]\n'
            '[dependency-groups]\nverify = ["pinned"]\n'
        )
        (self.root / "backend.py").write_text(BACKEND)
        (self.root / "toy.py").write_text("")
        self.pin("1.0")

    def pin(self, version: str) -> None:
        (self.root / "requirements.lock").write_text(write_wheel(self.root, version))

    def python(self, name: str, text: str) -> None:
        script(self.bin / name, text)

    def real_python(self, name: str = "python3") -> None:
        """The Python of this test run, but not that of its environment."""
        self.python(name, f'exec "{BASE_PYTHON}" "$@"')

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.bin), "PIP_NO_INDEX": "1", "LC_ALL": "C", **more}

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "workflow/scripts/bootstrap.sh", *words],
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def installed(self) -> str:
        """Version of `pinned` in .venv, with the project itself importable."""
        command = [self.root / ".venv/bin/python", "-c", "import pinned, toy; print(pinned.VERSION)"]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()

    def stamp(self) -> Path:
        return self.root / ".venv/.bootstrap-stamp"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose environment is complete. Its tests run in file order and leave it complete.

    Its python3.13 is the shim of a version manager that has no such version: it must be passed over.
    """
    project = Project(tmp_path_factory.mktemp("ready"))
    project.python("python3.13", "echo 'command not found' >&2; exit 127")
    project.real_python()
    code, out, err = project.run()
    assert (code, err) == (0, ""), out
    assert f"Making .venv with python3 (Python {platform.python_version()})" in out
    return project


def fails(project: Project, **more: str) -> str:
    """The one sentence of a bootstrap that finds the machine lacking; nothing is left behind."""
    code, out, err = project.run(**more)
    assert code == 2, (out, err)
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert not (project.root / ".venv").exists()
    return err


def test_python_too_old(project: Project) -> None:
    project.python("python3", 'case "$*" in *"(3, 11)"*) exit 1;; *) echo 3.9.2;; esac')
    assert "Python 3.11 to 3.14 is needed, but python3 is Python 3.9.2" in fails(project)


def test_python_too_new(project: Project) -> None:
    future = "import sys; v = type(sys.version_info); sys.version_info = (9, 1, 0); exec(sys.argv.pop(1))"
    project.python("python3", f'shift; exec "{BASE_PYTHON}" -c "{future}" "$@"')
    assert "Python 3.11 to 3.14 is needed, but python3 is Python 9.1.0" in fails(project)


def test_no_python(project: Project) -> None:
    assert "no Python was found" in fails(project)


def test_named_python_does_not_run(project: Project) -> None:
    project.real_python()
    assert "PYTHON=/no/such/python does not run" in fails(project, PYTHON="/no/such/python")


def test_python_without_ensurepip(project: Project) -> None:
    """As Debian ships it without python3-venv."""
    shadow = project.bin / "shadow"
    shadow.mkdir()
    (shadow / "ensurepip.py").write_text("raise ModuleNotFoundError('No module named ensurepip')\n")
    project.python("python3", f'PYTHONPATH="{shadow}" exec "{BASE_PYTHON}" "$@"')
    message = fails(project)
    assert "cannot make virtual environments" in message
    assert "apt-get install python3-venv" in message


def test_full_disk(project: Project) -> None:
    """On a real file system of 40 MB where the kernel lets us mount one, else with a df that says so."""
    project.real_python()
    small = project.root.parent / "small"
    small.mkdir()
    command = f"""
        mount -t tmpfs -o size=40m none '{small}' || exit 77
        cp -r '{project.root}/.' '{small}' && cd '{small}' && exec env -i PATH='{project.bin}' workflow/scripts/bootstrap.sh
    """
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", command]
    done = subprocess.run(unshare, capture_output=True, text=True) if shutil.which("unshare") else None
    if done is not None and done.returncode == 2:
        message = done.stderr
    else:
        (project.bin / "df").unlink()
        script(project.bin / "df", "echo header; echo none 40 1 39 3% /small")
        message = fails(project)
    assert message.startswith("error: the disk of ")
    assert " MB free, but installing the packages takes 10000 MB" in message
    assert message.count("\n") == 1


def test_complete(ready: Project) -> None:
    assert ready.installed() == "1.0"
    assert not (ready.root / ".venv/tmp").exists()


def test_second_call_does_nothing(ready: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (ready.stamp(), ready.root / ".venv/bootstrap.log")}
    for _ in range(2):
        assert ready.run() == (0, "", "")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_an_activated_environment_is_not_its_own_base(ready: Project) -> None:
    path = f"{ready.root}/.venv/bin:{ready.bin}"
    assert ready.run(PATH=path, PYTHON="python3") == (0, "", "")


def test_changed_lock_updates_in_place(ready: Project) -> None:
    marker = ready.root / ".venv/marker"
    marker.touch()
    ready.pin("2.0")
    code, out, err = ready.run()
    assert (code, err) == (0, ""), out
    assert marker.exists()
    assert ready.installed() == "2.0"


def test_the_smaller_environment_has_a_lock_and_a_folder_of_its_own(ready: Project) -> None:
    shutil.copy(ready.root / "requirements.lock", ready.root / "requirements-verify.lock")
    before = ready.stamp().stat().st_mtime_ns
    code, out, err = ready.run("verify")
    assert (code, err) == (0, ""), out
    assert "packages of requirements-verify.lock into .venv-verify: some 0.7 GB" in out
    python = ready.root / ".venv-verify/bin/python"
    assert subprocess.run([python, "-c", "import pinned, toy"], cwd="/").returncode == 0
    assert ready.run("verify") == (0, "", "")
    assert ready.stamp().stat().st_mtime_ns == before
    assert ready.run("everything")[::2] == (
        2,
        "error: bootstrap.sh takes nothing or the word verify, not 'everything'\n",
    )


def test_the_users_variables_change_neither_place_nor_version(ready: Project, tmp_path: Path) -> None:
    """Each of these, left as it is, installs elsewhere, something else, or nothing."""
    (tmp_path / "pinned.py").write_text("VERSION = 'shadow'\n")
    (tmp_path / "constraints.txt").write_text("pinned==9.9\n")
    ready.pin("2.5")
    code, out, err = ready.run(
        PYTHONPATH=str(tmp_path), PIP_TARGET=str(tmp_path / "target"), PIP_PREFIX=str(tmp_path / "prefix"),
        PIP_CONSTRAINT=str(tmp_path / "constraints.txt"), PIP_USER="1", PIP_DRY_RUN="1",
    )  # fmt: skip
    assert (code, err) == (0, ""), out
    assert ready.installed() == "2.5"
    assert {path.name for path in tmp_path.iterdir()} == {"pinned.py", "constraints.txt"}


def test_a_search_path_of_cd_does_not_move_the_checkout(project: Project) -> None:
    """Called as the Makefile does: with CDPATH, cd prints the folder that it finds there."""
    environment = project.environment(CDPATH=".:..", PYTHON="/nonexistent")
    done = subprocess.run(
        ["workflow/scripts/bootstrap.sh"], cwd=project.root, env=environment, capture_output=True, text=True
    )
    said = "error: PYTHON=/nonexistent does not run; name a Python 3.11 to 3.14\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("target = {}/elsewhere", "pinned of package pinned cannot be imported"),
        ("dry-run = true", "cannot be imported"),
    ],
)
def test_packages_that_pips_configuration_puts_elsewhere_are_missed(
    ready: Project, tmp_path: Path, setting, words
) -> None:
    (tmp_path / "pip.conf").write_text(f"[install]\n{setting.format(tmp_path)}\n")
    shutil.rmtree(ready.root / ".venv")
    code, out, err = ready.run(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert code == 3, (out, err)
    assert err.startswith("error: ") and words in err and "pip config debug" in err and err.count("\n") == 1
    assert not ready.stamp().exists()
    code, out, err = ready.run()
    assert (code, err) == (0, ""), out
    assert ready.installed() == "2.5"


def test_two_calls_at_once(ready: Project) -> None:
    """One installs, the other waits for it."""
    ready.pin("3.0")
    (ready.root / "pause").write_text("1")
    calls = [ready.start(), ready.start()]
    outs = [call.communicate(timeout=120) for call in calls]
    (ready.root / "pause").unlink()
    assert [call.returncode for call in calls] == [0, 0], outs
    assert sorted("Installing the packages" in out for out, _ in outs) == [False, True]
    assert sorted("waiting for it" in out for out, _ in outs) == [False, True]
    assert ready.installed() == "3.0"


def test_pip_failure_is_a_sentence_and_is_not_forgotten(ready: Project) -> None:
    """A wheel that is not what the lock says; then the good lock again, whose stamp must not count any more."""
    lock = ready.root / "requirements.lock"
    ready.pin("4.0")
    bad = lock.read_text().split("sha256:")[0] + "sha256:" + "0" * 64 + "\n"
    ready.pin("3.0")
    good = lock.read_text()
    lock.write_text(bad)
    code, out, err = ready.run()
    assert code == 3, (out, err)
    assert err.startswith("error: pip could not install the packages (THESE PACKAGES DO NOT MATCH THE HASHES")
    assert f"{ready.root}/.venv/bootstrap.log" in err
    assert err.count("\n") == 1

    lock.write_text(good)
    code, out, err = ready.run()
    assert (code, err) == (0, ""), out
    assert "Removing an unfinished or unusable .venv" in out
    assert ready.installed() == "3.0"


def test_killed_in_the_middle(ready: Project) -> None:
    """kill -9 while pip works: the next call starts afresh and ends well."""
    ready.pin("5.0")
    (ready.root / "pause").write_text("60")
    process = ready.start()
    log = ready.root / ".venv/bootstrap.log"
    deadline = time.monotonic() + 60
    while "Successfully installed pinned-5.0" not in log.read_text():
        assert time.monotonic() < deadline, "pip did not come so far"
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not ready.stamp().exists()

    (ready.root / "pause").unlink()
    code, out, err = ready.run()
    assert (code, err) == (0, ""), out
    assert "Removing an unfinished or unusable .venv" in out
    assert ready.installed() == "5.0"


def test_moved_checkout_is_set_up_afresh(ready: Project) -> None:
    """Scripts in .venv/bin name the folder where they were made."""
    ready.root = ready.root.rename(ready.root.with_name("elsewhere"))
    code, out, err = ready.run()
    assert (code, err) == (0, ""), out
    assert "Removing an unfinished or unusable .venv" in out
    assert str(ready.root) in (ready.root / ".venv/bin/pip").read_text()
