"""The published verdict table holds all that its words follow from: ten verdicts and more again, with SciPy alone."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

TABLE = Path(__file__).parents[1] / "reports" / "reference" / "claims.csv"
FEWEST = 5  # pairs, or seeds, at a proxy and on lossy copies


with (TABLE.parents[2] / "analysis" / "claims.csv").open(newline="", encoding="utf-8") as _claims:
    AT_SEVERAL_MARKS = {row["id"] for row in csv.DictReader(_claims) if len(row["metric"].split()) > 2}


def measured() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return [row for row in rows if row["noises"] and "|" not in row["values"] and row["verdict"] != "pending"]


def again(row: dict[str, str], level: float) -> tuple[float, float]:
    """The interval from each pair's value and the images' noise."""
    values, log = np.array(list(map(float, row["values"].split()))), row["unit"] == "x"
    if log:
        values = np.log(values)
    square, least = 0.0, 0.0
    for part in row["noises"].split("; "):
        if part.startswith("at least: "):
            least = float(part.removeprefix("at least: "))
            continue
        kind, variance, n, df = re.fullmatch(r"(.+): (\S+) / (\d+) \((\S+)\)", part).groups()
        if "seeds" in kind:
            assert (int(n), float(df)) == (len(values), len(values) - 1)
            assert float(variance) == pytest.approx(values.var(ddof=1), rel=1e-5)
        square += stats.t.ppf(0.5 + level / 2, float(df)) ** 2 * float(variance) / int(n)
    half = math.sqrt(max(square, stats.norm.ppf(0.5 + level / 2) ** 2 * least))
    low, high = values.mean() - half, values.mean() + half
    return (math.exp(low), math.exp(high)) if log else (low, high)


@pytest.mark.parametrize("row", measured(), ids=lambda row: row["id"])
def test_a_published_verdict_follows_from_its_row(row: dict[str, str]) -> None:
    printed = [(float(row[low]), float(row[high])) for low, high in (("low", "high"), ("low90", "high90"))]
    wide, narrow = printed
    for (low, high), (own_low, own_high) in zip(printed, (again(row, 0.95), again(row, 0.90)), strict=True):
        if row["id"] in AT_SEVERAL_MARKS:  # the hull of the intervals; the values are those at one mark
            assert low <= own_low * (1 + 1e-4) and high >= own_high * (1 - 1e-4)
        else:
            assert (low, high) == pytest.approx((own_low, own_high), rel=1e-4, abs=1e-5)
    null = 1.0 if row["unit"] == "x" else 10.0 if row["how"] == "pixel_distance" else 0.0  # close: the nearest tenth
    paper = float(row["paper"])
    sign = 1 if row["relation"] in ("greater", "at_least") or paper > null else -1
    if row["limit"] or len(row["values"].split()) < FEWEST:
        word = "cannot tell"
    elif sign * (wide[0] - null) > 0 and sign * (wide[1] - null) > 0:
        word = "agrees"
    elif sign * (wide[0] - null) < 0 and sign * (wide[1] - null) < 0:
        word = "contradicts"
    else:
        word = "cannot tell" if narrow[0] <= paper <= narrow[1] else "not shown"
    assert (row["direction"], row["size"]) == (word, "unknown")  # no row is at paper scale on the paper's own data


def test_they_are_twenty_at_least_and_of_three_words() -> None:
    rows = measured()
    assert len(rows) >= 20
    assert {row["direction"] for row in rows} == {"agrees", "not shown", "cannot tell"}


def test_settings_on_which_text_and_program_agree_hold_by_a_line_that_is_named() -> None:
    with TABLE.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["why"].startswith("text and authors' program agree")]
    assert len(rows) == 33
    for row in rows:
        assert row["verdict"] == "holds"
        assert re.search(r"authors' 2012 source release, \S+\.(cfg|py|sh)", row["why"]), row["id"]
