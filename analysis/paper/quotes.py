"""Reads quotes.csv: the paper's own words, at most 25 at a time, with the place where they are printed."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from analysis.errors import UserError
from analysis.files import read_rows

QUOTES = Path(__file__).resolve().parent / "quotes.csv"
COLUMNS = ["section", "page", "quoted_for", "words"]
LONGEST = 25  # words of a quotation


@dataclass(frozen=True)
class Quote:
    """Words of the paper as printed; `page` counts from 1 in its PDF, "" where it was not looked up."""

    section: str
    page: str
    words: str

    @property
    def place(self) -> str:
        """Where the words stand: `section 3.3, page 4`."""
        return place(self.section) + (f", page {self.page}" if self.page else "")

    @property
    def shown(self) -> str:
        """The words with an ellipsis where they begin or end within a sentence of the paper."""
        inside = self.words[0].islower()
        return f"{'… ' if inside else ''}{self.words}{'' if self.words.endswith('.') else ' …'}"


def place(section: str) -> str:
    """A section of claims.csv in words: `section 3.3`, `abstract`, `footnote 5`, `Table 2`."""
    if section[0].isdigit():
        return f"section {section}"
    for short, word in {"Abs": "abstract", "fn ": "footnote ", "Fig.": "Figure", "Tab.": "Table"}.items():
        section = section.replace(short, word)
    return section


@cache
def load_quotes(path: Path = QUOTES) -> dict[str, Quote]:
    """The quotation for each claim, and for each departure of the program from the text, by its name.

    Raises:
        UserError: the file cannot be read, a column is missing, a quotation is too long, or a name has two.
    """
    found: dict[str, Quote] = {}
    for number, row in read_rows(path, COLUMNS):
        where = f"{path}, row {number}"
        if not all((row["section"], row["quoted_for"], row["words"])):
            raise UserError(f"{where}: section, quoted_for and words must be filled")
        if (length := len(row["words"].split())) > LONGEST:
            raise UserError(f"{where}: {length} words are quoted; quote {LONGEST} at most")
        for name in row["quoted_for"].split():
            if name in found:
                raise UserError(f"{where}: `{name}` has a quotation already; keep one")
            found[name] = Quote(row["section"], row["page"], row["words"])
    return found
