"""A packed set in which something was changed is a sentence that names the file, before or while it is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_loader import jpeg_copy
from test_pack import archives  # noqa: F401 - a fixture

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.packed.manifest import read_manifest
from alexnet.packed.pack import pack
from alexnet.packed.packed_set import mean_image, open_split


def zero(path: Path, first: int, count: int) -> None:
    with open(path, "r+b") as store:
        store.seek(first)
        store.write(bytes(count))


def relabel(folder: Path, split: str = "train") -> None:
    table = pd.read_csv(folder / f"{split}.csv")
    table["label"] = table["label"].to_numpy()[::-1]
    table.to_csv(folder / f"{split}.csv", index=False)


def edit(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def packed(archives: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The generated archives, packed by the real code."""
    pack("ilsvrc2012", archives, tmp_path / "set", image_size=40, stand_ins=True)
    return tmp_path / "set"


def test_a_set_is_verified_and_one_changed_byte_of_it_is_found(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(packed)]) == 0
    manifest, images = (read_manifest(packed), len(open_split(packed, "train")) + len(open_split(packed, "val")))
    said = capsys.readouterr().out
    assert said == f"{packed}: all {images} images are those that were packed, fingerprint {manifest['fingerprint']}\n"
    used = ["name", "label", "digest"]
    for name in ("train.npy", "val.npy", "train.csv", "val.csv", "mean.npy", "manifest.json"):
        path = packed / name
        content = path.read_bytes()
        before = pd.read_csv(path)[used] if path.suffix == ".csv" else None
        for place in np.random.default_rng(len(name)).integers(0, len(content), 20):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            status, error = main(["verify", str(packed)]), capsys.readouterr().err
            if (
                status == 0
            ):  # what no image depends on: its size and archive, how long packing took, the name of the last hash
                assert path.suffix != ".npy"
                if path.suffix == ".csv":
                    assert pd.read_csv(path)[used].equals(before)
                else:
                    now = json.loads(path.read_text())
                    same = {key: manifest[key] for key in ("classes", "splits", "image_size", "storage", "fingerprint")}
                    assert same.items() <= now.items() and ("record_sha256" not in now or now["rgb"] == manifest["rgb"])
                continue
            assert status == 2 and error.startswith("error: ") and error.count("\n") == 1, (name, place, error)
            assert str(packed) in error and "pack the" in error, error
        path.write_bytes(content)
    assert main(["verify", str(packed)]) == 0


def test_training_ends_at_the_first_changed_image_and_evaluation_before_its_first(
    configure, packed_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = configure(), tmp_path / "run"
    arguments = ["train", str(config), "--data", str(packed_set), "--out", str(out), "--devices", "0"]
    assert main(arguments) == 0
    weights = ["--weights", str(out / "model.pt"), "--out", str(tmp_path / "evals"), "--devices", "0"]
    store, kept = packed_set / "train.npy", (packed_set / "train.npy").read_bytes()
    zero(store, 30 * 4800, 10_000)
    capsys.readouterr()
    for verb in (arguments, ["examine", str(config), "--data", str(packed_set), *weights]):
        assert main(verb) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"error: {store}: image ") and "is not the one that was packed" in error
    store.write_bytes(kept)
    zero(packed_set / "val.npy", 20 * 4800, 1)
    for verb in (arguments, ["evaluate", str(config), "--data", str(packed_set), *weights]):
        assert main(verb) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "val.npy: image 19 (val_19.JPEG) is not the one that was packed" in error
    assert not (tmp_path / "evals").exists()


def test_changed_labels_names_and_manifests_are_found_at_opening(packed_set: Path) -> None:
    kept = (packed_set / "train.csv").read_text()
    relabel(packed_set)
    with pytest.raises(UserError, match=r"train\.csv is not the index that was packed"):
        open_split(packed_set, "train")
    open_split(packed_set, "val")
    (packed_set / "train.csv").write_text(kept.replace("train_3.JPEG", "train_4.JPEG"))
    with pytest.raises(UserError, match=r"train\.csv is not the index that was packed"):
        open_split(packed_set, "train")
    (packed_set / "train.csv").write_text(kept)
    edit(packed_set, classes=[{"wnid": f"n{i:08d}", "name": "x"} for i in range(6)])
    with pytest.raises(UserError, match=r"manifest\.json was edited"):
        open_split(packed_set, "val")


def test_the_manifest_covers_what_no_pixel_does(packed: Path) -> None:
    manifest = read_manifest(packed)
    edit(packed, rgb=manifest["rgb"] | {"eigenvalues": [1.0, 1.0, 1.0]})
    with pytest.raises(UserError, match=r"manifest\.json was edited"):
        open_split(packed, "train")
    older = {key: value for key, value in manifest.items() if key not in ("record_sha256", "files")}
    (packed / "manifest.json").write_text(json.dumps(older))  # as sets were packed before
    np.save(packed / "mean.npy", mean_image(packed) + 1)
    assert len(open_split(packed, "train")) and mean_image(packed).shape == (40, 40, 3)
    (packed / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"mean\.npy is not the mean image that was packed"):
        mean_image(packed)


def test_a_jpeg_that_decodes_to_other_pixels_is_found(packed_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "jpeg"
    jpeg_copy(folder, packed_set)
    open_split(folder, "train").check()
    table = pd.read_csv(folder / "train.csv")
    for column in ("offset", "bytes"):  # where a file lies is no part of the index's hash
        table.loc[[7, 8], column] = table.loc[[8, 7], column].to_numpy()
    table.to_csv(folder / "train.csv", index=False)
    with pytest.raises(UserError, match=r"train\.jpegs: image 7 \(train_7\.JPEG\) is not the one"):
        open_split(folder, "train").check()


def test_each_image_is_compared_once(packed_set: Path) -> None:
    split = open_split(packed_set, "train")
    split.check(np.array([5, 3]))
    assert np.flatnonzero(split.digests.compared).tolist() == [3, 5]
    zero(packed_set / "train.npy", 128, 48 * 4800)
    split.check(np.array([3, 5]))
    with pytest.raises(UserError, match="image 4 "):
        split.check(np.array([3, 4, 5]))
