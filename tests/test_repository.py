"""The checkout as a whole: what it may hold, and that its records agree with each other."""

import json
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import alexnet

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
TEXT = {"", ".py", ".md", ".toml", ".yaml", ".yml", ".smk", ".sh", ".csv", ".ipynb", ".css", ".j2", ".cff", ".lock"}


def files() -> list[Path]:
    """Files of the repository, committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def pins(lock: str = LOCK) -> dict[str, Requirement]:
    """Canonical name -> requirement, for every line of the lock that pins a package."""
    lines = lock.replace("\\\n", " ").splitlines()
    entries = [line for line in lines if line.strip() and not line.startswith("#")]
    requirements = [Requirement(line.split(" --hash")[0]) for line in entries]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for, tools included."""
    project = PYPROJECT["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]


def test_no_large_file() -> None:
    # one file with all its figures: grows with the runs that it shows
    report = ROOT / "reports/reference/alexnet.html"
    most = {report: 3_000_000}
    assert [path for path in files() if path.stat().st_size > most.get(path, 1_000_000)] == []


def test_no_word_of_one_machine() -> None:
    """Package indexes and home folders belong to a machine's configuration, not to the repository."""
    words = re.compile("|".join(["https?://" + "(pypi|files" + r"\.pythonhosted)", "/root" + "/", "/home" + "/"]))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_lock_names_no_index() -> None:
    options = re.compile(r"^\s*(--(?!hash)|-[a-z]\b)|://", re.MULTILINE)
    assert options.search(LOCK) is None


def test_lock_pins_and_hashes_everything() -> None:
    entries = [line for line in LOCK.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    for requirement in pins().values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement


def test_the_smaller_lock_holds_the_same_files_and_neither_torch_nor_snakemake() -> None:
    smaller = (ROOT / "requirements-verify.lock").read_text()
    assert {line for line in smaller.splitlines() if line[:1] != "#"} <= set(LOCK.splitlines())
    asked = {canonicalize_name(name) for name in PYPROJECT["dependency-groups"]["verify"]}
    assert asked <= pins(smaller).keys() and asked <= {canonicalize_name(want.name) for want in wanted()}
    assert not pins(smaller).keys() & {"torch", "torchvision", "numba", "triton", "snakemake"}
    assert not any(name.startswith("nvidia") for name in pins(smaller))


@pytest.mark.parametrize("requirement", wanted(), ids=lambda requirement: requirement.name)
def test_lock_serves_pyproject(requirement: Requirement) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    (version,) = (specifier.version for specifier in pin.specifier)
    assert requirement.specifier.contains(version)


def test_environment_is_what_the_lock_says() -> None:
    """Nothing is missing or of another version in the Python that runs the tests."""
    installed = {canonicalize_name(found.name): found.version for found in metadata.distributions()}
    differing = {
        name: installed.get(name)
        for name, pin in pins().items()
        if (pin.marker is None or pin.marker.evaluate())
        and (name not in installed or not pin.specifier.contains(installed[name]))
    }
    assert differing == {}


@pytest.mark.parametrize("name", ["jupyter", "jupyterlab", "rfc3987-syntax"])
def test_slow_packages_stay_out(name: str) -> None:
    """They add seconds to every call of Snakemake."""
    assert name not in pins()


def test_notebooks_carry_no_outputs() -> None:
    for path in files():
        if path.suffix == ".ipynb":
            for cell in json.loads(path.read_text())["cells"]:
                assert not cell.get("outputs"), path
                assert cell.get("execution_count") is None, path


def test_versions_agree() -> None:
    released = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    versions = [PYPROJECT["project"]["version"], str(citation["version"]), released[1], alexnet.__version__]
    assert len(set(versions)) == 1, versions


def test_the_deposit_says_what_the_citation_says() -> None:
    """Zenodo reads .zenodo.json instead of CITATION.cff where it is there."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    deposit = json.loads((ROOT / ".zenodo.json").read_text())
    for key in ("title", "license", "version", "keywords"):
        assert deposit[key] == citation[key], key
    assert deposit["publication_date"] == str(citation["date-released"])
    assert deposit["description"] == citation["abstract"]
    assert [one["name"] for one in deposit["creators"]] == [one["name"] for one in citation["authors"]]


def test_citation_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(citation)
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Krizhevsky", "Sutskever", "Hinton"]
    assert paper["year"] == 2012


@pytest.mark.parametrize("name", [".ci/run", "workflow/scripts/bootstrap.sh"])
def test_scripts_are_executable_and_parse(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_readme_names_only_what_exists() -> None:
    """Every `make` target, and every path in the map of folders."""
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", readme)) <= targets
    folders = re.search(r"^## Map$.*?```(?:text)?\n(.*?)```", readme, re.MULTILINE | re.DOTALL)
    assert folders is not None
    generated = {"results/", "reports/"}
    names = {line.split()[0] for line in folders[1].splitlines() if line and not line.startswith(" ")}
    assert {name for name in names - generated if not (ROOT / name).exists()} == set()


def test_the_hosted_checks_take_pinned_actions_few_rights_and_commands_that_exist() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    jobs = yaml.safe_load(text)
    assert jobs["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name, _ in used)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", version) for _, version in used), "the version stands beside the hash"
    rights = {name: job.get("permissions") for name, job in jobs["jobs"].items()}
    assert rights == {"test": None, "verify": None, "page": {"contents": "read", "pages": "write", "id-token": "write"}}
    assert {"if": jobs["jobs"]["page"]["if"]} == {"if": "github.event_name == 'push'"}, (
        "no page from a stranger's branch"
    )
    assert {".ci/run", "make verify"} <= {step.get("run") for job in jobs["jobs"].values() for step in job["steps"]}
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"verify", "test", "reproduce", "check"} <= set(targets)
    for pattern in re.findall(r"\*\.\{(.*?)\}", text)[0].split(","):
        assert list((ROOT / "reports/reference").glob(f"*.{pattern}")), pattern


def test_the_container_file_runs_what_is_here_and_not_as_root() -> None:
    text = (ROOT / "Containerfile").read_text()
    stages = dict(re.findall(r"^FROM base AS (\w+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(stages) == {"verify", "train"}
    assert text.index("USER bench") < text.index("COPY --chown=bench:bench . .") and "USER root" not in text
    for line in re.findall(r"^RUN (workflow\S+)", text, re.MULTILINE):
        assert os.access(ROOT / line, os.X_OK), line
    assert set(re.findall(r'"make", "(\w+)"', text)) == {"verify", "reproduce"}


def test_what_the_catalogue_is_told_is_so() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    rules = "".join(
        path.read_text() for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    )
    deployment = usage["software-stack-deployment"]
    assert deployment["conda"] == bool(re.search(r"^\s+conda:", rules, re.MULTILINE))
    assert deployment["apptainer"] == bool(re.search(r"^\s*(container|singularity):", rules, re.MULTILINE))
    assert usage["report"] == bool(re.search(r"\breport\(", rules))
