"""Writes and reads the verdict table reports/claims.csv, and prints it as lines."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import UserError
from analysis.files import write_text
from analysis.results.evidence import COPIES
from analysis.text import fill
from analysis.verdicts.labels import LESSER, MEASURED
from analysis.verdicts.rules import Outcome

COLUMNS = [
    "id", "section", "statement", "kind", "group", "paper", "unit", "tolerance", "lab_value", "ours", "low", "high", "low90",
    "high90", "low_welch", "high_welch", "low_predicted", "high_predicted", "low_classes",
    "high_classes", "bound", "n", "seeds", "baseline_seeds",
    "values", "noises", "evidence", "study", "dataset", "split", "views", "direction", "size", "verdict", "limit", "why",
    "p", "p_holm", "p_bh", "needed", "command", "experiment", "baseline", "differs", "how", "relation", "lab_source", "note",
]  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBERS = re.compile(r"[-+0-9.einfa ]+")
UNITS = {"%": " %", "points": " points", "x": " ×"}
DECIMAL = set(UNITS)  # units of measured numbers, shown with decimals
VIEWS = {"center": "centre view", "ten": "ten views", "center-ten": "one against ten views"}
RELATIONS = {"at_most": "≤ ", "at_least": "≥ ", "greater": "> ", "less": "< "}
NUMERIC = [
    *("tolerance", "lab_value", "n", "seeds", "baseline_seeds", "p", "p_holm", "p_bh"),
    *(name for name in COLUMNS if name.startswith(("low", "high"))),
]


def table_of(outcomes: list[Outcome]) -> pd.DataFrame:
    """One row an outcome, columns as in `COLUMNS`; numbers with six significant digits, absent values empty."""
    return pd.DataFrame([[_cell(one, name) for name in COLUMNS] for one in outcomes], columns=COLUMNS)


def _cell(outcome: Outcome, name: str) -> object:
    value = getattr(outcome if hasattr(outcome, name) else outcome.claim, name)
    if value is None or (name in ("n", "seeds", "baseline_seeds") and not value):
        return ""
    if isinstance(value, str) and value.startswith(FORMULA) and not NUMBERS.fullmatch(value):
        return f"'{value}"  # text from results, which programs that open tables would compute
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:.0f}" if value == int(value) else f"{value:.6g}"
    return value


def write_table(outcomes: list[Outcome], path: Path) -> None:
    """Write the verdict table as CSV, atomically."""
    write_text(path, table_of(outcomes).to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """The verdict table with text columns as strings and numeric ones as floats (NaN where empty)."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read the verdict table {path}: {reason}; make it with `check`") from None
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise UserError(f"{path} is no verdict table, column `{missing[0]}` is missing; make it with `check`")
    for name in NUMERIC:
        table[name] = pd.to_numeric(table[name].replace("", None))
    return table


def number(value: object, unit: str = "", decimals: int | None = None) -> str:
    """A number as people read it: `decimals` for errors and ratios (None: as given, two at most); absent: an en dash."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "–"
    try:
        plain = float(str(value))
    except ValueError:
        return str(value)
    if math.isinf(plain):
        return "∞"
    if unit in DECIMAL:
        digits = min(2, len(f"{plain:.6g}".partition(".")[2])) if decimals is None else decimals
        text = f"{plain:,.{digits}f}"
    else:
        text = f"{plain:,.0f}" if plain == int(plain) else f"{plain:,.4g}"
    return text.replace("-", "−")


def with_unit(value: object, unit: str = "", decimals: int | None = None) -> str:
    """A number and its unit; the plain dash and text stay alone."""
    text = number(value, unit, decimals)
    return text if text == "–" else text + UNITS.get(unit, "")


def interval(low: float | None, high: float | None, unit: str = "") -> str:
    """`[low, high]`, or nothing where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{number(low, unit, 2)}, {number(high, unit, 2)}]"


def paper_value(paper: str, unit: str, relation: str) -> str:
    """The paper's value with its unit and, where it is a bound, its sign."""
    return f"{RELATIONS.get(relation, '')}{with_unit(paper, unit)}" if paper else "–"


def weakness(evidence: str, dataset: str) -> str:
    """In what evidence falls short of the paper's data at full size, in a word or two; nothing if in nothing."""
    return copied(dataset) or (evidence if evidence in LESSER else "")


def copied(dataset: str) -> str:
    """What a copy of the paper's data is called beside a verdict; nothing for the data itself."""
    return COPIES.get(dataset, "").removeprefix("a ")


def verdict_words(verdict: str, evidence: str, dataset: str = "") -> str:
    """The verdict with its evidence where that is weaker than the paper's scale: `cannot tell (proxy)`."""
    weak = weakness(evidence, dataset)
    return f"{verdict} ({weak})" if weak and verdict != "pending" else verdict


def ours(outcome: Outcome) -> str:
    """The measured or counted number with its unit and, where it is a bound, its sign; nothing where there is none."""
    if outcome.ours is None:
        return ""
    return f"{outcome.bound} {with_unit(outcome.ours, outcome.claim.unit, 2 if outcome.study else None)}".strip()


def lines(outcomes: list[Outcome]) -> list[str]:
    """Two lines a claim for a terminal: numbers and verdict, then the reason and the command that is missing."""
    out = []
    for outcome in outcomes:
        claim, unit, images = outcome.claim, outcome.claim.unit, f"{outcome.n:,} images" if outcome.n else ""
        numbers = [f"paper {paper_value(claim.paper, unit, claim.relation)}" if claim.paper else ""]
        if outcome.ours is not None:
            parts = [outcome.study, images, outcome.counted if outcome.seeds else ""]
            numbers += [f"ours {ours(outcome)}", interval(outcome.low, outcome.high, unit)]
            numbers += [f"({', '.join(filter(None, parts))})" if outcome.study else ""]
        verdict = verdict_words(outcome.verdict, outcome.evidence, outcome.dataset)
        out.append(f"{claim.id}: {verdict}   {'  '.join(filter(None, numbers))}".rstrip())
        missing = outcome.verdict == "pending" and outcome.command
        out.append(f"    {outcome.why}" + (f"; to settle it: {outcome.command}" if missing else ""))
    return out


def markdown(table: pd.DataFrame, conditions: Mapping[str, str] | None = None) -> str:
    """The verdict table (`read_table`) as two Markdown tables: counts by evidence, then what training tested.

    Pending rows stay out: a proxy's absolute error beside the paper's would invite a comparison that means nothing.
    `conditions` are words to say beside a claim, by its id: under which condition it was judged.
    """
    tested = table["evidence"].isin(MEASURED) & (table["verdict"] != "pending")
    values: dict[str, Any] = {
        "counts": pd.crosstab(table["evidence"].replace("", "none"), table["verdict"]),
        "trained": table[tested],
        "conditions": conditions or {},
        **{f.__name__: f for f in (copied, interval, number, paper_value, with_unit)},
    }
    return fill("analysis.verdicts", "table.md.j2", **values).strip()
