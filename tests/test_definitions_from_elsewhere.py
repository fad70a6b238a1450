"""Nothing in a folder of definitions, a configuration or a name becomes code: attacks, and the rules themselves."""

from __future__ import annotations

import ast
import copy
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, TINY_STUDY
from test_security import HOSTILE
from test_workflow import copy_project, snakemake

from alexnet.errors import UserError
from alexnet.experiments import definitions

RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk")), ROOT / "workflow/Snakefile"]
WHOLE = re.compile(r"threads|resources\.\w+")  # whole numbers, which no file can make anything else
SENTENCES = {"title", "data", "about", "condition", "topic", "text", "code"}  # free text, for people


def compiled(path: Path) -> ast.Module:
    """What Snakemake makes of a file of rules, as Python."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(path), "--print-compilation"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return ast.parse(done.stdout)


def quoting(value: ast.expr) -> bool:
    """Whether an expression is text that `words` quoted for the shell."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "words"


def unquoted(module: ast.Module) -> tuple[int, list[str]]:
    """Number of shell commands, and what of them goes to the shell as it is."""
    commands, found = 0, []
    params: dict[str, ast.expr] = {}
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: node.lineno):
        name = ast.unparse(call.func)
        if name == "workflow.rule":
            params = {}
        elif name == "workflow.params":
            params = {str(word.arg): word.value for word in call.keywords}
        elif name in ("workflow.shellcmd", "shell"):
            commands += 1
            (command,) = call.args
            if not isinstance(command, ast.Constant):
                found.append(ast.unparse(command))
                continue
            for _, field, spec, _ in string.Formatter().parse(str(command.value)):
                of, _, key = (field or "").partition(".")
                safe = spec == "q" or WHOLE.fullmatch(field or "threads")
                if not safe and not (of == "params" and key in params and quoting(params[key])):
                    found.append(f"{{{field}}}")
    return commands, found


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_all_that_goes_into_a_command_is_quoted(path):
    commands, found = unquoted(compiled(path))
    assert not found
    assert commands == 2 * len(re.findall(r"^ +shell:$", path.read_text(), re.M))  # each stands there twice


def test_what_is_not_quoted_is_found(tmp_path):
    rule = 'rule a:\n    output: "x"\n    params:\n        f=flags(1),\n        w=words(1),\n    shell: "b {params.f} {params.w} {output} {output:q} {threads}"\n'
    (tmp_path / "Snakefile").write_text(rule)
    assert unquoted(compiled(tmp_path / "Snakefile")) == (2, ["{params.f}", "{output}"] * 2)


def strings(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a record has text: the path of each string, and of each key with "*" as its last step."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield (*path, key, "*")
            yield from strings(value, (*path, key))
    elif isinstance(record, list):
        for index, value in enumerate(record):
            yield from strings(value, (*path, index))
    elif isinstance(record, str):
        yield path


def replaced(record: Any, path: tuple[Any, ...], value: str) -> Any:
    """A copy of the record with `value` at a path, or as the name of a key."""
    changed = copy.deepcopy(record)
    *steps, last = path[:-1] if path[-1] == "*" else path
    place = changed
    for step in steps:
        place = place[step]
    place[value if path[-1] == "*" else last] = place.pop(last) if path[-1] == "*" else value
    return changed


def one_of_each(record: Any) -> list[tuple[Any, ...]]:
    """The places of `strings`, one of all that differ only in a name or a number of a list."""
    kinds: dict[str, tuple[Any, ...]] = {}
    for path in strings(record):
        kind = re.sub(r"^(experiments|recipes)\.\w+|\.\d+|(conv|fc|local)\d", r"\1", ".".join(map(str, path)))
        kinds.setdefault(kind, path)
    return list(kinds.values())


def around(record: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The record with the one experiment that a path leads to, or any one: all of it is checked each time."""
    found = record.get("experiments")
    if not isinstance(found, dict):
        return record
    name = path[1] if path[0] == "experiments" and path[1] in found else next(iter(found))
    return record | {"experiments": {name: found[name]}}


def of_all_kinds(record: dict[str, Any]) -> dict[str, Any]:
    """One recipe, and one experiment with each set of keys."""
    kinds = {tuple(about): name for name, about in record["experiments"].items()}
    recipes = {"code2012": record["recipes"]["code2012"]}
    conditions = record["races"]["fig1"]["conditions"]
    races = {"fig1": record["races"]["fig1"] | {"conditions": {"deeper": conditions["deeper"]}}}
    return {"recipes": recipes, "experiments": {n: record["experiments"][n] for n in kinds.values()}, "races": races}


DOCUMENTS = {
    "config": yaml.safe_load((ROOT / "config/config.yaml").read_text())
    | {"downloads": {"cifar10": "https://example.org/a"}},
    "experiments": of_all_kinds(yaml.safe_load((ROOT / "config/experiments.yaml").read_text())),
    "study": yaml.safe_load((ROOT / "config/studies/demo.yaml").read_text()) | {"diff": TINY_STUDY["diff"]},
}


@pytest.mark.parametrize("schema", DOCUMENTS)
def test_no_key_and_no_value_holds_what_a_shell_would_read(schema):
    """Each place with text in each kind of file, with values that are code, an option, or a second line."""
    record = DOCUMENTS[schema]
    definitions.check(record, schema, "file")
    places = one_of_each(record)
    assert len(places) > 10
    for path in places:
        definitions.check(around(record, path), schema, "file")
        free = path[-1] in SENTENCES or "published" in path or path[0] == "archives"
        hostile = ["x\n", "x\x1b[2J", "x\ntouch harm"] if free else [*HOSTILE, "x\n", "-x", "x y\\", "'\""]
        for value in hostile:
            if path[0] == "downloads" and path[-1] != "*":
                value = f"https://example.org/a {value}"  # a URL may have quotes; it goes into no command
            with pytest.raises(UserError) as refused:
                definitions.check(replaced(around(record, path), path, value), schema, "file")
            assert str(refused.value).startswith("file: ") and "\n" not in str(refused.value), (path, value)


def edited(folder: Path, name: str, **changes: str) -> Path:
    """The project's experiments, with one changed."""
    path = folder / "config/experiments.yaml"
    record = yaml.safe_load(path.read_text())
    record["experiments"][name] |= changes
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


def refused(folder: Path, key: str, *targets: str) -> None:
    """Snakemake ends with one sentence about a key of experiments.yaml, and nothing of it was run."""
    done = snakemake(folder, *targets)
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1, done.stdout
    assert errors[0].startswith(f"error: config/experiments.yaml: `{key}`: ")
    assert "Traceback" not in done.stdout
    assert not list(folder.parent.rglob("harm"))


@pytest.mark.parametrize("targets", [["results/describe/no_lrn.json"], []])
def test_a_study_whose_name_is_code_is_refused(tmp_path, targets):
    folder = copy_project(tmp_path / "project")
    study = "ilsvrc2010$(touch harm)"
    (folder / f"config/studies/{study}.yaml").write_bytes((folder / "config/studies/ilsvrc2010.yaml").read_bytes())
    edited(folder, "no_lrn", described_in=study)
    refused(folder, "experiments.no_lrn.described_in", *targets)
    for words in (["--study", study, "--experiment", "no_lrn"], ["--study", "../studies/tiny"]):
        verb = "describe" if "--experiment" in words else "study"
        done = subprocess.run(
            [sys.executable, "-m", "alexnet", verb, *words], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 2 and done.stderr.startswith(f"error: unknown study {words[1]!r}")


def test_a_group_of_claims_whose_name_is_code_is_refused(tmp_path):
    folder = copy_project(tmp_path / "project")
    edited(folder, "no_lrn", claims="x'; touch harm; echo '")
    refused(folder, "experiments.no_lrn.claims", "no_lrn")


def test_free_text_is_text_in_every_command(tmp_path):
    """Code in every sentence of the definitions is said, and nothing of it is run."""
    folder = copy_project(tmp_path / "project")
    for path in (folder / "config/experiments.yaml", folder / "config/studies/tiny.yaml"):
        record = yaml.safe_load(path.read_text())
        for place in list(strings(record)):
            if place[-1] in SENTENCES and not (path.name == "experiments.yaml" and place[-1] == "data"):
                record = replaced(record, place, "x'; $(touch harm) `touch harm` {output} \"")
        path.write_text(yaml.safe_dump(record, sort_keys=False))
    for words in (["-n"], ["--list-target-rules"], ["architecture", "results/tiny/study.json"]):
        done = snakemake(folder, *words)
        assert done.returncode == 0, done.stdout[-3000:]
    assert "touch harm" in (folder / "results/tiny/study.json").read_text()
    assert not list(folder.parent.rglob("harm"))


def test_an_alias_is_refused(tmp_path):
    """A kilobyte of aliases stands for gigabytes."""
    lines = ["a: &a [x, x]", *(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))]
    (tmp_path / "experiments.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"experiments\.yaml has an alias"):
        definitions.load(str(tmp_path))


MALFORMED = {
    "nested in brackets": ("a: " + "[" * 200_000, "nested more than"),
    "nested in braces": ("{a: " * 100_000, "nested more than"),
    "nested in dashes": ("- " * 50_000 + "x", "nested more than"),
    "as long as a disk": ("# " + "x" * 5_000_000, "larger than"),
    "a number as a key": ("extends: demo\n1: 2", "unknown key 1"),
    "a number without end": (f"extends: demo\nepochs: 0x{'f' * 8000}", "a number of more than"),
    "nothing to extend": ("extends: empty", "holds no study"),
    "a path to extend": ("extends: ../../demo", "unknown study"),
    "a device": (Path("/dev/zero"), "no file"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_definitions_take_little_and_end_in_a_sentence(tmp_path, name):
    text, words = MALFORMED[name]
    folder = tmp_path / "definitions"
    shutil.copytree(ROOT / "config", folder)
    (folder / "studies/empty.yaml").touch()
    study = folder / ("experiments.yaml" if isinstance(text, Path) else "studies/hostile.yaml")
    if isinstance(text, Path):
        study.unlink()
        study.symlink_to(text)
    else:
        study.write_text(text)
    call = [sys.executable, "-m", "alexnet", "study", "--definitions", str(folder)]
    call += ["--study", "demo" if isinstance(text, Path) else "hostile"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -v 4000000; exec "$@"', "sh", *call],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2 and words in done.stderr, done.stderr[-500:]
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
