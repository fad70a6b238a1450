"""The page that reads the results: each tested claim stands under its answer, with its own numbers, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

import fabricate
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import findings
from analysis.results.evidence import load_results
from analysis.verdicts.table import number, read_table

UNDER = {
    "direction agrees": "holds",
    "direction contradicts": "fails",
    "cannot tell": "stays_open",
    "not shown": "stays_open",
}


def context(folder: Path) -> Context:
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("reading")
    fabricate.campaign(folder, seeds=2, images=400)
    fabricate.campaign(folder, "small", "proxy", seeds=6, images=400)
    fabricate.describes(folder)
    return context(folder)


def lines(html: str) -> dict[str, str]:
    """Text of each line by the claim that it leads to."""
    found = re.findall(r'<li><a href="#claim-([^"]+)">(.*?)</li>', html, re.S)
    return {id_: re.sub(r"<[^>]+>", "", text) for id_, text in found}


def test_each_tested_claim_stands_under_its_answer_with_its_numbers(ctx: Context) -> None:
    parts = {name: lines(getattr(findings, name)(ctx)) for name in ("holds", "fails", "stays_open")}
    tested = ctx.table[ctx.table["evidence"].isin(["demo", "proxy"]) & (ctx.table["verdict"] != "pending")]
    assert len(tested) > 10 and set(tested["verdict"]) >= {"direction agrees", "cannot tell"}
    for row in tested.to_dict("records"):
        places = [name for name, part in parts.items() if row["id"] in part]
        under = "stays_open" if row["p_holm"] >= 0.05 else UNDER[row["verdict"]]  # a direction that may be luck is open
        assert places == [under], row["id"]
        text = parts[places[0]][row["id"]]
        assert number(float(row["ours"]), row["unit"]) in text and row["statement"][:20] in text.replace("&gt;", ">")
        if row["low"] == row["low"]:
            assert f"[{number(row['low'], row['unit'], 2)}, " in text
    assert sum(map(len, parts.values())) == len(tested)
    assert 'href="#architecture"' in findings.fails(ctx)


def test_a_point_that_changes_the_error_is_named_with_its_size(ctx: Context, tmp_path: Path) -> None:
    html = findings.depends(ctx)
    part = html.partition("Text, program and other readings on Small (proxy)")[2].partition("<h3>")[0]
    assert part

    def error(name: str) -> float:
        paths = ctx.results.folder.glob(f"small/evals/{name}/*/ilsvrc2012-val.parquet")
        return sum(pd.read_parquet(path)["ten_top1_error"].mean() for path in paths) / 6

    found = dict(re.findall(r"<code>(\w+)</code>\): ([−\d.]+) ", part))
    for name, points in found.items():
        assert float(points.replace("−", "-")) == pytest.approx(100 * (error(name) - error("alexnet")), abs=0.006)
    assert found, "the fabricated campaign has a departure whose effect is far above its noise"


def test_claims_that_studies_answer_differently_are_named(ctx: Context) -> None:
    html = findings.depends(ctx).partition("Claims on which studies differ")[2].partition("<h3>")[0]
    assert html, "two seeds leave open what six show"
    for text in lines(html).values():
        verdicts = re.findall(
            r"(direction agrees|direction contradicts|not shown|cannot tell) \((?:demo|proxy)\)", text
        )
        assert len(set(verdicts)) == 2


def test_nothing_run_is_said(tmp_path: Path) -> None:
    empty = context(tmp_path)
    said = [f(empty) for f in (findings.holds, findings.fails, findings.stays_open, findings.depends)]
    assert all('class="note"' in text and "<li>" not in text for text in said)
