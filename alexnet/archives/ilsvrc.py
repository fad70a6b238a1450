"""Reads the official archives of one ILSVRC year; labels come through that year's own devkit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, Picture, Split
from alexnet.archives.devkits import Devkit, read_devkit, read_ground_truth
from alexnet.errors import UserError

DEVKIT = {2010: "ILSVRC2010_devkit-1.0.tar.gz", 2012: "ILSVRC2012_devkit_t12.tar.gz"}
IMAGES = {2010: "ILSVRC2010_images_{}.tar", 2012: "ILSVRC2012_img_{}.tar"}
OFFERED = {2010: ("train", "val", "test"), 2012: ("train", "val")}  # labels of the 2012 test set: never published
TEST_GROUND_TRUTH = "ILSVRC2010_test_ground_truth.txt"
PATCHES = "patch_images.tar"  # of 2010: later versions of some images, used where it is there
Patches = dict[str, Picture]


def needed(year: int, splits: Sequence[str]) -> list[str]:
    """Names of the official files that hold some splits, the devkit first."""
    return [DEVKIT[year], *(IMAGES[year].format(split) for split in splits), *[TEST_GROUND_TRUTH] * ("test" in splits)]


def basename(name: str) -> str:
    """The last part of a member's name: official archives differ in the folders before it."""
    return name.rsplit("/", 1)[-1]


def _inner_tars(
    path: Path, labels: dict[str, int], kit: Devkit, archive_order: bool = False
) -> Iterator[tuple[str, str, tars.Tar]]:
    """(wnid, name for messages, tar) of each <wnid>.tar in the training archive, by wnid or in archive order."""
    with tars.opened(path) as outer:
        members = list(tars.files(outer, path.name))
        for member in members:
            wnid, dot, ending = basename(member.name).rpartition(".")
            if (dot + ending, wnid in labels) != (".tar", True):
                raise UserError(
                    f"{path.name} holds {member.name!r}, which is no class of {kit.file}; "
                    f"check that both are of {kit.year}"
                )
        if not archive_order:
            members.sort(key=lambda member: basename(member.name))
        for member in members:
            file = basename(member.name)
            where = f"{path.name}/{file}"
            with tars.inside(outer, member, where) as inner:
                yield file.removesuffix(".tar"), where, inner


def read_patches(path: Path) -> Patches:
    """The images of patch_images.tar by file name; their labels are those of the images that they replace."""
    patches = {}
    with tars.opened(path) as tar:
        for member in tars.files(tar, path.name):
            name = basename(member.name)
            patches[name] = Picture(name, -1, path.name, tars.piece(tar, member, path.name), ("patched",))
    return patches


def patched(picture: Picture, patches: Patches) -> Picture:
    """The picture, or its later version."""
    patch = patches.get(picture.name)
    return replace(patch, label=picture.label) if patch else picture


def tar_of_tars(path: Path, kit: Devkit, patches: Patches, used: set[str], archive_order: bool) -> Split:
    """Training images: one inner tar per class, named <wnid>.tar, with as many images as meta.mat says.

    Names of patches that replace an image are added to `used`. `archive_order`: see `open_ilsvrc`.

    Raises:
        UserError: a class is absent, twice there, empty or unknown; while streaming: a count differs.
    """
    labels = {c.wnid: label for label, c in enumerate(kit.classes)}
    seen = set()
    classes_with_patches = {name.split("_")[0] for name in patches}
    for wnid, where, inner in _inner_tars(path, labels, kit):
        members = tars.files(inner, where)
        first = next(members, None)
        if first is None:
            name = kit.classes[labels[wnid]].name
            raise UserError(f"class {wnid} ({name}) has no images: {where} is empty; fetch {path.name} again")
        if wnid in classes_with_patches:
            used.update(patches.keys() & {basename(member.name) for member in (first, *members)})
        if wnid in seen:
            raise UserError(f"{path.name} holds class {wnid} twice; fetch it again")
        seen.add(wnid)
    absent = sorted(labels.keys() - seen)
    if absent:
        raise UserError(
            f"class {absent[0]} is not in {path.name} ({len(absent)} of the {len(labels)} classes of "
            f"{kit.file} are not); fetch it again"
        )

    def pictures() -> Iterator[Picture]:
        for wnid, where, inner in _inner_tars(path, labels, kit, archive_order):
            label = labels[wnid]
            found = [
                Picture(basename(member.name), label, where, tars.piece(inner, member, where))
                for member in tars.files(inner, where)
            ]
            if len(found) != kit.train_images[label]:
                raise UserError(
                    f"class {wnid}: {where} has {len(found)} images, but data/meta.mat in {kit.file} says "
                    f"{kit.train_images[label]}; fetch {path.name} again"
                )
            if not archive_order:
                found.sort(key=lambda picture: picture.rank)
            for picture in found:
                yield patched(picture, patches)

    return Split("train", sum(kit.train_images), pictures)


def flat_tar(
    split: str,
    year: int,
    path: Path,
    labels: list[int],
    truth: str,
    patches: Patches,
    used: set[str],
    archive_order: bool,
) -> Split:
    """Validation or test images: line n of the ground truth `truth` is about the n-th name in sorted order.

    `archive_order`: see `open_ilsvrc`.

    Raises:
        UserError: there are more or fewer images than lines, a name is there twice, or is one of another year.
    """
    names = sorted(basename(name) for name in tars.names(path))
    if len(names) != len(labels):
        raise UserError(f"{path.name} has {len(names)} images, but {truth} has {len(labels)} lines; fetch both again")
    label_of = dict(zip(names, labels, strict=True))
    if len(label_of) != len(names):
        twice = next(a for a, b in pairwise(names) if a == b)
        raise UserError(f"{path.name} holds {twice} twice, so its names do not match {truth}; fetch it again")

    others = tuple(f"ILSVRC{other}_" for other in DEVKIT if other != year)
    foreign = next((name for name in names if name.startswith(others)), None)
    if foreign:
        raise UserError(f"{path.name} holds {foreign}, which is not of {year}; check that it is the right file")

    used.update(patches.keys() & label_of.keys())

    def pictures() -> Iterator[Picture]:
        with tars.opened(path) as tar:
            pieces = [
                (basename(member.name), tars.piece(tar, member, path.name)) for member in tars.files(tar, path.name)
            ]
        found = [Picture(name, label_of[name], path.name, data) for name, data in pieces]
        if not archive_order:
            found.sort(key=lambda picture: picture.rank)
        return (patched(picture, patches) for picture in found)

    return Split(split, len(names), pictures)


def open_ilsvrc(
    source: str, year: int, splits: Sequence[str], paths: dict[str, Path], archive_order: bool = False
) -> Catalogue:
    """Look through a year's archives; `paths` has those that `needed` names, and patch_images.tar if it is there.

    Args:
        archive_order: images come as they stand in the archives, not by label and name.

    Raises:
        UserError: see `read_devkit`, `read_ground_truth`, `tar_of_tars` and `flat_tar`; or a patch replaces no
            image although all splits are read.
    """
    devkit = paths[DEVKIT[year]]
    kit = read_devkit(devkit, year)
    opened = []
    patches = read_patches(paths[PATCHES]) if PATCHES in paths else {}
    used: set[str] = set()
    for split in splits:
        path = paths[IMAGES[year].format(split)]
        if split == "train":
            opened.append(tar_of_tars(path, kit, patches, used, archive_order))
            continue
        if split == "val":
            truth = f"ILSVRC{year}_validation_ground_truth.txt"
            text, where = tars.find(devkit, f"data/{truth}"), f"{truth} in {devkit.name}"
        else:
            text, where = paths[TEST_GROUND_TRUTH].read_bytes(), TEST_GROUND_TRUTH
        labels = read_ground_truth(text, where, kit)
        opened.append(flat_tar(split, year, path, labels, where, patches, used, archive_order))
    unused = sorted(patches.keys() - used)
    if unused and len(splits) == len(OFFERED[year]):
        raise UserError(
            f"{PATCHES}: {unused[0]} ({len(unused)} of {len(patches)} images) replaces no image of {year}; fetch it "
            "again, or take it away to pack the images as they were first published"
        )
    return Catalogue(source, kit.classes, tuple(opened), tuple(paths.values()))
