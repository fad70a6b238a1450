"""Archives that a disk, a line or somebody spoilt, a hundred a reader with fixed seeds: each is packed, or ends in a sentence."""

from __future__ import annotations

import functools
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_archives import members_of, tar_of
from test_malformed import TRIES, torn
from test_sources import BATCHES, all_tars, cifar_archive, cifar_batch, kaggle, official, pickled, tiny_zip

from alexnet.archives import devkits
from alexnet.errors import UserError
from alexnet.packed.pack import pack
from alexnet.packed.packed_set import verify

__all__ = ["all_tars", "kaggle", "official"]  # fixtures

Spoil = Callable[[Path, random.Random], None]


def as_it_lies(file: Path, draw: random.Random) -> None:
    """The bytes of the file itself."""
    file.write_bytes(torn(file.read_bytes(), draw))


def within(file: Path, draw: random.Random) -> None:
    """A member of an otherwise sound archive, and half of the time a member of that."""
    kind = "w:gz" if file.suffix in (".gz", ".tgz") else "w"

    def spoilt(data: bytes, mode: str) -> bytes:
        members = members_of(data)
        name = draw.choice(sorted(members))
        inner = name.endswith(".tar") and draw.random() < 0.5
        members[name] = spoilt(members[name], "w") if inner else torn(members[name], draw)
        return tar_of(members, mode)

    file.write_bytes(spoilt(file.read_bytes(), kind))


def within_zip(file: Path, draw: random.Random) -> None:
    """A member of an otherwise sound zip."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(sorted(members))
    members[name] = torn(members[name], draw)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def lines(file: Path, draw: random.Random) -> None:
    """A cell of a table, a line twice, or a line less."""
    rows = file.read_text().splitlines()
    at, way = draw.randrange(len(rows)), draw.randrange(3)
    if way == 0:
        cells = re.split(r"([ ,])", rows[at])
        cells[draw.randrange(len(cells))] = draw.choice(
            ["", "\x00", "n", "-1", "9" * 500, "n99999999", "../../x", '"', "\t"]
        )
        rows[at] = "".join(cells)
    else:
        rows[at : at + 1] = [rows[at]] * 2 if way == 1 else []
    file.write_text("\n".join(rows))


SPOILT: dict[str, tuple[str, str, Spoil]] = {  # source, file, how
    "2012 train": ("ilsvrc2012", "ILSVRC2012_img_train.tar", as_it_lies),
    "2012 train, within": ("ilsvrc2012", "ILSVRC2012_img_train.tar", within),
    "2012 val": ("ilsvrc2012", "ILSVRC2012_img_val.tar", as_it_lies),
    "2012 kit": ("ilsvrc2012", "ILSVRC2012_devkit_t12.tar.gz", as_it_lies),
    "2012 kit, within": ("ilsvrc2012", "ILSVRC2012_devkit_t12.tar.gz", within),
    "2010 kit, within": ("ilsvrc2010", "ILSVRC2010_devkit-1.0.tar.gz", within),
    "2010 patches": ("ilsvrc2010", "patch_images.tar", as_it_lies),
    "fall": ("fall2009", "fall2009.tar", as_it_lies),
    "fall, within": ("fall2009", "fall2009.tar", within),
    "cifar10": ("cifar10", "cifar-10-python.tar.gz", as_it_lies),
    "cifar10, within": ("cifar10", "cifar-10-python.tar.gz", within),
    "imagenette": ("imagenette", "imagenette2-320.tgz", as_it_lies),
    "imagenette, within": ("imagenette", "imagenette2-320.tgz", within),
    "folders": ("folders", "any.tar", as_it_lies),
    "zip": ("tiny_imagenet", "tiny-imagenet-200.zip", as_it_lies),
    "zip, within": ("tiny_imagenet", "tiny-imagenet-200.zip", within_zip),
    "Kaggle's classes": ("kaggle", "LOC_synset_mapping.txt", lines),
    "Kaggle's classes, bytes": ("kaggle", "LOC_synset_mapping.txt", as_it_lies),
    "Kaggle's answers": ("kaggle", "LOC_val_solution.csv", lines),
    "Kaggle's answers, bytes": ("kaggle", "LOC_val_solution.csv", as_it_lies),
}


@pytest.fixture(autouse=True)
def each_table_is_read_once(monkeypatch):
    """A kit's table is read by a process of its own, a quarter of a second each time; most archives here leave it as it is."""
    monkeypatch.setattr(devkits, "_table", functools.lru_cache(4)(devkits._table))


@pytest.mark.parametrize("reader", SPOILT)
def test_archives_are_packed_or_refused_with_a_sentence(reader, all_tars, kaggle, tmp_path):
    source, name, spoil = SPOILT[reader]
    if source == "tiny_imagenet":
        folder = tmp_path
        tiny_zip(folder / name)
    elif source == "kaggle":
        source, folder = "ilsvrc2012", kaggle
    elif source == "cifar10":
        folder = tmp_path
        cifar_archive(folder / name, {batch: pickled(cifar_batch(i)) for i, batch in enumerate(BATCHES)})
    else:
        folder = all_tars[source]
    splits = (
        ["train"] if "train" in name else ["val"] if source.startswith("ilsvrc") else None
    )  # those that the file serves
    file, refused, told = folder / name, 0, io.StringIO()
    sound = file.read_bytes()

    def packed(out: Path) -> dict:
        options = {"splits": splits, "image_size": 16, "workers": 1, "stand_ins": True, "progress": told}
        return pack(source, folder, out, **options)

    counts = {split: done["images"] for split, done in packed(tmp_path / "sound")["splits"].items()}
    try:
        for number in range(TRIES):
            spoil(file, random.Random(f"{reader}/{number}"))
            out = tmp_path / f"{number}"
            try:
                manifest = packed(out)
            except UserError as error:
                refused += 1
                said = str(error)
                assert "\n" not in said.strip() and len(said) < 600, said
                assert file.name.split(".")[0] in said, said
                assert not (out / "manifest.json").exists(), "a set that was refused is not there"
            else:
                assert json.loads((out / "manifest.json").read_text()) == manifest
                assert verify(out) is not None
                if spoil is as_it_lies and file.suffix in (".gz", ".tgz"):
                    found = {split: done["images"] for split, done in manifest["splits"].items()}
                    assert found == counts, "a compressed archive that was cut off is not a smaller one"
            finally:
                file.write_bytes(sound)
    finally:
        file.write_bytes(sound)
    assert refused > TRIES / 10
