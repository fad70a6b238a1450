"""Each adapter on files in its official format, written here, against an independent reading of the same files."""

import csv
import io
import pickle
import random
import tarfile
import zipfile

import numpy as np
import pytest
from conftest import shared_data
from PIL import Image
from test_archives import drain, members_of, tar_of

from alexnet import ilsvrc
from alexnet.archives import missing_archives, open_source
from alexnet.errors import UserError
from alexnet.pack import pack
from alexnet.synsets import Synset, devkit
from alexnet.synthetic import synthesize


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Official-format archives of both years, all splits."""
    folder = tmp_path_factory.mktemp("official")
    sizes = {"train_per_class": 4, "val_per_class": 3, "test_per_class": 2, "pretraining_per_class": 5}
    synthesize(folder, classes=5, image_size=32, workers=1, **sizes)
    return folder


@pytest.fixture
def copy(official, tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    for file in official.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def jpeg(seed):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def pictures(catalogue, split):
    """{name: (wnid, bytes)} of a split."""
    return {p.name: (catalogue.classes[p.label].wnid, p.read()) for p in drain(catalogue, split)}


# Kaggle -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kaggle(official, tmp_path):
    """Kaggle's folders with the images of the official archives."""
    root, catalogue = tmp_path / "kaggle", open_source("ilsvrc2012", official)
    images = root / "ILSVRC/Data/CLS-LOC"
    for split in ("train", "val"):
        for name, (wnid, data) in pictures(catalogue, split).items():
            path = images / split / (wnid if split == "train" else "") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    words = "".join(f"{c.wnid} {c.name}\n" for c in catalogue.classes)
    (root / "LOC_synset_mapping.txt").write_text(words)
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for name, (wnid, _) in pictures(catalogue, "val").items():
            rows.writerow([name.removesuffix(".JPEG"), f"{wnid} 1 2 30 40 {wnid} 5 6 7 8 "])
    return root


def test_kaggles_folders_are_the_official_images(official, kaggle):
    one, two = open_source("ilsvrc2012", official), open_source("ilsvrc2012", kaggle)
    assert one.classes == two.classes
    assert (one.variant, two.variant) == ("", "Kaggle folders")
    for split in ("train", "val"):
        assert pictures(one, split) == pictures(two, split)
    assert [s.images for s in one.splits] == [s.images for s in two.splits]


def spoil_line(root, old, new):
    path = root / "LOC_val_solution.csv"
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root, wnid: (root / "ILSVRC/Data/CLS-LOC/train/n1").mkdir(), "class n1 is not both"),
        (lambda root, wnid: spoil_line(root, wnid, "n7"), r"LOC_val_solution\.csv, line \d+: .*n7"),
        (lambda root, wnid: spoil_line(root, "ILSVRC2012_val", "other"), "is not both there and in LOC_val"),
        (lambda root, wnid: (root / "LOC_synset_mapping.txt").write_text(""), "has no classes"),
    ],
)
def test_kaggles_folders_that_contradict_themselves(kaggle, spoil, words):
    spoil(kaggle, open_source("ilsvrc2012", kaggle).classes[0].wnid)
    with pytest.raises(UserError, match=words):
        open_source("ilsvrc2012", kaggle)


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
        assert {k: v for k, v in found.items() if k != name} == {
            k: v for k, v in plain[split].items() if k != name
        }
        picture = next(p for p in drain(catalogue, split) if p.name == name)
        assert (picture.archive, picture.repairs) == ("patch_images.tar", ("patched",))
    manifest = pack(
        "ilsvrc2010", copy, tmp_path / "out", image_size=24, stand_ins=True, progress=io.StringIO()
    )
    assert {"name": names["train"], "repairs": ["patched"]} in manifest["splits"]["train"]["repaired"]
    (copy / "patch_images.tar").write_bytes(tar_of(patches | {"patch_images/n9_1.JPEG": jpeg(9)}))
    assert open_source("ilsvrc2010", copy, ["val"]).splits[0].images == 5 * 1
    with pytest.raises(UserError, match=r"patch_images\.tar: n9_1\.JPEG .* replaces no image of 2010"):
        open_source("ilsvrc2010", copy)


def test_the_two_years_number_their_classes_differently_and_never_mix(copy):
    by_year = {}
    for year, kit in ilsvrc.DEVKIT.items():
        found = open_source(f"ilsvrc{year}", copy, ["val"])
        by_year[year] = [p.label for p in drain(found, "val")]
        text = next(v for k, v in members_of((copy / kit).read_bytes()).items() if "validation_ground" in k)
        assert by_year[year] != [int(line) - 1 for line in text.split()], "ids must not be labels"
    one, two = (copy / name for name in ilsvrc.DEVKIT.values())
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    for source, column in (("ilsvrc2010", "ILSVRC2010_ID"), ("ilsvrc2012", "ILSVRC2012_ID")):
        with pytest.raises(UserError, match=rf"no column {column}: it is not the kit of"):
            open_source(source, copy, ["val"])


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
    whole, folder = tmp_path / "whole", tmp_path / "parts"
    (folder / "fall2011").mkdir(parents=True)
    whole.mkdir()
    (whole / "fall11_whole.tar").write_bytes(tar_of({f"{w}.tar": tar_of(m) for w, m in release.items()}))
    for wnid, members in shuffled.items():
        mixed = dict(random.Random(2).sample(list(members.items()), len(members)))
        (folder / "fall2011" / f"{wnid}.tar").write_bytes(tar_of(mixed))
    one, two = open_source("fall2011", whole), open_source("fall2011", folder)
    assert [c.wnid for c in one.classes] == sorted(release) == [c.wnid for c in two.classes]
    assert [(s.name, s.images) for s in one.splits] == [("train", 4 + 2 + 1), ("test", 3 + 2 + 1)]
    halves = [pictures(one, split) for split in ("train", "test")]
    assert halves == [pictures(two, split) for split in ("train", "test")]
    assert not halves[0].keys() & halves[1].keys()
    everything = {name: (wnid, data) for wnid, members in release.items() for name, data in members.items()}
    assert halves[0] | halves[1] == everything
    for wnid, members in release.items():
        assert sum(w == wnid for w, _ in halves[0].values()) == -(-len(members) // 2)


def test_a_release_that_cannot_be_halved(release, tmp_path):
    for members, words in (
        ({"n1.tar": tar_of({"a.JPEG": b"x"})}, "class n1: .* has 1 images"),
        ({"n1.tar": tar_of({"x/a.JPEG": b"x", "y/a.JPEG": b"x"})}, "a name twice"),
        (
            {"x/n1.tar": tar_of(release["n00000001"]), "n1.tar": tar_of(release["n00000001"])},
            "class n1 twice",
        ),
        ({"readme": b"x"}, "holds no <wnid>.tar"),
    ):
        (tmp_path / "fall2009.tar").write_bytes(tar_of(members))
        with pytest.raises(UserError, match=words):
            open_source("fall2009", tmp_path)


# CIFAR-10 ---------------------------------------------------------------------------------------------------

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_archive(path, batches):
    """As the authors' archive: pickles with keys of bytes, as Python 2 wrote them."""
    meta = {b"num_cases_per_batch": 4, b"label_names": [n.encode() for n in NAMES], b"num_vis": 3072}
    members = {"cifar-10-batches-py/batches.meta": pickle.dumps(meta, protocol=2)}
    members |= {f"cifar-10-batches-py/{name}": data for name, data in batches.items()}
    path.write_bytes(tar_of(members, "w:gz"))


def cifar_batch(seed, **changes):
    rng = np.random.default_rng(seed)
    record = {
        b"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
        b"labels": rng.integers(0, 10, 4).tolist(),
        b"filenames": [f"img_{seed}_{i}.png".encode() for i in range(4)],
    }
    return record | {key.encode(): value for key, value in changes.items()}


BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def test_cifar10_is_read_to_the_pixel(tmp_path):
    records = {name: cifar_batch(i) for i, name in enumerate(BATCHES)}
    cifar_archive(
        tmp_path / "cifar-10-python.tar.gz", {n: pickle.dumps(r, protocol=2) for n, r in records.items()}
    )
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
    manifest = pack(
        "cifar10", tmp_path, out, splits=["test"], image_size=32, stand_ins=True, progress=io.StringIO()
    )
    assert manifest["variant"] == "original"
    expected = records["test_batch"][b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(np.load(out / "test.npy"), expected)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (lambda p: pickle.dumps(cifar_batch(1, evil=Evil(p)), protocol=2), r"cannot be read \(it names "),
        (lambda p: pickle.dumps(cifar_batch(1, labels=[0, 1, 2, 10]), protocol=2), "has label 10"),
        (lambda p: pickle.dumps(cifar_batch(1, labels=[0]), protocol=2), "has 1 labels for pixels of shape"),
        (lambda p: pickle.dumps({}, protocol=2), "lacks data or labels"),
        (lambda p: b"nothing", "cannot be read"),
    ],
)
def test_a_cifar_batch_that_is_not_one_is_refused_and_runs_nothing(tmp_path, batch, words):
    good = {n: pickle.dumps(cifar_batch(i), protocol=2) for i, n in enumerate(BATCHES)}
    cifar_archive(tmp_path / "cifar-10-python.tar.gz", good | {"test_batch": batch(tmp_path / "ran")})
    with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz/test_batch.*{words}"):
        drain(open_source("cifar10", tmp_path), "test")
    assert not (tmp_path / "ran").exists()


def test_the_lossy_copy_of_cifar10_says_what_it_is(tmp_path):
    members = {f"{split}/{name}/0001.jpg": jpeg(1) for split in ("train", "test") for name in NAMES}
    (tmp_path / "cifar10-jpeg75.tar.gz").write_bytes(tar_of(members, "w:gz"))
    assert open_source("cifar10", tmp_path).variant == "cifar10-jpeg75"


# Zips and tars ----------------------------------------------------------------------------------------------


def tiny_zip(path, **changes):
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


def test_tiny_imagenet(tmp_path):
    tiny_zip(tmp_path / "tiny-imagenet-200.zip")
    catalogue = open_source("tiny_imagenet", tmp_path)
    assert [(c.wnid, c.name) for c in catalogue.classes] == [("n1", "one"), ("n2", "two, deux")]
    assert pictures(catalogue, "train") == {"n1_0.JPEG": ("n1", jpeg(1)), "n2_0.JPEG": ("n2", jpeg(2))}
    assert pictures(catalogue, "val") == {"val_0.JPEG": ("n2", jpeg(3)), "val_1.JPEG": ("n1", jpeg(4))}
    with pytest.raises(UserError, match="never published"):
        open_source("tiny_imagenet", tmp_path, ["test"])
    tiny_zip(tmp_path / "tiny-imagenet-200.zip", **{"val/val_annotations.txt": "val_0.JPEG\tn2\n"})
    with pytest.raises(UserError, match=r"val_1\.JPEG is of no class"):
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


def zip_member(name="train/a/1.jpg", mode=0, size=None):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (zip_member("/train/a/1.jpg"), "leads out of the archive"),
        (zip_member("train/../../a/1.jpg"), "leads out of the archive"),
        (zip_member(mode=0o120777), "a link or a device"),
        (zip_member(mode=0o020666), "a link or a device"),
    ],
)
def test_members_of_a_zip_that_are_refused(tmp_path, info, words):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("train/b/1.jpg", b"x")
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(UserError, match=words):
        open_source("folders", tmp_path)


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/1.jpg", b"\0" * 200_000_001)
    assert (tmp_path / "mine.zip").stat().st_size < 1_000_000
    with pytest.raises(UserError, match="200,000,001 bytes, more than"):
        open_source("folders", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_of_inner_tars_that_are_refused(tmp_path, kind):
    odd = tarfile.TarInfo("n1_2.JPEG")
    odd.type, odd.linkname = kind, "/etc/passwd"
    inner = tar_of({"n1_0.JPEG": b"x", "n1_1.JPEG": b"x", "n1_2.JPEG": odd})
    (tmp_path / "fall2009.tar").write_bytes(tar_of({"n1.tar": inner}))
    with pytest.raises(UserError, match=r"n1_2\.JPEG', which is a link or a device"):
        open_source("fall2009", tmp_path)


@pytest.mark.parametrize("name", ["imagenette2.tgz", "imagenette2-320.tgz", "imagenette2-160.tgz"])
def test_imagenette_in_its_official_sizes(tmp_path, name):
    root = name.removesuffix(".tgz")
    members = {f"{root}/{s}/n01440764/{s}_1.JPEG": jpeg(len(s)) for s in ("train", "val")}
    (tmp_path / name).write_bytes(tar_of(members | {f"{root}/noisy_imagenette.csv": b"x"}, "w:gz"))
    assert missing_archives("imagenette", tmp_path) == []
    catalogue = open_source("imagenette", tmp_path)
    assert catalogue.variant == root
    assert pictures(catalogue, "val") == {"val_1.JPEG": ("n01440764", jpeg(3))}


# A miniature ILSVRC of real images ----------------------------------------------------------------------------


def real_images(folder, most):
    """(training images by wnid, at most so many each; the 500 validation images of 2012 with their wnids)."""
    train, val = {}, {}
    for part in ("train", "val"):
        with tarfile.open(folder / f"imagenette2-224-{part}.tar.gz") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                _, wnid, name = member.name.split("/")[-3:]
                if name.startswith("ILSVRC2012_val_"):
                    val[name] = (wnid, tar.extractfile(member).read())
                elif len(train.setdefault(wnid, {})) < most:
                    train[wnid][name] = tar.extractfile(member).read()
    return train, val


def psnr_with_lanczos(square, data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = len(square) / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - len(square)) // 2, (height - len(square)) // 2
    whole = image.resize((width, height), Image.Resampling.LANCZOS)
    box = whole.crop((left, top, left + len(square), top + len(square)))
    return 10 * np.log10(255**2 / np.mean((square - np.asarray(box, dtype=float)) ** 2))


@pytest.mark.parametrize("year", [2012, 2010])
def test_a_miniature_of_real_images_packs_end_to_end(tmp_path, year):
    """Ten true synset tars and the true validation images, numbered by the kit in an order of its own."""
    folder = shared_data()
    if folder is None:
        pytest.skip("no imagenette2-224-*.tar.gz in ../shared/data or ALEXNET_DATA")
    train, val = real_images(folder, 20)
    wnids = sorted(train)
    assert len(wnids) == 10 and len(val) == 500
    ids = {wnid: int(i) + 1 for i, wnid in enumerate(np.random.default_rng(year).permutation(wnids))}
    ids = {str(wnid): i for wnid, i in ids.items()}
    rows = [Synset(ids[w], w, f"words of {w}", "") for w in wnids]
    rows.append(Synset(11, "n00001740", "entity", "", tuple(range(1, 11)), height=1))
    truth = [ids[val[name][0]] for name in sorted(val)]
    archives = tmp_path / "archives"
    archives.mkdir()
    kit = ilsvrc.DEVKIT[year]
    (archives / kit).write_bytes(devkit(kit.removesuffix(".tar.gz"), year, rows, 20, truth))
    flat = {f"val/{name}": val[name][1] for name in random.Random(3).sample(sorted(val), len(val))}
    (archives / ilsvrc.IMAGES[year].format("val")).write_bytes(tar_of(flat))
    inner = {f"{wnid}.tar": tar_of(train[wnid]) for wnid in wnids}
    (archives / ilsvrc.IMAGES[year].format("train")).write_bytes(tar_of(inner))
    if year == 2010:
        some = dict(sorted(val.items())[:40])
        (archives / "ILSVRC2010_images_test.tar").write_bytes(tar_of({n: d for n, (_, d) in some.items()}))
        lines = "".join(f"{ids[some[name][0]]}\n" for name in sorted(some))
        (archives / "ILSVRC2010_test_ground_truth.txt").write_text(lines)
    out = tmp_path / "out"
    manifest = pack(
        f"ilsvrc{year}", archives, out, image_size=128, workers=2, stand_ins=True, progress=io.StringIO()
    )
    assert [c["wnid"] for c in manifest["classes"]] == wnids
    assert manifest["splits"]["train"]["per_class"] == [20] * 10
    assert manifest["splits"]["val"]["per_class"] == [50] * 10
    assert ("test" in manifest["splits"]) == (year == 2010)
    quality = []
    for split, count in (("train", 200), ("val", 500)):
        store = np.load(out / f"{split}.npy", mmap_mode="r")
        table = list(csv.DictReader(open(out / f"{split}.csv")))
        assert len(table) == count
        for row, square in zip(table, store, strict=True):
            wnid = wnids[int(row["label"])]
            data = train[wnid][row["name"]] if split == "train" else val[row["name"]][1]
            assert wnid == (row["name"].split("_")[0] if split == "train" else val[row["name"]][0])
            if not row["repairs"]:
                quality.append(psnr_with_lanczos(square, data))
    assert np.mean(quality) > 40 and np.min(quality) > 28, (np.mean(quality), np.min(quality))
