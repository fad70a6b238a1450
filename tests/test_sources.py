"""Each adapter on files in its official format, written here, against an independent reading of the same files."""

import csv
import gzip
import hashlib
import io
import lzma
import os
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_archives import change, drain, members_of, rows_of, tar_of

from alexnet.archives import catalogue, ilsvrc
from alexnet.archives.catalogue import Extent
from alexnet.archives.sources import missing_archives, open_source
from alexnet.errors import UserError
from alexnet.packed.manifest import hash_file
from alexnet.packed.pack import pack
from alexnet.synthetic.synthesize import synthesize

KIT = {2012: "ILSVRC2012_devkit_t12.tar.gz", 2010: "ILSVRC2010_devkit-1.0.tar.gz"}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Official-format archives of both years, all splits."""
    folder = tmp_path_factory.mktemp("official")
    sizes = {"train_per_class": 4, "val_per_class": 3, "test_per_class": 2, "pretraining_per_class": 5}
    synthesize(folder, classes=5, image_size=32, workers=1, **sizes)
    return folder


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    """Both years with the same numbers of images in every split, so that no count tells them apart."""
    folder = tmp_path_factory.mktemp("even")
    sizes = {"train_per_class": 5, "val_per_class": 1, "test_per_class": 1, "pretraining_per_class": 5}
    synthesize(folder, classes=5, image_size=32, workers=1, **sizes)
    return folder


def copied(source, folder):
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def copy(official, tmp_path):
    return copied(official, tmp_path / "archives")


def jpeg(seed):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def pictures(catalogue, split):
    """{name: (wnid, bytes)} of a split."""
    return {p.name: (catalogue.classes[p.label].wnid, p.read()) for p in drain(catalogue, split)}


def everything(source, folder):
    """Bytes of every image of every split."""
    return [p.read() for split in open_source(source, folder).splits for p in split.pictures()]


def swap(one, two):
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


# Kaggle -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kaggle(official, tmp_path):
    """Kaggle's folders with the images of the official archives, read by tarfile and scipy."""
    root = tmp_path / "kaggle"
    images = root / "ILSVRC/Data/CLS-LOC"
    for name, inner in members_of((official / "ILSVRC2012_img_train.tar").read_bytes()).items():
        folder = images / "train" / name.removesuffix(".tar")
        folder.mkdir(parents=True)
        for file, data in members_of(inner).items():
            (folder / file).write_bytes(data)
    rows = rows_of(official, KIT[2012], 2012)
    words = [f"{wnid} {words}\n" for _, wnid, words, children in rows if not children]
    (root / "LOC_synset_mapping.txt").write_text("".join(random.Random(0).sample(words, len(words))))
    kit = members_of((official / KIT[2012]).read_bytes())
    truth = next(data for name, data in kit.items() if "validation_ground_truth" in name).split()
    val = members_of((official / "ILSVRC2012_img_val.tar").read_bytes())
    (images / "val").mkdir()
    wnid_of, lines = {number: wnid for number, wnid, _, _ in rows}, []
    for name, number in zip(sorted(val), truth, strict=True):
        (images / "val" / name).write_bytes(val[name])
        wnid = wnid_of[int(number)]
        lines.append([name.removesuffix(".JPEG"), f"{wnid} 115 49 448 294 {wnid} 5 6 7 8 "])
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        rows.writerows(random.Random(1).sample(lines, len(lines)))
    return root


def test_kaggles_folders_are_the_official_images(official, kaggle):
    one, two = open_source("ilsvrc2012", official), open_source("ilsvrc2012", kaggle)
    assert one.classes == two.classes
    assert (one.variant, two.variant) == ("", "Kaggle folders")
    for split, count in (("train", 20), ("val", 15)):
        assert pictures(one, split) == pictures(two, split)
        assert len(drain(two, split)) == count
    assert [s.images for s in one.splits] == [s.images for s in two.splits] == [20, 15]


def edit_line(root, number, edit):
    """Change the two cells of a line of the solution; the header is line 1."""
    path = root / "LOC_val_solution.csv"
    rows = list(csv.reader(open(path, newline="")))
    rows[number - 1 : number] = edit(*rows[number - 1])
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


LINE = r"LOC_val_solution\.csv, line 4: "


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda k, wnid: (k / "ILSVRC/Data/CLS-LOC/train/n1").mkdir(),
            "train/n1 holds class n1, which is none of .*LOC_synset_mapping",
        ),
        (
            lambda k, wnid: (k / "ILSVRC/Data/CLS-LOC/train" / wnid).rename(k / wnid),
            "class {wnid} .*has no images in split train of .*ILSVRC/Data/CLS-LOC",
        ),
        (
            lambda k, wnid: [f.unlink() for f in (k / "ILSVRC/Data/CLS-LOC/train" / wnid).iterdir()],
            "class {wnid} .*has no images in split train",
        ),
        (lambda k, wnid: edit_line(k, 4, lambda i, p: [[i, "n7 1 2 3 4 "]]), LINE + "'n7' is not one class"),
        (lambda k, wnid: edit_line(k, 4, lambda i, p: [[i, ""]]), LINE + "'nothing' is not one class"),
        (lambda k, wnid: edit_line(k, 3, lambda i, p: [[i, p], [i, p]]), LINE + r"ILSVRC2012_val_\d+ is there twice"),
        (lambda k, wnid: edit_line(k, 4, lambda i, p: []), r"ILSVRC2012_val_\d+ is not both .*LOC_val_solution"),
        (lambda k, wnid: edit_line(k, 4, lambda i, p: [["other", p], [i, p]]), "image other is not both there"),
        (lambda k, wnid: (k / "LOC_synset_mapping.txt").write_bytes(b"\x1f\x8b\xff"), "mapping.* cannot be read"),
        (lambda k, wnid: (k / "LOC_val_solution.csv").write_bytes(b"a\n\xff"), "solution.* cannot be read"),
        (lambda k, wnid: (k / "LOC_val_solution.csv").write_text("x" * 200_000), "solution.* cannot be read"),
        (lambda k, wnid: (k / "LOC_synset_mapping.txt").write_text(""), "LOC_synset_mapping.txt has no classes"),
    ],
)
def test_kaggles_folders_that_contradict_themselves(kaggle, spoil, words):
    wnid = open_source("ilsvrc2012", kaggle).classes[0].wnid
    spoil(kaggle, wnid)
    with pytest.raises(UserError, match=words.replace("{wnid}", wnid)):
        open_source("ilsvrc2012", kaggle)


def test_kaggles_line_with_two_classes(kaggle):
    one, two = (c.wnid for c in open_source("ilsvrc2012", kaggle).classes[:2])
    edit_line(kaggle, 4, lambda image, _: [[image, f"{two} 1 2 3 4 {one} 1 2 3 4"]])
    with pytest.raises(UserError, match=f"{LINE}'{one} {two}' is not one class"):
        open_source("ilsvrc2012", kaggle)


def test_kaggles_image_that_was_cut_off_since_it_was_listed(kaggle):
    first = next(open_source("ilsvrc2012", kaggle, ["val"]).splits[0].pictures())
    os.truncate(kaggle / "ILSVRC/Data/CLS-LOC/val" / first.name, 100)
    with pytest.raises(UserError, match=f"{first.name} in .*val breaks off"):
        first.read()


# The two years ----------------------------------------------------------------------------------------------


def test_patches_replace_images_of_every_split_and_are_listed(copy, tmp_path):
    plain = {s: pictures(open_source("ilsvrc2010", copy), s) for s in ("train", "val", "test")}
    names = {split: sorted(images)[1] for split, images in plain.items()}
    patches = {f"patch_images/{name}": jpeg(i) for i, name in enumerate(names.values())}
    (copy / "patch_images.tar").write_bytes(tar_of(patches))
    catalogue = open_source("ilsvrc2010", copy)
    for split, name in names.items():
        found = pictures(catalogue, split)
        assert found[name] == (plain[split][name][0], patches[f"patch_images/{name}"])
        assert {k: v for k, v in found.items() if k != name} == {k: v for k, v in plain[split].items() if k != name}
        picture = next(p for p in drain(catalogue, split) if p.name == name)
        assert (picture.archive, picture.repairs) == ("patch_images.tar", ("patched",))
    manifest = pack("ilsvrc2010", copy, tmp_path / "out", image_size=24, stand_ins=True, progress=io.StringIO())
    assert {"name": names["train"], "repairs": ["patched"]} in manifest["splits"]["train"]["repaired"]
    (copy / "patch_images.tar").write_bytes(tar_of(patches | {"patch_images/n9_1.JPEG": jpeg(9)}))
    assert open_source("ilsvrc2010", copy, ["val"]).splits[0].images == 5 * 1
    for some in (["train"], ["val", "test"]):
        assert [s.name for s in open_source("ilsvrc2010", copy, some).splits] == some
    with pytest.raises(UserError, match=r"patch_images\.tar: n9_1\.JPEG .* replaces no image of 2010"):
        open_source("ilsvrc2010", copy)


def test_ids_of_neither_year_are_labels_and_the_years_number_differently(even):
    ids = {}
    for year, kit in KIT.items():
        rows = [(wnid, number) for number, wnid, _, children in rows_of(even, kit, year) if not children]
        ids[year] = dict(rows)
        truth = next(v for k, v in members_of((even / kit).read_bytes()).items() if "validation_gro" in k)
        found = {p.name: p.label for p in drain(open_source(f"ilsvrc{year}", even, ["val"]), "val")}
        wnids, wnid_of = sorted(ids[year]), {number: wnid for wnid, number in rows}
        expected = [wnids.index(wnid_of[int(line)]) for line in truth.split()]
        assert [found[name] for name in sorted(found)] == expected
        assert expected != [int(line) - 1 for line in truth.split()]
    assert ids[2010].keys() == ids[2012].keys() and ids[2010] != ids[2012]


@pytest.mark.parametrize("year", [2010, 2012])
def test_kit_of_the_other_year(even, tmp_path, year):
    folder = copied(even, tmp_path / "mixed")
    swap(*(folder / kit for kit in KIT.values()))
    for split in ("train", "val"):
        with pytest.raises(UserError, match=rf"{KIT[year]} has no column ILSVRC{year}_ID: .* kit of {year}"):
            open_source(f"ilsvrc{year}", folder, [split])


@pytest.mark.parametrize("year", [2010, 2012])
def test_validation_ground_truth_of_the_other_year(even, tmp_path, year):
    folder = copied(even, tmp_path / "mixed")
    other = 4022 - year

    def exchange(members):
        own = next(name for name in members if "validation_ground_truth" in name)
        kit = members_of((even / KIT[other]).read_bytes())
        theirs = next(name for name in kit if "validation_ground_truth" in name)
        members[f"{own.rsplit('/', 1)[0]}/{theirs.rsplit('/', 1)[1]}"] = kit[theirs]
        del members[own]

    change(folder / KIT[year], exchange, "w:gz")
    with pytest.raises(UserError, match=f"{KIT[year]} .*no data/ILSVRC{year}_validation_ground_truth.txt"):
        open_source(f"ilsvrc{year}", folder, ["val"])


def test_test_ground_truth_of_2010_is_not_the_validation_ground_truth_of_2012(copy):
    kit = members_of((copy / KIT[2012]).read_bytes())
    truth = next(data for name, data in kit.items() if "validation_ground_truth" in name)
    (copy / "ILSVRC2010_test_ground_truth.txt").write_bytes(truth)
    with pytest.raises(UserError, match="has 10 images, but ILSVRC2010_test_ground_truth.txt has 15 lines"):
        open_source("ilsvrc2010", copy, ["test"])


@pytest.mark.parametrize("year", [2010, 2012])
def test_training_archive_of_the_other_year_has_the_own_map_or_is_refused(even, copy, tmp_path, year):
    folder = copied(even, tmp_path / "mixed")
    train, other = (ilsvrc.IMAGES[y].format("train") for y in (year, 4022 - year))
    swap(folder / train, folder / other)
    catalogue = open_source(f"ilsvrc{year}", folder, ["train"])
    leaves = sorted(wnid for _, wnid, _, children in rows_of(folder, KIT[year], year) if not children)
    found = pictures(catalogue, "train")
    assert [c.wnid for c in catalogue.classes] == leaves and len(found) == 25
    assert all(name.split("_")[0] == wnid for name, (wnid, _) in found.items()), "same synsets: right labels"

    swap(copy / train, copy / other)
    with pytest.raises(UserError, match=rf"{train}/n\d+\.tar has \d images, but data/meta.mat in {KIT[year]}"):
        drain(open_source(f"ilsvrc{year}", copy, ["train"]), "train")

    wnid = leaves[0]
    change(folder / train, lambda members: members.update({"n00000001.tar": members.pop(f"{wnid}.tar")}))
    with pytest.raises(UserError, match=rf"{train} holds 'n00000001\.tar', which is no class of {KIT[year]}"):
        open_source(f"ilsvrc{year}", folder, ["train"])


@pytest.mark.parametrize("year", [2010, 2012])
def test_validation_archive_of_the_other_year(even, tmp_path, year):
    folder = copied(even, tmp_path / "mixed")
    val, other = (ilsvrc.IMAGES[y].format("val") for y in (year, 4022 - year))
    swap(folder / val, folder / other)
    with pytest.raises(UserError, match=f"{val} holds ILSVRC{4022 - year}_val_.*, which is not of {year}"):
        open_source(f"ilsvrc{year}", folder, ["val"])


# Releases of per-synset tars --------------------------------------------------------------------------------


@pytest.fixture
def release():
    """{wnid: {name: bytes}} with 7, 4 and 2 images."""
    return {
        f"n0000000{k}": {f"n0000000{k}_{i}.JPEG": jpeg(100 * k + i) for i in range(count)}
        for k, count in ((3, 7), (1, 4), (2, 2))
    }


def test_halves_are_whole_disjoint_and_the_same_in_any_order(release, tmp_path):
    shuffled = dict(random.Random(1).sample(list(release.items()), 3))
    mixed = {w: dict(random.Random(2).sample(list(m.items()), len(m))) for w, m in shuffled.items()}
    assert [list(m) for m in mixed.values()] != [list(m) for m in release.values()]
    whole, folder = tmp_path / "whole", tmp_path / "parts"
    (folder / "fall2011").mkdir(parents=True)
    whole.mkdir()
    (whole / "fall11_whole.tar").write_bytes(tar_of({f"{w}.tar": tar_of(m) for w, m in release.items()}))
    for wnid, members in mixed.items():
        (folder / "fall2011" / f"{wnid}.tar").write_bytes(tar_of(members))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "fall2009.tar").write_bytes(
        tar_of({f"any/{w}.tar": tar_of({f"images/{n}": d for n, d in m.items()}) for w, m in mixed.items()})
    )
    one, two = open_source("fall2011", whole), open_source("fall2011", folder)
    three = open_source("fall2009", tmp_path / "elsewhere")
    assert [c.wnid for c in one.classes] == sorted(release) == [c.wnid for c in two.classes]
    assert [(s.name, s.images) for s in one.splits] == [("train", 4 + 2 + 1), ("test", 3 + 2 + 1)]
    halves = [pictures(one, split) for split in ("train", "test")]
    assert halves == [pictures(two, split) for split in ("train", "test")]
    assert halves == [pictures(three, split) for split in ("train", "test")]
    assert not halves[0].keys() & halves[1].keys()
    union = {name: (wnid, data) for wnid, members in release.items() for name, data in members.items()}
    assert halves[0] | halves[1] == union
    for members in release.values():
        ranked = sorted(members, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        assert {name for name in members if name in halves[0]} == set(ranked[: -(-len(members) // 2)])


def test_a_release_that_cannot_be_halved(release, tmp_path):
    for members, words in (
        ({"n1.tar": tar_of({"a.JPEG": b"x"})}, "class n1: .* has 1 images"),
        ({"n1.tar": tar_of({"x/a.JPEG": b"x", "y/a.JPEG": b"x"})}, "a name twice"),
        ({"x/n1.tar": tar_of(release["n00000001"]), "n1.tar": tar_of(release["n00000001"])}, "class n1 twice"),
        ({"readme": b"x"}, "holds no <wnid>.tar"),
    ):
        (tmp_path / "fall2009.tar").write_bytes(tar_of(members))
        with pytest.raises(UserError, match=words):
            open_source("fall2009", tmp_path)


def test_a_tar_of_tars_that_is_compressed_gives_the_same_bytes(release, official, tmp_path):
    plain = tar_of({f"{wnid}.tar": tar_of(members) for wnid, members in release.items()})
    (tmp_path / "fall2009.tar").write_bytes(plain)
    before = everything("fall2009", tmp_path)
    assert sorted(before) == sorted(data for members in release.values() for data in members.values())
    for compress in (gzip.compress, lzma.compress):
        (tmp_path / "fall2009.tar").write_bytes(compress(plain))
        assert everything("fall2009", tmp_path) == before
    folder = copied(official, tmp_path / "packed")
    train = folder / "ILSVRC2012_img_train.tar"
    train.write_bytes(gzip.compress(train.read_bytes()))
    assert pictures(open_source("ilsvrc2012", folder), "train") == pictures(
        open_source("ilsvrc2012", official), "train"
    )


# CIFAR-10 ---------------------------------------------------------------------------------------------------

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def python2(value):
    """The opcodes by which Python 2 pickled a value in protocol 2: its strings are bytes."""
    if isinstance(value, bytes):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(k) + python2(v) for k, v in value.items()) + b"u"
    kind = (
        b"cnumpy\ndtype\n" + python2(b"u1") + b"K\0K\1\x87R(K\3" + python2(b"|") + b"NNN" + python2(-1) * 2 + b"K\0tb"
    )
    begin = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + python2(b"b") + b"\x87R(K\1"
    return begin + b"".join(map(python2, value.shape)) + b"\x86" + kind + b"\x89" + python2(value.tobytes()) + b"tb"


def pickled(record):
    return b"\x80\2" + python2(record) + b"."


def cifar_archive(path, batches, meta=None):
    """As the authors' archive."""
    meta = meta or pickled({b"num_cases_per_batch": 4, b"label_names": [n.encode() for n in NAMES], b"num_vis": 3072})
    members = {"cifar-10-batches-py/batches.meta": meta, "cifar-10-batches-py/readme.html": b"<html>"}
    members |= {f"cifar-10-batches-py/{name}": data for name, data in batches.items()}
    path.write_bytes(tar_of(members, "w:gz"))


def cifar_batch(seed, **changes):
    rng = np.random.default_rng(seed)
    record = {
        b"batch_label": b"training batch 1 of 5",
        b"labels": rng.integers(0, 10, 4).tolist(),
        b"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
        b"filenames": [f"img_{seed}_{i}.png".encode() for i in range(4)],
    }
    return record | {key.encode(): value for key, value in changes.items()}


def test_cifar10_is_read_to_the_pixel(tmp_path):
    records = {name: cifar_batch(i) for i, name in enumerate(BATCHES)}
    loaded = pickle.loads(pickled(records["test_batch"]), encoding="bytes")
    assert loaded.keys() == records["test_batch"].keys()
    assert np.array_equal(loaded[b"data"], records["test_batch"][b"data"]), "numpy reads it likewise"
    cifar_archive(tmp_path / "cifar-10-python.tar.gz", {n: pickled(r) for n, r in records.items()})
    (tmp_path / "cifar10-jpeg75.tar.gz").write_bytes(tar_of({"train/cat/1.jpg": b"x"}, "w:gz"))
    catalogue = open_source("cifar10", tmp_path)
    assert (catalogue.variant, [c.name for c in catalogue.classes]) == ("original", NAMES)
    assert [(s.name, s.images) for s in catalogue.splits] == [("train", 20), ("test", 4)]
    found = {p.name: (p.label, p.read()) for s in ("train", "test") for p in drain(catalogue, s)}
    for record in records.values():
        for row, label, name in zip(record[b"data"], record[b"labels"], record[b"filenames"], strict=True):
            red, green, blue = row.reshape(3, 32, 32)
            assert found[name.decode()][0] == label
            assert np.array_equal(found[name.decode()][1], np.dstack([red, green, blue]))
    out = tmp_path / "out"
    manifest = pack("cifar10", tmp_path, out, splits=["test"], image_size=32, stand_ins=True, progress=io.StringIO())
    assert manifest["variant"] == "original"
    expected = records["test_batch"][b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(np.load(out / "test.npy"), expected)


def test_pickles_of_python_3_are_read_too(tmp_path):
    records = {name: cifar_batch(i) for i, name in enumerate(BATCHES)}
    records["data_batch_2"][b"data"] = np.asfortranarray(records["data_batch_2"][b"data"])
    for write in (pickled, lambda record: pickle.dumps(record, protocol=2)):
        cifar_archive(tmp_path / "cifar-10-python.tar.gz", {n: write(r) for n, r in records.items()})
        images = [p.read() for p in drain(open_source("cifar10", tmp_path), "train")]
        expected = np.concatenate([records[name][b"data"] for name in BATCHES[:5]])
        assert np.array_equal(np.stack(images).transpose(0, 3, 1, 2).reshape(20, 3072), expected)


class Evil:
    """Unpickles as a call."""

    def __init__(self, call, *arguments):
        self.called = call, arguments

    def __reduce__(self):
        return self.called


class Addresses:
    """Unpickles as an array of numpy whose bytes are taken for pointers."""

    class Kind:
        def __reduce__(self):
            fields = {"a": (np.dtype("O"), 0)}
            return np.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, 0)

    def __reduce__(self):
        begin = np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b")
        return (*begin, (1, (4,), self.Kind(), False, b"\x41" * 32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"evil": Evil(os.system, f"touch {p}")}, r"cannot be read \(it names (posix|os)\.system"),
        (lambda p: {"evil": Evil(eval, f"open({str(p)!r}, 'w')")}, r"it names (__builtin__|builtins)\.eval"),
        (lambda p: {"labels": Evil(open, str(p), "w")}, r"cannot be read \(it names "),
        (lambda p: {"labels": Addresses()}, "cannot be read|lacks data or labels"),
        (lambda p: {"data": Addresses()}, "cannot be read|lacks data or labels"),
        (lambda p: {"labels": [0, 1, 2, 10]}, "has label 10, but there are 10 classes"),
        (lambda p: {"labels": [0, 1, 2, -1]}, "has label -1"),
        (lambda p: {"labels": [0]}, r"has 1 labels for pixels of shape \(4, 3072\)"),
        (lambda p: {"labels": [0, 1, 2, None]}, "lacks data or labels"),
        (lambda p: {"data": np.zeros((4, 3071), np.uint8)}, r"has 4 labels for pixels of shape \(4, 3071\)"),
        (lambda p: {"data": np.zeros((12288,), np.uint8)}, r"pixels of shape \(12288,\)"),
        (lambda p: {"data": np.zeros((4, 3072), np.float32)}, "not one of bytes"),
        (lambda p: {"data": np.zeros((4, 3072), object)}, "not one of bytes"),
        (lambda p: {"data": 3}, "lacks data or labels"),
        (lambda p: {"filenames": [b"a"]}, "has 4 labels"),
    ],
)
def test_a_cifar_batch_that_is_not_one_is_refused_and_runs_nothing(tmp_path, change, words):
    good = {n: pickled(cifar_batch(i)) for i, n in enumerate(BATCHES)}
    bad = pickle.dumps(cifar_batch(1, **change(tmp_path / "ran")), protocol=2)
    cifar_archive(tmp_path / "cifar-10-python.tar.gz", good | {"test_batch": bad})
    with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz/test_batch.*({words})"):
        drain(open_source("cifar10", tmp_path), "test")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "words"), [(pickled({}), "lacks data or labels"), (pickled([]), "no record"), (b"x", "cannot be")]
)
def test_a_cifar_batch_that_is_something_else(tmp_path, data, words):
    good = {n: pickled(cifar_batch(i)) for i, n in enumerate(BATCHES)}
    cifar_archive(tmp_path / "cifar-10-python.tar.gz", good | {"test_batch": data})
    with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz/test_batch .*{words}"):
        drain(open_source("cifar10", tmp_path), "test")


def test_class_names_of_cifar10_run_nothing_and_are_sorted(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    for meta, words in (
        (pickle.dumps({b"x": Evil(os.system, f"touch {tmp_path / 'ran'}")}, protocol=2), "it names"),
        (pickled({b"num_cases_per_batch": 4, b"label_names": [b"dog", b"cat"]}), "not in sorted order"),
        (pickled({b"label_names": [b"cat", b"dog"]}), "lacks b'num_cases_per_batch'"),
    ):
        cifar_archive(path, {}, meta)
        with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz.*{words}"):
            open_source("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_cifar10_that_breaks_off_or_lacks_a_batch(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    good = {n: pickled(cifar_batch(i)) for i, n in enumerate(BATCHES)}
    cifar_archive(path, good)
    whole = path.read_bytes()
    for size in (len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz in .* cannot be read to its end"):
            everything("cifar10", tmp_path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    with pytest.raises(UserError, match=r"cannot be read to its end \(CRC check failed"):
        open_source("cifar10", tmp_path)
    del good["data_batch_3"]
    cifar_archive(path, good)
    with pytest.raises(UserError, match="holds no data_batch_3"):
        drain(open_source("cifar10", tmp_path), "train")


def test_the_lossy_copy_of_cifar10_says_what_it_is(tmp_path):
    members = {f"{split}/{name}/0001.jpg": jpeg(1) for split in ("train", "test") for name in NAMES}
    (tmp_path / "cifar10-jpeg75.tar.gz").write_bytes(tar_of(members, "w:gz"))
    catalogue = open_source("cifar10", tmp_path)
    assert catalogue.variant == "cifar10-jpeg75"
    assert [c.name for c in catalogue.classes] == NAMES
    assert [(s.name, s.images) for s in catalogue.splits] == [("train", 10), ("test", 10)]


# Zips and class folders -------------------------------------------------------------------------------------


def tiny_zip(path, *more, **changes):
    """As the official zip; `more`: members that are written last."""
    members = {
        "wnids.txt": "n2\nn1\n",
        "words.txt": "n1\tone\nn2\ttwo, deux\nn3\tthree\n",
        "val/val_annotations.txt": "val_0.JPEG\tn2\t0\t0\t1\t1\nval_1.JPEG\tn1\t0\t0\t1\t1\n",
        "train/n1/images/n1_0.JPEG": jpeg(1),
        "train/n2/images/n2_0.JPEG": jpeg(2),
        "train/n2/n2_boxes.txt": "n2_0.JPEG\t0\t0\t1\t1\n",
        "val/images/val_0.JPEG": jpeg(3),
        "val/images/val_1.JPEG": jpeg(4),
        "test/images/test_0.JPEG": jpeg(5),
    } | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"tiny-imagenet-200/{name}", data)
        for member in more:
            archive.writestr(member, b"/etc/passwd")


def folder_zip(path, *more):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/b/1.jpg", b"x")
        for member in more:
            archive.writestr(member, b"/etc/passwd")


ZIPS = {"tiny_imagenet": ("tiny-imagenet-200.zip", tiny_zip), "folders": ("mine.zip", folder_zip)}


def test_tiny_imagenet(tmp_path):
    tiny_zip(tmp_path / "tiny-imagenet-200.zip")
    catalogue = open_source("tiny_imagenet", tmp_path)
    assert [(c.wnid, c.name) for c in catalogue.classes] == [("n1", "one"), ("n2", "two, deux")]
    assert [(s.name, s.images) for s in catalogue.splits] == [("train", 2), ("val", 2)]
    assert pictures(catalogue, "train") == {"n1_0.JPEG": ("n1", jpeg(1)), "n2_0.JPEG": ("n2", jpeg(2))}
    assert pictures(catalogue, "val") == {"val_0.JPEG": ("n2", jpeg(3)), "val_1.JPEG": ("n1", jpeg(4))}
    with pytest.raises(UserError, match="never published"):
        open_source("tiny_imagenet", tmp_path, ["test"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val/val_annotations.txt": "val_0.JPEG\tn2\n"}, r"val_1\.JPEG is of no class"),
        ({"train/n3/images/n3_0.JPEG": b"x"}, r"n3_0\.JPEG is of no class"),
        ({"wnids.txt": "n1\nn2\nn4\n"}, "class n4 has no images in split train"),
    ],
)
def test_tiny_imagenet_that_contradicts_itself(tmp_path, changes, words):
    tiny_zip(tmp_path / "tiny-imagenet-200.zip", **changes)
    with pytest.raises(UserError, match=rf"{words}.*"):
        open_source("tiny_imagenet", tmp_path)


def test_a_zip_of_class_folders(tmp_path):
    files = {f"data/{s}/{c}/1.jpg": jpeg(i) for i, (s, c) in enumerate([("train", "a"), ("train", "b")])}
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    catalogue = open_source("folders", tmp_path)
    assert {(p.archive, p.label): p.read() for p in drain(catalogue, "train")} == {
        ("mine.zip", 0): files["data/train/a/1.jpg"],
        ("mine.zip", 1): files["data/train/b/1.jpg"],
    }


def zip_member(name="train/a/1.jpg", mode=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize("source", ZIPS)
@pytest.mark.parametrize(
    ("info", "words"),
    [
        (zip_member("/train/a/1.jpg"), "leads out of the archive"),
        (zip_member("train/../../a/1.jpg"), "leads out of the archive"),
        (zip_member("..\\train\\a\\1.jpg"), "leads out of the archive"),
        (zip_member(mode=0o120777), "a link or a device"),
        (zip_member(mode=0o020666), "a link or a device"),
        (zip_member(mode=0o010666), "a link or a device"),
    ],
)
def test_members_of_a_zip_that_are_refused(tmp_path, source, info, words):
    name, write = ZIPS[source]
    write(tmp_path / name, info)
    with pytest.raises(UserError, match=f"{name} holds .*{words}"):
        everything(source, tmp_path)


def declare(path, name, size, checksum=None):
    """Write another unpacked size of a member, and checksum, into the directory of a zip."""
    data = bytearray(path.read_bytes())
    at = data.index(name.encode(), data.index(b"PK\1\2")) - 46
    data[at + 24 : at + 28] = struct.pack("<I", size)
    if checksum is not None:
        data[at + 16 : at + 20] = struct.pack("<I", checksum)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("source", "member"),
    [
        ("folders", "train/b/1.jpg"),
        ("tiny_imagenet", "tiny-imagenet-200/train/n1/images/n1_0.JPEG"),
        ("tiny_imagenet", "tiny-imagenet-200/words.txt"),
    ],
)
def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path, source, member):
    name, write = ZIPS[source]
    write(tmp_path / name)
    declare(tmp_path / name, member, 200_000_000)
    open_source(source, tmp_path)
    declare(tmp_path / name, member, 200_000_001, checksum=0)  # reading it would be another error
    with pytest.raises(UserError, match=f"{name} holds '{member}' with 200,000,001 bytes, more than"):
        open_source(source, tmp_path)


def test_a_zip_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/1.jpg", bytes(3_000_000))
    declare(path, "train/a/1.jpg", 100)
    with pytest.raises(UserError, match=r"mine\.zip .* cannot be read to its end \(Bad CRC"):
        everything("folders", tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_damage(tmp_path, method):
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("train/a/1.jpg", np.random.default_rng(0).bytes(5000))
    data = path.read_bytes()
    for bad in (data[:60] + bytes(30) + data[90:], data[:-30], b"PK\3\4 is no zip"):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"mine\.zip in .* cannot be read"):
            everything("folders", tmp_path)


def test_hidden_folders_and_files_are_no_images(tmp_path):
    names = ["train/a/1.jpg", "train/.cache/2.jpg", "train/a/.cache/3.jpg", "train/a/.4.jpg"]
    for kind in ("disk", "tar", "zip"):
        (tmp_path / kind).mkdir()
    for name in names:
        file = tmp_path / "disk" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    (tmp_path / "tar" / "any.tar").write_bytes(tar_of({name: name.encode() for name in names}))
    with zipfile.ZipFile(tmp_path / "zip" / "any.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    for kind in ("disk", "tar", "zip"):
        catalogue = open_source("folders", tmp_path / kind)
        assert [c.wnid for c in catalogue.classes] == ["a"]
        assert [s.images for s in catalogue.splits] == [1]
        assert pictures(catalogue, "train") == {"1.jpg": ("a", b"train/a/1.jpg")}


@pytest.mark.parametrize("name", ["imagenette2.tgz", "imagenette2-320.tgz", "imagenette2-160.tgz"])
def test_imagenette_in_its_official_sizes(tmp_path, name):
    root = name.removesuffix(".tgz")
    members = {
        f"{root}/{split}/{wnid}/{split}_{wnid}.JPEG": jpeg(i + len(split))
        for split in ("train", "val")
        for i, wnid in enumerate(["n03888257", "n01440764"])
    }
    noise = {f"{root}/noisy_imagenette.csv": b"x", f"{root}/train/n01440764/.DS_Store": b"x"}
    (tmp_path / name).write_bytes(tar_of(members | noise, "w:gz"))
    assert missing_archives("imagenette", tmp_path) == []
    catalogue = open_source("imagenette", tmp_path)
    assert catalogue.variant == root
    assert [(c.wnid, c.name) for c in catalogue.classes] == [("n01440764", "tench"), ("n03888257", "parachute")]
    for split in ("train", "val"):
        assert pictures(catalogue, split) == {
            file.rsplit("/", 1)[1]: (file.split("/")[2], data)
            for file, data in members.items()
            if file.split("/")[1] == split
        }


def test_imagenette_in_two_archives(tmp_path):
    for split in ("train", "val"):
        file = tmp_path / f"imagenette2-224-{split}.tar.gz"
        file.write_bytes(tar_of({f"{split}/n01440764/{split}.JPEG": jpeg(len(split))}, "w:gz"))
    catalogue = open_source("imagenette", tmp_path)
    assert catalogue.variant == "imagenette2-224"
    for split in ("train", "val"):
        assert pictures(catalogue, split) == {f"{split}.JPEG": ("n01440764", jpeg(len(split)))}


# Tars -------------------------------------------------------------------------------------------------------


def odd(kind, name):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


ODD = {
    "absolute": (odd(tarfile.REGTYPE, "/val/a/x.JPEG"), "leads out of the archive"),
    "climbing": (odd(tarfile.REGTYPE, "val/../../x.JPEG"), "leads out of the archive"),
    "symlink": (odd(tarfile.SYMTYPE, "val/a/x.JPEG"), "a link or a device"),
    "hardlink": (odd(tarfile.LNKTYPE, "val/a/x.JPEG"), "a link or a device"),
    "device": (odd(tarfile.CHRTYPE, "val/a/x.JPEG"), "a link or a device"),
    "disk": (odd(tarfile.BLKTYPE, "val/a/x.JPEG"), "a link or a device"),
    "pipe": (odd(tarfile.FIFOTYPE, "val/a/x.JPEG"), "a link or a device"),
}
TARS = {  # source, file, whether within an inner tar, mode
    "2012 train": ("ilsvrc2012", "ILSVRC2012_img_train.tar", False, "w"),
    "2012 train, inner": ("ilsvrc2012", "ILSVRC2012_img_train.tar", True, "w"),
    "2012 val": ("ilsvrc2012", "ILSVRC2012_img_val.tar", False, "w"),
    "2012 kit": ("ilsvrc2012", "ILSVRC2012_devkit_t12.tar.gz", False, "w:gz"),
    "2010 train, inner": ("ilsvrc2010", "ILSVRC2010_images_train.tar", True, "w"),
    "2010 test": ("ilsvrc2010", "ILSVRC2010_images_test.tar", False, "w"),
    "2010 patches": ("ilsvrc2010", "patch_images.tar", False, "w"),
    "fall, whole": ("fall2009", "fall2009.tar", False, "w"),
    "fall, inner": ("fall2009", "fall2009.tar", True, "w"),
    "fall, folder": ("fall2011", "fall2011/n1.tar", False, "w"),
    "cifar10": ("cifar10", "cifar-10-python.tar.gz", False, "w:gz"),
    "imagenette": ("imagenette", "imagenette2-320.tgz", False, "w:gz"),
    "folders": ("folders", "any.tar", False, "w"),
}


@pytest.fixture(scope="module")
def all_tars(official, tmp_path_factory):
    """{source: folder} with good archives for every entry of TARS."""
    root = tmp_path_factory.mktemp("all")
    folders = {source: root / source for source, *_ in TARS.values()}
    for folder in folders.values():
        folder.mkdir()
    for file in official.iterdir():
        (folders[f"ilsvrc20{10 if '2010' in file.name else 12}"] / file.name).write_bytes(file.read_bytes())
    name = min(members_of((official / "ILSVRC2010_images_val.tar").read_bytes()))
    (folders["ilsvrc2010"] / "patch_images.tar").write_bytes(tar_of({f"patch/{name}": jpeg(7)}))
    inner = {"n1.tar": tar_of({"n1_1.JPEG": jpeg(1), "n1_2.JPEG": jpeg(2)})}
    (folders["fall2009"] / "fall2009.tar").write_bytes(tar_of(inner))
    (folders["fall2011"] / "fall2011").mkdir()
    (folders["fall2011"] / "fall2011" / "n1.tar").write_bytes(inner["n1.tar"])
    batches = {n: pickled(cifar_batch(i)) for i, n in enumerate(BATCHES)}
    cifar_archive(folders["cifar10"] / "cifar-10-python.tar.gz", batches)
    images = {f"any/{split}/n1/{i}.JPEG": jpeg(i) for split in ("train", "val") for i in range(3)}
    (folders["imagenette"] / "imagenette2-320.tgz").write_bytes(tar_of(images, "w:gz"))
    (folders["folders"] / "any.tar").write_bytes(tar_of(images))
    return folders


@pytest.fixture
def tar_in_place(all_tars, request):
    """(source, folder, file, inner, mode) of an entry of TARS; the file is as before after the test."""
    source, name, inner, mode = TARS[request.param]
    file = all_tars[source] / name
    good = file.read_bytes()
    assert everything(source, all_tars[source])
    yield source, all_tars[source], file, inner, mode
    file.write_bytes(good)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("tar_in_place", TARS, indirect=True)
def test_unsafe_members_are_refused_by_every_reader(tar_in_place, kind):
    source, folder, file, inner, mode = tar_in_place
    info, words = ODD[kind]

    def put(members):
        if inner:
            name = list(members)[-1]
            members[name] = tar_of(members_of(members[name]) | {"odd": info})
        else:
            members["odd"] = info

    change(file, put, mode)
    with pytest.raises(UserError, match=rf"{file.name}(/n\d+\.tar)? holds '{info.name}', .*{words}"):
        everything(source, folder)


@pytest.mark.parametrize("tar_in_place", TARS, indirect=True)
def test_archives_that_break_off_are_named(tar_in_place):
    source, folder, file, _, _ = tar_in_place
    whole = file.read_bytes().rstrip(b"\0")
    for share in (0.3, 0.6):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match=f"{file.name}.*(breaks off|cannot be read to its end)"):
            everything(source, folder)


@pytest.mark.parametrize("tar_in_place", [n for n, t in TARS.items() if t[3] == "w"], indirect=True)
def test_archives_that_shrink_while_they_are_read_are_named(tar_in_place):
    source, folder, file, _, _ = tar_in_place
    listed = [p for split in open_source(source, folder).splits for p in split.pictures()]
    os.truncate(file, 600)
    ours = [p for p in listed if file.name in p.archive]
    assert ours
    with pytest.raises(UserError, match=rf"{file.name} in .* breaks off; fetch it again"):
        [p.read() for p in ours]
    file.unlink()
    with pytest.raises(UserError, match=rf"{file.name} cannot be read at byte \d+"):
        ours[-1].read()
    file.touch()


def test_a_tar_that_ends_or_is_damaged_between_two_images_is_not_a_shorter_one(tmp_path):
    members = {f"train/{c}/{i}.jpg": bytes([i]) * 700 for c in "ab" for i in range(3)}
    data = tar_of(members)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        starts = [member.offset for member in tar][1:]
    for begin in starts:
        for bad in (data[:begin], data[: begin + 100], data[:begin] + b"\xff" + data[begin + 1 :]):
            (tmp_path / "any.tar").write_bytes(bad)
            with pytest.raises(UserError, match=r"any\.tar in .* cannot be read to its end"):
                open_source("folders", tmp_path)
    (tmp_path / "any.tar").write_bytes(data.rstrip(b"\0") + bytes(2048))
    assert len(everything("folders", tmp_path)) == 6


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_compressed_tar_with_damage(tmp_path, compress):
    packed = compress(tar_of({f"train/a/{i}.jpg": np.random.default_rng(i).bytes(900) for i in range(9)}))
    for at in (len(packed) // 2, len(packed) - 6):
        bad = packed[:at] + bytes([packed[at] ^ 255]) + packed[at + 1 :]
        (tmp_path / "any.tgz").write_bytes(bad)
        with pytest.raises(UserError, match=r"any\.tgz in .* cannot be read to its end"):
            everything("folders", tmp_path)


def test_a_tar_with_a_sparse_member_is_refused(tmp_path):
    info = tarfile.TarInfo("train/a/2.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" * 2
    header[483:495] = b"%011o\0" % 3_000_000_000
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    first = tar_of({"train/a/1.jpg": b"x"})[:1024]
    (tmp_path / "any.tar").write_bytes(first + header + bytes(1024))
    with pytest.raises(UserError, match=r"any\.tar in .* \('train/a/2\.jpg' is a sparse file\)"):
        open_source("folders", tmp_path)


def test_a_tar_with_an_image_of_enormous_size_is_refused(tmp_path):
    info = tarfile.TarInfo("train/a/1.jpg")
    info.size = 200_000_001
    with open(tmp_path / "any.tar", "wb") as file:
        file.write(info.tobuf())
        file.truncate(200_000_001 + 8192)  # a hole, which reads as zeros
    with pytest.raises(UserError, match=r"any\.tar holds 'train/a/1\.jpg' with 200,000,001 bytes, more than"):
        everything("folders", tmp_path)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_names_that_are_not_utf8_are_packed_and_readable_in_the_index(tmp_path, form):
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    try:
        (Path(os.fsdecode(bytes(folder) + b"/\xff.jpg"))).write_bytes(jpeg(1))
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    source = tmp_path
    if form == "tar":
        source = tmp_path / "tars"
        source.mkdir()
        with tarfile.open(source / "train.tar", "w") as tar:
            tar.add(tmp_path / "train", "train")
    pack("folders", source, tmp_path / "out", image_size=8)
    assert "\n\\xff.jpg,0," in (tmp_path / "out" / "train.csv").read_text(encoding="utf-8")


def test_reads_that_give_less_than_asked_for_go_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(range(100)))

    class Slow(io.FileIO):  # as of a disk over a network; nothing real that can seek does it at will
        def read(self, size=-1):
            return super().read(min(size, 7))

    monkeypatch.setattr(catalogue, "open", lambda path, *_, **__: Slow(path), raising=False)
    assert Extent(tmp_path / "file", 10, 50).read() == bytes(range(10, 60))
    with pytest.raises(UserError, match="breaks off"):
        Extent(tmp_path / "file", 60, 50).read()


def test_an_archive_that_cannot_be_read_is_named_while_it_is_hashed(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} cannot be read"):
        hash_file(tmp_path)
