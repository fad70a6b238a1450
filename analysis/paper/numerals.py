"""Reads numerals.csv: all numerals and checkable statements of the paper, in its order, each with its claims.

A row is one numeral as printed, or a statement without one; it names the claims that it is part of, or says why it is none.
"""

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


def places(numerals: list[Numeral]) -> dict[str, list[Numeral]]:
    """Rows of each claim, by its id."""
    found: dict[str, list[Numeral]] = {}
    for numeral in numerals:
        for claim in numeral.claims:
            found.setdefault(claim, []).append(numeral)
    return found
