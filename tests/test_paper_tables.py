"""Tables 1 and 2 beside ours, and what the paper's scale takes."""

from __future__ import annotations

import re
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import cost, tables_1_and_2
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("tables")
    fabricate.campaign(folder, images=120)
    fabricate.describes(folder)
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def rows(html: str) -> dict[str, list[str]]:
    """First cell of each row -> the others."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return {name: re.findall(r"<td[^>]*>(.*?)</td>", cells) for name, cells in found}


def test_the_papers_rows_are_as_printed(ctx: Context) -> None:
    first, second = tables_1_and_2.tables(ctx).rsplit("Table 2: errors", 1)
    one, two = rows(first), rows(second)
    printed_1 = {"Sparse coding": ["47.1", "28.2"], "SIFT + Fisher vectors": ["45.7", "25.7"], "CNN": ["37.5", "17.0"]}
    printed_2 = {
        "SIFT + Fisher vectors": ["–", "–", "26.2"],
        "1 CNN": ["40.7", "18.2", "–"],
        "5 CNNs": ["38.1", "16.4", "16.4"],
        "1 CNN, pre-trained": ["39.0", "16.6", "–"],
        "7 CNNs, two pre-trained": ["36.7", "15.4", "15.3"],
    }
    assert {name: one[f"{name} (paper)"][:2] for name in printed_1} == printed_1
    assert {name: two[f"{name} (paper)"][:3] for name in printed_2} == printed_2
    assert one["CNN (lab log)"][:2] == ["37.47", "17.00"] and two["1 CNN (lab log)"][:2] == ["40.66", "18.21"]


def test_ours_are_means_over_seeds(ctx: Context) -> None:
    found = rows(tables_1_and_2.tables(ctx))["CNN (ours, study demo)"]
    errors = [
        100
        * pd.read_parquet(ctx.results.folder / f"demo/evals/alexnet/{seed}/ilsvrc2010-test.parquet")[
            "ten_top1_error"
        ].mean()
        for seed in range(1, 6)
    ]
    assert found[0] == f"{np.mean(errors):.1f} ({min(errors):.1f} – {max(errors):.1f})"
    assert found[2:] == ["120", "5", "demo"]


def test_cost_is_counted_from_layers_and_the_papers_words(ctx: Context) -> None:
    html = cost.extrapolated(ctx)
    images = 90 * 1_200_000
    flop = 2 * 3 * 724_406_816 * images  # multiply-adds of one image, forward and both gradients
    assert "108 million images" in html and f"{flop / 1e15:,.0f} PFLOP" in html
    nets = cost.nets_wanted(ctx.table)
    assert {"alexnet", "no_lrn", "one_gpu"} <= set(nets) and "ensemble" not in nets
    found = rows(html)
    assert found["A card that keeps up 20 TFLOP/s (GPU-hours)"][0] == f"{flop / 20e12 / 3600:.3g}"
    paper = found["The paper: 5.5 days on 2 GTX 580 (GPU-hours)"]
    assert paper == ["264", f"{264 * 3 * len(nets):,}"]
    assert f"{3 * 4 * 60_965_224 / 1e9:.2f} GB a run" in html


def test_measured_cost_adds_up_the_runs(ctx: Context) -> None:
    found = rows(cost.measured(ctx))["Demo"]
    count = len(ctx.results.runs)
    assert found[:2] == [str(count), f"{190 * count / 3600:.2f}"]
    assert found[2] == f"{190 / 3600:.2f}"  # by the clock: all were trained side by side
    evaluated = len(list(ctx.results.folder.glob("demo/evals/*/*/*.json")))
    assert found[3] == f"{evaluated / 3600:.2f}"  # a second each
    assert found[4] == f"{190 / 60:.1f}" and found[5] == "380" and "&lt;fast&gt;" in found[7]


def test_without_results_it_says_so(tmp_path: Path) -> None:
    assert main(["check", "--results", str(tmp_path), "--out", str(tmp_path / "c.csv")]) == 0
    empty = Context(load_results(tmp_path), read_table(tmp_path / "c.csv"))
    assert "nothing was measured" in cost.measured(empty)
    assert "cannot be counted" in cost.extrapolated(empty)
    assert "Table 1" in tables_1_and_2.tables(empty)
