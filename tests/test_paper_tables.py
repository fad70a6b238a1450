"""Tables 1 and 2 beside ours, and what the paper's scale takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest

from alexnet.experiments.resolve import resolve
from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import cost, speed, tables_1_and_2
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


def table(html: str) -> list[list[str]]:
    """The cells of each row."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return [[name, *re.findall(r"<td[^>]*>(.*?)</td>", cells)] for name, cells in found]


def sources(html: str) -> dict[tuple[str, str], list[str]]:
    """Model and source of each row -> its numbers."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th><td[^>]*>(.*?)</td>(.*?)</tr>', html)
    return {
        (model, re.sub(r"<[^>]+>", "", source)): re.findall(r"<td[^>]*>(.*?)</td>", cells)
        for model, source, cells in found
    }


def test_the_papers_rows_are_as_printed(ctx: Context) -> None:
    first, second = str(tables_1_and_2.tables(ctx)).split("<table>")[1:]
    one, two = sources(first), sources(second)
    printed_1 = {"Sparse coding": ["47.1", "28.2"], "SIFT + Fisher vectors": ["45.7", "25.7"], "CNN": ["37.5", "17.0"]}
    printed_2 = {
        "SIFT + Fisher vectors": ["–", "–", "26.2"],
        "1 CNN": ["40.7", "18.2", "–"],
        "5 CNNs": ["38.1", "16.4", "16.4"],
        "1 CNN, pre-trained": ["39.0", "16.6", "–"],
        "7 CNNs, two pre-trained": ["36.7", "15.4", "15.3"],
    }
    assert {name: one[name, "the paper"] for name in printed_1} == printed_1
    assert {name: two[name, "the paper"] for name in printed_2} == printed_2
    log = "the authors' log".replace("'", "&#39;")
    found = {key: cells for key, cells in (one | two).items() if key[1] in (log, "the authors' log")}
    assert [cells[:2] for cells in found.values()] == [["37.47", "17.00"], ["40.66", "18.21"]]


def test_errors_among_other_classes_do_not_stand_there_and_a_row_says_what_it_needs(ctx: Context) -> None:
    html = str(tables_1_and_2.tables(ctx))
    assert "<b>ours</b>" not in html and len(ctx.results.evals) > 0
    said = [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td colspan.*?</td>", html)]
    command = "snakemake --cores all {} --config studies=[{}]"
    assert said == [
        f"ours: not run, needs ILSVRC-2010: {command.format('alexnet', 'ilsvrc2010')}",
        f"ours: not run, needs ILSVRC-2012: {command.format('alexnet', 'ilsvrc2012')}",
        f"ours: not run, needs ILSVRC-2012: {command.format('ensemble', 'ilsvrc2012')}",
        *["ours: not run, needs the Fall 2011 release"] * 2,
    ]


def test_ours_are_means_over_seeds(ctx: Context) -> None:
    (study,) = ctx.results.studies.values()
    full = replace(ctx.results, studies={study.name: replace(study, tier="paper")})
    found = sources(str(tables_1_and_2.tables(replace(ctx, results=full))))
    paths = [ctx.results.folder / f"demo/evals/alexnet/{seed}/ilsvrc2010-test.parquet" for seed in range(1, 6)]
    errors = [100 * pd.read_parquet(path)["ten_top1_error"].mean() for path in paths]
    cells = found["CNN", "ours, demo, 5 seeds, 120 images"]
    assert cells[0] == f"{np.mean(errors):.1f} ({min(errors):.1f} – {max(errors):.1f})"
    assert found["1 CNN", "ours, demo, 5 seeds, 120 images"][2] == "–"


def test_cost_follows_from_speeds_and_the_study(ctx: Context, tmp_path: Path) -> None:
    config = resolve("ilsvrc2012", "alexnet", 1)
    assert config["training"]["epochs"] == cost.EPOCHS
    assert cost.IMAGES["ILSVRC-2012"] == cost.TRAIN + cost.VALIDATION
    nets = cost.nets_wanted(ctx.table)
    assert {"alexnet", "no_lrn", "one_gpu"} <= set(nets) and "ensemble" not in nets
    html = cost.extrapolated(ctx)
    assert f"{3 * 4 * 60_965_224 / 1e9:.2f} GB a run" in html
    seconds = 93 * (1_281_167 / 6900 + 50_000 / (3 * 6900) + 0.69)
    runs = 3 * len(nets)
    (h100,) = (cells for cells in table(html) if cells[:2] == ["NVIDIA H100", "fp32"])
    assert h100[2] == "6,900" and h100[3].startswith("estimate: ")
    hours = [seconds / 3600, seconds / 3600 * runs, seconds / 3600 * runs / 8]
    assert h100[4:7] == [speed.number(value) for value in hours]
    assert h100[7:] == ["98", f"{8 * 6900 * 256 * 256 * 3 / 1e9:.3g}"]
    paper = next(cells for cells in table(html) if cells[0] == "two GTX 580")
    assert float(paper[4]) / 24 == pytest.approx(5.5 * 93 * 1_281_167 / (90 * 1_200_000), rel=0.02)
    (tmp_path / "bench").mkdir()
    measured = {"device": "NVIDIA L4", "torch": "2", "steps": {"bf16 images/s": 1000.0, "seconds": 1.0}}
    (tmp_path / "bench/gpu.json").write_text(json.dumps(measured))
    (row,) = cost.speeds(tmp_path).query("on == 'NVIDIA L4'").to_dict("records")
    assert (row["precision"], row["images_per_second"], row["basis"]) == ("bf16", 1000, "measured")


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
    assert "NVIDIA H100" in cost.extrapolated(empty) and "GB a run" not in cost.extrapolated(empty)
    assert "Table 1" in tables_1_and_2.tables(empty)
