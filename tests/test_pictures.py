"""Small pictures: the right pixels of the right image, five labels, neighbours, and names that are only text."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import what_the_net_sees
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

EVIL = '<img src=x onerror="alert(1)">'


def context(folder: Path) -> Context:
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def embedded(html: str) -> list[np.ndarray]:
    """The pictures of a page, decoded."""
    data = re.findall(r"data:image/jpeg;base64,([^\"]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in data]


@pytest.mark.parametrize("kind", ["npy", "jpegs"])
def test_images_are_read_from_both_stores(tmp_path: Path, kind: str) -> None:
    names = [f"i{i}" for i in range(5)]
    images = fabricate.store(tmp_path, "s", "d", "val", names, [0, 1, 0, 1, 0], kind=kind)
    folder = tmp_path / "s/data/d"
    index = what_the_net_sees.read_index(folder, "val")
    assert index is not None and list(index["name"]) == names
    found = what_the_net_sees.read_images(folder, "val", index, [3, 0])
    for place, image in zip((3, 0), found, strict=True):
        assert image.shape == (16, 16, 3)
        limit = 0 if kind == "npy" else 60  # noise is what JPEG keeps worst; other images differ by far more
        assert np.abs(image.astype(int) - images[place]).mean() <= limit
    assert what_the_net_sees.read_index(folder, "train") is None


def test_positions_are_spread_evenly() -> None:
    assert what_the_net_sees.spread(3, 8) == [0, 1, 2]
    assert what_the_net_sees.spread(100, 5) == [0, 24, 49, 74, 99]
    assert what_the_net_sees.spread(0, 5) == []


def campaign(folder: Path, **names: str) -> None:
    """A campaign with packed images under the names of its evaluations; classes are renamed by number."""
    fabricate.campaign(folder, images=24)
    path = folder / "demo/data/ilsvrc2012/manifest.json"
    record = json.loads(path.read_text())
    for number, name in names.items():
        record["classes"][int(number.lstrip("c"))]["name"] = name
    path.write_text(json.dumps(record))
    held = [f"ilsvrc2012_val_{i:08d}.JPEG" for i in range(24)]
    fabricate.store(folder, "demo", "ilsvrc2012", "val", held, [i % 12 for i in range(24)], side=112)
    trained = [f"train_{i}.JPEG" for i in range(30)]
    fabricate.store(folder, "demo", "ilsvrc2012", "train", trained, [i % 11 for i in range(30)], side=64)


def test_the_sheet_shows_the_first_images_of_each_class(tmp_path: Path) -> None:
    campaign(tmp_path, c0=EVIL, c11="x" * 300)
    ctx = context(tmp_path)
    sheet = what_the_net_sees.sample_sheet(ctx.results, ctx.studies[0])
    assert sheet is not None
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', sheet)
    assert len(rows) == 10
    assert rows[0][0] == "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;"
    assert rows[-1][0] == "x" * 300 and "no image" in rows[-1][1]  # the class 11 has none
    shown = embedded(sheet)
    stored = np.load(tmp_path / "demo/data/ilsvrc2012/train.npy")
    assert len(shown) == 9 and shown[0].shape == (64, 3 * 67 - 3, 3)  # 0, 11 and 22 of 30 are of class 0
    for column, place in enumerate((0, 11, 22)):
        tile = shown[0][:, 67 * column : 67 * column + 64].astype(int)
        errors = [np.abs(tile - other).mean() for other in stored]
        assert int(np.argmin(errors)) == place
    assert all(alt for alt in re.findall(r'<img alt="([^"]*)"', sheet))


def test_five_labels_are_those_of_the_evaluation(tmp_path: Path) -> None:
    campaign(tmp_path, c0=EVIL)
    ctx = context(tmp_path)
    html = what_the_net_sees.five_labels(ctx, ctx.studies[0])
    table = pd.read_parquet(tmp_path / "demo/evals/alexnet/1/ilsvrc2012-val.parquet").sort_values("name")
    chosen = table.iloc[[0, 3, 6, 9, 13, 16, 19, 23]]
    first = sum(row.center_top5[0] == row.label for row in chosen.itertuples())
    among = sum(row.label in row.center_top5 for row in chosen.itertuples())
    assert f"the most probable one in {first} and among the five in {among}." in html
    assert f"{100 * table['center_top1_error'].mean():.1f}\u00a0% (top-1)" in html
    right = sum(list(row.center_top5).count(row.label) for row in chosen.itertuples())
    assert html.count('<span class="right">') == right > 0
    assert html.count("<li>") == 5 * 8 and html.count("width:50.0%") == 8
    pixels = np.load(tmp_path / "demo/data/ilsvrc2012/val.npy")
    for shown, place in zip(embedded(html), (0, 3, 6, 9, 13, 16, 19, 23), strict=True):
        errors = [np.abs(shown.astype(int) - other).mean() for other in pixels]
        assert int(np.argmin(errors)) == place
    assert EVIL not in html


def test_neighbours_are_those_of_the_examination(tmp_path: Path) -> None:
    campaign(tmp_path, c1=EVIL)
    near = [[f"train_{(i + step) % 30}.JPEG" for step in range(6)] for i in range(24)]
    for path in tmp_path.glob("demo/examined/alexnet/1/queries.parquet"):
        table = pd.read_parquet(path).iloc[:24].assign(neighbours=near)
        table["name"] = [f"ilsvrc2012_val_{i:08d}.JPEG" for i in range(24)]
        table.to_parquet(path, index=False)
        record = json.loads(path.with_name("examination.json").read_text())
        means = {key: float(table[key].mean()) for key in record["queries"] if key in table}
        record["queries"] |= {"images": 24} | means
        path.with_name("examination.json").write_text(json.dumps(record))
    ctx = context(tmp_path)
    html = what_the_net_sees.neighbours(ctx, ctx.studies[0])
    counted = re.findall(r"<td[^>]*>(\d) of 6</td>", html)
    expected = [sum((i + step) % 30 % 11 == i % 12 for step in range(6)) for i in (0, 5, 11, 17, 23)]
    assert list(map(int, counted)) == expected
    assert len(embedded(html)) == 10 and EVIL not in html
    stored = np.load(tmp_path / "demo/data/ilsvrc2012/train.npy")
    second = embedded(html)[3][:, 67 : 67 + 64].astype(int)  # the second neighbour of image 5 is image 6
    assert int(np.argmin([np.abs(second - other).mean() for other in stored])) == 6


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=24)
    ctx = context(tmp_path)
    study = ctx.studies[0]
    assert what_the_net_sees.sample_sheet(ctx.results, study) is None
    assert "are not here" in what_the_net_sees.five_labels(ctx, study)
    assert "did not keep which images are near" in what_the_net_sees.neighbours(ctx, study)
    fabricate.study(tmp_path / "other", "demo")
    ctx = context(tmp_path / "other")
    assert "not evaluated" in what_the_net_sees.five_labels(ctx, ctx.studies[0])
    assert "examined yet" in what_the_net_sees.neighbours(ctx, ctx.studies[0])
