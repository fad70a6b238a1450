"""ILSVRC-2012 in every layout that people hold it in: the same store from each, and a sentence about each fault."""
# ruff: noqa: F401, F811 - a fixture from another file

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, shared_data
from test_archives import tar_of
from test_canonical_order import CLASSES, TRAIN, VAL, images, kaggle, official, packed, sorted_by_class, write

from alexnet.archives.known_files import describe_missing
from alexnet.archives.labelled import official_name
from alexnet.archives.sources import find, missing_archives, open_source
from alexnet.errors import UserError
from alexnet.packed.pack import pack


def by_class(images, folder, seed):
    write(folder, sorted_by_class(images), seed)
    return "ilsvrc2012"


def suffixed(images, folder, seed):
    """As extracted from the older archives of Hugging Face."""
    files = {f"{Path(name).with_suffix('')}_{name.split('/')[1]}.jpg": d for name, d in sorted_by_class(images).items()}
    write(folder, files, seed)
    return "ilsvrc2012"


def flat(images, folder, seed, labels):
    """Training images by class, validation images in one folder, and one of the three lists."""
    by_class({"train": images["train"]}, folder, seed)
    val = {name: (wnid, data) for wnid, files in images["val"].items() for name, data in files.items()}
    write(folder / "val", {name: data for name, (_, data) in val.items()}, seed)
    if labels == "devkit":
        other = folder / "lists"
        other.mkdir()
        official(images, other, seed)
        for tar in other.glob("*.tar"):
            tar.unlink()
    elif labels == "wnids":
        lines = "".join(f"{val[name][0]}\n" for name in sorted(val))
        (folder / "imagenet_2012_validation_synset_labels.txt").write_text(lines)
    else:
        lines = [f"{Path(name).stem},{wnid} 1 2 3 4 \n" for name, (wnid, _) in val.items()]
        (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
        (folder / "LOC_synset_mapping.txt").write_text("".join(f"{w} word of {w}\n" for w in images["train"]))
    return "ilsvrc2012"


def rows_of(images, split, seed):
    """Image and label of each row, as `datasets` writes ILSVRC/imagenet-1k: mixed, the class in the name."""
    ranks = {wnid: rank for rank, wnid in enumerate(sorted(images["train"]))}
    rows = [
        {"image": {"bytes": data, "path": f"{Path(name).stem}_{wnid}.JPEG"}, "label": ranks[wnid]}
        for wnid, files in images[split].items()
        for name, data in files.items()
    ]
    return random.Random(seed).sample(rows, len(rows))


SCHEMA = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()})


def write_parquet(folder, split, rows, shards, group=4):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        table = pa.Table.from_pylist(rows[number::shards], schema=SCHEMA)
        pq.write_table(table, folder / f"{split}-{number:05d}-of-{shards:05d}.parquet", row_group_size=group)


def parquet(images, folder, seed):
    write_parquet(folder / "data", "train", rows_of(images, "train", seed), 3)
    write_parquet(folder / "data", "validation", rows_of(images, "val", seed), 1)
    return "ilsvrc2012"


def samples_of(images, split, seed):
    """{key: {ending: bytes}} as the shards of timm have them."""
    ranks = {wnid: rank for rank, wnid in enumerate(sorted(images["train"]))}
    found = [
        (Path(name).stem, {"jpg": data, "cls": b"%d" % ranks[wnid], "json": json.dumps({"filename": name}).encode()})
        for wnid, files in images[split].items()
        for name, data in files.items()
    ]
    return random.Random(seed).sample(found, len(found))


def write_shards(folder, split, samples, shards):
    for number in range(shards):
        members = {f"{key}.{kind}": data for key, parts in samples[number::shards] for kind, data in parts.items()}
        (folder / f"imagenet1k-{split}-{number:04d}.tar").write_bytes(tar_of(members))


def shards(images, folder, seed):
    write_shards(folder, "train", samples_of(images, "train", seed), 3)
    write_shards(folder, "validation", samples_of(images, "val", seed), 2)
    return "ilsvrc2012"


def mixture(images, folder, seed):
    """Training images in parquet, validation images in the official tar."""
    official(images, folder, seed)
    (folder / "ILSVRC2012_img_train.tar").unlink()
    write_parquet(folder, "train", rows_of(images, "train", seed), 2)
    return "ilsvrc2012"


ROUTES = {
    "folders by class": by_class,
    "folders by class, other names": suffixed,
    **{f"flat, {labels}": partial(flat, labels=labels) for labels in ("devkit", "solution", "wnids")},
    "parquet": parquet,
    "shards": shards,
    "mixture": mixture,
}
VARIANTS = {
    "folders by class": "folders by class",
    "folders by class, other names": "folders by class",
    "flat, devkit": "folders by class, flat validation folder",
    "flat, solution": "folders by class, flat validation folder",
    "flat, wnids": "folders by class, flat validation folder",
    "parquet": "Hugging Face parquet",
    "shards": "WebDataset shards",
    "mixture": "Hugging Face parquet, official tars",
}


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory):
    return packed(images, official, 1, tmp_path_factory.mktemp("official"))


@pytest.mark.parametrize("route", ROUTES)
def test_every_layout_gives_the_same_bytes_and_fingerprint(images, expected, tmp_path, route):
    source = tmp_path / "in"
    source.mkdir()
    ROUTES[route](images, source, 5)
    assert missing_archives("ilsvrc2012", source) == []
    how = {"image_size": 24, "workers": 2, "stand_ins": True, "progress": io.StringIO()}
    manifest = pack("ilsvrc2012", source, tmp_path / "out", **how)
    stored = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir() if f.name != "manifest.json"}
    assert stored == expected[0] and manifest["fingerprint"] == expected[1]
    assert manifest["variant"] == VARIANTS[route]
    if route in ("parquet", "shards"):
        assert {record["file"] for record in manifest["archives"]} == {
            f.name for f in source.rglob("*-0*") if f.is_file()
        }


@pytest.mark.parametrize("level", ["ILSVRC", "ILSVRC/..", "..", "ILSVRC/Data"])
def test_kaggles_folders_are_found_a_level_above_and_below(images, tmp_path, level):
    root = tmp_path / "some/kaggle"
    root.mkdir(parents=True)
    kaggle(images, root, 1)
    if level == "ILSVRC/Data":  # too deep: two levels
        assert missing_archives("ilsvrc2012", root / level)
        return
    catalogue = open_source("ilsvrc2012", root / level)
    assert catalogue.variant == "Kaggle folders"
    assert [split.images for split in catalogue.splits] == [CLASSES * TRAIN, CLASSES * VAL]


def test_words_of_classes_do_not_change_the_fingerprint(images, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    flat(images, source, 1, "solution")
    how = {"image_size": 24, "workers": 2, "progress": io.StringIO()}
    named = pack("ilsvrc2012", source, tmp_path / "named", **how)
    (source / "LOC_synset_mapping.txt").write_text("".join(f"{w} else\n" for w in images["train"]))
    other = pack("ilsvrc2012", source, tmp_path / "other", **how)
    assert named["classes"] != other["classes"] and named["fingerprint"] == other["fingerprint"]


# What is missing --------------------------------------------------------------------------------------------


def test_a_miss_lists_the_layouts_and_what_is_there(tmp_path):
    (tmp_path / "in/images").mkdir(parents=True)
    (tmp_path / "in/imagenet.zip").touch()
    missing = missing_archives("ilsvrc2012", tmp_path / "in")
    text = describe_missing("ilsvrc2012", missing, [str(tmp_path / "in")], None)
    for words in ("train/<wnid>/", "parquet", "WebDataset", "LOC_val_solution.csv", "images/", "imagenet.zip"):
        assert words in text, text
    with pytest.raises(UserError, match=r"missing: put them into .*parquet.*What is there: imagenet\.zip, images/"):
        open_source("ilsvrc2012", tmp_path / "in")


def test_a_flat_folder_without_a_list_lacks_the_list(images, tmp_path):
    flat(images, tmp_path, 1, "wnids")
    (tmp_path / "imagenet_2012_validation_synset_labels.txt").unlink()
    assert missing_archives("ilsvrc2012", tmp_path) == ["LOC_val_solution.csv"]
    assert missing_archives("ilsvrc2012", tmp_path, ["train"]) == []


def test_a_folder_that_may_not_be_read_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        find("ilsvrc2012", tmp_path / ("x" * 300))


def test_images_that_kaggles_list_has_and_the_folders_have_not(images, tmp_path):
    kaggle(images, tmp_path, 1)
    names = [f"{wnid}/{Path(name).stem}" for wnid, files in images["train"].items() for name in files]
    lists = tmp_path / "ILSVRC/ImageSets/CLS-LOC"
    lists.mkdir(parents=True)
    (lists / "train_cls.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names, 1)))
    assert open_source("ilsvrc2012", tmp_path).splits[0].images == CLASSES * TRAIN
    (tmp_path / f"ILSVRC/Data/CLS-LOC/train/{names[3]}.JPEG").unlink()
    gone = names[3].split("/")[1]
    with pytest.raises(UserError, match=rf"has 8 images, but train_cls\.txt lists 9: {gone} is not both"):
        open_source("ilsvrc2012", tmp_path)


def test_a_devkits_counts_hold_for_folders_too(images, tmp_path):
    flat(images, tmp_path, 1, "devkit")
    next((tmp_path / "train").rglob("*.JPEG")).unlink()
    with pytest.raises(UserError, match="split train of .* has 35 images, but 36 were published"):
        open_source("ilsvrc2012", tmp_path)


def test_a_thousand_classes_have_the_published_number_without_any_list(tmp_path):
    for label in range(1000):
        (tmp_path / f"train/n{label:08d}").mkdir(parents=True)
        (tmp_path / f"train/n{label:08d}/n{label:08d}_1.JPEG").touch()
    with pytest.raises(UserError, match="split train of .* has 1,000 images, but 1,281,167 were published"):
        open_source("ilsvrc2012", tmp_path, ["train"])


# Faults of parquet and shards -------------------------------------------------------------------------------


def edit(number, change):
    def edited(rows):
        rows[number] = change(rows[number])
        return rows

    return edited


def image(row, **values):
    return row | {"image": row["image"] | values}


ROW = r"train-00000-of-00001\.parquet, row 5: "
ROWS = {
    "no image": (edit(5, lambda row: row | {"image": None}), ROW + "the image is missing"),
    "no bytes": (edit(5, lambda row: image(row, bytes=None)), ROW + "the image is missing"),
    "empty": (edit(5, lambda row: image(row, bytes=b"")), ROW + "the image is missing"),
    "no name": (edit(5, lambda row: image(row, path=None)), ROW + "the image has no name"),
    "no label": (edit(5, lambda row: row | {"label": None}), ROW + "None is no label"),
    "label below zero": (edit(5, lambda row: row | {"label": -1}), ROW + "the image has label -1"),
    "label outside": (edit(5, lambda row: row | {"label": 99}), ROW + "label 99 is none of 4 classes"),
    "another label": (
        edit(5, lambda row: row | {"label": (row["label"] + 1) % 4}),
        r"label \d is of class n\d{8}, but",
    ),
    "two classes": (edit(5, lambda row: image(row, path="n00000001_1_n00000002.JPEG")), ROW + ".* is of two classes"),
    "twice": (lambda rows: [*rows[:5], rows[3], *rows[5:]], ROW + r"n\d{8}_\d+\.JPEG is there twice"),
}


def every(folder):
    return [p.read() for split in open_source("ilsvrc2012", folder, ["train"]).splits for p in split.pictures()]


@pytest.mark.parametrize("fault", ROWS)
def test_faults_of_parquet_are_refused_by_file_and_row(images, tmp_path, fault):
    change, words = ROWS[fault]
    write_parquet(tmp_path, "train", change(rows_of(images, "train", 1)), 1)
    with pytest.raises(UserError, match=words):
        every(tmp_path)


def test_parquet_that_is_damaged_or_lacks_a_shard_or_a_column(images, tmp_path):
    write_parquet(tmp_path, "train", rows_of(images, "train", 1), 3)
    assert len(every(tmp_path)) == CLASSES * TRAIN
    second = tmp_path / "train-00001-of-00003.parquet"
    whole = second.read_bytes()
    for bad in (whole[:-100], b"", whole[:4] + bytes(len(whole) - 400) + whole[-396:]):
        second.write_bytes(bad)
        with pytest.raises(UserError, match=r"train-00001-of-00003\.parquet in .* cannot be read"):
            every(tmp_path)
    pq.write_table(pa.table({"label": [1, 2]}), second)
    with pytest.raises(UserError, match=r"train-00001-of-00003\.parquet has no column image\.bytes"):
        every(tmp_path)
    second.unlink()
    with pytest.raises(UserError, match="has 2 of the 3 parquet shards of train, number 00001 is missing"):
        every(tmp_path)


def test_a_temporary_folder_without_room_is_named(images, tmp_path, monkeypatch):
    write_parquet(tmp_path, "train", rows_of(images, "train", 1), 1)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "wb", buffering=0))
    with pytest.raises(UserError, match="the parquet of .* cannot be unpacked to .*TMPDIR"):
        every(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", "/proc")  # which has no room at all
    with pytest.raises(UserError, match=r"need .* in the temporary folder /proc, which has 0 bytes free; .*TMPDIR"):
        open_source("ilsvrc2012", tmp_path, ["train"])


SAMPLE = r"imagenet1k-train-0000\.tar, sample n\d{8}_\d+: "
SAMPLES = {
    "no image": (lambda key, parts: (key, {"cls": parts["cls"]}), SAMPLE + "0 images"),
    "two images": (lambda key, parts: (key, parts | {"png": b"x"}), SAMPLE + "2 images"),
    "no label": (lambda key, parts: (key, {"jpg": parts["jpg"]}), SAMPLE + "no label"),
    "words for a label": (lambda key, parts: (key, parts | {"cls": b"cat"}), SAMPLE + "'cat' is no label"),
    "label outside": (lambda key, parts: (key, parts | {"cls": b"12"}), SAMPLE + "label 12 is none of 4 classes"),
    "another label": (
        lambda key, parts: (key, parts | {"cls": b"%d" % ((int(parts["cls"]) + 1) % 4)}),
        r"label \d is of class n\d{8}, but of n\d{8} in imagenet1k",
    ),
}


@pytest.mark.parametrize("fault", SAMPLES)
def test_faults_of_shards_are_refused_by_file_and_sample(images, tmp_path, fault):
    samples = samples_of(images, "train", 1)
    change, words = SAMPLES[fault]
    samples[5] = change(*samples[5])
    write_shards(tmp_path, "train", samples, 1)
    with pytest.raises(UserError, match=words):
        every(tmp_path)


def test_shards_that_break_off_or_are_missing(images, tmp_path):
    write_shards(tmp_path, "train", samples_of(images, "train", 1), 3)
    assert len(every(tmp_path)) == CLASSES * TRAIN
    second = tmp_path / "imagenet1k-train-0001.tar"
    os.truncate(second, 5000)
    with pytest.raises(UserError, match=r"imagenet1k-train-0001\.tar .*cannot be read to its end"):
        every(tmp_path)
    second.unlink()
    with pytest.raises(UserError, match="has 2 of the 3 tar shards of train, number 0001 is missing"):
        every(tmp_path)


def test_labels_alone_need_a_list_of_classes(images, tmp_path):
    write_shards(tmp_path, "validation", samples_of(images, "val", 1), 2)
    with pytest.raises(UserError, match=r"label \d is none of 0 classes; put .*LOC_synset_mapping\.txt beside"):
        open_source("ilsvrc2012", tmp_path, ["val"])
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{w} {w}\n" for w in images["train"]))
    (split,) = open_source("ilsvrc2012", tmp_path, ["val"]).splits
    assert split.images == CLASSES * VAL


@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("n01440764_10026_n01440764.JPEG", ("n01440764_10026.JPEG", "n01440764")),
        ("train/n01440764_10026.JPEG", ("n01440764_10026.JPEG", "n01440764")),
        ("n01440764_10026", ("n01440764_10026.JPEG", "n01440764")),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", ("ILSVRC2012_val_00000293.JPEG", "n01440764")),
        ("ILSVRC2012_val_00000293.jpg", ("ILSVRC2012_val_00000293.JPEG", "")),
        ("n01440764_10026_n01443537.JPEG", ("n01440764_10026.JPEG", None)),
    ],
)
def test_names_are_the_official_ones(name, official):
    assert official_name(name) == official


def test_folders_and_imagenette_take_parquet(tmp_path):
    files = {
        f"{split}/{c}/{i}.jpg": f"{split}{c}{i}".encode() for split in ("train", "val") for c in "ab" for i in "12"
    }
    write(tmp_path / "disk", files, 1)
    about = json.dumps({"info": {"features": {"label": {"names": ["b", "a"]}}}}).encode()
    for split, word in (("train", "train"), ("val", "validation")):
        rows = [
            {"image": {"bytes": data, "path": name.split("/")[2]}, "label": "ba".index(name.split("/")[1])}
            for name, data in files.items()
            if name.startswith(split)
        ]
        write_parquet(tmp_path / "parquet", word, random.Random(2).sample(rows, 4), 1)
        shard = tmp_path / f"parquet/{word}-00000-of-00001.parquet"
        pq.write_table(pq.read_table(shard).replace_schema_metadata({"huggingface": about}), shard)

    def content(folder):
        catalogue = open_source("folders", folder)
        assert [c.wnid for c in catalogue.classes] == ["a", "b"]
        return [[(p.name, p.label, p.read()) for p in split.pictures()] for split in catalogue.splits]

    assert content(tmp_path / "parquet") == content(tmp_path / "disk")
    assert missing_archives("imagenette", tmp_path / "parquet") == []
    with pytest.raises(UserError, match="class n02979186 .* has no images in split train"):
        open_source("imagenette", tmp_path / "parquet")
    pq.write_table(pq.read_table(shard).replace_schema_metadata({}), tmp_path / "parquet/train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="does not name its classes"):
        open_source("folders", tmp_path / "parquet")


def test_real_images_in_every_layout_give_the_same_store(tmp_path):
    """A dozen images of each class and split of Imagenette."""
    folder = shared_data()
    if folder is None:
        pytest.skip("no imagenette2-224-{train,val}.tar.gz in ../shared/data or ALEXNET_DATA")
    some: dict[str, dict[str, dict[str, bytes]]] = {"train": {}, "val": {}}
    for split in some:
        with tarfile.open(folder / f"imagenette2-224-{split}.tar.gz") as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                wnid, name = member.name.split("/")[-2:]
                if name.startswith(wnid) and len(some[split].setdefault(wnid, {})) < 12:
                    some[split][wnid][name] = tar.extractfile(member).read()
    number = iter(random.Random(3).sample(range(1, 50_001), 120))
    val = {
        w: {f"ILSVRC2012_val_{next(number):08d}.JPEG": d for d in files.values()} for w, files in some["val"].items()
    }
    some["val"] = val
    how = {"image_size": 64, "workers": 2, "stand_ins": True, "progress": io.StringIO()}
    found = []
    for name in ("folders by class", "flat, wnids", "parquet", "shards"):
        source, out = tmp_path / name, tmp_path / f"{name}, packed"
        source.mkdir()
        ROUTES[name](some, source, 7)
        manifest = pack("ilsvrc2012", source, out, **how)
        assert [split["images"] for split in manifest["splits"].values()] == [120, 120]
        stored = {f.name: f.read_bytes() for f in out.iterdir() if f.name != "manifest.json"}
        found.append((manifest["fingerprint"], stored))
    assert all(each == found[0] for each in found[1:])


def sorted_folders(folder: Path) -> Path:
    """Two classes of two images in each split; a few bytes will do, as nothing is decoded."""
    for split in ("train", "val"):
        for wnid in ("n00000001", "n00000002"):
            (folder / split / wnid).mkdir(parents=True)
            for number in range(2):
                (folder / split / wnid / f"{wnid}_{split}{number}.JPEG").write_bytes(b"image")
    return folder


@pytest.mark.parametrize("source", ["folders", "ilsvrc2012"])
@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("train/n00000001/more/a.jpg", "more is a folder among images"),
        ("val/a.JPEG", "a.JPEG is not directly in the folder of a class"),
        ("train/n00000003.tar", "n00000003.tar is not directly in the folder of a class"),
    ],
)
def test_images_beside_or_below_the_folders_of_classes_are_not_lost(
    tmp_path: Path, source: str, lost: str, named: str
) -> None:
    """What an interrupted sorting or unpacking leaves, and folders in folders, which torchvision's ImageFolder reads."""
    folder = sorted_folders(tmp_path / "in")
    assert [split.images for split in open_source(source, folder).splits] == [4, 4]
    (folder / lost).parent.mkdir(exist_ok=True)
    (folder / lost).write_bytes(b"image")
    with pytest.raises(UserError, match=named):
        open_source(source, folder)


def test_images_beside_or_below_classes_in_an_archive_are_not_lost(tmp_path: Path) -> None:
    for name, lost in (
        ("below", "train/n00000001/more/a.jpg"),
        ("beside", "val/a.jpg"),
        ("litter", "train/@eaDir/a.jpg"),
    ):
        folder = sorted_folders(tmp_path / name)
        (folder / lost).parent.mkdir(exist_ok=True)
        (folder / lost).write_bytes(b"image")
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            tar.add(folder, "data")
        if name == "litter":
            assert [split.images for split in open_source("folders", tmp_path / "litter.tar").splits] == [4, 4]
            continue
        with pytest.raises(UserError, match="a.jpg is not directly in the folder of a class"):
            open_source("folders", tmp_path / f"{name}.tar")


def test_a_folder_that_may_not_be_read_beside_the_data_is_passed_over(tmp_path: Path) -> None:
    """lost+found lies at the root of each ext4 disk."""
    folder = sorted_folders(tmp_path / "disk")
    (folder / "lost+found").mkdir(mode=0)
    code = "import os, sys; from alexnet.archives.sources import find\n"
    if os.getuid() == 0:  # whom nothing is closed to
        for path in (tmp_path, *tmp_path.parents):
            if not path.stat().st_mode & 0o001:
                path.chmod(0o711)
        code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    code += "print(sorted(find('ilsvrc2012', sys.argv[1]).parts))"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['train', 'val']\n", "")


def test_sorted_validation_images_are_counted_by_the_devkit(images, tmp_path):
    """As an interrupted sorting leaves them, with the rest elsewhere."""
    official(images, tmp_path, 1)
    for tar in tmp_path.glob("*.tar"):
        tar.unlink()
    write(tmp_path, sorted_by_class(images), 1)
    number = open_source("ilsvrc2012", tmp_path).splits[1].images
    next((tmp_path / "val").glob("*/*")).unlink()
    with pytest.raises(UserError, match=f"has {number - 1} images, but {number} were published"):
        open_source("ilsvrc2012", tmp_path)
