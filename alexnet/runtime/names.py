"""Finds what the names in a package stand for, from its source, without importing it."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import resolve_name
from pathlib import Path

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
IMPORTS = ast.Import | ast.ImportFrom

Key = tuple[str, str]  # a module and a name in it; "" for the statements that bind none


class Source:
    """The modules of a package, each parsed once.

    Args:
        folder: of the package, whose name it bears.
        cut: dotted names of modules and definitions that are not followed.
    """

    def __init__(self, folder: Path, cut: Sequence[str] = ()) -> None:
        self.cut, self.modules = cut, dict[str, Module]()
        self.read: dict[Key, tuple[str, set[Key], set[str]]] = {}  # definitions, by whoever follows them
        files = {path.relative_to(folder.parent).with_suffix("").parts: path for path in folder.rglob("*.py")}
        self.paths = {".".join(p[:-1] if p[-1] == "__init__" else p): path for p, path in sorted(files.items())}

    def module(self, name: str) -> "Module":
        """The module with this dotted name."""
        if name not in self.modules:
            self.modules[name] = Module(name, self.paths[name])
        return self.modules[name]

    def run_by(self, dotted: str) -> list[str]:
        """The modules that importing `dotted` runs: the packages around it and itself, without those that are cut."""
        parts = dotted.split(".")
        names = [".".join(parts[: n + 1]) for n in range(len(parts))]
        return [name for name in names if name in self.paths and not self.is_cut(name)]

    def is_cut(self, dotted: str) -> bool:
        return any(f"{dotted}.".startswith(f"{name}.") for name in self.cut)

    def find(self, dotted: str) -> tuple[str, list[str]] | None:
        """The module of a dotted name and the rest of the name, after all re-exports; None outside of the package."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            name, rest = ".".join(parts[:length]), parts[length:]
            if name in self.paths:
                if not rest or self.is_cut(dotted) or rest[0] in self.module(name).bindings:
                    return name, rest
                given = self.module(name).imports.get(rest[0])
                if given is None:
                    raise LookupError(f"{name} has no {rest[0]}")
                return self.find(".".join([given, *rest[1:]]))
        return None

    def definitions(self, dotted: str) -> list[Key]:
        """What a dotted name of the package stands for: one definition, or all of a module."""
        place = self.find(dotted)
        if place is None or self.is_cut(dotted) or self.is_cut(".".join([place[0], *place[1][:1]])):
            return []
        module, rest = place
        return [(module, name) for name in ([rest[0]] if rest else self.module(module).bindings)]


class Module:
    """One parsed file.

    Attributes:
        bindings: the statements that define each name, in order; for a name bound inside of `if` or `try`, the whole statement.
        imports: the dotted name that each imported name stands for.
        effects: the statements that do more than bind names, compound ones included.

    LookupError if it has a star import, which hides its names.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, str] = {}
        self.effects: list[ast.stmt] = []
        for statement in ast.parse(path.read_bytes(), str(path)).body:
            self._sort(statement)

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, IMPORTS):
            self.imports |= self.meant(statement)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.bindings.setdefault(statement.name, []).append(statement)
        elif not says_nothing(statement) and not _is_main(statement):
            names = set(bound([statement]))
            for node in here([statement]):
                if isinstance(node, IMPORTS):
                    self.imports |= self.meant(node)
            for name in names - set(self.imports):
                self.bindings.setdefault(name, []).append(statement)
            if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign) or _changes(statement):
                self.effects.append(statement)

    def meant(self, statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
        """The names that an import binds, with what they stand for."""
        if isinstance(statement, ast.Import):
            whole = {n.asname: n.name for n in statement.names if n.asname}
            return whole | {n: n for n in (n.name.partition(".")[0] for n in statement.names if not n.asname)}
        source = resolve_name("." * statement.level + (statement.module or ""), self.package)
        if any(n.name == "*" for n in statement.names):
            raise LookupError(f"{self.name} imports * from {source}: name what it needs")
        return {n.asname or n.name: f"{source}.{n.name}" for n in statement.names}


def bound(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that statements or targets bind where they stand, imports included."""
    for node in here(nodes):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, NAMED | ast.MatchMapping):
            yield from filter(None, [node.rest if isinstance(node, ast.MatchMapping) else node.name])
        elif isinstance(node, IMPORTS):
            yield from (n.asname or n.name.partition(".")[0] for n in node.names)


def here(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes and what is in them, but not inside of functions and classes, whose names are their own; of comprehensions `:=`."""
    for node in nodes:
        yield node
        if isinstance(node, COMPREHENSIONS):
            yield from (n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr))
        elif not isinstance(node, FUNCTIONS | ast.ClassDef):
            yield from here(ast.iter_child_nodes(node))


def says_nothing(node: object) -> bool:
    """Whether a statement computes nothing: an import, `pass`, or a text that nobody takes."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or isinstance(node, IMPORTS | ast.Pass)


def _changes(node: ast.stmt) -> bool:
    """Whether an assignment changes an object, an attribute or entry of it, rather than binds names."""
    objects = ast.Attribute | ast.Subscript
    return any(isinstance(n, objects) and isinstance(n.ctx, ast.Store) for n in ast.walk(node))


def _is_main(node: ast.stmt) -> bool:
    """Whether a statement is left out when a module is imported, or for type checkers alone."""
    return isinstance(node, ast.If) and any(
        isinstance(name, ast.Name) and name.id in ("__name__", "TYPE_CHECKING") for name in ast.walk(node.test)
    )
