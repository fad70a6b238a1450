"""Changes the core by one small mistake at a time and records which of them the tests of the changed module notice.

    python tests/mutants.py --count 300 --minutes 90      # goes on where an earlier call with the same table stopped

A mutant is one changed operator, comparison, number, condition, argument or statement, drawn with a fixed seed among all of the
modules in `TESTS`. It is made in a copy of the checkout, and the tests of its module are run until one fails: first those that run
the changed line, the quick ones before the slow ones. One that no test fails with has survived: the table names its line, and the
exit status is 1 if more than one in twenty did. Those in mutants_equivalent.csv change nothing that could be tested, for the reason
given there; they are neither run nor counted. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from by_coverage import ByCoverage, processors

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "mutants_equivalent.csv"  # `code` is the line, with a mark before the place
IMPORTED = ("torchvision", "scipy.stats", "pandas", "pyarrow.parquet", "numba")  # once for all tests: it takes seconds
TESTS = {  # module -> its tests
    "alexnet/net/layers.py": ["layers", "model"],
    "alexnet/net/model.py": ["model", "cifar_nets"],
    "alexnet/training/sgd.py": ["optim"],
    "alexnet/training/schedule.py": ["optim", "cifar_nets"],
    "alexnet/training/train.py": ["train", "resume", "race"],
    "alexnet/training/step.py": ["train", "recorded_step"],
    "alexnet/training/trainer.py": ["train", "resume"],
    "alexnet/evaluation/evaluate.py": ["evaluate", "ensemble"],
    "alexnet/batches/augment.py": ["data", "loader"],
    "alexnet/batches/views.py": ["data", "evaluate"],
    "analysis/stats/intervals.py": ["intervals", "effects", "verdicts"],
    "analysis/measures/estimates.py": ["verdicts", "examinations", "classes", "effects"],
    "analysis/verdicts/rules.py": ["verdicts", "by_hand", "classes"],
    "analysis/measures/races.py": ["race"],
}
COLUMNS = ["module", "line", "byte", "before", "after", "outcome", "seconds"]
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Div,
        ast.Div: ast.Mult,
        ast.FloorDiv: ast.Mult,
        ast.Pow: ast.Mult,
    },
    **{ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
LONGEST = 3600.0  # seconds of the tests as they are; those of a mutant may take four times as long as they did


class Mutant(NamedTuple):
    """A place in a module, and what stands there instead."""

    module: str
    line: int
    start: int  # bytes of the file
    before: str
    after: str
    end: int
    code: str  # its line, with a mark before the place
    span: range  # lines of its statement, without the statements inside

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others, as in the table."""
        return self.module, str(self.line), str(self.start), self.before, self.after


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    source = (ROOT / module).read_bytes()
    lines = source.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    tree = ast.parse(source)
    spans: dict[int, range] = {}
    for node in ast.walk(tree):  # from the outside in
        if isinstance(node, ast.stmt):
            end = node.body[0].lineno if getattr(node, "body", None) else node.end_lineno + 1
            own = range(node.lineno, max(node.lineno + 1, end))
            spans |= dict.fromkeys(own, own)
    texts = {
        inner for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Raise) for inner in ast.walk(node)
    }
    # of no effect on what is computed, if the code is right
    texts |= {
        node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen")
    }
    conditions = {node.test for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While)}
    annotations = {
        inner
        for node in ast.walk(tree)
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if part
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if node in texts or node in annotations or not hasattr(node, "end_lineno"):
            continue
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[node.end_lineno - 1] + node.end_col_offset
        before = source[start:end].decode()
        for after in [*changed(node), *([f"(not ({before}))"] if node in conditions else [])]:
            line, at = lines[node.lineno - 1], node.col_offset
            code = (line[:at] + "«".encode() + line[at:]).decode().strip()
            span = spans.get(node.lineno, range(node.lineno, node.lineno + 1))
            yield Mutant(module, node.lineno, start, " ".join(before.split()), after, end, code, span)


def changed(node: ast.AST) -> Iterator[str]:
    """What may stand in the place of a node."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPPED:
        yield _with(node, op=SWAPPED[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield _with(node, ops=[SWAPPED[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield repr(node.value + 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        yield _with(node, func=ast.Name("max" if node.func.id == "min" else "min"))


def _with(node: ast.AST, **fields: object) -> str:
    text = ast.unparse(type(node)(**{name: getattr(node, name) for name in node._fields} | fields))  # type: ignore[arg-type]
    return text if isinstance(node, ast.stmt) else f"({text})"


def chosen(count: int, seed: int) -> list[Mutant]:
    """`count` of all mutants; the same for the same code and seed."""
    every = [mutant for module in TESTS for mutant in mutants(module)]
    return random.Random(seed).sample(every, min(count, len(every)))


def run(names: list[str], copy: Path, order: ByCoverage, seconds: float) -> str:
    """Run tests in a fork of this process, which has imported what takes them seconds to import.

    Returns:
        "killed" if one fails or cannot start, "hung" if they take longer than `seconds`, else "survived".
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell turns it off in the background
            os.chdir(copy)
            log = os.open(f"{copy}.log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for stream in (0, 1, 2):
                os.dup2(log, stream)
            sys.path[0] = str(copy)
            # no byte code of a mutant: another one of the same second and size would use it
            sys.dont_write_bytecode = bool(order.first)
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if order.first else ""
            files = [f"tests/test_{name}.py" for name in names]
            status = pytest.main(["-qx", "-pno:cacheprovider", f"--basetemp={copy}.tmp", *files], plugins=[order])
            if not order.first:
                Path(f"{copy}.json").write_text(json.dumps(order.tests))
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    try:
        while not (found := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, 9)  # also what a test that failed has left running
    if not found[0]:
        os.waitpid(child, 0)
        return "hung"
    return "killed" if found[1] else "survived"


def main() -> int:
    """1 if more than one mutant in twenty has survived so far, or the tests fail without one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2012)
    parser.add_argument("--minutes", type=float, default=90.0, help="after which it stops (default: 90)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutants.csv")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(args.out.open())) if args.out.exists() else []
    done = {tuple(row[key] for key in COLUMNS[:5]): row["outcome"] for row in rows}
    with EQUIVALENT.open(newline="") as table:
        equivalent = {(row["module"], row["code"], row["before"], row["after"]) for row in csv.DictReader(table)}
    drawn = chosen(args.count, args.seed)
    wanted = [mutant for mutant in drawn if (mutant.module, mutant.code, mutant.before, mutant.after) not in equivalent]
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder, "checkout")
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        tests, limits = {}, {}  # of `ByCoverage`; seconds, by test file
        for mutant in wanted:
            if mutant.key in done or time.monotonic() > end:
                continue
            names, path, source = TESTS[mutant.module], copy / mutant.module, (ROOT / mutant.module).read_bytes()
            for name in names:
                if name not in limits:
                    started = time.monotonic()
                    if run([name], copy, ByCoverage(copy, [*TESTS], tests), LONGEST) != "survived":
                        print(Path(f"{copy}.log").read_text(), f"tests/test_{name}.py fails as it is", file=sys.stderr)
                        return 1
                    limits[name] = 60 + 4 * (time.monotonic() - started)
                    tests |= json.loads(Path(f"{copy}.json").read_text())
            path.write_bytes(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])
            first, started = {(mutant.module, line) for line in mutant.span}, processors()
            said = run(names, copy, ByCoverage(copy, [], tests, first), sum(limits[name] for name in names))
            done[mutant.key], used = said, processors() - started
            shutil.copy2(ROOT / mutant.module, path)
            row = dict(zip(COLUMNS, (*mutant.key, said, f"{used:.1f}"), strict=True))
            new = not args.out.exists()
            with args.out.open("a", newline="") as table:
                writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
                writer.writerows([dict(zip(COLUMNS, COLUMNS, strict=True)), row] if new else [row])
            print(f"{said:9} {mutant.module}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
    found = [done[mutant.key] for mutant in wanted if mutant.key in done]
    survived = found.count("survived")
    print(f"{len(found)} of {len(wanted)} mutants: {len(found) - survived} killed, {survived} survived")
    return int(20 * survived > len(found))


if __name__ == "__main__":
    sys.exit(main())
