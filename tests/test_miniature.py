"""Official ILSVRC distributions in miniature, rebuilt from real images and packed end to end."""

import csv
import io
import random
import tarfile
from collections import Counter

import numpy as np
import pytest
from conftest import shared_data
from PIL import Image
from test_archives import rows_of, tar_of

from alexnet.packed.pack import pack
from alexnet.synthetic.synsets import Synset, devkit

SIZE, TRAIN, TEST = 160, 40, 120
KIT = {2012: "ILSVRC2012_devkit_t12.tar.gz", 2010: "ILSVRC2010_devkit-1.0.tar.gz"}


@pytest.fixture(scope="module")
def real():
    """Real images by wnid: training images, some a class; the validation images of 2012 that Imagenette has."""
    folder = shared_data()
    if folder is None or not (folder / "imagenette2-224-train.tar.gz").exists():
        pytest.skip("no imagenette2-224-{train,val}.tar.gz in ../shared/data or ALEXNET_DATA")
    train, val = {}, {}
    for part in ("train", "val"):
        with tarfile.open(folder / f"imagenette2-224-{part}.tar.gz") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                wnid, name = member.name.split("/")[-2:]
                images = val if name.startswith("ILSVRC2012_val_") else train
                found = images.setdefault(wnid, {})
                if images is val or len(found) < 60:
                    found[name] = tar.extractfile(member).read()
    assert len(train) == 10 and all(len(images) == 60 for images in train.values())
    assert {wnid: len(images) for wnid, images in val.items()} == dict.fromkeys(train, 50)
    return train, val


def write_kit(folder, year, wnids, validation):
    """The kit of a year, whose ids are in no order; returns {wnid: id}. `validation`: wnid of each image."""
    ids = [int(i) for i in np.random.default_rng(year).permutation(len(wnids)) + 1]
    assert ids != sorted(ids)
    number = dict(zip(wnids, ids, strict=True))
    rows = [Synset(number[wnid], wnid, f"words of {wnid}", "") for wnid in wnids]
    top = Synset(len(wnids) + 1, "n02500000", "inner node between the classes", "", tuple(ids), height=1)
    kit = devkit(KIT[year].removesuffix(".tar.gz"), year, [*rows, top], TRAIN, [number[wnid] for wnid in validation])
    (folder / KIT[year]).write_bytes(kit)
    return number


def shuffled(images):
    return dict(random.Random(len(images)).sample(list(images.items()), len(images)))


@pytest.fixture(scope="module")
def year2012(real, tmp_path_factory):
    """(archives, {split: {name: (wnid, bytes)}}): ten training tars and the 500 validation images, true names."""
    folder = tmp_path_factory.mktemp("2012")
    train, val = real
    classes = {wnid: dict(list(images.items())[:TRAIN]) for wnid, images in train.items()}
    expected = {
        "train": {name: (wnid, data) for wnid, images in classes.items() for name, data in images.items()},
        "val": {name: (wnid, data) for wnid, images in val.items() for name, data in images.items()},
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(
        tar_of({f"{wnid}.tar": tar_of(images) for wnid, images in shuffled(classes).items()})
    )
    images = {name: data for name, (_, data) in shuffled(expected["val"]).items()}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(images))
    write_kit(folder, 2012, sorted(classes), [expected["val"][name][0] for name in sorted(expected["val"])])
    return folder, expected


@pytest.fixture(scope="module")
def year2010(real, tmp_path_factory):
    """The same for 2010: nine of the classes, a test split, and a later version of one image in each split."""
    folder = tmp_path_factory.mktemp("2010")
    train, val = real
    wnids = sorted(train)[1:]
    classes = {wnid: dict(list(train[wnid].items())[-TRAIN:]) for wnid in wnids}
    others = [(wnid, data) for wnid in wnids for data in list(train[wnid].values())[:-TRAIN]]
    pool = {
        "val": shuffled(dict(enumerate((wnid, data) for wnid in wnids for data in val[wnid].values()))),
        "test": dict(list(shuffled(dict(enumerate(others))).items())[:TEST]),
    }
    expected = {"train": {name: (wnid, data) for wnid, images in classes.items() for name, data in images.items()}}
    for split, images in pool.items():
        expected[split] = {f"ILSVRC2010_{split}_{i + 1:08d}.JPEG": image for i, image in enumerate(images.values())}
        flat = {f"{split}/{name}": data for name, (_, data) in shuffled(expected[split]).items()}
        (folder / f"ILSVRC2010_images_{split}.tar").write_bytes(tar_of(flat))
    (folder / "ILSVRC2010_images_train.tar").write_bytes(
        tar_of({f"{wnid}.tar": tar_of(images) for wnid, images in shuffled(classes).items()})
    )
    number = write_kit(folder, 2010, wnids, [wnid for wnid, _ in expected["val"].values()])
    lines = "".join(f"{number[wnid]}\n" for wnid, _ in expected["test"].values())
    (folder / "ILSVRC2010_test_ground_truth.txt").write_text(lines)
    patches, unused = {}, list(train[min(train)].values())
    for images in expected.values():
        name = sorted(images)[5]
        wnid = images[name][0]
        patches[name] = unused.pop()
        images[name] = wnid, patches[name]
    (folder / "patch_images.tar").write_bytes(tar_of({f"patch_images/{n}": d for n, d in patches.items()}))
    return folder, expected, set(patches)


def packed(year, folder, out):
    return pack(f"ilsvrc{year}", folder, out, image_size=SIZE, workers=2, stand_ins=True, progress=io.StringIO())


@pytest.fixture(scope="module")
def pack2012(year2012, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed2012")
    return packed(2012, year2012[0], out), out


@pytest.fixture(scope="module")
def pack2010(year2010, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed2010")
    return packed(2010, year2010[0], out), out


def index(out, split):
    return list(csv.DictReader(open(out / f"{split}.csv", newline="")))


def agreement(square, data):
    """PSNR in dB with Pillow's whole image, resized with LANCZOS and cropped."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    whole = image.resize((width, height), Image.Resampling.LANCZOS)
    box = np.asarray(whole.crop((left, top, left + SIZE, top + SIZE)), dtype=float)
    return 10 * np.log10(255**2 / max(np.mean((square - box) ** 2), 1e-9))


def check(manifest, out, expected):
    """Counts, names, labels and pixels of every split against what was put into the archives."""
    wnids = [c["wnid"] for c in manifest["classes"]]
    for split, images in expected.items():
        rows = index(out, split)
        assert {row["name"]: wnids[int(row["label"])] for row in rows} == {
            name: wnid for name, (wnid, _) in images.items()
        }
        assert len(rows) == len(images) == manifest["splits"][split]["images"]
        count = Counter(wnid for wnid, _ in images.values())
        assert manifest["splits"][split]["per_class"] == [count[wnid] for wnid in wnids]
        store = np.load(out / f"{split}.npy", mmap_mode="r")
        assert store.shape == (len(images), SIZE, SIZE, 3)
        quality = [agreement(square, images[row["name"]][1]) for row, square in zip(rows, store, strict=True)]
        assert np.min(quality) >= 30, (split, np.min(quality))
        assert np.mean(quality) >= 40, (split, np.mean(quality))


def test_2012(real, year2012, pack2012):
    manifest, out = pack2012
    folder, expected = year2012
    check(manifest, out, expected)
    wnids = sorted(real[0])
    assert manifest["classes"] == [{"wnid": wnid, "name": f"words of {wnid}"} for wnid in wnids]
    assert manifest["splits"]["train"]["per_class"] == [TRAIN] * 10
    assert manifest["splits"]["val"]["per_class"] == [50] * 10
    assert [record["file"] for record in manifest["archives"]] == [
        KIT[2012],
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
    ]
    ids = {wnid: number for number, wnid, _, children in rows_of(folder, KIT[2012], 2012) if not children}
    assert [ids[wnid] for wnid in wnids] != sorted(ids.values()), "ids are in another order than labels"


def test_2010(year2010, pack2010):
    manifest, out = pack2010
    _, expected, patched = year2010
    check(manifest, out, expected)
    assert sorted(manifest["splits"]) == ["test", "train", "val"]
    assert manifest["splits"]["val"]["per_class"] == [50] * 9
    assert sum(manifest["splits"]["test"]["per_class"]) == TEST
    repaired = {
        entry["name"]
        for split in manifest["splits"].values()
        for entry in split["repaired"]
        if "patched" in entry["repairs"]
    }
    assert repaired == patched and len(patched) == 3
    for split in expected:
        assert {row["name"] for row in index(out, split) if "patched" in row["repairs"].split(";")} == (
            patched & expected[split].keys()
        )


def test_labels_of_the_two_years_are_different_maps(pack2012, pack2010):
    maps = []
    for manifest, out in (pack2012, pack2010):
        maps.append({row["name"].split("_")[0]: int(row["label"]) for row in index(out, "train")})
        assert maps[-1] == {c["wnid"]: label for label, c in enumerate(manifest["classes"])}
    shared = maps[0].keys() & maps[1].keys()
    assert len(shared) == 9
    assert all(maps[0][wnid] != maps[1][wnid] for wnid in shared)
    assert pack2012[0]["fingerprint"] != pack2010[0]["fingerprint"]
