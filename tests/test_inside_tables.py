"""The page on finished nets: pictures of kernels, and tables whose numbers are those of the examinations."""

from __future__ import annotations

import re
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.report.context import Context
from analysis.report.pages import inside_the_net
from analysis.results.evidence import Results, load_results


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    fabricate.campaign(tmp_path, images=120, seeds=2)
    return Context(load_results(tmp_path), pd.DataFrame({"id": ["drop-overfit", "fig3-special", "fig4-pixels"]}))


def test_kernels_stand_side_by_side_each_in_its_own_range() -> None:
    rng = np.random.default_rng(0)
    kernels = rng.normal(0, 1, (5, 4, 3, 3)).astype(np.float32)
    kernels[4] = 2.5
    picture = inside_the_net.grid(kernels, 3)
    assert picture.shape == (2 * 5 - 1, 3 * 4 - 1, 4)
    for i, (top, left) in enumerate([(0, 0), (0, 4), (0, 8), (5, 0)]):
        part = picture[top : top + 4, left : left + 3]
        low, high = kernels[i].min(), kernels[i].max()
        np.testing.assert_array_equal(part[..., :3], np.rint(255 * (kernels[i] - low) / (high - low)))
        assert (part[..., 3] == 255).all()
    assert (picture[5:, 4:7, :3] == 127).all()  # a kernel without contrast is grey
    assert (picture[4] == 0).all() and (picture[5:, 8:] == 0).all()  # gaps and the empty place are transparent


def test_the_gap_table_has_the_errors_of_the_finished_nets(ctx: Context) -> None:
    (study,) = ctx.studies
    html = inside_the_net.inside(ctx, study).partition("Training and validation error")[2]
    for name in ("alexnet", "no_dropout", "non_overlapping_pooling"):
        records = [r for key, r in ctx.results.examined.items() if key[1] == name]
        train = 100 * np.mean([record["sample"]["top1_error"] for record in records])
        held = ctx.results.chosen(study.name, name, "ilsvrc2012", "val", "center")["top1_error"].mean() * 100
        cells = re.search(rf">{name}</th>(.*?)</tr>", html, re.S)[1]
        numbers = re.findall(r">([−\d.]+)<", cells)
        assert numbers[0] == "2"
        assert numbers[2:] == [f"{train:.1f}", f"{held:.1f}", f"{held - train:.1f}".replace("-", "−")]


def test_the_whole_page_shows_towers_neighbours_and_verdicts(ctx: Context) -> None:
    (study,) = ctx.studies
    html = inside_the_net.inside(ctx, study)
    pictures = re.findall(r'alt="(\d+) kernels of 7 by 7 pixels, tower (\d), seed (\d)"', html)
    assert [(int(tower), int(seed)) for _, tower, seed in pictures] == [(1, 1), (2, 1), (1, 2), (2, 2)]  # of every seed
    assert sum(int(count) for count, _, _ in pictures) == 2 * 12
    assert ">seed 1</th>" in html.partition("How colourful the kernels")[2].partition("</table>")[0]
    assert 'href="#claim-fig3-special"' in html and 'href="#claim-drop-overfit"' in html
    assert "the 6 nearest training images, by L2 in fc7 (512 dimensions)" in html


def test_kernels_are_counted_by_tower_with_exact_bounds(ctx: Context) -> None:
    (study,) = ctx.studies
    html = inside_the_net.inside(ctx, study).partition("coloured, counted")[2].partition("</details>")[0]
    for seed in (1, 2):
        kernels = ctx.results.examined["demo", "alexnet", seed]["kernels"]
        for tower in (0, 1):
            chroma = np.array(kernels["chroma"])[np.array(kernels["tower"]) == tower]
            coloured, count = int((chroma > 0.5).sum()), len(chroma)
            cells = re.search(rf">seed {seed}, tower {tower + 1}</th>(.*?)</tr>", html, re.S)[1]
            shown = re.findall(r">([^<>]+)</td>", cells)
            assert shown[:4] == [str(n) for n in (count, count - coloured, coloured, coloured)]
            low = stats.beta.ppf(0.025, coloured, count - coloured + 1) if coloured else 0.0
            high = stats.beta.ppf(0.975, coloured + 1, count - coloured) if coloured < count else 1.0
            assert shown[5] == f"{100 * low:.0f} to {100 * high:.0f}\u00a0%"
    assert html.count("untrained") == 2


def test_old_records_show_what_they_hold(published_results: Results) -> None:
    """The published examinations, of before surrogates and baselines."""
    ctx = Context(published_results, pd.DataFrame({"id": []}))
    html = inside_the_net.inside(ctx, published_results.studies["imagenette"])
    assert "counted</summary>" not in html  # no surrogates, so nothing to count against
    assert len(re.findall(r'alt="12 kernels of 11 by 11 pixels, tower', html)) == 2 * 5
    queries = published_results.examined["imagenette", "alexnet", 2]["queries"]
    assert f">{100 * queries['same_class']:.1f}<" in html and f">{queries['thinned']:.4f}<" in html


def test_a_study_without_examinations_has_no_page(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    ctx = Context(load_results(tmp_path), pd.DataFrame({"id": ["fig3-special"]}))
    assert inside_the_net.inside(ctx, ctx.studies[0]) is None


def test_both_drawings_of_a_plot_say_its_numbers(ctx: Context) -> None:
    (study,) = ctx.studies
    labels = re.findall(r'aria-label="(Colour by tower: [^"]*)"', inside_the_net.inside(ctx, study))
    assert len(labels) == 2 and labels[0] == labels[1] and labels[0].count("mean") == 4  # two towers of two seeds
