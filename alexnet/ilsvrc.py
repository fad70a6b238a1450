"""Turns the official archives of one ILSVRC year into splits; labels come through that year's own devkit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, cast

from alexnet import tars
from alexnet.catalogue import Catalogue, Picture, Split
from alexnet.devkits import Devkit, read_devkit, read_ground_truth
from alexnet.errors import UserError

DEVKIT = {2010: "ILSVRC2010_devkit-1.0.tar.gz", 2012: "ILSVRC2012_devkit_t12.tar.gz"}
IMAGES = {2010: "ILSVRC2010_images_{}.tar", 2012: "ILSVRC2012_img_{}.tar"}
OFFERED = {
    2010: ("train", "val", "test"),
    2012: ("train", "val"),
}  # labels of the 2012 test set: never published
TEST_GROUND_TRUTH = "ILSVRC2010_test_ground_truth.txt"


def needed(year: int, splits: Sequence[str]) -> list[str]:
    """Names of the official files that hold some splits, the devkit first."""
    return [
        DEVKIT[year],
        *(IMAGES[year].format(split) for split in splits),
        *[TEST_GROUND_TRUTH] * ("test" in splits),
    ]


def basename(name: str) -> str:
    """The last part of a member's name: official archives differ in the folders before it."""
    return name.rsplit("/", 1)[-1]


def _inner_tars(path: Path, labels: dict[str, int], kit: Devkit) -> Iterator[tuple[str, str, IO[bytes]]]:
    """(wnid, name for messages, stream) of each <wnid>.tar in the training archive."""
    with tars.opened(path) as outer:
        for member in tars.files(outer, path.name):
            file = basename(member.name)
            wnid = file.removesuffix(".tar")
            if wnid == file or wnid not in labels:
                raise UserError(
                    f"{path.name} holds {member.name!r}, which is no class of {kit.file}; "
                    f"check that both are of {kit.year}"
                )
            yield wnid, f"{path.name}/{file}", cast(IO[bytes], outer.extractfile(member))


def tar_of_tars(path: Path, kit: Devkit) -> Split:
    """Training images: one inner tar per class, named <wnid>.tar, with as many images as meta.mat says.

    Raises:
        UserError: a class is absent, twice there, empty or unknown; while streaming: a count differs.
    """
    labels = {c.wnid: label for label, c in enumerate(kit.classes)}
    seen = set()
    for wnid, where, stream in _inner_tars(path, labels, kit):
        with tars.opened(path, stream, where) as inner:
            if next(tars.files(inner, where), None) is None:
                name = kit.classes[labels[wnid]].name
                raise UserError(
                    f"class {wnid} ({name}) has no images: {where} is empty; fetch {path.name} again"
                )
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
        for wnid, where, stream in _inner_tars(path, labels, kit):
            label, count = labels[wnid], 0
            with tars.opened(path, stream, where) as inner:
                for member in tars.files(inner, where):
                    data = tars.content(inner, member, where)
                    yield Picture(basename(member.name), label, where, data)
                    count += 1
            if count != kit.train_images[label]:
                raise UserError(
                    f"class {wnid}: {where} has {count} images, but data/meta.mat in {kit.file} says "
                    f"{kit.train_images[label]}; fetch {path.name} again"
                )

    return Split("train", sum(kit.train_images), pictures)


def flat_tar(split: str, path: Path, labels: list[int], truth: str) -> Split:
    """Validation or test images: line n of the ground truth `truth` is about the n-th name in sorted order.

    Raises:
        UserError: there are more or fewer images than lines, or a name is there twice.
    """
    names = sorted(basename(name) for name in tars.names(path))
    if len(names) != len(labels):
        raise UserError(
            f"{path.name} has {len(names)} images, but {truth} has {len(labels)} lines; fetch both again"
        )
    label_of = dict(zip(names, labels, strict=True))
    if len(label_of) != len(names):
        twice = next(a for a, b in pairwise(names) if a == b)
        raise UserError(f"{path.name} holds {twice} twice, so its names do not match {truth}; fetch it again")

    def pictures() -> Iterator[Picture]:
        with tars.opened(path) as tar:
            for member in tars.files(tar, path.name):
                name = basename(member.name)
                yield Picture(name, label_of[name], path.name, tars.content(tar, member, path.name))

    return Split(split, len(names), pictures)


def open_ilsvrc(source: str, year: int, splits: Sequence[str], paths: dict[str, Path]) -> Catalogue:
    """Look through a year's archives; `paths` has those that `needed` names.

    Raises:
        UserError: see `read_devkit`, `read_ground_truth`, `tar_of_tars` and `flat_tar`.
    """
    devkit = paths[DEVKIT[year]]
    kit = read_devkit(devkit, year)
    opened = []
    for split in splits:
        path = paths[IMAGES[year].format(split)]
        if split == "train":
            opened.append(tar_of_tars(path, kit))
            continue
        if split == "val":
            truth = f"ILSVRC{year}_validation_ground_truth.txt"
            text, where = tars.find(devkit, f"data/{truth}"), f"{truth} in {devkit.name}"
        else:
            text, where = paths[TEST_GROUND_TRUTH].read_bytes(), TEST_GROUND_TRUTH
        opened.append(flat_tar(split, path, read_ground_truth(text, where, kit), where))
    return Catalogue(source, kit.classes, tuple(opened), tuple(paths.values()))
