"""The simple classifiers: right on data that they can see through, at chance on data that they cannot."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.measures import baselines


def packed(folder: Path, images: dict[str, np.ndarray], labels: dict[str, np.ndarray], classes: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, array in images.items():
        np.save(folder / f"{split}.npy", array)
        rows = "".join(f"i{i}.JPEG,{label},a.tar,9,9,\n" for i, label in enumerate(labels[split]))
        (folder / f"{split}.csv").write_text("name,label,archive,width,height,repairs\n" + rows)
    record = {"classes": [{"wnid": str(i), "name": str(i)} for i in range(classes)], "fingerprint": "d"}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def sets(make, n: int = 240, classes: int = 4) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    labels = {split: np.arange(n) % classes for split in ("train", "val")}
    return {split: np.stack([make(rng, label) for label in labels[split]]) for split in labels}, labels


def test_colour_tells_classes_apart_where_only_colour_differs(tmp_path: Path) -> None:
    def tinted(rng: np.random.Generator, label: int) -> np.ndarray:
        base = rng.integers(0, 60, (32, 32, 3))
        base[..., label % 3] += 120 if label else 0
        return base.astype(np.uint8)

    got = baselines.baselines(packed(tmp_path / "set", *sets(tinted), classes=4))
    assert got["color_histogram"]["top1_error"] < 0.05
    assert got["linear_pixels"]["top1_error"] < 0.05
    assert got["linear_pixels"]["images"] == 240


def test_both_are_at_chance_where_shape_matters(tmp_path: Path) -> None:
    """Stripes of four directions at random phase and contrast sign: same colours, same mean pixel."""

    def stripes(rng: np.random.Generator, label: int) -> np.ndarray:
        y, x = np.mgrid[:32, :32]
        along = [x, y, x + y, x - y][label]
        wave = 127.5 + 120 * np.sin(along * 0.9 + rng.uniform(0, 6.28))
        return np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)

    got = baselines.baselines(packed(tmp_path / "set", *sets(stripes, 480), classes=4))
    assert got["color_histogram"]["top1_error"] > 0.5
    assert got["linear_pixels"]["top1_error"] > 0.5


def test_ridge_regression_is_the_textbook_one() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((60, 7), (12, 30)):
        x, y = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, 3, n)
        mean, weights, level = baselines._fits(x, y, 3, [2.5])[0]
        hot = np.eye(3)[y]
        centred = x - x.mean(axis=0)
        direct = np.linalg.solve(centred.T @ centred + 2.5 * np.eye(d), centred.T @ (hot - hot.mean(axis=0)))
        np.testing.assert_allclose(weights, direct, atol=2e-4)
        np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(level, hot.mean(axis=0), atol=1e-6)


def test_features_have_the_right_values() -> None:
    image = np.zeros((1, 48, 48, 3), np.uint8)
    image[:, :24] = 255
    seen = baselines.pixels(image).reshape(16, 16, 3)
    assert (seen[:8] == 1).all()
    assert (seen[8:] == -1).all()
    boxes = baselines.histogram(image)[0] ** 2
    assert boxes[0] == pytest.approx(0.5)
    assert boxes[-1] == pytest.approx(0.5)
    assert boxes.sum() == pytest.approx(1)


def test_the_command_writes_a_record_in_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = {
        "train": rng.integers(0, 256, (1200, 64, 64, 3), dtype=np.uint8),
        "val": rng.integers(0, 256, (300, 64, 64, 3), dtype=np.uint8),
    }
    labels = {split: np.arange(len(array)) % 12 for split, array in images.items()}
    folder, out = packed(tmp_path / "set", images, labels, 12), tmp_path / "baselines.json"
    start = time.process_time()
    assert main(["baselines", "--data", str(folder), "--out", str(out)]) == 0
    assert time.process_time() - start < 40
    record = json.loads(out.read_text())
    assert record["linear_pixels"]["top1_error"] == pytest.approx(11 / 12, abs=0.06)  # noise: chance


def test_a_folder_that_is_no_packed_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines", "--data", str(tmp_path), "--out", str(tmp_path / "o.json")]) == 2
    assert "manifest.json" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text('{"classes": [], "fingerprint": ""}')
    assert main(["baselines", "--data", str(tmp_path), "--out", str(tmp_path / "o.json")]) == 2
    assert "no packed split `train`" in capsys.readouterr().err
