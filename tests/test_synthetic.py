"""The generated archives: always the same bytes, odd files as in the real ones, no use to a linear model."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import UserError
from alexnet.packed.manifest import read_manifest
from alexnet.packed.pack import pack
from alexnet.synthetic.scenes import OUTLINES, SHAPES, TEXTURES, pattern, render
from alexnet.synthetic.synsets import synsets
from alexnet.synthetic.synthesize import GRAYSCALE, synthesize

SMALL = {"classes": 4, "train_per_class": 12, "val_per_class": 3, "test_per_class": 3, "image_size": 40}
# Of the set that the fixture `packed` makes. It changes with the drawings, with the Pillow and the libjpeg-turbo of the lock, and with
# the resampling; after such a change on purpose, this is the value that the test names.
FINGERPRINT = "734857bdbad749a79c7f02e1a984b151383ea8e015c65ba4204e96c700f02b98"
FILES = {
    "ILSVRC2012_img_train.tar",
    "ILSVRC2012_img_val.tar",
    "ILSVRC2012_devkit_t12.tar.gz",
    "ILSVRC2010_images_test.tar",
    "ILSVRC2010_devkit-1.0.tar.gz",
    "ILSVRC2010_test_ground_truth.txt",
}


def hashes(folder):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    synthesize(folder, **SMALL, workers=1)
    return folder


def train_images(folder):
    """{name: opened image} of the training archive, by way of tarfile's plain interface."""
    images = {}
    with tarfile.open(folder / "ILSVRC2012_img_train.tar") as outer:
        for member in outer.getmembers():
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for m in inner.getmembers():
                    images[m.name] = Image.open(io.BytesIO(inner.extractfile(m).read()))
    return images


def test_six_archives_same_bytes_for_any_number_of_workers(small, tmp_path):
    synthesize(tmp_path, **SMALL, workers=2)
    assert hashes(tmp_path) == hashes(small)
    assert hashes(small).keys() == FILES


def test_another_seed_gives_other_images(small, tmp_path):
    synthesize(tmp_path, **SMALL, seed=1, workers=1)
    assert not set(hashes(tmp_path).values()) & set(hashes(small).values())


def test_odd_files(small):
    images = train_images(small)
    formats = [image.format for image in images.values()]
    modes = [image.mode for image in images.values()]
    assert len(images) == 48
    assert all(name.endswith(".JPEG") for name in images)
    assert formats.count("PNG") == 1
    assert formats.count("JPEG") == 47
    assert modes.count("CMYK") == 1


def test_sizes_and_aspect_ratios_vary(small):
    sizes = [image.size for image in train_images(small).values()]
    short = [min(size) for size in sizes]
    assert min(short) >= 0.73 * 40 - 1
    assert max(short) <= 1.46 * 40 + 1
    assert len(set(sizes)) > 30
    assert any(w > h for w, h in sizes)
    assert any(h > w for w, h in sizes)


def test_every_pair_of_shape_and_texture_is_one_class():
    leaves = [row for row in synsets(2012, 7, 12) if not row.children]
    assert {(row.shape, row.texture) for row in leaves} == {(s, t) for s in SHAPES for t in TEXTURES}
    other = {row.wnid: row for row in synsets(2010, 7, 12)}
    assert {row.wnid: row.words for row in leaves}.items() <= {w: r.words for w, r in other.items()}.items()
    assert sum(row.id == other[row.wnid].id for row in leaves) < 4, "the years should number differently"


def test_internal_synsets_list_their_children():
    rows = {row.id: row for row in synsets(2010, 7, 12)}
    root = rows[max(rows)]
    leaves = [leaf for inner in root.children for leaf in rows[inner].children]
    assert sorted(leaves) == list(range(1, 13))


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_give_both_colours_about_half_of_the_area(texture):
    u, v = np.meshgrid(np.linspace(0, 1, 200, endpoint=False), np.linspace(0, 1, 200, endpoint=False))
    assert abs(pattern(texture, u, v).mean() - 0.5) < 0.01


def area(corners):
    x, y = np.array(corners).T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_shapes_have_about_the_same_area():
    areas = [area(OUTLINES[shape]) for shape in SHAPES]
    assert max(areas) / min(areas) < 1.5


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="blob"):
        render(np.random.default_rng(0), "blob", "striped", 40, 40)
    with pytest.raises(KeyError, match="furry"):
        render(np.random.default_rng(0), "disc", "furry", 40, 40)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"classes": 13}, "classes is 13, .* 2 to 12"),
        ({"classes": 1}, "classes is 1"),
        ({"image_size": 16}, "image size is 16"),
        ({"val_per_class": 0}, "val images per class is 0"),
    ],
)
def test_numbers_out_of_range(tmp_path, numbers, message):
    with pytest.raises(UserError, match=message):
        synthesize(tmp_path, **{**SMALL, **numbers})
    assert not list(tmp_path.iterdir())


# Vision is needed -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The demo's images, fewer of them: pixels and labels of train and val, and the manifest."""
    archives, out = tmp_path_factory.mktemp("archives"), tmp_path_factory.mktemp("packed")
    synthesize(archives, train_per_class=100, val_per_class=40, test_per_class=1, workers=1)
    pack("ilsvrc2012", archives, out, image_size=60, workers=1, stand_ins=True)
    data = []
    for split in ("train", "val"):
        with open(out / f"{split}.csv") as file:
            labels = np.array([int(line.split(",")[1]) for line in file.readlines()[1:]])
        data += [np.load(out / f"{split}.npy"), labels]
    return *data, read_manifest(out)


def test_all_machines_make_the_same_images(packed):
    """On those whose processor fuses multiplications and additions, as it does since 2013."""
    *_, manifest = packed
    assert manifest["fingerprint"] == FINGERPRINT


def ridge_error(train, labels, test, truth):
    """Least error of ridge regressions on one-hot labels; the penalty is chosen on the test set itself."""
    mean = train.mean(0)
    train, test = train - mean, test - mean
    values, vectors = np.linalg.eigh(train @ train.T)
    targets = vectors.T @ (np.eye(labels.max() + 1)[labels] - 1 / (labels.max() + 1))
    cross = test @ train.T @ vectors
    errors = []
    for penalty in values.max() * 10.0 ** np.arange(-6, 1):
        errors.append(np.mean((cross @ (targets / (values + penalty)[:, None])).argmax(1) != truth))
    return min(errors)


def blocks(images):
    """Mean colours of 4 x 4 blocks, a row per image: what a linear model has without the noise."""
    n, size = images.shape[:2]
    return images.reshape(n, size // 4, 4, size // 4, 4, 3).mean((2, 4)).reshape(n, -1)


def histograms(images):
    """Square roots of joint colour histograms of 6 x 6 x 6 bins."""
    bins = (images.astype(np.int64) * 6) // 256
    codes = (bins[..., 0] * 36 + bins[..., 1] * 6 + bins[..., 2]).reshape(len(images), -1)
    return np.sqrt(np.stack([np.bincount(code, minlength=216) for code in codes]))


@pytest.mark.parametrize(
    "features",
    [lambda x: x.reshape(len(x), -1).astype(np.float64), blocks, histograms],
    ids=["pixels", "blocks", "colours"],
)
def test_linear_models_fail(packed, features):
    """Chance is 91.7 %; the base network must end below 45 %."""
    train, labels, test, truth, _ = packed
    error = ridge_error(features(train), labels, features(test), truth)
    assert error >= 0.75, f"a linear model should not get this far: error {error:.1%}"


def test_nearest_colour_histogram_fails(packed):
    train, labels, test, truth, _ = packed
    near = (histograms(test) @ histograms(train).T).argmax(1)
    assert np.mean(labels[near] != truth) >= 0.75


def test_some_images_are_grayscale(packed):
    *_, manifest = packed
    repaired = sum(len(split["repaired"]) for split in manifest["splits"].values())
    assert 0.4 * GRAYSCALE < repaired / (12 * 140) < 2 * GRAYSCALE


def test_a_year_for_pretraining_is_packed_with_its_own_numbering_and_changes_nothing_else(tmp_path):
    counts = {"classes": 4, "train_per_class": 3, "val_per_class": 2, "test_per_class": 2, "image_size": 40}
    synthesize(tmp_path / "a", seed=5, workers=1, **counts)
    synthesize(tmp_path / "b", seed=5, workers=1, pretraining_per_class=10, **counts)
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2010_images_test.tar"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not (tmp_path / "a" / "ILSVRC2010_images_train.tar").exists()
    for source, splits in (("ilsvrc2010", ["train", "val", "test"]), ("ilsvrc2012", ["train", "val"])):
        pack(source, [tmp_path / "b"], tmp_path / source, splits=splits, image_size=40, workers=1, stand_ins=True)
    before = json.loads((tmp_path / "ilsvrc2010" / "manifest.json").read_text())
    after = json.loads((tmp_path / "ilsvrc2012" / "manifest.json").read_text())
    assert before["splits"]["train"]["per_class"] == [10] * 4 and before["splits"]["val"]["per_class"] == [2] * 4
    assert {c["wnid"] for c in before["classes"]} == {c["wnid"] for c in after["classes"]}
    images = {year: np.load(tmp_path / year / "train.npy") for year in ("ilsvrc2010", "ilsvrc2012")}
    seen = {image.tobytes() for image in images["ilsvrc2012"]}
    assert not any(image.tobytes() in seen for image in images["ilsvrc2010"])  # other drawings, so other data
