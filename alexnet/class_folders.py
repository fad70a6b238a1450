"""Turns <split>/<class>/<image>, in tars, zips or folders on disk, into splits; the folder names the class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet import tars, zips
from alexnet.catalogue import SPLITS, Catalogue, Extent, ImageClass, Picture, Split
from alexnet.errors import UserError

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@dataclass(frozen=True)
class Place:
    """Where an image stands: split, class folder, file name."""

    split: str
    folder: str
    name: str


def printable(name: str) -> str:
    """The name, with bytes that are not UTF-8 as \\xff, so that it can be written into an index."""
    return os.fsencode(name).decode(errors="backslashreplace")


def place(parts: Sequence[str]) -> Place | None:
    """The place of [...]/<split>/<class>/<image>; None for all else (a list, a readme, what is hidden)."""
    if len(parts) < 3 or parts[-3] not in SPLITS or parts[-2].startswith(".") or parts[-1].startswith("."):
        return None
    return Place(parts[-3], printable(parts[-2]), printable(parts[-1]))


def count(path: Path, counts: dict[tuple[str, str], int]) -> None:
    """Add the images of a tar, or folder <split>, to the counts per (split, class); empty classes get 0."""
    if path.is_dir():
        for folder in path.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                images = sum(1 for file in folder.iterdir() if place(file.parts) and file.is_file())
                key = path.name, printable(folder.name)
                counts[key] = counts.get(key, 0) + images
        return
    for name, folder_member in entries(path):
        parts = name.rstrip("/").split("/")
        found = place([*parts, "any"] if folder_member else parts)
        if found:
            key = found.split, found.folder
            counts[key] = counts.get(key, 0) + (not folder_member)


def entries(path: Path) -> Iterator[tuple[str, bool]]:
    """Name of each file and folder in a tar or zip, and whether it is a folder."""
    if path.suffix == ".zip":
        with zips.opened(path) as archive:
            for info in zips.files(archive, path.name, folders=True):
                yield info.filename, info.is_dir()
        return
    with tars.opened(path) as tar:
        for member in tars.files(tar, path.name, folders=True):
            yield member.name, member.isdir()


def walk(path: Path) -> Iterator[tuple[Place, str, bytes | Extent]]:
    """The images of an archive in its order, or of a folder <split> in sorted order: place, archive, bytes."""
    if path.is_dir():
        for file in sorted(path.glob("*/*")):
            found = place(file.parts)
            if found and file.is_file():
                yield found, f"{found.split}/{found.folder}", Extent(file, 0, file.stat().st_size)
        return
    if path.suffix == ".zip":
        with zips.opened(path) as archive:
            for info in zips.files(archive, path.name):
                found = place(info.filename.split("/"))
                if found:
                    yield found, path.name, zips.content(archive, info, path.name)
        return
    with tars.opened(path) as tar:
        for member in tars.files(tar, path.name):
            found = place(member.name.split("/"))
            if found:
                yield found, path.name, tars.piece(tar, member, path.name, path)


def stream(paths: Sequence[Path], split: str, labels: dict[str, int]) -> Iterator[Picture]:
    """The images of one split."""
    for path in paths:
        if path.is_dir() and path.name != split:
            continue
        for found, archive, data in walk(path):
            if found.split == split:
                yield Picture(found.name, labels[found.folder], archive, data)


def open_class_folders(
    source: str, splits: Sequence[str] | None, paths: Sequence[Path], variant: str = ""
) -> Catalogue:
    """Count the images of archives, or of folders called <split>; the classes are those of all splits together.

    Raises:
        UserError: there is no image, or a class has none in a split.
    """
    counts: dict[tuple[str, str], int] = {}
    for path in paths:
        count(path, counts)
    places = ", ".join(path.name for path in paths)
    wanted = [
        split for split in SPLITS if (split in splits if splits else any(s == split for s, _ in counts))
    ]
    folders = sorted({folder for split, folder in counts if split in wanted})
    if not folders:
        raise UserError(f"{places} has no {'/'.join(wanted) or 'train'}/<class>/<image>; check its layout")
    for split in wanted:
        for folder in folders:
            if not counts.get((split, folder)):
                raise UserError(
                    f"class {folder} has no images in split {split} of {places}; "
                    "add some, or remove the class from every split"
                )
    labels = {folder: label for label, folder in enumerate(folders)}
    words = IMAGENETTE if source == "imagenette" else {}
    opened = []
    for split in wanted:
        images = sum(n for (s, _), n in counts.items() if s == split)
        pictures: Callable[[], Iterator[Picture]] = partial(stream, paths, split, labels)
        opened.append(Split(split, images, pictures))
    classes = tuple(ImageClass(folder, words.get(folder, folder)) for folder in folders)
    return Catalogue(source, classes, tuple(opened), tuple(paths), variant)
