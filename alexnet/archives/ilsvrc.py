"""Reads the official archives of one ILSVRC year; labels come through that year's own devkit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, Extent, Lazy, Picture, Place, Split, single, splits_of
from alexnet.archives.devkits import Devkit, read_devkit, read_ground_truth
from alexnet.archives.members import basename
from alexnet.errors import UserError

DEVKIT = {2010: "ILSVRC2010_devkit-1.0.tar.gz", 2012: "ILSVRC2012_devkit_t12.tar.gz"}
IMAGES = {2010: "ILSVRC2010_images_{}.tar", 2012: "ILSVRC2012_img_{}.tar"}
OFFERED = {2010: ("train", "val", "test"), 2012: ("train", "val")}  # labels of the 2012 test set: never published
TEST_GROUND_TRUTH = "ILSVRC2010_test_ground_truth.txt"
PATCHES = "patch_images.tar"  # of 2010: later versions of some images, used where it is there


def needed(year: int, splits: Sequence[str]) -> list[str]:
    """Names of the official files that hold some splits, the devkit first."""
    return [DEVKIT[year], *(IMAGES[year].format(split) for split in splits), *[TEST_GROUND_TRUTH] * ("test" in splits)]


def tar_of_tars(path: Path, kit: Devkit) -> list[Place]:
    """Training images: one inner tar per class, named <wnid>.tar, with as many images as meta.mat says.

    Raises:
        UserError: a class is twice there or unknown; while its images are listed: their count differs.
    """
    labels = {c.wnid: label for label, c in enumerate(kit.classes)}
    places: dict[str, Place] = {}
    for name, member in tars.members(path, most=math.inf):
        wnid, dot, ending = basename(name).rpartition(".")
        if (dot + ending, wnid in labels) != (".tar", True):
            raise UserError(
                f"{path.name} holds {name!r}, which is no class of {kit.file}; check that both are of {kit.year}"
            )
        if wnid in places:
            raise UserError(f"{path.name} holds class {wnid} twice; fetch it again")
        where, count = f"{path.name}/{wnid}.tar", kit.train_images[labels[wnid]]
        empty = next(tars.members(path, within=member, where=where), None) is None
        listed = partial(_inner, path, member, where, count, kit.file)
        places[wnid] = Place("train", wnid, where, 0 if empty else count, listed)
    return list(places.values())


def _inner(path: Path, member: Extent, where: str, count: int, kit: str) -> list[tuple[str, Extent]]:
    found = [(basename(name), data) for name, data in tars.members(path, within=member, where=where)]
    if len(found) != count:
        raise UserError(
            f"class {basename(where).removesuffix('.tar')}: {where} has {len(found)} images, but data/meta.mat in {kit} "
            f"says {count}; fetch {path.name} again"
        )
    return found


def flat(
    split: str, year: int, archive: str, images: Iterable[tuple[str, Lazy]], wnids: list[str], truth: str
) -> list[Place]:
    """Validation or test images: the n-th of the ground truth `truth` is of the n-th name in sorted order.

    Raises:
        UserError: there are more or fewer images than lines, a name is there twice, or is one of another year.
    """
    found = list(images)
    names = sorted(name for name, _ in found)
    if len(names) != len(wnids):
        raise UserError(f"{archive} has {len(names)} images, but {truth} has {len(wnids)} lines; fetch both again")
    wnid_of = dict(zip(names, wnids, strict=True))
    if len(wnid_of) != len(names):
        twice = next(a for a, b in pairwise(names) if a == b)
        raise UserError(f"{archive} holds {twice} twice, so its names do not match {truth}; fetch it again")
    others = tuple(f"ILSVRC{other}_" for other in DEVKIT if other != year)
    foreign = next((name for name in names if name.startswith(others)), None)
    if foreign:
        raise UserError(f"{archive} holds {foreign}, which is not of {year}; check that it is the right file")
    return single(split, archive, ((name, wnid_of[name], data) for name, data in found))


def ground_truth(split: str, paths: dict[str, Path], kit: Devkit) -> tuple[list[str], str]:
    """Wnids of the validation or test images by the rank of their names, and what says so."""
    if split == "test":
        text, where = paths[TEST_GROUND_TRUTH].read_bytes(), TEST_GROUND_TRUTH
    else:
        truth = f"ILSVRC{kit.year}_validation_ground_truth.txt"
        text, where = tars.find(paths[DEVKIT[kit.year]], f"data/{truth}"), f"{truth} in {kit.file}"
    return [kit.classes[label].wnid for label in read_ground_truth(text, where, kit)], where


def patched(split: Split, patches: dict[str, Extent]) -> Split:
    """The split with the later versions of some images, by name."""

    def pictures() -> Iterator[Picture]:
        for picture in split.pictures():
            new = patches.get(picture.name)
            yield replace(picture, archive=PATCHES, data=new, repairs=("patched",)) if new else picture

    return replace(split, pictures=pictures)


def open_ilsvrc(
    source: str, year: int, splits: Sequence[str], paths: dict[str, Path], archive_order: bool = False
) -> Catalogue:
    """Look through a year's archives; `paths` has those that `needed` names, and patch_images.tar if it is there.

    Args:
        archive_order: images come as they stand in the archives, not by label and name.

    Raises:
        UserError: see `read_devkit`, `read_ground_truth`, `tar_of_tars` and `flat`; or a patch replaces no
            image although all splits are read.
    """
    kit = read_devkit(paths[DEVKIT[year]], year)
    places: list[Place] = []
    for split in splits:
        path = paths[IMAGES[year].format(split)]
        if split == "train":
            places += tar_of_tars(path, kit)
            continue
        wnids, truth = ground_truth(split, paths, kit)
        images = ((basename(name), data) for name, data in tars.members(path))
        places += flat(split, year, path.name, images, wnids, truth)
    where = f"{', '.join(IMAGES[year].format(split) for split in splits)} and {kit.file}"
    opened = splits_of(places, splits, kit.classes, where, archive_order)
    if PATCHES in paths:
        patches = {basename(name): data for name, data in tars.members(paths[PATCHES])}
        classes = {name.split("_")[0] for name in patches}
        searched = [place for place in places if place.split != "train" or place.wnid in classes]
        unused = sorted(patches.keys() - {name for place in searched for name, _ in place.listed()})
        if unused and len(splits) == len(OFFERED[year]):
            raise UserError(
                f"{PATCHES}: {unused[0]} ({len(unused)} of {len(patches)} images) replaces no image of {year}; fetch it "
                "again, or take it away to pack the images as they were first published"
            )
        opened = tuple(patched(split, patches) for split in opened)
    return Catalogue(source, kit.classes, opened, tuple(paths.values()))
