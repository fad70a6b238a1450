"""The packed store against explicit references: Pillow's full resize, numpy's statistics; odd files."""

import csv
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections import Counter, namedtuple
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from alexnet.__main__ import main
from alexnet.archives import catalogue
from alexnet.archives.devkits import read_devkit
from alexnet.archives.known_files import KNOWN
from alexnet.archives.sources import missing_archives
from alexnet.errors import UserError
from alexnet.images.decode import Undecodable, decode, quick, square_of
from alexnet.images.resample import central_square
from alexnet.packed import pack as packing
from alexnet.packed import split_packer
from alexnet.packed.manifest import read_manifest
from alexnet.packed.moments import add_to, no_images, rgb_statistics, sums_of
from alexnet.packed.pack import pack as pack_published
from alexnet.synthetic.synsets import meta_mat, synsets
from alexnet.synthetic.synthesize import synthesize

SIZE = 24
pack = partial(pack_published, stand_ins=True, archive_order=True)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    synthesize(folder, classes=4, train_per_class=20, val_per_class=5, test_per_class=5, image_size=40, workers=1)
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
    """Largest difference between a square and the whole image resized by Pillow in floating point, then cropped."""
    short = min(image.size)
    width, height = (round(side * SIZE / short) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    differences = []
    for channel, band in enumerate(image.split()):
        whole = band.convert("F").resize((width, height), Image.Resampling.BICUBIC)
        expected = np.asarray(whole.crop((left, top, left + SIZE, top + SIZE)))
        differences.append(np.abs(square[..., channel] - expected.clip(0, 255)).max())
    return max(differences)


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
                    assert misfit(store[at], image.convert("RGB")) < 0.502
                    assert row["digest"] == hashlib.sha256(store[at].tobytes()).hexdigest()[:32]
                    at += 1
    assert at == 80


@pytest.mark.parametrize("size", [(60, 40), (41, 97), (50, 50), (20, 13), (200, 24), (24, 25)])
def test_central_square_of_any_shape(size):
    image = picture(*size)
    assert misfit(central_square(np.asarray(image), SIZE), image) < 0.502


def test_labels_and_counts(archives, packed):
    manifest = read_manifest(packed)
    wnids = [c["wnid"] for c in manifest["classes"]]
    rows = index(packed, "train")
    assert wnids == sorted(wnids)
    assert all(wnids[int(row["label"])] == row["name"].split("_")[0] for row in rows)
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
        parts = add_to(parts, sums_of(part))
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
    digests = [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in np.load(packed / "val.npy")]
    rows = zip(index(packed, "val"), digests, strict=True)
    lines = "".join(f"{row['name']}\t{row['label']}\t{digest}\n" for row, digest in rows)
    assert manifest["splits"]["val"]["content_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_set_without_train_has_no_statistics(archives, tmp_path):
    manifest = pack("ilsvrc2010", archives, tmp_path, image_size=SIZE, workers=1, progress=io.StringIO())
    assert manifest["rgb"] is None
    assert sorted(f.name for f in tmp_path.iterdir()) == ["manifest.json", "test.csv", "test.npy"]


def test_fingerprint_follows_content_and_size(archives, packed, tmp_path):
    first = read_manifest(packed)["fingerprint"]
    other = pack("ilsvrc2012", archives, tmp_path, image_size=20, workers=1, progress=io.StringIO())
    val = pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, splits=["val"], workers=1, progress=io.StringIO())
    assert len({first, other["fingerprint"], val["fingerprint"]}) == 3
    assert not (tmp_path / "train.npy").exists(), "a smaller set replaces the larger one wholly"


def test_progress_lines(archives, tmp_path):
    lines = io.StringIO()
    pack("ilsvrc2010", archives, tmp_path, image_size=SIZE, workers=1, progress=lines)
    assert "20/20 images" in lines.getvalue()
    assert "images/s" in lines.getvalue()
    assert "ETA 0:00:00" in lines.getvalue()


def test_quick_decoding_is_pillows_to_the_bit():
    for options in ({}, {"subsampling": 0}, {"quality": 30}, {"progressive": True}):
        data = encoded(picture(83, 61), **options)
        pixels, repairs = quick(data)
        assert repairs == ()
        assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_a_larger_picture_agrees_with_pillow_lanczos():
    image = picture(500, 375, seed=3)
    full = image.resize((341, 256), Image.Resampling.LANCZOS).crop((42, 0, 298, 256))
    error = np.mean((central_square(np.asarray(image), 256) - np.asarray(full, dtype=float)) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


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
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(lines)) + block(b"IEND", b"")


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
        with pytest.raises(UserError, match=r"2 images cannot be decoded.*39\.jpg in train/a .*; 7\.jpg in train/a"):
            pack("folders", root, tmp_path / "out", image_size=SIZE, workers=workers, progress=io.StringIO())
        published = {file.name for file in (tmp_path / "out").iterdir()} - {".partial"}
        assert published == {"undecodable.tsv"}
    listed = [line.split("\t")[:2] for line in (tmp_path / "out/undecodable.tsv").read_text().splitlines()]
    assert listed == [["39.jpg", "train/a"], ["7.jpg", "train/a"]]


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


def test_image_size_zero(archives, tmp_path):
    with pytest.raises(UserError, match="image size is 0"):
        pack("ilsvrc2012", archives, tmp_path, image_size=0)


def test_manifest_missing_or_foreign(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json does not exist; run `python -m alexnet pack"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="not a manifest of format 2"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path)


# Left out, interrupted, stored as JPEG ------------------------------------------------------------------------


def test_allowed_undecodable_images_leave_no_gap(tmp_path):
    """The store is that of the same folder without the bad files; the manifest names them."""
    files = {f"train/{c}/{i:03d}.jpg": encoded(picture(seed=i)) for c in "ab" for i in range(50)}
    bad = ["train/a/000.jpg", "train/a/031.jpg", "train/b/007.jpg", "train/b/049.jpg"]
    spoilt = {name: data[:200] if name in bad else data for name, data in files.items()}
    class_folders(tmp_path / "spoilt", spoilt)
    class_folders(tmp_path / "clean", {name: data for name, data in files.items() if name not in bad})
    for storage in ("raw", "jpeg"):
        common = {"image_size": SIZE, "storage": storage, "progress": io.StringIO()}
        outs = tmp_path / f"{storage}1", tmp_path / f"{storage}2"
        spoilt = pack("folders", tmp_path / "spoilt", outs[0], workers=2, allow_undecodable=4, **common)
        clean = pack("folders", tmp_path / "clean", outs[1], workers=2, **common)
        assert [f"{p['archive']}/{p['name']}" for p in spoilt["undecodable"]] == bad
        assert spoilt["fingerprint"] == clean["fingerprint"]
        assert spoilt["splits"]["train"]["images"] == 96
        one, two = store_hashes(outs[0]), store_hashes(outs[1])
        assert one.pop("undecodable.tsv") and one == two


def test_what_was_finished_is_not_done_again(archives, packed, tmp_path, monkeypatch):
    """A read error in the middle of a split; then the archive is whole again."""
    read, count = catalogue.Extent.read, []
    monkeypatch.setattr(split_packer, "RECORD_SECONDS", 0.0)

    def failing(extent):
        count.append(extent)
        if len(count) == 70:
            raise UserError("the disk gave up")
        return read(extent)

    monkeypatch.setattr(catalogue.Extent, "read", failing)
    with pytest.raises(UserError, match="gave up"):
        pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, workers=1, progress=io.StringIO())
    assert not (tmp_path / "manifest.json").exists()
    before = len(count)
    lines = io.StringIO()
    manifest = pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, workers=1, progress=lines)
    assert len(count) - before < 100, "more than what was missing of 100 images was read"
    assert store_hashes(tmp_path) == store_hashes(packed)
    assert manifest["fingerprint"] == read_manifest(packed)["fingerprint"]
    assert not (tmp_path / ".partial").exists()


def test_archives_are_hashed_once_for_a_set_that_is_finished_later(tmp_path, monkeypatch):
    """An image that cannot be decoded ends the first call, after everything was hashed; a changed archive is hashed again."""
    names = [f"train/{wnid}/{i}.JPEG" for wnid in ("n00000001", "n00000002") for i in range(3)]
    tar = tmp_path / "in/imagenette2-160.tgz"
    hashed, really = [], packing.hash_file

    def counting(path, *more):
        hashed.append(path.name)
        return really(path, *more)

    def archive(broken):
        tar.parent.mkdir(exist_ok=True)
        with tarfile.open(tar, "w:gz") as out:
            for name in [f"imagenette2-160/{n}" for n in (*names, *(n.replace("train", "val") for n in names))]:
                data = b"nothing" if name.endswith("1.JPEG") and broken else encoded(picture())
                member = tarfile.TarInfo(name)
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))

    monkeypatch.setattr(packing, "hash_file", counting)
    settings = {"image_size": SIZE, "repacked": [tar.name], "progress": io.StringIO()}
    archive(broken=True)
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be decoded"):
            pack("imagenette", tar.parent, tmp_path / "out", **settings)
    assert hashed == [tar.name]
    archive(broken=False)
    manifest = pack("imagenette", tar.parent, tmp_path / "out", **settings)
    assert hashed == [tar.name] * 2
    assert manifest["archives"][0]["sha256"] == hashlib.sha256(tar.read_bytes()).hexdigest()


@pytest.mark.parametrize("moved", [1, 2, 4])
def test_ended_while_the_files_were_moved_into_place(archives, packed, tmp_path, monkeypatch, moved):
    """After some of train.npy, train.csv, val.npy, val.csv, mean.npy; an earlier set is gone by then, too."""
    replace_file, count = os.replace, []

    def stopping(source, target):
        if Path(target).parent == tmp_path:
            count.append(target)
            if len(count) > moved:
                raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, progress=io.StringIO())
    monkeypatch.undo()
    assert not (tmp_path / "manifest.json").exists() and len(list(tmp_path.iterdir())) == moved + 1
    pack("ilsvrc2012", archives, tmp_path, image_size=SIZE, progress=io.StringIO())
    assert store_hashes(tmp_path) == store_hashes(packed)


def test_other_archives_or_settings_start_afresh(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(split_packer, "RECORD_SECONDS", 0.0)
    for name in ("train/a/0.jpg", "train/a/1.jpg"):
        class_folders(tmp_path / "in", {name: encoded(picture())})
    (tmp_path / "in/train/a/1.jpg").write_bytes(b"nothing")
    for size in (SIZE, SIZE + 1):
        with pytest.raises(UserError, match=r"1\.jpg"):
            pack("folders", tmp_path / "in", tmp_path / "out", image_size=size, progress=io.StringIO())
        store = np.load(tmp_path / "out/.partial/train.npy")
        assert store.shape == (1, size, size, 3)


SLOW = """
import sys
from alexnet.packed import chunks, pack, split_packer
split_packer.RECORD_SECONDS = 0.05
decode = chunks.square_of
def slow(*args):
    import time; time.sleep(0.004); return decode(*args)
chunks.square_of = slow
pack.pack("folders", sys.argv[1], sys.argv[2], image_size=48, workers=2, storage=sys.argv[3])
"""


def written(file):
    """When it was written; None: not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_killed_at_any_time_it_ends_with_the_same_bytes(tmp_path, storage):
    files = {f"train/{c}/{i:03d}.jpg": encoded(picture(seed=i)) for c in "abc" for i in range(150)}
    root = class_folders(tmp_path / "in", files | {f"val/{c}/0.jpg": encoded(picture()) for c in "abc"})
    plain = pack("folders", root, tmp_path / "plain", image_size=48, storage=storage, progress=io.StringIO())
    out, went_on = tmp_path / "out", 0
    records = {split: out / ".partial" / f"{split}.state" for split in ("train", "val")}
    for delay in (0.0, 0.2, 0.4, 0.6):
        command = [sys.executable, "-c", SLOW, str(root), str(out), storage]
        before = {split: written(record) for split, record in records.items()}
        job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while job.poll() is None and before == {split: written(record) for split, record in records.items()}:
            assert time.monotonic() < end, "it records nothing"
            time.sleep(0.01)
        time.sleep(delay)  # any time after its first record
        job.kill()
        _, lines = job.communicate()
        first = re.search(r"([\d,]+)/453 images", lines)
        went_on += bool(first and int(first[1]) > 32)
        if (out / "manifest.json").exists():
            break
        assert [file.name for file in out.iterdir()] == [".partial"], "something looks finished"
    again = pack("folders", root, out, image_size=48, storage=storage, workers=2, progress=io.StringIO())
    assert went_on, "no run went on from what an earlier one had finished"
    assert again["fingerprint"] == plain["fingerprint"]
    assert store_hashes(out) == store_hashes(tmp_path / "plain")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
from alexnet.__main__ import main
sys.exit(main(["pack", "--source", "folders", "--archives", sys.argv[1], "--out", sys.argv[2],
               "--image-size", "48", "--storage", "jpeg", "--quality", "100"]))
"""


def test_a_disk_that_fills_up_is_a_sentence_and_a_second_call_goes_on(tmp_path):
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)) for i in range(99)]
    root = class_folders(tmp_path / "in", {f"train/a/{i}.png": encoded(n, "PNG") for i, n in enumerate(noise)})
    command = [sys.executable, "-c", LIMITED, str(root), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot be written: File too large" in done.stderr and "goes on where it stopped" in done.stderr
    assert not (tmp_path / "out/manifest.json").exists()
    settings = {"image_size": 48, "storage": "jpeg", "quality": 100, "progress": io.StringIO()}
    again = pack("folders", root, tmp_path / "out", **settings)
    plain = pack("folders", root, tmp_path / "plain", **settings)
    assert again["fingerprint"] == plain["fingerprint"]


def test_two_at_once_is_refused(archives, tmp_path):
    (tmp_path / ".partial").mkdir()
    with open(tmp_path / ".partial/lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is packing"):
            pack("ilsvrc2010", archives, tmp_path, image_size=SIZE, progress=io.StringIO())


def test_a_jpeg_store_holds_what_its_index_says(archives, packed, tmp_path):
    manifest = pack(
        "ilsvrc2012", archives, tmp_path, image_size=SIZE, storage="jpeg", quality=97, progress=io.StringIO()
    )
    blob = (tmp_path / "train.jpegs").read_bytes()
    raw, at, errors, images = np.load(packed / "train.npy"), 0, [], []
    for row, pixels in zip(index(tmp_path, "train"), raw, strict=True):
        assert int(row["offset"]) == at
        at += int(row["bytes"])
        image = np.asarray(Image.open(io.BytesIO(blob[int(row["offset"]) : at])), dtype=np.uint8)
        assert hashlib.sha256(image.tobytes()).hexdigest()[:32] == row["digest"]
        errors.append(np.mean((image.astype(float) - pixels) ** 2))
        images.append(image)
    assert at == len(blob)
    assert manifest["splits"]["train"]["mean_squared_error"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert manifest["jpeg"] == {"quality": 97, "subsampling": "4:4:4"}
    np.testing.assert_allclose(np.load(tmp_path / "mean.npy"), np.mean(images, 0), rtol=1e-6)
    assert manifest["fingerprint"] != read_manifest(packed)["fingerprint"]


def test_a_plan_says_what_it_takes_before_the_work(archives, tmp_path):
    command = ["pack", "--source", "ilsvrc2012", "--archives", str(archives), "--out", str(tmp_path / "new")]
    call = [sys.executable, "-m", "alexnet", *command, "--plan"]
    refused = subprocess.run(call, capture_output=True, text=True)
    assert refused.returncode == 2 and "were published" in refused.stderr, refused.stderr
    record = json.loads(subprocess.run([*call, "--stand-ins"], capture_output=True, text=True, check=True).stdout)
    assert record["images"] == {"train": 80, "val": 20}
    assert record["bytes"] == pytest.approx(100 * 256 * 256 * 3 + 16_000_000, rel=0.001)
    assert not (tmp_path / "new").exists()


def test_an_archive_that_is_not_the_published_one(archives, tmp_path, monkeypatch):
    for file in ("train", "val"):
        name = f"ILSVRC2012_img_{file}.tar"
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], bytes=None))
    name = "ILSVRC2012_devkit_t12.tar.gz"
    found, expected = hashlib.md5((archives / name).read_bytes()).hexdigest(), KNOWN[name].md5
    with pytest.raises(UserError, match=f"{name} has md5 {found}, but {expected} was published"):
        pack_published("ilsvrc2012", archives, tmp_path, image_size=SIZE, splits=["val"], progress=io.StringIO())
    assert not (tmp_path / "manifest.json").exists()
    allowed = [name, "ILSVRC2012_img_val.tar"]
    more = {"image_size": SIZE, "splits": ["val"], "progress": io.StringIO()}
    with pytest.raises(UserError, match="ILSVRC2012_img_val.tar has md5"):
        pack_published("ilsvrc2012", archives, tmp_path, repacked=allowed[:1], **more)
    records = pack_published("ilsvrc2012", archives, tmp_path, repacked=allowed, **more)["archives"]
    assert [(r["file"], r["repacked"], "verified" in r) for r in records] == [(n, True, False) for n in allowed]


@pytest.mark.parametrize("more", [[], ["--plan"]])
@pytest.mark.parametrize("padding", [0, 70_000_000])
def test_a_foreign_devkit_is_refused_before_its_table_is_parsed(tmp_path, capsys, more, padding):
    """A table that no reader takes: only a parser says so, and whoever hashes first never asks one."""
    archives = tmp_path / "archives"
    archives.mkdir()
    with tarfile.open(archives / "ILSVRC2012_devkit_t12.tar.gz", "w:gz", compresslevel=0) as kit:
        for name, data in (("data/meta.mat", b"MATLAB 5.0 MAT-file" + bytes(181)), ("pad", bytes(padding))):
            info = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/{name}")
            info.size = len(data)
            kit.addfile(info, io.BytesIO(data))
    (archives / "ILSVRC2012_img_val.tar").write_bytes(bytes(1024))
    words = ["pack", "--source", "ilsvrc2012", "--archives", str(archives), "--splits", "val", *more]
    words += ["--out", str(tmp_path / "out")]
    assert main([*words, "--stand-ins"]) == 2  # a generated one has no published hash, and is parsed
    assert "has no table of synsets" in capsys.readouterr().err
    with open(archives / "ILSVRC2012_img_val.tar", "ab") as images:
        images.truncate(KNOWN["ILSVRC2012_img_val.tar"].bytes)  # a hole: of the published size
    assert main(words) == 2
    assert "ILSVRC2012_devkit_t12.tar.gz has md5" in capsys.readouterr().err


def test_an_archive_of_another_size_than_published_is_refused_at_once(archives, tmp_path):
    with pytest.raises(UserError, match=r"img_val\.tar has [\d,]+ bytes, but 6,744,924,160 were published"):
        pack_published("ilsvrc2012", archives, tmp_path, splits=["val"])


# A byte of a generated meta.mat each, by which SciPy 1.17.1 dies of a segmentation fault.
DEADLY = [(1356, 100), (5409, 239), (1041, 233), (5497, 143)]


@pytest.mark.parametrize("change", DEADLY)
def test_a_table_that_kills_its_reader_is_one_sentence(tmp_path, change):
    rows = synsets(2010, 7, 5)
    mat = bytearray(meta_mat(rows, 2010, 3))
    assert len(mat) == 6144
    for spoil in (False, True):
        mat[change[0]] = change[1] if spoil else mat[change[0]]
        with tarfile.open(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", "w:gz") as kit:
            info = tarfile.TarInfo("devkit-1.0/data/meta.mat")
            info.size = len(mat)
            kit.addfile(info, io.BytesIO(bytes(mat)))
        if spoil:
            with pytest.raises(UserError, match=r"meta\.mat in ILSVRC2010_devkit-1\.0\.tar\.gz has no table"):
                read_devkit(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", 2010)
        else:
            kit = read_devkit(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", 2010)
            leaves = {row.wnid: row for row in rows if not row.children}
            assert [(c.wnid, c.name) for c in kit.classes] == sorted((w, r.words) for w, r in leaves.items())
            assert kit.label_of_id == {leaves[c.wnid].id: label for label, c in enumerate(kit.classes)}


def test_a_table_that_takes_too_much_memory_is_one_sentence(tmp_path):
    """A compressed variable of 3 GB, which SciPy unpacks as a whole."""
    packer = zlib.compressobj(1)
    body = packer.compress(struct.pack("<II", 14, 3_000_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    body += 300 * (packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_FULL_FLUSH))
    mat = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(body)) + body
    with tarfile.open(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", "w:gz") as kit:
        info = tarfile.TarInfo("devkit-1.0/data/meta.mat")
        info.size = len(mat)
        kit.addfile(info, io.BytesIO(mat))
    code = """
import resource, sys
from pathlib import Path
from alexnet.archives.devkits import read_devkit
from alexnet.errors import UserError
try:
    read_devkit(Path(sys.argv[1]), 2010)
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    assert "has no table of synsets (" in said
    assert int(kilobytes) < 2_300_000


def test_the_published_archive_is_known_by_its_md5(archives, tmp_path, monkeypatch):
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        md5 = hashlib.md5((archives / name).read_bytes()).hexdigest()
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], md5=md5, bytes=None))
    manifest = pack_published("ilsvrc2012", archives, tmp_path, image_size=SIZE, splits=["val"], progress=io.StringIO())
    assert [record["verified"] for record in manifest["archives"]] == ["md5", "md5"]


def test_extraneous_bytes_are_listed_and_harmless():
    data = encoded(picture(), quality=90)
    at = data.index(b"\xff\xc4")  # between two segments
    square = square_of(data[:at] + b"\0" * 7 + data[at:], SIZE)
    assert square.repairs == ("extraneous",)
    assert np.array_equal(square.pixels, square_of(data, SIZE).pixels)


def test_unreadable_exif_is_listed_by_the_quick_way_too():
    plain = encoded(picture())
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\0" * 10
    damaged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + plain[2:]
    assert square_of(damaged, SIZE).repairs == ("exif",)
    assert np.array_equal(square_of(damaged, SIZE).pixels, square_of(plain, SIZE).pixels)


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
    ids = {wnid: 10 - i for i, wnid in enumerate(wnids)}  # as in the kit, ids are not in the order of the wnids
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
    manifest = pack("ilsvrc2012", tmp_path, out, image_size=32, splits=["val"], workers=1, progress=io.StringIO())
    count = Counter(wnid for wnid, _ in images.values())
    assert manifest["splits"]["val"]["per_class"] == [count[wnid] for wnid in wnids]
    assert [c["wnid"] for c in manifest["classes"]] == wnids
    for row in index(out, "val"):
        assert wnids[int(row["label"])] == images[row["name"]][0]
