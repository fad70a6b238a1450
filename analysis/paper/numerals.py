"""Reads numerals.csv: all numerals and checkable statements of the paper, in its order, each with its claims.

A row is one numeral as printed, or a statement without one; it names the claims that it is part of, or says why it is none.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import UserError
from analysis.files import read_rows

NUMERALS = Path(__file__).resolve().parent / "numerals.csv"
COLUMNS = ["section", "printed", "context", "claims", "reason"]
SECTIONS = (
    *("Abs", "1", "2", "3", "3.1", "Fig. 1", "3.2", "fn 2", "3.3", "fn 3", "3.4", "3.5", "Fig. 2"),
    *("4", "4.1", "fn 4", "4.2", "5", "Fig. 3", "6", "fn 5", "Tab. 1", "Tab. 2", "6.1", "Fig. 4", "7"),
    *("fn 1", "References"),
)
WORDS = {
    **{"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10},
    **{"half": 0.5, "doubles": 2, "second": 2, "third": 3, "fifth": 5, "sixth": 6},
}  # fmt: skip
SCALES = {"million": 1e6, "m": 1e6, "k": 1e3}


@dataclass(frozen=True)
class Numeral:
    """One row: what is printed ("" for a statement without a numeral), what it is about, its claims or why it has none."""

    section: str
    printed: str
    context: str
    claims: tuple[str, ...]
    reason: str


def load_numerals(path: Path = NUMERALS) -> list[Numeral]:
    """All rows of `path`, in file order.

    Raises:
        UserError: the file cannot be read, a column is missing, a section is unknown or out of the paper's order, or a
            row has neither claims nor a reason, or both.
    """
    numerals: list[Numeral] = []
    for number, row in read_rows(path, COLUMNS):
        where = f"{path}, row {number}"
        if row["section"] not in SECTIONS:
            raise UserError(f"{where}: unknown section {row['section']!r}; the paper has {', '.join(SECTIONS)}")
        if numerals and SECTIONS.index(row["section"]) < SECTIONS.index(numerals[-1].section):
            raise UserError(f"{where}: section {row['section']} stands after {numerals[-1].section}")
        if bool(row["claims"]) == bool(row["reason"]) or not row["context"]:
            raise UserError(f"{where}: name what it is about, and either its claims or why it is none")
        claims = tuple(row["claims"].split())
        numerals.append(Numeral(row["section"], row["printed"], row["context"], claims, row["reason"]))
    return numerals


def value(printed: str) -> float:
    """The number that is printed, in digits or in words, with its scale; of a range its middle; NaN where it is several.

    >>> value("1.2 million"), value("10^-4"), value("five to six"), value("22K")
    (1200000.0, 0.0001, 5.5, 22000.0)
    """
    text = printed.lower().replace(",", "").replace("%", "").strip()
    if power := re.fullmatch(r"10\^(-?\d+)", text):
        return 10.0 ** int(power[1])
    if " to " in text:
        ends = [value(end) for end in text.split(" to ")]
        return sum(ends) / 2 if len(ends) == 2 else math.nan
    number, _, scale = text.partition(" ")
    if suffixed := re.fullmatch(r"([\d.]+)([mk])", number):
        number, scale = suffixed.groups()
    if scale not in ("", "gb") and scale not in SCALES:
        return math.nan
    if number in WORDS:
        return float(WORDS[number])
    try:
        return float(number) * SCALES.get(scale, 1.0)
    except ValueError:
        return math.nan


def places(numerals: list[Numeral]) -> dict[str, list[Numeral]]:
    """Rows of each claim, by its id."""
    found: dict[str, list[Numeral]] = {}
    for numeral in numerals:
        for claim in numeral.claims:
            found.setdefault(claim, []).append(numeral)
    return found
