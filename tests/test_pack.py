"""The packed store against explicit references: Pillow's full resize, numpy's statistics; odd files."""

import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import tarfile
import zlib
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from alexnet import batches
from alexnet.archives import missing_archives
from alexnet.decode import Undecodable, central_square, decode
from alexnet.errors import UserError
from alexnet.moments import add, no_images, rgb_statistics, sums_of
from alexnet.pack import pack, read_manifest
from alexnet.synthetic import synthesize

SIZE = 24


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    synthesize(
        folder, classes=4, train_per_class=20, val_per_class=5, test_per_class=5, image_size=40, workers=1
    )
    return folder


@pytest.fixture(scope="module")
def packed(archives, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    pack("ilsvrc2012", archives, out, image_size=SIZE, workers=1, progress=io.StringIO())
    return out


def index(folder, split):
    with open(folder / f"{split}.csv", newline="") as file:
        return list(csv.DictReader(file))


def store_hashes(folder):
    names = [f for f in folder.iterdir() if f.name != "manifest.json"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def picture(width=60, height=40, seed=0):
    """Smooth colours with some detail: (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, form="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def misfit(square, image):
    """Largest difference between a square and the whole image resized, then cropped.

    Pillow resizes rows first or columns first, whichever is cheaper, and rounds in between; either is right.
    """
    short = min(image.size)
    width, height = (round(side * SIZE / short) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    differences = []
    for between in ((width, image.height), (image.width, height)):
        full = image.resize(between, Image.Resampling.BICUBIC).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        expected = np.asarray(full.crop((left, top, left + SIZE, top + SIZE)), dtype=int)
        differences.append(np.abs(square.astype(int) - expected).max())
    return min(differences)


def class_folders(root, files):
    """Write {relative path: bytes}."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


# The store --------------------------------------------------------------------------------------------------


def test_pixels_are_those_of_a_full_resize_and_crop(archives, packed):
    rows = index(packed, "train")
    store = np.load(packed / "train.npy", mmap_mode="r")
    assert store.shape == (80, SIZE, SIZE, 3)
    assert store.dtype == np.uint8
    at = 0
    with tarfile.open(archives / "ILSVRC2012_img_train.tar") as outer:
        for member in outer.getmembers():
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for m in inner.getmembers():
                    image = Image.open(io.BytesIO(inner.extractfile(m).read()))
                    row = rows[at]
                    assert (row["name"], int(row["width"]), int(row["height"])) == (m.name, *image.size)
                    assert misfit(store[at], image.convert("RGB")) <= 1
                    at += 1
    assert at == 80


@pytest.mark.parametrize("size", [(60, 40), (41, 97), (50, 50), (20, 13), (200, 24), (24, 25)])
def test_central_square_of_any_shape(size):
    image = picture(*size)
    assert misfit(central_square(image, SIZE), image) <= 1


def test_labels_and_counts(archives, packed):
    manifest = read_manifest(packed)
    wnids = [c["wnid"] for c in manifest["classes"]]
    rows = index(packed, "train")
    assert wnids == sorted(wnids)
    assert all(wnids[int(row["label"])] == row["name"].split("_")[0] for row in rows)
    assert {row["archive"] for row in rows} == {f"ILSVRC2012_img_train.tar/{wnid}.tar" for wnid in wnids}
    assert manifest["splits"]["train"]["images"] == 80
    assert manifest["splits"]["train"]["per_class"] == [20] * 4
    assert manifest["splits"]["val"]["per_class"] == [5] * 4


def test_repairs_are_listed(packed):
    rows = {row["name"]: row["repairs"] for row in index(packed, "train") if row["repairs"]}
    listed = {r["name"]: ";".join(r["repairs"]) for r in read_manifest(packed)["splits"]["train"]["repaired"]}
    assert rows == listed
    assert sorted(r for r in rows.values() if r != "grayscale") == ["cmyk", "png"]


def test_statistics_are_numpys(packed):
    pixels = np.load(packed / "train.npy").astype(np.float64)
    rgb = read_manifest(packed)["rgb"]
    flat = pixels.reshape(-1, 3)
    np.testing.assert_allclose(np.load(packed / "mean.npy"), pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(rgb["mean"], flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(rgb["covariance"], np.cov(flat.T, bias=True), rtol=1e-9)
    values, vectors = np.array(rgb["eigenvalues"]), np.array(rgb["eigenvectors"])
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, rgb["covariance"], atol=1e-8)
    assert values[0] >= values[1] >= values[2] > 0


def test_sums_do_not_depend_on_the_order():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    images[0] = 255
    whole = sums_of(images)
    parts = no_images(8)
    for part in np.array_split(images[::-1], 7):
        parts = add(parts, sums_of(part))
    assert rgb_statistics(whole) == rgb_statistics(parts)


def test_one_and_two_workers_give_the_same_store(archives, packed, tmp_path):
    manifest = pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, workers=2, progress=io.StringIO())
    assert store_hashes(tmp_path) == store_hashes(packed)
    before = read_manifest(packed)
    varying = ("seconds", "images_per_second")
    assert {k: v for k, v in manifest.items() if k not in varying} == {
        k: v for k, v in before.items() if k not in varying
    }


def test_manifest_says_what_was_read(archives, packed):
    manifest = read_manifest(packed)
    for record in manifest["archives"]:
        data = (archives / record["file"]).read_bytes()
        assert (record["bytes"], record["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [record["file"] for record in manifest["archives"]] == [
        "ILSVRC2012_devkit_t12.tar.gz",
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
    ]
    digest = hashlib.sha256(np.load(packed / "val.npy").tobytes())
    lines = "".join(f"{row['name']}\t{row['label']}\n" for row in index(packed, "val"))
    digest.update(hashlib.sha256(lines.encode()).digest())
    assert manifest["splits"]["val"]["content_sha256"] == digest.hexdigest()


def test_set_without_train_has_no_statistics(archives, tmp_path):
    manifest = pack("ilsvrc2010", archives, tmp_path, image_size=SIZE, workers=1, progress=io.StringIO())
    assert manifest["rgb"] is None
    assert sorted(f.name for f in tmp_path.iterdir()) == ["manifest.json", "test.csv", "test.npy"]


def test_fingerprint_follows_content_and_size(archives, packed, tmp_path):
    first = read_manifest(packed)["fingerprint"]
    other = pack("ilsvrc2012", archives, tmp_path, image_size=20, workers=1, progress=io.StringIO())
    val = pack(
        "ilsvrc2012", archives, tmp_path, image_size=SIZE, splits=["val"], workers=1, progress=io.StringIO()
    )
    assert len({first, other["fingerprint"], val["fingerprint"]}) == 3
    assert not (tmp_path / "train.npy").exists(), "a smaller set replaces the larger one wholly"


def test_progress_lines(archives, tmp_path):
    lines = io.StringIO()
    pack("ilsvrc2010", archives, tmp_path, image_size=SIZE, workers=1, progress=lines)
    assert "20/20 images" in lines.getvalue()
    assert "images/s" in lines.getvalue()
    assert "ETA 0:00:00" in lines.getvalue()


# Odd files --------------------------------------------------------------------------------------------------


def close(image, expected, tolerance):
    return np.abs(np.asarray(image, dtype=int) - np.asarray(expected, dtype=int)).mean() <= tolerance


def deep_png(image):
    """A 16-bit RGB PNG, written by hand: Pillow writes none."""
    pixels = np.asarray(image).astype(">u2") * 257
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)

    def block(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", header)
        + block(b"IDAT", zlib.compress(lines))
        + block(b"IEND", b"")
    )


def without_adobe(jpeg):
    """A JPEG less its APP14 marker."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def test_ordinary_jpeg_needs_no_repair():
    data = encoded(picture(), quality=95)
    image, repairs = decode(data)
    assert repairs == ()
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_formats_that_are_not_jpeg():
    for form, word in (("PNG", "png"), ("BMP", "bmp"), ("TIFF", "tiff")):
        image, repairs = decode(encoded(picture(), form))
        assert repairs == (word,)
        assert np.array_equal(np.asarray(image), np.asarray(picture()))


def test_gray_and_alpha_and_palette():
    gray = picture().convert("L")
    image, repairs = decode(encoded(gray, "PNG"))
    assert repairs == ("png", "grayscale")
    assert all(np.array_equal(np.asarray(image)[..., c], np.asarray(gray)) for c in range(3))

    clear = picture().convert("RGBA")
    clear.putalpha(gray)
    image, repairs = decode(encoded(clear, "PNG"))
    assert repairs == ("png", "alpha")
    assert np.array_equal(np.asarray(image), np.asarray(picture()))

    image, repairs = decode(encoded(gray.convert("LA"), "PNG"))
    assert repairs == ("png", "grayscale", "alpha")

    indexed = picture().quantize(32)
    image, repairs = decode(encoded(indexed, "GIF"))
    assert repairs == ("gif", "palette")
    assert np.array_equal(np.asarray(image), np.asarray(indexed.convert("RGB")))


def test_sixteen_bits():
    image, repairs = decode(deep_png(picture()))
    assert repairs == ("png", "16bit")
    assert np.array_equal(np.asarray(image), np.asarray(picture()))
    deep = Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257)
    image, repairs = decode(encoded(deep, "PNG"))
    assert repairs == ("png", "grayscale", "16bit")
    assert np.array_equal(np.asarray(image)[..., 0], np.asarray(picture().convert("L")))


def test_cmyk_with_and_without_adobes_inversion():
    """With the marker the stored values are inverted inks, without it plain; both must show the picture."""
    cmyk = picture().convert("CMYK")
    expected = cmyk.convert("RGB")
    marked = encoded(cmyk, quality=95)
    assert b"Adobe" in marked
    image, repairs = decode(marked)
    assert repairs == ("cmyk",)
    assert close(image, expected, 4)
    inverted = Image.fromarray(255 - np.asarray(cmyk), "CMYK")
    image, repairs = decode(without_adobe(encoded(inverted, quality=95)))
    assert repairs == ("cmyk",)
    assert close(image, expected, 4)


def test_gzip_around_a_jpeg():
    data = encoded(picture())
    image, repairs = decode(gzip.compress(data))
    assert repairs == ("gzip",)
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_exif_orientation_is_not_applied_and_damage_is_harmless():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image, repairs = decode(encoded(picture(60, 40), exif=exif))
    assert image.size == (60, 40)
    assert repairs == ()
    plain = encoded(picture())
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x1a\x01\x05\0"
    damaged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + plain[2:]
    image, repairs = decode(damaged)
    assert set(repairs) <= {"exif"}
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(plain))))


def test_extra_bytes_after_the_image_change_nothing():
    data = encoded(picture())
    assert np.array_equal(np.asarray(decode(data + b"trailing")[0]), np.asarray(decode(data)[0]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no known image format"),
        (b"not an image", "no known image format"),
        (encoded(picture())[:400], "(?i)truncated"),
        (gzip.compress(b"x" * 5000)[:-20], "gzip"),
        (b"\x1f\x8bnonsense", "gzip"),
    ],
    ids=["empty", "text", "cut off", "gzip cut off", "no gzip"],
)
def test_undecodable(data, message):
    with pytest.raises(Undecodable, match=message):
        decode(data)


def test_decompression_bombs_are_refused():
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(Undecodable, match="pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + crc + data)
    with pytest.raises(Undecodable, match="more than 200000000 bytes in gzip data"):
        decode(gzip.compress(bytes(200_000_001), 1))


# Bad input --------------------------------------------------------------------------------------------------


def test_every_undecodable_image_is_named_and_nothing_is_published(tmp_path):
    good = encoded(picture())
    names = [f"train/a/{i}.jpg" for i in range(40)]
    root = class_folders(tmp_path / "in", dict.fromkeys(names, good) | {"train/b/1.jpg": good})
    for name in ("train/a/7.jpg", "train/a/39.jpg"):
        (root / name).write_bytes(good[:300])
    for workers in (1, 2):
        with pytest.raises(
            UserError, match=r"2 images cannot be decoded.*39\.jpg in train/a .*; 7\.jpg in train/a"
        ):
            pack("folders", root, tmp_path / "out", image_size=SIZE, workers=workers, progress=io.StringIO())
    assert not list((tmp_path / "out").iterdir())


def test_failure_leaves_an_earlier_set_whole(archives, tmp_path):
    pack("ilsvrc2010", archives, tmp_path / "out", image_size=SIZE, workers=1, progress=io.StringIO())
    before = store_hashes(tmp_path / "out")
    broken = tmp_path / "broken"
    shutil.copytree(archives, broken)
    (broken / "ILSVRC2010_images_test.tar").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"ILSVRC2010_images_test\.tar"):
        pack("ilsvrc2010", broken, tmp_path / "out", image_size=SIZE, workers=1, progress=io.StringIO())
    assert store_hashes(tmp_path / "out") == before
    assert read_manifest(tmp_path / "out")["splits"]["test"]["images"] == 20


def test_full_disk_is_noticed_before_the_work(archives, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match=r"takes 0\.0 GB, but .* has 0\.0 GB free"):
        pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, workers=1, progress=io.StringIO())
    assert not list(tmp_path.iterdir())


def die(*_):
    """Stands in for a worker that the system kills."""
    os._exit(9)


def test_killed_worker(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "convert", die)
    with pytest.raises(UserError, match="one of the 2 worker processes was killed"):
        pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, workers=2, progress=io.StringIO())
    assert not list(tmp_path.iterdir())


def test_image_size_zero(archives, tmp_path):
    with pytest.raises(UserError, match="image size is 0"):
        pack("ilsvrc2012", archives, tmp_path, image_size=0)


def test_manifest_missing_or_foreign(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json does not exist; run `python -m alexnet pack"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="not a manifest of format 1"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path)


# Real images ------------------------------------------------------------------------------------------------


def test_official_layout_rebuilt_from_real_images(tmp_path):
    """Those images of Imagenette that are 2012 validation images, as a 2012 validation archive."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALEXNET_DATA") or default)
    if missing_archives("imagenette", folder, ["val"]):
        pytest.skip(f"no imagenette2-224-val.tar.gz in {folder}")
    images = {}
    with tarfile.open(folder / "imagenette2-224-val.tar.gz") as tar:
        for member in tar:
            parts = member.name.split("/")
            if parts[-1].startswith("ILSVRC2012_val_"):
                images[parts[-1]] = (parts[-2], tar.extractfile(member).read())
    wnids = sorted({wnid for wnid, _ in images.values()})
    ids = {
        wnid: 10 - i for i, wnid in enumerate(wnids)
    }  # as in the kit, ids are not in the order of the wnids
    fields = ["ILSVRC2012_ID", "WNID", "words", "num_children", "num_train_images"]
    synsets = np.zeros((11, 1), dtype=[(field, object) for field in fields])
    for i, wnid in enumerate(wnids):
        synsets[i, 0] = (float(ids[wnid]), wnid, f"words of {wnid}", 0.0, 1300.0)
    synsets[10, 0] = (11.0, "n00001740", "entity", 10.0, 0.0)
    mat = io.BytesIO()
    savemat(mat, {"synsets": synsets})
    truth = "".join(f"{ids[images[name][0]]}\n" for name in sorted(images)).encode()

    def write(path, mode, members):
        with tarfile.open(path, mode) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    kit = "ILSVRC2012_devkit_t12/data"
    members = [(f"{kit}/meta.mat", mat.getvalue()), (f"{kit}/ILSVRC2012_validation_ground_truth.txt", truth)]
    write(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz", members)
    write(tmp_path / "ILSVRC2012_img_val.tar", "w", [(name, data) for name, (_, data) in images.items()])

    out = tmp_path / "out"
    manifest = pack(
        "ilsvrc2012", tmp_path, out, image_size=32, splits=["val"], workers=1, progress=io.StringIO()
    )
    count = Counter(wnid for wnid, _ in images.values())
    assert manifest["splits"]["val"]["per_class"] == [count[wnid] for wnid in wnids]
    assert [c["wnid"] for c in manifest["classes"]] == wnids
    for row in index(out, "val"):
        assert wnids[int(row["label"])] == images[row["name"]][0]
