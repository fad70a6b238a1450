"""The hash of what computes: what leaves it as it is, what changes it, and what it is made of."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet.runtime import fingerprint
from alexnet.runtime.fingerprint import CUT, STAGES
from alexnet.runtime.names import Source

ROOT = Path(fingerprint.__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may change."""
    target = tmp_path / "alexnet"
    shutil.copytree(ROOT / "alexnet", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return hashes(ROOT / "alexnet")


def hashes(package: Path) -> dict[str, str]:
    source = Source(package, CUT)
    return {stage: fingerprint.fingerprint(source, root) for stage, root in STAGES.items()}


def replace(package: Path, old: str, new: str) -> None:
    """Change the one place in the package that has this text, wherever it stands."""
    found = [path for path in package.rglob("*.py") if old in path.read_text()]
    assert len(found) == 1 and found[0].read_text().count(old) == 1, f"{old!r} stands in {found}"
    found[0].write_text(found[0].read_text().replace(old, new))


# What leaves it --------------------------------------------------------------------------------------------------


def moved_function(package: Path) -> None:
    """`top_k_error` and what it needs, to another module, under another name there."""
    (package / "scores.py").write_text((package / "net/metrics.py").read_text())
    (package / "net/metrics.py").unlink()
    for path in package.rglob("*.py"):
        text = path.read_text()
        path.write_text(text.replace("from alexnet.net.metrics import", "from alexnet.scores import"))


def moved_definition(package: Path) -> None:
    """One function of a module, called by the rest of it."""
    text = (package / "net/layers.py").read_text()
    found = re.search(r"\n\ndef _power\(.*?(?=\n\n\n)", text, re.S)
    assert found
    (package / "net/powers.py").write_text("from torch import Tensor\n" + found[0])
    text = text.replace(found[0], "").replace(
        "from alexnet.net import lrn_cpu", "from alexnet.net import lrn_cpu, powers"
    )
    (package / "net/layers.py").write_text(text.replace("_power(", "powers._power("))


def moved_into_rooms(package: Path) -> None:
    """A module into a package of its own that others reach by a relative import."""
    room = package / "numbers"
    room.mkdir()
    (room / "__init__.py").write_text('"""The net."""\n')
    (package / "net/metrics.py").rename(room / "metrics.py")
    for path in package.glob("*/*.py"):
        path.write_text(path.read_text().replace("from alexnet.net.metrics import", "from ..numbers.metrics import"))


def edit(old: str, new: str) -> Callable[[Path], object]:
    return lambda package: replace(package, old, new)


HARMLESS: dict[str, Callable[[Path], object]] = {
    "a module is renamed": moved_function,
    "a function is moved": moved_definition,
    "a module is moved into a room": moved_into_rooms,
    "a docstring": edit('"""Sum over `size` adjacent', '"""The sum over `size` adjacent'),
    "a comment": edit("p.grad = None  # used up", "p.grad = None"),
    "an annotation": edit("epochs: int, mark: float) -> bool", "epochs: float, mark: int) -> object"),
    "an import's name": lambda p: (p / "batches/gather.py").write_text(
        (p / "batches/gather.py").read_text().replace("import numpy as np", "import numpy").replace("np.", "numpy.")
    ),
    "the downloader": lambda p: (p / "archives/download.py").unlink(),
    "progress": edit("PROGRESS_SECONDS = 5.0", "PROGRESS_SECONDS = 6.0"),
    "a lock": edit("lock = FileLock(path)", "lock = FileLock(path, mode=0o600)"),
    "the benchmark": lambda p: (p / "bench/step.py").write_text("RATE = 2\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", HARMLESS)
def test_what_computes_nothing_leaves_the_hash(before: dict[str, str], copy: Path, what: str) -> None:
    HARMLESS[what](copy)
    assert hashes(copy) == before


# What changes it -------------------------------------------------------------------------------------------------

EVERY = set(STAGES) - {"ensemble"}  # which computes with probabilities, and with no net
BITES = [
    ("coefficient * x * inner", "coefficient / x * inner", EVERY),  # an operator
    ("if beta == 0.75:", "if beta == 0.5:", EVERY),  # a number
    ("BETA = 0.75", "BETA = 0.7", EVERY),  # a constant that only a module as a value leads to
    ("squared: tl.constexpr):", "squared):", EVERY),  # what Triton compiles by
    ("njit(nogil=True, cache=True, **options)", "njit(nogil=True, cache=True, fastmath=True)", EVERY),
    ('pool["stride"], ceil_mode=True', 'pool["stride"], ceil_mode=False', EVERY),
    ('"tanh": nn.Tanh', '"tanh": nn.Sigmoid', EVERY),  # a table
    ("receptive_field: int = 0", "receptive_field: int = 1", EVERY),  # a field's default
    ("\"warn\" if self.deterministic", "\"warn\" if not self.deterministic", EVERY),
    ("momentum: float = 0.9", "momentum: float = 0.8", {"train"}),  # a default
    ("PACE = 5", "PACE = 6", {"train"}),
    ("@torch.no_grad()\n    def step", "def step", {"train"}),  # a decorator
    ("VIEWS = {", "VIEWS = {'all': 0, ", {"evaluate", "ensemble"}),
    ("[chunk * group] < 0.5", "[chunk * group] <= 0.5", {"train"}),
    ("- below[i] + colour[i]", "- below[i] - colour[i]", {"train"}),
    ("AHEAD = 2", "AHEAD = 3", {"train"}),
    ("decode_jpeg(bytes(data), fastdct=False", "decode_jpeg(bytes(data), fastdct=True", EVERY),
    ("1.0 - ((k - greater)", "1.0 - ((k + greater)", EVERY),
    ("minutes: float = 10.0", "minutes: float = 9.0", {"train"}),
    ("self.net.eval()", "self.net.train(True)", {"train"}),
    ("BATCH = 128", "BATCH = 64", {"evaluate", "examine"}),
    ("MASKS = 64", "MASKS = 32", {"examine"}),
    ("functional as F\n\nfrom alexnet.net import lrn_cpu", "init as F\n\nfrom alexnet.net import lrn_cpu", EVERY),  # what a name stands for
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "stages"), BITES)
def test_what_computes_changes_the_hash(
    before: dict[str, str], copy: Path, old: str, new: str, stages: set[str]
) -> None:
    replace(copy, old, new)
    after = hashes(copy)
    assert {stage for stage in STAGES if before[stage] != after[stage]} >= stages
    if stages == {"train"}:
        assert after["evaluate"] == before["evaluate"]


def test_what_a_module_does_when_it_is_imported_counts(before: dict[str, str], copy: Path) -> None:
    with open(copy / "errors.py", "a") as target:  # cut
        target.write("\nimport torch\ntorch.backends.mkldnn.enabled = False\n")
    assert hashes(copy) == before
    with open(copy / "archives/tars.py", "a") as target:  # no stage imports it
        target.write("\nimport torch\ntorch.backends.mkldnn.enabled = False\n")
    assert hashes(copy) == before
    with open(copy / "packed/manifest.py", "a") as target:
        target.write('\nif __name__ == "__main__":\n    print(FORMAT)\n')
    assert hashes(copy) == before
    with open(copy / "packed/manifest.py", "a") as target:
        target.write("\nimport torch\ntorch.backends.mkldnn.enabled = False\n")
    after = hashes(copy)
    assert all(after[stage] != before[stage] for stage in STAGES)


# What it is made of ----------------------------------------------------------------------------------------------

NET = {
    "experiments.architecture",
    "runtime.numba_jit",
    *(f"net.{name}" for name in ("execution", "layers", "lrn_cpu", "lrn_triton", "metrics", "model")),
}
READING = {"batches.views", "net.weights", "packed.manifest", "packed.packed_set", "packed.stores"}
PROBES = {f"evaluation.probe_{name}" for name in ("dropout", "kernels", "pictures", "retrieval")}
TRAINING = {
    f"training.{name}" for name in ("train", "trainer", "state", "step", "sgd", "schedule", "towers", "two_processes")
}
CONFIGURATION = {"experiments.resolve"}
CONTRIBUTE = {
    "train": NET | READING | TRAINING | CONFIGURATION | {"batches.augment", "batches.loader", "batches.gather"},
    "evaluate": NET | READING | CONFIGURATION | {"evaluation.evaluate"},
    "examine": NET | READING | CONFIGURATION | PROBES | {"evaluation.evaluate", "evaluation.examine"},
    "ensemble": CONFIGURATION | {"batches.views", "evaluation.ensemble", "evaluation.evaluate", "net.metrics"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_these_modules_contribute_and_no_others(stage: str) -> None:
    found = {
        module.removeprefix("alexnet.")
        for module, _ in fingerprint.reached(Source(ROOT / "alexnet", CUT), STAGES[stage])
    }
    assert found == CONTRIBUTE[stage]


def test_of_what_a_room_keeps_for_others_only_what_computes_counts() -> None:
    found = fingerprint.reached(Source(ROOT / "alexnet", CUT), STAGES["train"])
    assert {name for module, name in found if module == "alexnet.experiments.resolve"} == {"fingerprint", "read_config"}
    assert not {"top_k_error"} - {name for _, name in found}


def test_each_cut_room_is_there() -> None:
    source = Source(ROOT / "alexnet", CUT)
    for name in CUT:
        assert source.run_by("alexnet") and source.module(name)


def small(tmp_path: Path, **modules: str) -> dict[str, str]:
    """The definitions that `a.root` of a package of these modules reaches, as text by name."""
    package = tmp_path / "p"
    package.mkdir(exist_ok=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text)
    return {f"{m}.{n}": text for (m, n), (text, _) in fingerprint.reached(Source(package), "p.a.root").items()}


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        ("return f()", True),
        ("f = 1; return f", False),
        ("return [f for f in range(3)]", False),
        ("return [f for f in f()]", True),
        ("return [f for x in y] + [f for f in y]", True),
        ("return lambda f: f", False),
        ("return lambda x=f: x", True),
        ("from p.b import g as f; return f", False),
        ("global f; f = 1", True),
        ("return (lambda: f)()", True),
        ("def inner():\n        return f\n    return inner", True),
        ("f = 1\n    def inner():\n        return f\n    return inner", False),
        ("class C:\n        x: f = 1", True),  # what a dataclass reads
        ("x: f = 1", False),
        ("match y:\n        case f: return f", False),
        ("return y.f", False),
        ("import p.a; return p.a.f", True),
        ("from p import a; return getattr(a, 'f')", True),
    ],
)
def test_names_stand_for_what_python_takes_them_for(tmp_path: Path, body: str, reached: bool) -> None:
    found = small(tmp_path, a=f"def f(): return 1\n\ndef root(y=2):\n    {body}\n", b="def g(): return 3\n")
    assert ("p.a.f" in found) == reached
    assert ("p.b.g" in found) == ("g as f" in body)


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Exchanging them leaves the same definitions in the package, and computes something else."""
    texts = {
        "a": "from p import b, c\ndef root(): return b.f() - c.g()\n",
        "b": "def _h(): return 1\ndef f(): return _h()\n",
        "c": "def _h(): return 2\ndef g(): return _h()\n",
    }
    small(tmp_path, **texts)
    first = fingerprint.fingerprint(Source(tmp_path / "p"), "p.a.root")
    small(tmp_path, **{**texts, "b": texts["b"].replace("1", "2"), "c": texts["c"].replace("2", "1")})
    assert fingerprint.fingerprint(Source(tmp_path / "p"), "p.a.root") != first


def test_a_constant_that_is_changed_later_counts_with_the_change(tmp_path: Path) -> None:
    found = small(tmp_path, a="T = {}\nT['x'] = 1\nif T:\n    U = 2\nelse:\n    U = 3\ndef root(): return T, U\n")
    assert set(found) == {"p.a.root", "p.a.T", "p.a.U", "p.a."}
    assert "int:1" in found["p.a."] and "int:3" in found["p.a.U"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from p.b import *\ndef root(): return x\n", "imports \\*"),
        ("from p import b\ndef root(): return b.x\n", "p.b has no x"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LookupError, match=said):
        small(tmp_path, a=text, b="y = 1\n")


# Other Pythons, and time -----------------------------------------------------------------------------------------


def interpreters() -> dict[str, str]:
    """Other versions of Python that this machine has, of those that the package runs on."""
    own = f"3.{sys.version_info[1]}"
    found = {}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in (f"3.{minor}" for minor in range(11, 15)):
        places = [shutil.which(f"python{name}"), *map(str, sorted(versions.glob(f"{name}.*/bin/python")))]
        for place in filter(None, places):
            said = subprocess.run(
                [place, "-c", "import sys; print('3.%d' % sys.version_info[1])"], capture_output=True, text=True
            )
            if said.stdout.strip() == name != own:
                found[name] = place
    return found


def test_every_python_makes_the_same_hash() -> None:
    others = interpreters()
    if not others:
        pytest.skip("this machine has one version of Python from 3.11 to 3.14")
    here = {stage: fingerprint.code_sha256(stage) for stage in STAGES}
    for name, place in others.items():
        said = subprocess.run(
            [place, "-m", "alexnet", "fingerprint"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert json.loads(said.stdout) == here, f"Python {name}"


def test_where_a_text_is_cut_does_not_matter(tmp_path: Path) -> None:
    """Python 3.12 parses f-strings anew."""
    whole = small(tmp_path, a="def root(x): return f'ab{x!r:>{x}}cd'\n")
    assert whole == small(tmp_path, a="def root(x): return 'a' f'b{x!r:>{x}}' 'c' f'd'\n")
    assert whole != small(tmp_path, a="def root(x): return f'ab{x!s:>{x}}cd'\n")
