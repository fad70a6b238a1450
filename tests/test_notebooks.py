"""Notebooks: thin, committed without outputs, executed into a copy that exists only if every cell ran."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from pathlib import Path

import fabricate
import nbformat
import pytest

from analysis.__main__ import main
from analysis.errors import UserError
from analysis.paper.claims import load_claims
from analysis.report.build import _chapter
from analysis.report.notebooks import ROOM, execute

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "analysis" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A results folder without any result, and its verdict table."""
    folder = tmp_path_factory.mktemp("empty")
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return folder, folder / "claims.csv"


def book(path: Path, *cells: str) -> Path:
    """A notebook with these code cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path.write_text(nbformat.writes(made))
    return path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_without_outputs(path: Path) -> None:
    loaded = nbformat.read(path, as_version=4)
    nbformat.validate(loaded)
    assert loaded.cells[0].source.startswith("# ")
    for cell in loaded.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 8
            for word in ("for epoch", "matplotlib", "pandas", "def "):
                assert word not in cell.source


def test_a_copy_is_executed_wherever_one_stands(
    tmp_path: Path, empty: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("ALEXNET_RESULTS", raising=False)
    results = Path(os.path.relpath(empty[0]))
    code = "import os\nfrom analysis.report import context\nctx = context.load()\nprint(os.environ['ALEXNET_RESULTS'], len(ctx.table))"
    out = tmp_path / "made" / "copy.ipynb"
    execute(book(tmp_path / "a.ipynb", code), results, empty[1], out)
    cell = nbformat.read(out, as_version=4).cells[0]
    assert cell.outputs[0]["text"].split() == [str(empty[0].resolve()), str(len(load_claims()))]
    assert list(out.parent.iterdir()) == [out]
    first = out.read_bytes()
    execute(tmp_path / "a.ipynb", results, empty[1], out)
    assert out.read_bytes() == first


def test_a_failing_cell_leaves_no_copy_but_says_where_to_look(
    tmp_path: Path, empty: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = book(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')")
    out = tmp_path / "copy.ipynb"
    code = main(["notebook", str(path), "--results", str(empty[0]), "--claims", str(empty[1]), "--out", str(out)])
    said = capsys.readouterr().err
    assert code == 2
    assert "cell 2 failed with ZeroDivisionError: division by zero" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert not out.exists()
    failed = nbformat.read(tmp_path / "copy.failed.ipynb", as_version=4)
    assert failed.cells[0].outputs[0]["text"] == "before\n"
    assert failed.cells[1].outputs[0]["ename"] == "ZeroDivisionError"


def test_nothing_of_the_users_own_settings_reaches_a_page(
    tmp_path: Path, empty: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernel, start-up files, styles of plots and templates: each would change the page, or leave none."""
    kernel = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    template = "{%- block body_header -%}mine{%- endblock -%}"
    home = tmp_path / "home"
    for name, content in {
        "jupyter/kernels/python3/kernel.json": json.dumps(kernel),
        "jupyter/nbconvert/templates/base/null.j2": template,
        "start.py": "MINE = 'mine'",
        ".ipython/profile_default/startup/start.py": "MINE = 'mine'",
        ".config/matplotlib/matplotlibrc": "lines.linewidth: 77",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JUPYTER_PATH", str(home / "jupyter"))
    monkeypatch.setenv("PYTHONSTARTUP", str(home / "start.py"))
    monkeypatch.setenv("MATPLOTLIBRC", str(home / ".config/matplotlib"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    code = "import sys, matplotlib as m\nprint(sys.prefix, 'MINE' in globals(), m.rcParams['lines.linewidth'])"
    made, out = book(tmp_path / "a.ipynb", code), tmp_path / "copy.ipynb"
    titled = nbformat.read(made, as_version=4)
    titled.cells.insert(0, nbformat.v4.new_markdown_cell("# Title"))
    nbformat.write(titled, made)
    execute(made, *empty, out)
    assert nbformat.read(out, as_version=4).cells[1].outputs[0]["text"] == f"{sys.prefix} False 1.5\n"
    body = _chapter(out).body
    assert "mine" not in body and f"{sys.prefix} False 1.5" in body


def test_a_long_temporary_folder_is_no_obstacle(
    tmp_path: Path, empty: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets take 107 bytes of a path."""
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    execute(book(tmp_path / "a.ipynb", "1"), *empty, tmp_path / "copy.ipynb")
    assert (tmp_path / "copy.ipynb").exists() and not list(long.iterdir())
    fits = Path("/tmp", ("x" * (ROOM - len("/tmp/"))))
    monkeypatch.setattr("tempfile.tempdir", str(fits))
    fits.mkdir()
    try:
        execute(tmp_path / "a.ipynb", *empty, tmp_path / "another.ipynb")
    finally:
        fits.rmdir()
    assert (tmp_path / "another.ipynb").exists()


def test_wrong_paths_are_one_sentence(tmp_path: Path, empty: tuple[Path, Path]) -> None:
    good = book(tmp_path / "a.ipynb", "1")
    with pytest.raises(UserError, match="results folder"):
        execute(good, tmp_path / "none", empty[1], tmp_path / "o.ipynb")
    with pytest.raises(UserError, match="verdict table"):
        execute(good, empty[0], tmp_path / "none.csv", tmp_path / "o.ipynb")
    (tmp_path / "bad.ipynb").write_text("{}")
    with pytest.raises(UserError, match="is not a notebook"):
        execute(tmp_path / "bad.ipynb", empty[0], empty[1], tmp_path / "o.ipynb")
    with pytest.raises(UserError, match="cannot read"):
        execute(tmp_path / "nowhere.ipynb", empty[0], empty[1], tmp_path / "o.ipynb")


def run_cells(path: Path) -> list[str]:
    """HTML of the last expression of every code cell, run in this process: what the kernel would show."""
    space: dict[str, object] = {}
    shown = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            last = tree.body.pop()
            assert isinstance(last, ast.Expr)
            exec(compile(tree, path.name, "exec"), space)
            piece = eval(compile(ast.Expression(last.value), path.name, "eval"), space)
            shown.append("" if piece is None else piece._repr_html_())
    return shown


NOTHING_TO_SHOW = {  # pages that the report leaves out in a state
    "nothing run": {"32_relu_vs_tanh", "34_ablations", "40_architecture", "42_inside_the_net", "65_data"},
    "half a campaign": {"32_relu_vs_tanh", "42_inside_the_net"},
}


@pytest.mark.parametrize("state", ["nothing run", "half a campaign", "one seed", "two studies"])
def test_every_page_renders_in_every_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    if state == "half a campaign":
        fabricate.study(tmp_path, "demo")
        fabricate.manifest(tmp_path, "demo", "ilsvrc2010", {"test": 24})
        fabricate.run(tmp_path, "demo", "alexnet", 1, [0.9, 0.6, 0.4])
        fabricate.run(tmp_path, "demo", "tanh", 1, [0.95, 0.9, 0.8])
    elif state == "one seed":
        fabricate.campaign(tmp_path, seeds=1, images=60)
    elif state == "two studies":
        fabricate.campaign(tmp_path, images=60)
        fabricate.campaign(tmp_path, "imagenette", tier="proxy", images=60)
    if state != "nothing run":
        fabricate.describes(tmp_path)
        fabricate.departures(tmp_path)
    table = tmp_path / "claims.csv"
    assert main(["check", "--results", str(tmp_path), "--out", str(table)]) == 0
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    monkeypatch.setenv("ALEXNET_CLAIMS", str(table))
    pages = {path.stem: "".join(run_cells(path)) for path in NOTEBOOKS}
    assert {name for name, html in pages.items() if not html} == NOTHING_TO_SHOW.get(state, set())
    for name, html in pages.items():
        assert not re.search(r"\b(nan|NaN|inf|NaT)\b|None[<,\]]", html), name
