"""The same images give the same store and the same fingerprint, however they are kept; published sets keep theirs."""

import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from test_archives import members_of, tar_of

from alexnet.archives.sources import missing_archives
from alexnet.packed.pack import pack
from alexnet.synthetic.synsets import devkit, synsets
from alexnet.synthetic.synthesize import synthesize
from workflow.plan import Plan

CLASSES, TRAIN, VAL, SIZE = 4, 9, 5, 24


def shuffled(members, seed):
    return dict(random.Random(seed).sample(list(members.items()), len(members)))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """{split: {wnid: {name: bytes}}} of a generated ILSVRC-2012, by way of tarfile and the generator's own labels."""
    folder = tmp_path_factory.mktemp("generated")
    synthesize(folder, classes=CLASSES, train_per_class=TRAIN, val_per_class=VAL, image_size=32, workers=1)
    outer = members_of((folder / "ILSVRC2012_img_train.tar").read_bytes())
    train = {name.removesuffix(".tar"): members_of(data) for name, data in outer.items()}
    kit = members_of((folder / "ILSVRC2012_devkit_t12.tar.gz").read_bytes())
    truth = next(data for name, data in kit.items() if "ground_truth" in name).split()
    wnid_of = {row.id: row.wnid for row in synsets(2012, 2012, CLASSES)}
    flat = members_of((folder / "ILSVRC2012_img_val.tar").read_bytes())
    val = {wnid: {} for wnid in train}
    for name, number in zip(sorted(flat), truth, strict=True):
        val[wnid_of[int(number)]][name] = flat[name]
    return {"train": train, "val": val}


def official(images, folder, seed):
    """Official tars, their members shuffled; folders know no words for a class, so these have none either."""
    train = {f"{wnid}.tar": tar_of(shuffled(files, seed)) for wnid, files in images["train"].items()}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(shuffled(train, seed)))
    flat = {name: (wnid, data) for wnid, files in images["val"].items() for name, data in files.items()}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(
        tar_of({name: data for name, (_, data) in shuffled(flat, seed).items()})
    )
    rows = [row.__class__(**(vars(row) | {"words": row.wnid})) for row in synsets(2012, 2012, CLASSES)]
    number = {row.wnid: row.id for row in rows}
    kit = devkit("kit", 2012, rows, TRAIN, [number[flat[name][0]] for name in sorted(flat)])
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(kit)
    return "ilsvrc2012"


def write(folder, files, seed):
    for name, data in shuffled(files, seed).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def kaggle(images, folder, seed):
    files = {f"train/{wnid}/{name}": data for wnid, some in images["train"].items() for name, data in some.items()}
    files |= {f"val/{name}": data for some in images["val"].values() for name, data in some.items()}
    write(folder / "ILSVRC/Data/CLS-LOC", files, seed)
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"{w} {w}\n" for w in images["train"]))
    lines = [f"{Path(name).stem},{wnid} 1 2 3 4 \n" for wnid, files in images["val"].items() for name in files]
    (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    return "ilsvrc2012"


def sorted_by_class(images):
    return {
        f"{split}/{wnid}/{name}": data
        for split, classes in images.items()
        for wnid, files in classes.items()
        for name, data in files.items()
    }


def folders(images, folder, seed):
    write(folder, sorted_by_class(images), seed)
    return "folders"


def links(images, folder, seed):
    """The images as links to a heap, which the user names as well."""
    write(folder / "heap", {name.replace("/", "_"): d for name, d in sorted_by_class(images).items()}, seed)
    for name in shuffled(sorted_by_class(images), seed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / "heap" / name.replace("/", "_"))
    return "folders"


def tgz(images, folder, seed):
    (folder / "any.tgz").write_bytes(tar_of(shuffled(sorted_by_class(images), seed), "w:gz"))
    return "folders"


def two_tars(images, folder, seed):
    whole = list(shuffled(sorted_by_class(images), seed).items())
    (folder / "a.tar").write_bytes(tar_of(dict(whole[:17])))
    (folder / "b.tar").write_bytes(tar_of(dict(whole[17:])))
    return "folders"


def a_zip(images, folder, seed):
    with zipfile.ZipFile(folder / "any.zip", "w") as archive:
        for name, data in shuffled(sorted_by_class(images), seed).items():
            archive.writestr(name, data)
    return "folders"


ROUTES = (official, kaggle, folders, links, tgz, two_tars, a_zip)


def packed(images, route, seed, tmp_path, **more):
    """Bytes of all files of the store but the manifest, and its fingerprint."""
    archives, out = tmp_path / f"{route.__name__}{seed}", tmp_path / f"{route.__name__}{seed}-packed"
    archives.mkdir()
    source = route(images, archives, seed)
    more = {"image_size": SIZE, "workers": 2, "stand_ins": True, "progress": io.StringIO()} | more
    manifest = pack(source, archives, out, **more)
    return {f.name: f.read_bytes() for f in out.iterdir() if f.name != "manifest.json"}, manifest["fingerprint"]


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_every_route_gives_the_same_bytes_and_fingerprint(images, tmp_path, storage):
    first = packed(images, official, 1, tmp_path, storage=storage)
    assert len(first[0]) == 5
    rows = [line.split(",")[:2] for line in first[0]["train.csv"].decode().splitlines()[1:]]
    assert rows == sorted(rows, key=lambda row: (int(row[1]), row[0])) and len(rows) == CLASSES * TRAIN
    assert packed(images, official, 2, tmp_path, storage=storage) == first
    for route in ROUTES[1:]:
        assert packed(images, route, 3, tmp_path, storage=storage) == first, route.__name__


def test_in_archive_order_the_fingerprint_depends_on_the_archive(images, tmp_path):
    prints = [packed(images, official, seed, tmp_path, archive_order=True)[1] for seed in (1, 2)]
    assert prints[0] != prints[1] != packed(images, official, 3, tmp_path)[1]


def published(study):
    text = (ROOT / f"reports/reference/results/{study}/data/{study}/manifest.json").read_text()
    return json.loads(text)


@pytest.mark.parametrize("study", ["cifar10", "imagenette"])
def test_published_sets_keep_their_fingerprints(study, tmp_path):
    folder = Path(os.environ.get("ALEXNET_DATA") or ROOT.parent / "shared/data")
    before = published(study)
    if missing_archives(study, folder, list(before["splits"])):
        pytest.skip(f"no archives of {study} in {folder}")
    more = {"splits": list(before["splits"]), "image_size": before["image_size"], "progress": io.StringIO()}
    assert pack(study, folder, tmp_path, **more)["fingerprint"] == before["fingerprint"]


def test_the_demos_images_keep_their_order(tmp_path):
    """A small set of the generator, packed as the demo's rule does: names in the order in which tarfile reads them."""
    synthesize(tmp_path, classes=3, train_per_class=5, val_per_class=2, image_size=32, workers=1)
    pack("ilsvrc2012", tmp_path, tmp_path / "out", image_size=SIZE, stand_ins=True, archive_order=True)
    with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar") as outer:
        inner = [tarfile.open(fileobj=outer.extractfile(member)).getnames() for member in outer.getmembers()]
    rows = (tmp_path / "out/train.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [name for names in inner for name in names]
    asked = {
        "results": "results",
        "definitions": str(ROOT / "config"),
        "downloads": {},
        "archives": [],
        "studies": ["demo"],
    }
    assert Plan(ROOT, asked).archive_flags("demo")[:2] == ["--stand-ins", "--archive-order"]
