"""Reads the official archives of one ILSVRC year; labels come through that year's own devkit."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, Extent, Found, Listed, Picture, Place, Split, places_of, splits_of
from alexnet.archives.devkits import Devkit, read_devkit
from alexnet.archives.members import basename, locate
from alexnet.errors import UserError

DEVKIT = {2010: "ILSVRC2010_devkit-1.0.tar.gz", 2012: "ILSVRC2012_devkit_t12.tar.gz"}
IMAGES = {2010: "ILSVRC2010_images_{}.tar", 2012: "ILSVRC2012_img_{}.tar"}
TEST_GROUND_TRUTH = "ILSVRC2010_test_ground_truth.txt"
PATCHES = "patch_images.tar"  # of 2010: later versions of some images, used where it is there


def needed(year: int, splits: Sequence[str]) -> list[str]:
    """Names of the official files that hold some splits, the devkit first."""
    return [DEVKIT[year], *(IMAGES[year].format(split) for split in splits), *[TEST_GROUND_TRUTH] * ("test" in splits)]


def tar_of_tars(path: Path, kit: Devkit) -> list[Place]:
    """Training images: one inner tar per class, named <wnid>.tar, with as many images as meta.mat says.

    UserError if a class is twice there or unknown; when its images are listed, if their count differs.
    """
    labels = {c.wnid: label for label, c in enumerate(kit.classes)}
    places: dict[str, Place] = {}

    def listed(member: Extent, wnid: str, where: str, count: int) -> list[tuple[str, Extent]]:
        found = tars.images(path, member, where)
        if len(found) != count:
            raise UserError(
                f"class {wnid}: {where} has {len(found)} images, but data/meta.mat in {kit.file} says {count}; fetch "
                f"{path.name} again"
            )
        return found

    for name, member in tars.members(path, most=math.inf):
        wnid, dot, ending = basename(name).rpartition(".")
        if (dot + ending, wnid in labels) != (".tar", True):
            raise UserError(f"{path.name} holds {name!r}, which is no class of {kit.file}; check the years of both")
        if wnid in places:
            raise UserError(f"{path.name} holds class {wnid} twice; fetch it again")
        where, count = f"{path.name}/{wnid}.tar", kit.train_images[labels[wnid]]
        empty = next(tars.members(path, within=member, where=where), None) is None
        later = partial(listed, member, wnid, where, count)
        places[wnid] = Place("train", wnid, where, 0 if empty else count, later)
    return list(places.values())


def flat(split: str, year: int, archive: str, images: Listed, wnids: list[str], truth: str) -> list[Place]:
    """Validation or test images: the n-th of the ground truth `truth` is of the n-th name in sorted order.

    UserError if there are more or fewer images than lines, or if a name is there twice or is one of another year.
    """
    found = list(images)
    names = sorted(name for name, _ in found)
    if len(names) != len(wnids):
        raise UserError(f"{archive} has {len(names)} images, but {truth} has {len(wnids)} lines; fetch both again")
    twice = next((a for a, b in pairwise(names) if a == b), None)
    if twice:
        raise UserError(f"{archive} holds {twice} twice, so its names do not match {truth}; fetch it again")
    others = tuple(f"ILSVRC{other}_" for other in DEVKIT if other != year)
    foreign = next((name for name in names if name.startswith(others)), None)
    if foreign:
        raise UserError(f"{archive} holds {foreign}, which is not of {year}; check that it is the right file")
    wnid_of = dict(zip(names, wnids, strict=True))
    return places_of(split, ((archive, wnid_of[name], name, data) for name, data in found))


def ground_truth(split: str, paths: dict[str, Path], kit: Devkit) -> tuple[list[str], str]:
    """Wnids of the validation or test images by the rank of their names, and what says so: one id of the kit's year a line.

    UserError, with file, line and value, if a line is no number, or one that the kit does not know as a class.
    """
    if split == "test":
        text, where = paths[TEST_GROUND_TRUTH].read_bytes(), TEST_GROUND_TRUTH
    else:
        truth = f"ILSVRC{kit.year}_validation_ground_truth.txt"
        text, where = tars.find(paths[DEVKIT[kit.year]], f"data/{truth}"), f"{truth} in {kit.file}"
    wnids = []
    for number, line in enumerate(text.decode("ascii", "replace").split("\n"), start=1):
        if value := line.strip():
            label = kit.label_of_id.get(int(value)) if value.isdecimal() else None
            if label is None:
                raise UserError(
                    f"{where}, line {number}: {value!r} is not among the {len(kit.classes)} class ids of {kit.file}; check "
                    "that both files are of the same year"
                )
            wnids.append(kit.classes[label].wnid)
    return wnids, where


def read_split(split: str, path: Path, paths: dict[str, Path], kit: Devkit) -> list[Place]:
    """The images in the official tar of a split; `paths` has the devkit and the ground truth."""
    if split == "train":
        return tar_of_tars(path, kit)
    return flat(split, kit.year, path.name, tars.images(path), *ground_truth(split, paths, kit))


def open_2010(found: Found) -> Catalogue:
    """Look through the archives and patch_images.tar; UserError if, all splits read, a patch replaces no image."""
    kit = read_devkit(found.paths[DEVKIT[2010]], 2010)
    archives = {split: found.paths[IMAGES[2010].format(split)] for split in found.splits}
    places = [p for split, path in archives.items() for p in read_split(split, path, found.paths, kit)]
    where = f"{', '.join(path.name for path in archives.values())} and {kit.file}"
    opened = splits_of(places, found.splits, kit.classes, where, found.archive_order)
    files, tar = tuple(found.paths.values()), locate(PATCHES, found.folders)
    if not tar.exists():
        return Catalogue(found.source, kit.classes, opened, files)
    patches = dict(tars.images(tar))
    classes = {name.split("_")[0] for name in patches}
    searched = [place for place in places if place.split != "train" or place.wnid in classes]
    unused = sorted(patches.keys() - {name for place in searched for name, _ in place.listed()})
    if unused and len(archives) == 3:
        raise UserError(
            f"{PATCHES}: {unused[0]} ({len(unused)} of {len(patches)} images) replaces no image of 2010; fetch it "
            "again, or take it away to pack the images as they were first published"
        )

    def patched(split: Split) -> Iterator[Picture]:
        for picture in split.pictures():
            new = patches.get(picture.name)
            yield replace(picture, archive=PATCHES, data=new, repairs=("patched",)) if new else picture

    opened = tuple(replace(split, pictures=partial(patched, split)) for split in opened)
    return Catalogue(found.source, kit.classes, opened, (*files, tar))
