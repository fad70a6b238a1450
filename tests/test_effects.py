"""Effects against plain computations on the files, and the words for what cannot be compared."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import departure_tables
from analysis.results.evidence import Results, load_results
from analysis.stats.intervals import holm
from analysis.verdicts import effects
from analysis.verdicts.table import read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fabricated campaign with five seeds, its departures and its verdict table."""
    made = tmp_path_factory.mktemp("effects")
    fabricate.campaign(made, "imagenette", tier="proxy", images=600)
    fabricate.departures(made)
    assert main(["check", "--results", str(made), "--out", str(made / "claims.csv")]) == 0
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results(folder)


def errors(folder: Path, name: str, view: str = "ten") -> pd.DataFrame:
    """Errors by image (rows) and seed (columns), read without the analysis."""
    paths = sorted((folder / "imagenette/evals" / name).glob("*/ilsvrc2012-val.parquet"))
    return pd.DataFrame({p.parent.name: pd.read_parquet(p).set_index("name")[f"{view}_top1_error"] for p in paths})


@pytest.mark.parametrize("view", ["ten", "center"])
def test_an_effect_is_the_paired_difference_with_its_interval(folder: Path, results: Results, view: str) -> None:
    (effect,) = effects.effects(results, results.studies["imagenette"], ["text_weight_std"], view)
    ours, base = errors(folder, "text_weight_std", view), errors(folder, "alexnet", view)
    gains = ours - base
    paired = gains.mean(axis=1)
    seed, luck = gains.mean().var(ddof=1) / 5, gains.var(axis=1, ddof=1).mean() / 5
    image = max(0, paired.var(ddof=1) - luck) / 600
    square = stats.t.ppf(0.975, 4) ** 2 * seed + stats.t.ppf(0.975, 599) ** 2 * image
    half = np.sqrt(max(square, stats.norm.ppf(0.975) ** 2 * paired.var(ddof=1) / 600))
    expected = 100 * np.array([paired.mean(), paired.mean() - half, paired.mean() + half])
    np.testing.assert_allclose(effect.points, expected, rtol=1e-9)
    assert effect.words == "worse" and effect.seeds == "5 pairs"
    assert (effect.baseline, effect.dataset, effect.split) == ("alexnet", "ilsvrc2012", "val")


def test_words_for_what_cannot_be_compared(results: Results) -> None:
    study = results.studies["imagenette"]
    names = ["alexnet", "paper", "text_reshuffle", "text_weight_std", "unheard_of"]
    found = {effect.experiment: effect for effect in effects.effects(results, study, names)}
    assert list(found) == names[:-1]
    assert found["paper"].words == "stays at chance" and found["paper"].p_holm is None
    assert found["text_reshuffle"].words == "the same net in this study"
    assert found["text_reshuffle"].estimate is None
    assert found["alexnet"].words == "the baseline itself"


def test_an_effect_that_is_not_there_reads_so(results: Results) -> None:
    study = results.studies["imagenette"]
    found = effects.effects(results, study, ["non_overlapping_pooling", "tanh", "no_pca_color"])
    words = {effect.experiment: effect.words for effect in found}
    assert words["non_overlapping_pooling"] == "no difference shown"
    assert words["tanh"] == "worse"
    by_p = sorted((effect for effect in found), key=lambda effect: effect.estimate.p)  # type: ignore[union-attr]
    p = [effect.estimate.p for effect in by_p]  # type: ignore[union-attr]
    wanted = np.maximum.accumulate([3 * p[0], 2 * p[1], p[2]])  # type: ignore[operator]
    assert [effect.p_holm for effect in by_p] == pytest.approx(np.minimum(wanted, 1).tolist())


def test_holm_is_the_step_down_rule() -> None:
    # sorted 0.01, 0.02, 0.03, 0.9: times 4, 3, 2, 1 and never falling
    assert holm([0.03, None, 0.01, 0.9, 0.02]) == pytest.approx([0.06, None, 0.04, 0.9, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_without_a_second_seed_there_is_no_reading(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, seeds=1, images=60)
    results = load_results(tmp_path)
    (effect,) = effects.effects(results, results.studies["demo"], ["text_weight_std"])
    assert effect.words == "too few pairs for a verdict" and effect.shown.count("[") == 0


def test_one_line_a_study_and_view_for_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["effects", "--results", str(folder), "--experiment", "text_weight_std"]) == 0
    ten, center = capsys.readouterr().out.splitlines()
    pattern = (
        r"imagenette \(proxy\): text_weight_std against alexnet: top-1 error [\d.]+ points \[[\d.]+, [\d.]+\], "
        r"{}, ilsvrc2012 val, 600 images, 5 pairs of seeds: worse"
    )
    assert re.fullmatch(pattern.format("ten views"), ten) and re.fullmatch(pattern.format("centre view"), center)
    assert main(["effects", "--results", str(folder), "--experiment", "text_bias_decay"]) == 0
    assert capsys.readouterr().out == "no study here has an experiment text_bias_decay\n"
    assert main(["effects", "--results", str(folder / "none"), "--experiment", "tanh"]) == 2


def test_the_page_says_which_recipe_trains_and_shows_every_departure(folder: Path, results: Results) -> None:
    ctx = Context(results, read_table(folder / "claims.csv"))
    (study,) = ctx.studies
    found = departure_tables.recipes(ctx, study)
    assert found is not None
    html = " ".join(re.sub(r"<[^>]+>", "", found).split())
    assert "paper stayed at chance (91.7 %) with every seed." in html
    assert re.search(r"Left chance, with the validation error at the end: alexnet \([\d.]+ %\)\.", html)
    other = replace(study, record=study.record | {"experiments": [{"name": "cifar_lrn", "kind": "base"}]})
    assert departure_tables.recipes(ctx, other) is None
    html = str(departure_tables.departures(ctx))
    known = json.loads((folder / "departures.json").read_text())["departures"]
    for row in known:
        assert html.count(f'id="departure-{row["name"]}"') == 1
    measured = {e.experiment: e for e in effects.effects(results, study, [row["name"] for row in known]) if e.estimate}
    assert len(measured) == 3 and html.count('<p class="numbers">Not run.</p>') == len(known) - 3
    order = [name for name in re.findall(r'id="departure-(\w+)"', html) if name in measured]
    first, folded = html.split('<details class="rest">')
    told = [name for name in order if f'id="departure-{name}"' in first]
    assert all(e.points[1] > 0 or e.points[2] < 0 for e in map(measured.get, told)) and "text_weight_std" in told
    for part in (told, [name for name in order if name not in told]):
        assert part == sorted(part, key=lambda name: -abs(measured[name].points[0]))  # the largest first
    for effect in measured.values():
        assert f"<b>{effect.shown}</b> points of top-1 error ({effect.seeds}" in html
    axes = [re.findall(r'<text x="([\d.]+)%"[^>]*>([^<]+)<', svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]
    assert all(axis == axes[0] for axis in axes if axis)  # the lines of a study share one axis
    folded = departure_tables.recipes_side_by_side(ctx)
    assert "<code>model.lrn.divide_alpha_by_size</code>" in folded
    assert "<code>optimizer.momentum</code>" not in folded  # the same in all three


def test_nets_trained_for_less_than_their_recipe_are_not_titled_paper_scale(results: Results) -> None:
    (study,) = results.studies.values()
    nets = [
        about | ({"epochs": [40, 160]} if about["name"] == "no_lrn" else {}) for about in study.record["experiments"]
    ]
    paper = replace(study, title="CIFAR-10", tier="paper", record={**study.record, "experiments": nets})
    runs = {(study.name, name, 1): {} for name in ("alexnet", "tanh")}
    assert effects.titled(replace(results, runs=runs), paper) == "CIFAR-10 (paper scale)"
    runs[study.name, "no_lrn", 1] = {}
    assert effects.titled(replace(results, runs=runs), paper) == "CIFAR-10 (paper's data, reduced)"
    copy = {(study.name, study.training_set): {"variant": "cifar10-jpeg75"}}
    assert effects.titled(replace(results, runs=runs, manifests=copy), paper) == "CIFAR-10 (lossy copy)"


def test_names_with_markup_stay_text(folder: Path, results: Results) -> None:
    ctx = Context(results, read_table(folder / "claims.csv"))
    for kind in ("departure", "variant", "ablation"):
        html = departure_tables.effects_of(ctx, ctx.studies[0], kind)
        assert html is not None and "About &lt;" in html and "About <" not in html


def test_recipes_and_departures_as_markdown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["departures", "--results", str(folder), "--study", "imagenette"]
    assert main(options) == 0
    parts = capsys.readouterr().out.strip().split("\n\n")
    title, recipes, rows = (part.splitlines() for part in parts)
    assert title == ["Imagenette, 20 epochs, chance 91.7 %:"]
    assert [line.split(" | ")[0] for line in recipes[2:]] == ["| alexnet", "| paper"]
    assert recipes[3].endswith("| stays at chance |")
    (row,) = [row for row in rows if "(`text_weight_std`)" in row]
    assert len(rows) == 2 + 3 and row.endswith("| 5 pairs | worse |")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- departures:start -->\nold\n<!-- departures:end -->\nafter\n")
    assert main([*options, "--into", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and row in text
    assert main(options[:-2]) == 0 and capsys.readouterr().out.strip().splitlines()[0] == title[0]
    assert main([*options[:-1], "nowhere"]) == 2
    assert "no study 'nowhere'; it has imagenette" in capsys.readouterr().err
