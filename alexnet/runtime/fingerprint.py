"""Hashes the code of a stage: every definition that training, evaluation, examination or averaging reaches.

A definition is a function, class or constant at the top level of a module. From the stage's function, names are followed
through imports, attributes of modules, decorators and defaults. Statements at the top level that bind no name, such as a setting
of torch, count for each module that gets imported. Names built at run time cannot be followed; if a module is passed around
as a value, all its definitions count.

The hash leaves out where a definition stands (file and module), imports, docstrings, comments, annotations of functions and
variables, and the modules in `CUT`. It includes names, messages, annotations of class fields (dataclasses read them) and
annotations that Triton compiles by. Every Python that runs the package computes the same value: trees are written in a format of
our own, which omits empty fields such as those that newer versions add to `ast`.
"""

import ast
import hashlib
from functools import cache
from itertools import groupby
from pathlib import Path

from alexnet.runtime.names import COMPREHENSIONS, FUNCTIONS, IMPORTS, Key, Module, Source, bound, here, says_nothing

PACKAGE = Path(__file__).resolve().parents[1]
STAGES = {
    "train": "alexnet.training.train.train",
    "evaluate": "alexnet.evaluation.evaluate.evaluate",
    "examine": "alexnet.evaluation.examine.examine",
    "ensemble": "alexnet.evaluation.ensemble.ensemble",
}
# modules that store, lock, report and record; they compute no number of a result, nor does what only they use
CUT = (
    "alexnet.errors", "alexnet.net.tensors", "alexnet.training.checkpoints", "alexnet.training.record",
    "alexnet.runtime.files", "alexnet.runtime.fingerprint", "alexnet.runtime.gpu_leases", "alexnet.runtime.interruption",
    "alexnet.runtime.names", "alexnet.runtime.progress", "alexnet.runtime.provenance",
)  # fmt: skip
COMPILED_BY_ANNOTATION = "triton."
IGNORED = ("ctx", "kind", "simple", "type_comment", "returns", "type_ignores")

Scope = dict[str, str]  # local names; those of imports with what they stand for, the others with ""


@cache
def code_sha256(stage: str) -> str:
    """The hash (hexadecimal) of the code that a stage of `STAGES` reaches."""
    return fingerprint(_own(), STAGES[stage])


def of_stages() -> dict[str, str]:
    """The hash of each stage of `STAGES`."""
    return {stage: code_sha256(stage) for stage in STAGES}


@cache
def _own() -> Source:
    return Source(PACKAGE, CUT)


def fingerprint(source: Source, root: str) -> str:
    """The hash of the definition `root` (dotted name) and of all that it reaches.

    Each definition is hashed together with those it uses, so that swapping two of the same name between modules shows.

    Raises:
        LookupError: an import names something that the package does not have.
    """
    found = reached(source, root)
    own = {key: _hash(text) for key, (text, _) in found.items()}
    return _hash(
        *sorted(_hash(own[key], *sorted(own[k] for k in uses)) for key, (_, uses) in found.items() if own[key])
    )


def reached(source: Source, root: str) -> dict[Key, tuple[str, set[Key]]]:
    """All definitions that `root` reaches: the text of each, and which others it uses; LookupError as of `fingerprint`."""
    found: dict[Key, tuple[str, set[Key]]] = {}
    waiting = source.definitions(root)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        text, uses, imported = source.read[key] = source.read.get(key) or _read(source, key)
        found[key] = text, uses
        waiting += [*uses, *((m, "") for dotted in (key[0], *imported) for m in source.run_by(dotted))]
    return {key: value for key, value in found.items() if key[1] or source.module(key[0]).effects}


def _read(source: Source, key: Key) -> tuple[str, set[Key], set[str]]:
    """A definition as text, those that it uses, and what it imports."""
    module, name = source.module(key[0]), key[1]
    writer = _Writer(source, module)
    text = writer.value(module.bindings[name] if name else module.effects)
    return f"{name} {text}", writer.uses, {*writer.imported, *([] if name else module.imports.values())}


class _Writer:
    """Writes trees as text, and keeps which definitions they use."""

    def __init__(self, source: Source, module: Module) -> None:
        self.source, self.module = source, module
        self.scopes: list[Scope] = []
        self.uses: set[Key] = set()
        self.imported: set[str] = set()  # by imports inside of functions

    def value(self, value: object) -> str:
        """The text of a node, a list of nodes, or a plain value."""
        if isinstance(value, list):
            return f"[{' '.join(filter(None, map(self.value, value)))}]"
        if isinstance(value, ast.AST):
            return "" if says_nothing(value) else self._node(value)
        return f"{type(value).__name__}:{value!a}"

    def _node(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name | ast.Attribute):
            return self._reference(node)
        if isinstance(node, ast.Constant):
            return f"{type(node.value).__name__}:{node.value!a}"
        if isinstance(node, ast.JoinedStr):
            return f"(text {self.value(_joined(node.values))})"
        if isinstance(node, FUNCTIONS):
            return self._function(node)
        if isinstance(node, COMPREHENSIONS):
            return self._comprehension(node)
        if isinstance(node, ast.arg):
            return self._argument(node)
        if isinstance(node, ast.AnnAssign):
            return self.value(ast.Assign([node.target], node.value)) if node.value else ""
        if isinstance(node, ast.ClassDef):
            body = (self._fields(s) if isinstance(s, ast.AnnAssign) else self.value(s) for s in node.body)
            return f"({self._fields(node, ('body',))} {' '.join(filter(None, body))})"
        return self._fields(node)

    def _fields(self, node: ast.AST, without: tuple[str, ...] = ()) -> str:
        found = ((name, getattr(node, name, None)) for name in sorted(node._fields) if name not in (*IGNORED, *without))
        texts = ((name, self.value(value)) for name, value in found if value is not None)
        return f"({' '.join([type(node).__name__, *(f'{name}={text}' for name, text in texts if text != '[]')])})"

    def _function(self, node: FUNCTIONS) -> str:
        outside = self._fields(node.args, ("args", "posonlyargs", "kwonlyargs", "vararg", "kwarg"))  # defaults
        outside += self.value(getattr(node, "decorator_list", []))
        body = node.body if isinstance(node.body, list) else [node.body]
        own = dict.fromkeys((arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)), "")
        own |= dict.fromkeys(bound(body), "")
        for inner in here(body):
            if isinstance(inner, IMPORTS):
                own |= self.module.meant(inner)
            if isinstance(inner, ast.Global | ast.Nonlocal):
                own = {name: stands for name, stands in own.items() if name not in inner.names}
        self.imported |= set(filter(None, own.values()))
        arguments = self._fields(node.args, ("defaults", "kw_defaults"))
        self.scopes.append(own)
        inside = self.value(body)
        self.scopes.pop()
        return f"({type(node).__name__} {getattr(node, 'name', '')} {outside} {arguments} {inside})"

    def _argument(self, arg: ast.arg) -> str:
        """Its name, and its annotation if a compiler reads that."""
        before = set(self.uses)
        text = self.value(arg.annotation) if arg.annotation else ""
        self.uses = before
        return f"{arg.arg}:{text}" if f":{COMPILED_BY_ANNOTATION}" in text else arg.arg

    def _comprehension(self, node: COMPREHENSIONS) -> str:
        first = self.value(node.generators[0].iter)  # is looked up outside
        self.scopes.append(dict.fromkeys(bound([g.target for g in node.generators]), ""))
        text = self._fields(node)
        self.scopes.pop()
        return f"({first} {text})"

    def _reference(self, node: ast.Name | ast.Attribute) -> str:
        """A name, or attributes of one: by what it stands for where that is a definition or an import."""
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            assert isinstance(node, ast.Attribute)
            return f"({self.value(node.value)} .{node.attr})"
        stands = self._stands_for(base)
        if stands is None:
            return ".".join([f"local:{base.id}", *attributes])
        dotted = ".".join([stands, *attributes])
        place = self.source.find(dotted)
        if place is None:
            return f"outside:{dotted}"
        self.uses |= set(self.source.definitions(dotted))
        return ".".join(["here:", *place[1]])

    def _stands_for(self, name: ast.Name) -> str | None:
        for scope in reversed(self.scopes):
            if name.id in scope:
                return scope[name.id] or None
        if name.id in self.module.bindings and (self.scopes or isinstance(name.ctx, ast.Load)):
            return f"{self.module.name}.{name.id}"
        return self.module.imports.get(name.id)


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Parts of an f-string, texts that follow each other as one: where Python cuts them differs between versions."""
    out: list[ast.expr] = []
    for texts, group in groupby(values, lambda value: isinstance(value, ast.Constant)):
        parts = list(group)
        out += [ast.Constant("".join(str(part.value) for part in parts))] if texts else parts  # type: ignore[attr-defined]
    return out


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
