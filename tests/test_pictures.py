"""Small pictures: the right pixels of the right image, five labels, neighbours, and names that are only text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import fabricate
import numpy as np
import pytest
from PIL import Image

from analysis.__main__ import main
from analysis.report.context import Context
from analysis.report.pages import what_the_net_sees
from analysis.results.evidence import load_results
from analysis.results.integrity import MANIFEST
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
    fabricate.campaign(folder, images=24, seeds=2)
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


def with_pictures(folder: Path) -> list[dict]:
    """Record pictures in the examination: three images with labels, the first two with neighbours."""
    path = folder / "demo/examined/alexnet/1/examination.json"
    record = json.loads(path.read_text())
    entries = [
        {
            "index": i,
            "name": f"ilsvrc2012_val_{i:08d}.JPEG",
            "label": i % 12,
            "top5": [(i + step) % 12 for step in (step0, 1, 2, 3, 4)],
            "probabilities": [0.5, 0.2, 0.1, 0.05, 0.05],
        }
        for i, step0 in ((0, 0), (5, 7), (17, 0))
    ]
    for entry in entries[:2]:
        near = [(entry["index"] + step) % 30 for step in range(6)]
        entry["neighbours"] = [{"index": i, "label": i % 11} for i in near]
    path.write_text(json.dumps(record | {"pictures": entries}))
    return entries


def test_labels_and_neighbours_are_those_of_the_record_and_pictures_those_of_the_packed_set(tmp_path: Path) -> None:
    campaign(tmp_path, c0=EVIL, c1=EVIL)
    entries = with_pictures(tmp_path)
    ctx = context(tmp_path)
    html = what_the_net_sees.what_the_net_sees(ctx, ctx.studies[0])
    assert "the most probable one in 2 and among the five in 2;" in html
    assert html.count('<span class="right">') == 2
    assert html.count("<li>") == 5 * 3 and html.count("width:50.0%") == 3
    counted = re.findall(r"<td[^>]*>(\d) of 6</td>", html)
    assert [int(n) for n in counted] == [
        sum(i % 11 == e["label"] for i in range(e["index"], e["index"] + 6)) for e in entries[:2]
    ]
    shown = embedded(html)
    held, trained = (np.load(tmp_path / f"demo/data/ilsvrc2012/{split}.npy").astype(int) for split in ("val", "train"))
    assert len(shown) == 3 + 2 * 2 and EVIL not in html
    for image, entry in zip(shown, entries, strict=False):
        assert int(np.argmin([np.abs(image.astype(int) - other).mean() for other in held])) == entry["index"]
    second = shown[6][:, 67 : 67 + 64].astype(int)  # the second neighbour of image 5 is image 6
    assert int(np.argmin([np.abs(second - other).mean() for other in trained])) == 6


def test_a_study_without_the_base_net_shows_another_one(tmp_path: Path) -> None:
    campaign(tmp_path)
    with_pictures(tmp_path)
    pictured = tmp_path / "demo/examined/alexnet/1/examination.json"
    other = next(tmp_path.glob("demo/examined/no_dropout/1")) / "examination.json"
    record = json.loads(other.read_text())
    other.write_text(json.dumps(record | {"pictures": json.loads(pictured.read_text())["pictures"]}))
    for path in tmp_path.glob("demo/examined/alexnet/*/examination.json"):
        path.unlink()
    ctx = context(tmp_path)
    assert "no_dropout, seed 1, centre view" in what_the_net_sees.what_the_net_sees(ctx, ctx.studies[0])


def test_thumbnails_of_the_record_stand_in_for_a_packed_set_that_is_not_here(tmp_path: Path) -> None:
    campaign(tmp_path)
    entries = with_pictures(tmp_path)
    rng = np.random.default_rng(3)
    tiles = np.repeat(rng.integers(0, 256, (16, 1, 1, 3)), 32, axis=1).repeat(32, axis=2).astype(np.uint8)
    sheet = tiles.reshape(2, 8, 32, 32, 3).swapaxes(1, 2).reshape(64, 256, 3)
    Image.fromarray(sheet).save(tmp_path / "demo/examined/alexnet/1/thumbnails.jpg", quality=95, subsampling=0)
    assert main(["keep", "--results", str(tmp_path), "--out", str(tmp_path / "kept")]) == 0
    results = load_results(tmp_path / "kept")
    record = results.examined["demo", "alexnet", 1]
    hashed = hashlib.sha256(Path(record["folder"], "thumbnails.jpg").read_bytes()).hexdigest()
    assert record["files"]["thumbnails.jpg"] == hashed
    assert f"{hashed}  demo/examined/alexnet/1/thumbnails.jpg\n" in (tmp_path / "kept" / MANIFEST).read_text()
    found = what_the_net_sees.pixels_of(results, results.studies["demo"], record)
    order = [("val", e["index"]) for e in entries]
    order += [("train", near["index"]) for e in entries[:2] for near in e["neighbours"]]
    assert list(dict.fromkeys(order)) == list(found)
    for place, key in enumerate(order):
        if order.index(key) == place:  # one that is the neighbour of two images has two tiles
            assert np.abs(found[key].astype(int) - tiles[max(i for i, k in enumerate(order) if k == key)]).max() < 40


def test_another_packed_set_than_the_examined_one_is_not_shown(tmp_path: Path) -> None:
    campaign(tmp_path, c2=EVIL)
    with_pictures(tmp_path)
    # with a manifest of another set the examination is set aside
    (tmp_path / "demo/data/ilsvrc2012/manifest.json").unlink()
    ctx = context(tmp_path)
    html = what_the_net_sees.what_the_net_sees(ctx, ctx.studies[0])
    assert embedded(html) == [] and EVIL not in html
    assert "The images are not here" in html
    assert "Classes of the nearest in the layer" in html and html.count("<li>") == 15


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=24)
    ctx = context(tmp_path)
    study = ctx.studies[0]
    assert what_the_net_sees.sample_sheet(ctx.results, study) is None
    assert what_the_net_sees.what_the_net_sees(ctx, study) is None  # examined before pictures were recorded
    fabricate.study(tmp_path / "other", "demo")
    ctx = context(tmp_path / "other")
    assert what_the_net_sees.what_the_net_sees(ctx, ctx.studies[0]) is None
