"""Completeness: every numeral and statement of the paper has its claim, every claim its place in the paper."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest

from analysis.errors import UserError
from analysis.paper.claims import Claim, load_claims
from analysis.paper.numerals import NUMERALS, SECTIONS, load_numerals, places

CLAIMS = {claim.id: claim for claim in load_claims()}
ROWS = load_numerals()
PLACES = places(ROWS)
# What the paper states in words that we read as a number; the reading stands in the row's tolerance_reason or note.
READ = {"aug-crop", "fig3-everyrun", "lrn-cifar-delta"}

WORDS = {
    **{"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10},
    **{"half": 0.5, "doubles": 2, "second": 2, "third": 3, "fifth": 5, "sixth": 6},
}  # fmt: skip
SCALES = {"million": 1e6, "m": 1e6, "k": 1e3}


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


def test_every_claim_id_exists_and_every_claim_has_a_place() -> None:
    assert PLACES.keys() == CLAIMS.keys()


def test_every_section_of_the_paper_is_gone_through() -> None:
    assert list(dict.fromkeys(row.section for row in ROWS)) == list(SECTIONS)
    assert len(ROWS) > 200


def test_no_row_stands_twice() -> None:
    keys = [(row.section, row.printed, row.context) for row in ROWS]
    assert len(keys) == len(set(keys))


def numeric(claim: Claim) -> bool:
    """Whether the claim's number is one that the paper prints, and not our reading of words."""
    only_sign = claim.tolerance_reason.startswith("only ") or claim.id in READ
    return claim.number is not None and not only_sign and any(row.printed for row in PLACES[claim.id])


@pytest.mark.parametrize("claim", list(filter(numeric, CLAIMS.values())), ids=lambda claim: claim.id)
def test_the_claims_number_is_one_that_is_printed_for_it(claim: Claim) -> None:
    printed = [value(row.printed) for row in PLACES[claim.id]]
    products = [
        math.prod(map(float, re.findall(r"\d+", row.printed))) for row in PLACES[claim.id] if " x " in row.printed
    ]
    assert any(math.isclose(number, claim.number, rel_tol=1e-12) for number in [*printed, *products])


@pytest.mark.parametrize(
    "claim", [claim for claim in CLAIMS.values() if re.search(r"\d x \d", claim.paper)], ids=lambda claim: claim.id
)
def test_sizes_of_kernels_are_printed_for_it(claim: Claim) -> None:
    printed = {digits for row in PLACES[claim.id] for digits in re.findall(r"\d+", row.printed)}
    sizes = claim.paper.partition(", stride")[0]
    if claim.id == "pre-conv6":
        assert "gives no size" in claim.note
    else:
        assert set(re.findall(r"\d+", sizes)) <= printed


def test_percentages_that_are_printed_belong_to_claims() -> None:
    """No printed percentage is waved through as none of a claim's business."""
    shown = [row for row in ROWS if row.printed.endswith("%")]
    assert len(shown) > 50
    assert all(row.claims for row in shown)


@pytest.mark.parametrize(
    ("printed", "number"),
    [("1.2 million", 1.2e6), ("650,000", 650000), ("37.5 %", 37.5), ("10^-4", 1e-4), ("five", 5), ("22K", 22000),
     ("15M", 15e6), ("five to six", 5.5), ("3 GB", 3), ("half", 0.5), ("224 x 224 x 3", math.nan), ("", math.nan)],
)  # fmt: skip
def test_numbers_in_digits_and_words(printed: str, number: float) -> None:
    assert value(printed) == pytest.approx(number, nan_ok=True)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"claims": "", "reason": ""}, "either its claims or why"),
        ({"claims": "abs-params", "reason": "none"}, "either its claims or why"),
        ({"section": "8"}, "unknown section '8'"),
        ({"section": "7"}, "stands after 7"),
        ({"context": ""}, "name what it is about"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    with NUMERALS.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    rows[3].update(cells)
    path = tmp_path / "numerals.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=re.escape(says)):
        load_numerals(path)
    with pytest.raises(UserError, match="cannot read"):
        load_numerals(tmp_path / "none.csv")
