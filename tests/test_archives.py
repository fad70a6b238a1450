"""The readers of archives against independent readings of the same files; what they say about bad ones."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from scipy.io import loadmat

from alexnet.archives.sources import SOURCES, list_sources, missing_archives, open_source
from alexnet.errors import UserError
from alexnet.synthetic.synthesize import synthesize

CLASSES, TRAIN, VAL, TEST = 5, 4, 3, 2


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The six official-format archives, very small; tests that change one work on a copy."""
    folder = tmp_path_factory.mktemp("official")
    synthesize(
        folder, classes=CLASSES, train_per_class=TRAIN, val_per_class=VAL, test_per_class=TEST, image_size=32, workers=1
    )
    return folder


@pytest.fixture
def copy(official, tmp_path):
    for file in official.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def tar_of(members, mode="w"):
    """A tar from {name: bytes or TarInfo}."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def members_of(data):
    """{name: bytes} of a tar, by way of tarfile's plain interface."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def change(path, edit, mode="w"):
    """Rewrite a tar after `edit` has changed the dict of its members."""
    members = members_of(path.read_bytes())
    edit(members)
    path.write_bytes(tar_of(members, mode))


def rows_of(folder, devkit, year):
    """meta.mat as scipy reads it without squeezing: [(id, wnid, words, number of children)]."""
    files = members_of(gzip.decompress((folder / devkit).read_bytes()))
    mat = next(data for name, data in files.items() if name.endswith("data/meta.mat"))
    table = loadmat(io.BytesIO(mat))["synsets"]
    return [
        (int(r[f"ILSVRC{year}_ID"][0][0, 0]), r["WNID"][0][0], r["words"][0][0], int(r["num_children"][0][0, 0]))
        for r in table
    ]


def drain(catalogue, split):
    return list(next(s for s in catalogue.splits if s.name == split).pictures())


# Labels and bytes -------------------------------------------------------------------------------------------


def test_classes_are_the_leaves_sorted_by_wnid(official):
    rows = rows_of(official, "ILSVRC2012_devkit_t12.tar.gz", 2012)
    leaves = sorted((wnid, words) for _, wnid, words, children in rows if children == 0)
    assert len(rows) > len(leaves) == CLASSES
    assert sorted(r[1] for r in rows).index(leaves[-1][0]) != CLASSES - 1, "internal wnids should interleave"
    for source in ("ilsvrc2012", "ilsvrc2010"):
        assert [(c.wnid, c.name) for c in open_source(source, official).classes] == leaves


def by_label_and_name(found):
    return sorted(found, key=lambda picture: (picture[1], picture[0]))


def test_the_train_stream_is_sorted_or_in_the_order_of_the_inner_tars(official):
    expected = []
    outer = members_of((official / "ILSVRC2012_img_train.tar").read_bytes())
    labels = {wnid: i for i, wnid in enumerate(sorted(name.removesuffix(".tar") for name in outer))}
    for name, inner in outer.items():
        for file, data in members_of(inner).items():
            label = labels[name.removesuffix(".tar")]
            expected.append((file, label, f"ILSVRC2012_img_train.tar/{name}", data))
    assert expected != by_label_and_name(expected), "the archive's order should not be that of the names"
    for archive_order, order in ((True, expected), (False, by_label_and_name(expected))):
        catalogue = open_source("ilsvrc2012", official, archive_order=archive_order)
        assert [(p.name, p.label, p.archive, p.read()) for p in drain(catalogue, "train")] == order
    assert [s.images for s in catalogue.splits] == [CLASSES * TRAIN, CLASSES * VAL]


@pytest.mark.parametrize(
    ("source", "split", "archive", "devkit", "truth"),
    [
        ("ilsvrc2012", "val", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz", None),
        (
            "ilsvrc2010",
            "test",
            "ILSVRC2010_images_test.tar",
            "ILSVRC2010_devkit-1.0.tar.gz",
            "ILSVRC2010_test_ground_truth.txt",
        ),
    ],
)
def test_flat_archives_follow_sorted_names(official, source, split, archive, devkit, truth):
    year = int(source[-4:])
    rows = rows_of(official, devkit, year)
    wnid_of_id = {i: wnid for i, wnid, _, _ in rows}
    wnids = sorted(wnid for _, wnid, _, children in rows if children == 0)
    if truth:
        lines = (official / truth).read_text().split()
    else:
        kit = members_of(gzip.decompress((official / devkit).read_bytes()))
        lines = next(d for n, d in kit.items() if n.endswith("validation_ground_truth.txt")).decode().split()
    images = members_of((official / archive).read_bytes())
    assert list(images) != sorted(images), "the archive's order should not be the names' order"
    expected = {
        name: (wnids.index(wnid_of_id[int(line)]), images[name])
        for name, line in zip(sorted(images), lines, strict=True)
    }
    got = drain(open_source(source, official), split)
    assert {p.name: (p.label, p.read()) for p in got} == expected
    assert [(p.name, p.label) for p in got] == by_label_and_name((name, label) for name, (label, _) in expected.items())
    unsorted = open_source(source, official, archive_order=True)
    assert [p.name for p in drain(unsorted, split)] == list(images)


def test_the_two_years_number_the_same_wnids_differently(official):
    ids = []
    for devkit, year in (("ILSVRC2012_devkit_t12.tar.gz", 2012), ("ILSVRC2010_devkit-1.0.tar.gz", 2010)):
        ids.append({wnid: i for i, wnid, _, children in rows_of(official, devkit, year) if children == 0})
    assert ids[0].keys() == ids[1].keys()
    assert ids[0] != ids[1]


def test_members_may_lie_in_a_folder(copy):
    def move(members):
        for name in list(members):
            members[f"./val/{name}"] = members.pop(name)

    before = {(p.name, p.label) for p in drain(open_source("ilsvrc2012", copy), "val")}
    change(copy / "ILSVRC2012_img_val.tar", move)
    assert {(p.name, p.label) for p in drain(open_source("ilsvrc2012", copy), "val")} == before


@pytest.mark.parametrize("source", ["ilsvrc2012", "ilsvrc2010"])
def test_litter_of_macos_and_windows_is_no_image(copy, source):
    def soil(members):
        clean = list(members.items())
        members.clear()
        members["./.DS_Store"] = b"Bud1"
        for name, data in clean:
            members |= {f"./._{name}": b"\0\5\26\7", f"./{name}": data}
        members["Thumbs.db"] = b"x"

    before = [[(p.name, p.label, p.read()) for p in s.pictures()] for s in open_source(source, copy).splits]
    for path in [*copy.glob("*img*.tar"), *copy.glob("*images*.tar")]:
        change(path, soil)
    assert [[(p.name, p.label, p.read()) for p in s.pictures()] for s in open_source(source, copy).splits] == before


# What is needed ---------------------------------------------------------------------------------------------


def test_missing_archives_are_named(official, tmp_path):
    assert missing_archives("ilsvrc2012", official) == []
    assert missing_archives("ilsvrc2010", official) == []  # the test split is all there is, and it is whole
    assert missing_archives("ilsvrc2010", official, ["val", "test"]) == ["ILSVRC2010_images_val.tar"]
    assert missing_archives("ilsvrc2012", tmp_path, ["val"]) == [
        "ILSVRC2012_devkit_t12.tar.gz",
        "ILSVRC2012_img_val.tar",
    ]
    assert missing_archives("imagenette", tmp_path) == ["imagenette2-320.tgz"]
    (tmp_path / "imagenette2-224-train.tar.gz").touch()
    assert missing_archives("imagenette", tmp_path) == ["imagenette2-224-val.tar.gz"], "the form that was begun"
    (tmp_path / "imagenette2-224-train.tar.gz").unlink()
    assert missing_archives("folders", tmp_path) == ["train/<class>/<image>"]
    with pytest.raises(UserError, match=r"ILSVRC2012_img_train\.tar.* missing: put them into"):
        open_source("ilsvrc2012", tmp_path)


def test_several_folders_are_searched(copy, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (copy / "ILSVRC2012_img_val.tar").rename(other / "ILSVRC2012_img_val.tar")
    assert missing_archives("ilsvrc2012", [copy, other]) == []
    assert [s.images for s in open_source("ilsvrc2012", [copy, other]).splits] == [CLASSES * TRAIN, CLASSES * VAL]


def test_unknown_sources_and_splits():
    with pytest.raises(UserError, match="unknown source 'ilsvrc2013'; choose one of ilsvrc2012"):
        missing_archives("ilsvrc2013", ".")
    with pytest.raises(UserError, match=r"no split 'test' .*never published"):
        missing_archives("ilsvrc2012", ".", ["test"])
    assert len(list_sources()) == len(SOURCES)


def test_asking_for_archives_loads_neither_torch_nor_scipy():
    code = "import sys, alexnet.archives.sources; print(sorted({'torch', 'scipy', 'numpy', 'PIL'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# Bad archives -----------------------------------------------------------------------------------------------


def first_wnid(folder):
    return open_source("ilsvrc2012", folder).classes[0].wnid


def test_empty_class(copy):
    wnid = first_wnid(copy)
    change(copy / "ILSVRC2012_img_train.tar", lambda m: m.update({f"{wnid}.tar": tar_of({})}))
    with pytest.raises(
        UserError, match=rf"class {wnid} \(.*\) has no images in split train of ILSVRC2012_img_train\.tar"
    ):
        open_source("ilsvrc2012", copy)


def test_absent_class(copy):
    wnid = first_wnid(copy)
    change(copy / "ILSVRC2012_img_train.tar", lambda m: m.pop(f"{wnid}.tar"))
    with pytest.raises(
        UserError, match=rf"class {wnid} \(.*\) has no images in split train of ILSVRC2012_img_train\.tar"
    ):
        open_source("ilsvrc2012", copy)


def test_unknown_class(copy):
    change(copy / "ILSVRC2012_img_train.tar", lambda m: m.update({"n00000001.tar": tar_of({"a": b"b"})}))
    with pytest.raises(UserError, match=r"n00000001\.tar.* is no class of ILSVRC2012_devkit_t12"):
        open_source("ilsvrc2012", copy)


def test_class_with_too_few_images(copy):
    wnid = first_wnid(copy)

    def drop(members):
        inner = members_of(members[f"{wnid}.tar"])
        inner.pop(next(iter(inner)))
        members[f"{wnid}.tar"] = tar_of(inner)

    change(copy / "ILSVRC2012_img_train.tar", drop)
    with pytest.raises(UserError, match=f"class {wnid}: .* has {TRAIN - 1} images, .* says {TRAIN}"):
        drain(open_source("ilsvrc2012", copy), "train")


@pytest.mark.parametrize("value", ["0", str(CLASSES + 1), "-1", "n01440764", "1.5"])
def test_label_outside_the_map(copy, value):
    truth = copy / "ILSVRC2010_test_ground_truth.txt"
    lines = truth.read_text().split()
    lines[6] = value
    truth.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"ILSVRC2010_test_ground_truth.txt, line 7: '{value}' is not among"):
        open_source("ilsvrc2010", copy)


def test_counts_of_images_and_labels(copy):
    truth = copy / "ILSVRC2010_test_ground_truth.txt"
    truth.write_text("".join(truth.read_text().splitlines(keepends=True)[:-1]))
    images = CLASSES * TEST
    with pytest.raises(UserError, match=f"has {images} images, but .* has {images - 1} lines"):
        open_source("ilsvrc2010", copy)


def test_devkit_of_the_other_year(copy):
    (copy / "ILSVRC2012_devkit_t12.tar.gz").write_bytes((copy / "ILSVRC2010_devkit-1.0.tar.gz").read_bytes())
    with pytest.raises(UserError, match="no column ILSVRC2012_ID: it is not the kit of 2012"):
        open_source("ilsvrc2012", copy)


def test_archive_cut_off(copy):
    path = copy / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"ILSVRC2012_img_train\.tar"):
        drain(open_source("ilsvrc2012", copy), "train")
    devkit = copy / "ILSVRC2010_devkit-1.0.tar.gz"
    devkit.write_bytes(devkit.read_bytes()[:300])
    with pytest.raises(UserError, match=r"ILSVRC2010_devkit-1\.0\.tar\.gz .* cannot be read"):
        open_source("ilsvrc2010", copy)
    devkit.write_bytes(b"<html>please log in</html>")
    with pytest.raises(UserError, match=r"ILSVRC2010_devkit-1\.0\.tar\.gz .* cannot be read"):
        open_source("ilsvrc2010", copy)


def link(kind, name="val/link.JPEG"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"/val/a/x.JPEG": b"x"}, "leads out of the archive"),
        ({"val/a/../../../x.JPEG": b"x"}, "leads out of the archive"),
        ({"link": link(tarfile.SYMTYPE)}, "link or a device"),
        ({"link": link(tarfile.LNKTYPE)}, "link or a device"),
        ({"device": link(tarfile.CHRTYPE)}, "link or a device"),
        ({"pipe": link(tarfile.FIFOTYPE)}, "link or a device"),
    ],
)
def test_unsafe_members_are_refused(tmp_path, members, message):
    (tmp_path / "images.tar").write_bytes(tar_of({"val/a/good.JPEG": b"x", **members}))
    with pytest.raises(UserError, match=message):
        open_source("folders", tmp_path)


def test_command_prints_one_sentence(copy):
    truth = copy / "ILSVRC2010_test_ground_truth.txt"
    truth.write_text("99\n" * (CLASSES * TEST))
    call = [sys.executable, "-m", "alexnet", "pack", "--source", "ilsvrc2010", "--archives", str(copy)]
    done = subprocess.run([*call, "--out", str(copy / "out")], capture_output=True, text=True)
    assert done.returncode == 2 and not (copy / "out").exists()
    assert done.stderr.startswith("error: ILSVRC2010_test_ground_truth.txt, line 1: '99'")
    assert len(done.stderr.splitlines()) == 1


# Class folders ----------------------------------------------------------------------------------------------


def test_folders_and_tars_give_the_same(tmp_path):
    members = {f"set/{s}/{c}/{n}.jpg": f"{s}{c}{n}".encode() for s in ("train", "val") for c in "ba" for n in "21"}
    noise = {"set/readme.txt": b"", "set/train/a/.hidden": b"", "set/train/a/Thumbs.db": b"", "set/val/b/._1.jpg": b""}
    disk, plain, packed = (tmp_path / name for name in ("disk", "plain", "packed"))
    for folder in (disk, plain, packed):
        folder.mkdir()
    for name, data in {**members, **noise}.items():
        file = disk / name.removeprefix("set/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (plain / "any.tar").write_bytes(tar_of({**members, **noise}))
    (packed / "any.tgz").write_bytes(tar_of({**members, **noise}, "w:gz"))

    def content(folder):
        catalogue = open_source("folders", folder)
        assert [c.wnid for c in catalogue.classes] == ["a", "b"]
        return [sorted((p.name, p.label, p.read()) for p in s.pictures()) for s in catalogue.splits]

    expected = [
        sorted((f"{n}.jpg", i, f"{s}{c}{n}".encode()) for i, c in enumerate("ab") for n in "12")
        for s in ("train", "val")
    ]
    assert content(disk) == content(plain) == content(packed) == expected
    assert [s.name for s in open_source("folders", plain, ["val"]).splits] == ["val"]


def test_class_folder_without_images(tmp_path):
    for name in ("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match="class b has no images in split val"):
        open_source("folders", tmp_path)
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(UserError, match="class c has no images in split train"):
        open_source("folders", tmp_path, ["train"])


def test_real_archives_if_at_hand():
    """Counts that the data's own documentation states: 3,925 validation images of 10 classes."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALEXNET_DATA") or default)
    if missing_archives("imagenette", folder, ["val"]):
        pytest.skip(f"no imagenette2-224-val.tar.gz in {folder}")
    catalogue = open_source("imagenette", folder, ["val"])
    assert [s.images for s in catalogue.splits] == [3925]
    assert [c.wnid for c in catalogue.classes] == sorted(c.wnid for c in catalogue.classes)
    first = next(catalogue.splits[0].pictures())
    assert first.read()[:2] == b"\xff\xd8"
    assert len(catalogue.classes) == 10
