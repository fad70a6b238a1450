"""Reports of campaigns that are empty, half done, failed, out of date, of several studies, or oddly named."""

from __future__ import annotations

import json
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import fabricate
import nbformat
import pytest
from conftest import NOTEBOOKS
from test_browser import browser  # noqa: F401  (a fixture)
from test_notebooks import run_cells

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import answer, campaign_state, claims, data, headline, provenance
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

EVIL = '<img src=x onerror="alert(1)">'
LONG = "a_very_long_name_" * 14


def context(folder: Path) -> Context:
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def text(html: str) -> str:
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).replace("\u00a0", " ").split())


def details(ctx: Context, id_: str) -> str:
    """What opens below a claim."""
    (row,) = re.findall(rf'<article [^>]*id="claim-{id_}".*?</article>', claims.claims(ctx), re.S)
    (inside,) = re.findall(r"<details>.*?</details>", row, re.S)
    return str(inside)


# First page -------------------------------------------------------------------------------------------------------


DRAWN = len(headline.SHOWN)  # claims of the headline figure


def test_counts_and_answers_leave_no_claim_out(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=120)
    fabricate.describes(tmp_path)
    ctx = context(tmp_path)
    counts = answer.verdicts(ctx)
    for (verdict, evidence), group in ctx.table.groupby(["verdict", "evidence"]):
        said = re.findall(rf'data-verdict="{verdict}" data-evidence="{evidence or "none"}"[^>]*>(\d+) ', counts)
        assert said == [str(len(group))]
    first = answer.first_screen(ctx)
    tiles = re.findall(r"<a href=\"#claims\"[^>]*><b>(\d+)</b> ([^<]*)</a>", first)
    assert sum(int(count) for count, _ in tiles) == len(ctx.table)
    settled = ctx.table[ctx.table["verdict"].eq("holds")]
    assert (str(len(settled)), "hold without training") in tiles
    lead = text(first)
    assert "Only generated images have been trained on" in lead and "are untested" in lead
    assert f"None of these {DRAWN} claims has been tested yet" in lead and "On small data" not in lead
    assert f"{len(ctx.results.runs)} runs of" in lead and f"{len(ctx.table)} claims in all" in lead


def test_nothing_run_yet(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    shown = text(answer.first_screen(ctx))
    assert (
        "Nothing has been trained yet, so the paper's errors (37.5 % and 17.0 %) and its effects are untested" in shown
    )
    assert f"None of these {DRAWN} claims has been tested yet" in shown and " runs of " not in shown
    warned = text(answer.verdicts(ctx))
    assert "code has changed" not in warned and "failed:" not in warned
    assert claims.claims(ctx).count("<details>") == claims.claims(ctx).count("<article ") == len(ctx.table)
    assert "Runs without a result" not in provenance.page(ctx.results)
    assert "python -m analysis explain lrn-delta-lab" in details(ctx, "lrn-delta-lab")


def test_half_a_campaign(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    fabricate.run(tmp_path, "demo", "alexnet", 1, [0.9, 0.6, 0.4])
    fabricate.log(tmp_path, "demo", "alexnet", 1, "epoch 3")  # finished: its log is of no interest
    fabricate.log(tmp_path, "demo", "tanh", 1, "epoch 1\nepoch 2\n")
    ctx = context(tmp_path)
    asked = 2 * sum("members" not in about for about in fabricate.ABOUT.values())
    assert campaign_state.progress(ctx, ctx.studies[0]) == f"1 of {asked} runs finished."
    assert "1 run begun but not finished." in text(answer.verdicts(ctx))
    (left,) = campaign_state.unfinished(ctx.results)
    assert (left.key, left.failed, left.tail) == (("demo", "tanh", 1), False, "epoch 1\nepoch 2")


def test_a_failed_run_shows_the_tail_of_its_log(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    fabricate.run(tmp_path, "demo", "alexnet", 1, [0.9, 0.6])
    lines = [f"line {i}" for i in range(40)]
    said = "\n".join([*lines, "Traceback (most recent call last):", f"RuntimeError: out of memory {EVIL}"])
    fabricate.log(tmp_path, "demo", "no_lrn", 2, said)
    fabricate.log(tmp_path, "demo", "tanh", 1, "epoch 1")
    ctx = context(tmp_path)
    first = text(answer.verdicts(ctx))
    assert "1 run failed: demo/no_lrn/2." in first and "1 run begun but not finished." in first
    failed, running = re.findall(r'<details class="log".*?</details>', provenance.page(ctx.results), re.S)
    assert "out of memory &lt;img" in failed and EVIL not in failed and " open>" in failed
    assert "line 39" in failed and "line 20" not in failed
    assert "demo/tanh/1" in running and " open>" not in running


def test_a_log_that_never_ends_is_not_read_and_of_a_long_one_the_end(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    runs = [("tanh", 1), ("tanh", 2), ("no_lrn", 1)]
    for name, seed in runs:
        fabricate.log(tmp_path, "demo", name, seed, "epoch 1")
    pipe, device, long = (tmp_path / f"logs/demo/{name}/{seed}/train.log" for name, seed in runs)
    pipe.unlink()
    os.mkfifo(pipe)
    device.unlink()
    device.symlink_to("/dev/zero")
    with long.open("r+b") as log:
        log.seek(50 << 30)  # a hole
        log.write(b"\nKilled")
    (left,) = campaign_state.unfinished(load_results(tmp_path))
    assert left.key[1] == "no_lrn" and left.failed


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        ("error: no space left on device", True),
        ("Killed", True),
        ("KeyError: 'x'", True),
        ("epoch 4  training error 0.5", False),
        ("top-1 error: 0.5", False),
    ],
)
def test_what_counts_as_failed(tmp_path: Path, log: str, failed: bool) -> None:
    fabricate.study(tmp_path, "demo")
    fabricate.log(tmp_path, "demo", "tanh", 1, f"begin\n{log}\n")
    (left,) = campaign_state.unfinished(load_results(tmp_path))
    assert left.failed == failed


def test_one_seed(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, seeds=1, images=120)
    ctx = context(tmp_path)
    opened = text(details(ctx, "lrn-delta-lab"))
    assert "too few pairs of seeds for a verdict: 1, where 5 are the fewest" in opened.lower()
    assert "Runs: alexnet, seed 1 ;" in opened
    assert "5 pairs of seeds are the fewest for a verdict" in text(answer.verdicts(ctx))


# Code and data ----------------------------------------------------------------------------------------------------


def test_the_hash_of_the_code_is_the_one_that_runs_record() -> None:
    from alexnet.runtime.fingerprint import STAGES, code_sha256

    assert {stage: campaign_state.code_now(stage) for stage in STAGES} == {
        stage: code_sha256(stage) for stage in STAGES
    }


def test_results_of_other_code_say_so(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=60)
    paths = sorted(tmp_path.glob("demo/runs/*/*/run.json"))
    for path in paths[1:]:  # all but one are of the present code
        record = json.loads(path.read_text())
        record["provenance"]["code_sha256"] = campaign_state.code_now()
        path.write_text(json.dumps(record))
    ctx = context(tmp_path)
    assert campaign_state.outdated(ctx.results) == {("demo", "alexnet", 1)}
    assert f"1 of {len(paths)} runs was made by training code that is not" in text(answer.verdicts(ctx))
    assert provenance.page(ctx.results).count("code has changed since this run") == 1
    assert "code has changed since" in details(ctx, "lrn-delta-lab")
    for path in paths:
        record = json.loads(path.read_text())
        record["provenance"]["code_sha256"] = campaign_state.code_now()
        path.write_text(json.dumps(record))
    assert "code has changed" not in text(answer.verdicts(context(tmp_path)))


def test_a_claim_leads_to_its_runs_data_and_commands(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path / "results", images=120)
    ctx = context(tmp_path / "results")
    opened = details(ctx, "lrn-delta-lab")
    rows = provenance.page(ctx.results)
    for seed in range(1, 6):
        for name in ("alexnet", "no_lrn"):
            assert f'href="#run-demo-{name}-{seed}"' in opened
            assert f'id="run-demo-{name}-{seed}"' in rows
    files = [f"results/demo/runs/no_lrn/{seed}/model.pt" for seed in range(1, 6)]
    command = f"snakemake --cores all no_lrn --config studies=[demo] --forcerun {' '.join(files)}"
    assert f"<code>{command}</code>" in opened
    assert f"manifest <code>{'d' * 12}</code>" in opened and '<a href="#data">' in opened
    assert "error of no_lrn minus error of alexnet, on the same images" in opened
    assert '<a href="#ablations">' in opened


def test_a_class_without_images(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=60)
    path = tmp_path / "demo/data/ilsvrc2012/manifest.json"
    record = json.loads(path.read_text())
    record["splits"]["train"] |= {"images": 3300, "per_class": [300, 300, 300, 0, *[300] * 8]}
    path.write_text(json.dumps(record))
    ctx = context(tmp_path)
    shown = text(data.data(ctx))
    assert "0 – 300" in shown and "1 class of ilsvrc2012 train has no image" in shown


def test_three_studies_at_once(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=120)
    fabricate.campaign(tmp_path, "imagenette", tier="proxy", images=120)
    fabricate.campaign(tmp_path, "ilsvrc2012", tier="paper", images=120)
    path = tmp_path / "ilsvrc2012/study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": 1000}))  # else it is not full size
    ctx = context(tmp_path)
    assert [study.name for study in ctx.studies] == ["ilsvrc2012", "imagenette", "demo"]
    full = ctx.table[ctx.table["evidence"].eq("paper scale") & ctx.table["verdict"].ne("pending")]
    lead = text(answer.first_screen(ctx))
    assert f"At full size, {len(full)} claims were tested:" in lead and "On ImageNet, " in lead
    assert "untested" not in lead
    opened = text(details(ctx, "lrn-delta-lab"))
    assert "Data: study ilsvrc2012" in opened
    assert "Also in study imagenette" in opened and "Also in study demo" in opened


# Whole reports ----------------------------------------------------------------------------------------------------


def assembled(results: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a results folder, with the cells run in this process: what the kernels would write."""
    table, out = folder / "verdicts.csv", folder / "reports" / "alexnet.html"
    assert main(["check", "--results", str(results), "--out", str(table)]) == 0
    monkeypatch.setenv("ALEXNET_RESULTS", str(results))
    monkeypatch.setenv("ALEXNET_CLAIMS", str(table))
    copies = []
    for path in NOTEBOOKS:
        book = nbformat.read(path, as_version=4)
        pieces = iter(run_cells(path))
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.execution_count = 1
                cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": next(pieces)})]
        copies.append(folder / path.name)
        nbformat.write(book, copies[-1])
    options = ["--claims", str(table), "--results", str(results), "--out", str(out)]
    assert main(["report", *map(str, copies), *options]) == 0
    return out


def strange(folder: Path) -> None:
    """Long names and markup wherever a name may stand, a failed run, three studies."""
    fabricate.campaign(folder, seeds=1, images=60)
    fabricate.campaign(folder, "imagenette", tier="proxy", images=60)
    fabricate.campaign(folder, "ilsvrc2012", tier="paper", images=60)
    for path in folder.glob("*/study.json"):
        record = json.loads(path.read_text())
        record |= {"title": f"{EVIL} {LONG}", "data": f"{LONG} {EVIL}"}
        record["experiments"].append(
            {"name": LONG, "about": EVIL * 9, "seeds": [1], "kind": "ablation", "baseline": "alexnet"}
        )
        path.write_text(json.dumps(record))
    for path in folder.glob("*/data/*/manifest.json"):
        record = json.loads(path.read_text())
        record["classes"][0]["name"] = f"{EVIL} {LONG}"
        record["archives"][0]["file"] = f"{LONG}{EVIL}.tar"
        path.write_text(json.dumps(record))
    held = [f"ilsvrc2012_val_{i:08d}.JPEG" for i in range(60)]
    fabricate.store(folder, "demo", "ilsvrc2012", "val", held, [i % 12 for i in range(60)])
    fabricate.store(folder, "demo", "ilsvrc2012", "train", ["t.JPEG"], [0])
    fabricate.log(folder, "demo", LONG, 1, f"error: {LONG} {EVIL}")
    fabricate.describes(folder)
    fabricate.departures(folder)


@pytest.fixture(params=["nothing run", "strange names in three studies"])
def odd(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    results = tmp_path / "results"
    results.mkdir()
    if request.param != "nothing run":
        strange(results)
    return assembled(results, tmp_path, monkeypatch)


@pytest.mark.browser
def test_an_odd_report_fits_the_screen_and_is_valid(odd: Path, browser: Any) -> None:  # noqa: F811
    from bleach._vendor import html5lib

    parser = html5lib.HTMLParser()
    page = odd.read_text(encoding="utf-8")
    parser.parse(page)
    assert parser.errors == []
    assert EVIL not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    for width in (390, 1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        tab = context.new_page()
        problems: list[str] = []
        tab.on("console", lambda message, to=problems: to.append(message.text))
        tab.on("dialog", lambda dialog, to=problems: to.append(dialog.message))
        tab.goto(odd.as_uri())
        assert problems == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("article.claim:visible").count() > 25
        context.close()
