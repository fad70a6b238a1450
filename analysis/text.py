"""Numbers and names as text, for records, terminals and pages alike."""

from collections.abc import Iterable, Sequence

from jinja2 import Environment, PackageLoader


def plural(count: int, word: str) -> str:
    """The count with thousands separated, and the noun in the number that goes with it."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def series(words: Sequence[str]) -> str:
    """The words in a row: `a`, `a and b`, `a, b and c`; nothing for none."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def tally(counts: Iterable[tuple[int, str, str]]) -> str:
    """Counts with their predicates in one sentence part, those that are zero left out: `1 is worse and 3 are open`.

    Args:
        counts: count, predicate for one, predicate for several.
    """
    return series([f"{n:,} {one if n == 1 else several}" for n, one, several in counts if n])


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def mean_range(values: Sequence[float], digits: int = 1) -> str:
    """The mean, with the lowest and the highest if there are several; a dash for none."""
    if not len(values):
        return "–"
    shown = f"{sum(values) / len(values):.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f} – {max(values):.{digits}f})"


def brief(value: object) -> str:
    """A value of a record in a word: `none`, `yes`, `no`; of a fraction six digits at most."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def fill(package: str, template: str, escape: bool = False, **values: object) -> str:
    """A template beside the modules of `package`, filled with `values`, which are made safe for HTML with `escape`."""
    loader = PackageLoader(package, package_path="")
    environment = Environment(loader=loader, autoescape=escape, trim_blocks=True)
    return environment.get_template(template).render(plural=plural, **values)
