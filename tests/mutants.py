"""Changes the core by one small mistake at a time and records which of them the tests of the changed module notice.

    python tests/mutants.py --count 300 --minutes 90      # goes on where an earlier call with the same table stopped

A mutant is one changed operator, comparison, number, condition, argument or statement, drawn with a fixed seed among all of the
modules in `TESTS`. It is made in a copy of the checkout, and only the tests of its module are run. One that no test fails with has
survived: the table names its line, and the exit status is 1 if more than one in twenty did. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = {  # module -> its tests, the quick ones first
    "alexnet/net/layers.py": ["layers", "model"],
    "alexnet/net/model.py": ["model", "cifar_nets"],
    "alexnet/training/sgd.py": ["optim"],
    "alexnet/training/schedule.py": ["optim", "cifar_nets"],
    "alexnet/training/train.py": ["train", "resume"],
    "alexnet/training/trainer.py": ["train", "resume"],
    "alexnet/evaluation/evaluate.py": ["evaluate", "ensemble"],
    "alexnet/batches/augment.py": ["data", "loader"],
    "alexnet/batches/views.py": ["data", "evaluate"],
    "analysis/stats/intervals.py": ["intervals", "effects", "verdicts"],
    "analysis/measures/estimates.py": ["verdicts", "examinations"],
    "analysis/verdicts/rules.py": ["verdicts", "by_hand"],
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
LONGEST = 3600.0  # seconds of the tests of a module as it is; those of a mutant may take four times as long as they did


class Mutant(NamedTuple):
    """A place in a module, and what stands there instead."""

    module: str
    line: int
    start: int  # bytes of the file
    before: str
    after: str
    end: int

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others, as in the table."""
        return self.module, str(self.line), str(self.start), self.before, self.after


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    source = (ROOT / module).read_bytes()
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    tree = ast.parse(source)
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
            yield Mutant(module, node.lineno, start, " ".join(before.split()), after, end)


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


def outcome(mutant: Mutant, copy: Path, seconds: float) -> str:
    """Make the mutant in `copy` and run the tests of its module: `killed` if one fails, hangs or cannot start, else `survived`."""
    path, source = copy / mutant.module, (ROOT / mutant.module).read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])
    try:
        return "survived" if passes(mutant.module, copy, 60 + 4 * seconds) else "killed"
    finally:
        path.write_bytes(source)


def passes(module: str, copy: Path, seconds: float) -> bool:
    """Whether the tests of a module pass in `copy`, within so many seconds."""
    files = [f"tests/test_{name}.py" for name in TESTS[module]]
    call = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # no byte code: two mutants of one second and one size would share it
    with subprocess.Popen(
        call, cwd=copy, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, start_new_session=True, **quiet
    ) as tests:  # type: ignore[call-overload]
        try:
            return bool(tests.wait(timeout=seconds) == 0)
        except subprocess.TimeoutExpired:
            os.killpg(tests.pid, 9)
            return False


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
    wanted = chosen(args.count, args.seed)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder, "checkout")
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        seconds: dict[str, float] = {}  # of the tests of each module as it is
        for mutant in wanted:
            if mutant.key in done or time.monotonic() > end:
                continue
            if mutant.module not in seconds:
                started = time.monotonic()
                if not passes(mutant.module, copy, LONGEST):
                    print(f"the tests of {mutant.module} fail as it is", file=sys.stderr)
                    return 1
                seconds[mutant.module] = time.monotonic() - started
            started = time.monotonic()
            done[mutant.key] = said = outcome(mutant, copy, seconds[mutant.module])
            row = dict(zip(COLUMNS, (*mutant.key, said, f"{time.monotonic() - started:.1f}"), strict=True))
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
