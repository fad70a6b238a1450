"""Every command that a document or the head of a study shows: parsed by the program that it calls, with names that exist.

Nothing is run. Brackets are quoted, as zsh takes them for a pattern.
"""

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest
from conftest import ROOT

import alexnet.__main__
import analysis.__main__
from alexnet.experiments import definitions
from workflow.plan import Plan

DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "config/README.md",
    ROOT / "reports/reference/README.md",
]
HEADS = [*(ROOT / "config/studies").glob("*.yaml"), ROOT / "workflow/Snakefile", ROOT / "config/config.yaml"]
CALLS = ("snakemake", "python", "make", "alexnet-bench", "source", "export", "cd")
EXAMPLES = ("NAME", "no_relu_conv1")  # what a reader is to add
DEFAULTS = {"results": "results", "definitions": "config", "downloads": {}, "archives": ["data"], "studies": ["demo"]}


def shown() -> Iterator[tuple[str, str]]:
    """(document, line) of what stands in blocks for a shell, in the heads of studies, or between backticks after `or:`."""
    for path in DOCUMENTS:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                yield str(path.relative_to(ROOT)), line.strip()
                yield from ((str(path.relative_to(ROOT)), also) for also in re.findall(r"# or: (.*)", line))
        for inline in re.findall(r"`((?:snakemake|python -m \w+|make) [^`<>{}]*)`", path.read_text()):
            yield str(path.relative_to(ROOT)), " ".join(inline.split())
    for path in HEADS:
        for line in re.findall(r"^#? +((?:snakemake|python) .*)$", path.read_text(), re.MULTILINE):
            yield str(path.relative_to(ROOT)), re.split(r" {3,}", line.removeprefix("# "))[0]


def commands() -> list[tuple[str, str]]:
    """Each command by itself, comments off, with the document that shows it."""
    lines = {(where, shlex.join(shlex.split(line, comments=True))) for where, line in shown()}
    return sorted((where, part) for where, line in lines for part in re.split(r" '&&' | '?\|\|?'? ", line) if part)


COMMANDS = commands()


def test_there_are_many() -> None:
    assert len(COMMANDS) > 40
    assert {where for where, _ in COMMANDS} >= {
        "README.md",
        "docs/running.md",
        "config/README.md",
        "config/studies/cifar10.yaml",
    }


@pytest.mark.parametrize(
    "path",
    [
        path for path in [*DOCUMENTS, *HEADS] if path.parent.name != "reference"
    ],  # there stand commands as runs recorded them
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_brackets_are_quoted(path) -> None:
    assert not re.findall(r"--config [^'\"\n]*\w+=\[.*", path.read_text())


@pytest.mark.parametrize(("where", "command"), COMMANDS)
def test_a_documented_command_is_one(where: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    while re.match(r"[A-Z_]+=", words[0]):  # variables for this command alone
        words = words[1:]
    assert words[0] in CALLS or words[0].startswith((".venv/", "workflow/")), (where, command)
    if words[:3] == ["python", "-m", "alexnet"]:
        parsed(alexnet.__main__._parser(), words[3:])
    elif words[:3] == ["python", "-m", "analysis"]:
        parsed(analysis.__main__._parser(), words[3:])
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] == "snakemake":
        plans(words[1:])


def parsed(parser: argparse.ArgumentParser, words: list[str]) -> None:
    if len(words) == 1 and words[0] not in ("VERB", "--help"):  # the bare name of a verb
        assert words[0] in parser.format_help()
    elif not {"VERB", "--help", "..."} & set(words):
        parser.parse_args(words)


def plans(words: list[str]) -> None:
    """Snakemake's own parser takes the words, and each target is a rule, or of an experiment that a chosen study has."""
    from snakemake.cli import get_argument_parser, parse_config

    named = get_argument_parser().parse_args(words)
    config = DEFAULTS | parse_config(named.config)
    definitions.check({key: value for key, value in config.items() if key != "repacked"}, "config", "config")
    plan = Plan(ROOT, config)
    rules = "".join(
        path.read_text() for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    )
    for target in {*(named.targets or []), *(named.forcerun or [])} - {
        *re.findall(r"^(?:rule|checkpoint) (\w+):", rules, re.M)
    }:
        if run := re.fullmatch(r"results/(\w+)/(?:runs|evals)/(\w+)/\d+/[\w.-]+", target):
            assert run[2] in plan.studies[run[1]]["experiments"], target
        elif of := re.fullmatch(r"results/(\w+)/study\.json", target):
            assert of[1] in plan.studies, target
        elif target not in EXAMPLES:
            assert target in plan.targets(), target
            files = plan.experiment_files(target) if target in plan.known else plan.group_files(target)
            assert "refuse" not in [getattr(file, "__name__", "") for file in files], target
