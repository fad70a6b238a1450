"""Reads <split>/<class>/<image> from tars, zips or folders on disk; the folder names the class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet.archives import tars, zips
from alexnet.archives.catalogue import SPLITS, Catalogue, ImageClass, Lazy, Picture, Split
from alexnet.archives.local_folders import images, printable, subfolders
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


def place(parts: Sequence[str]) -> Place | None:
    """The place of [...]/<split>/<class>/<image>; None for all else (a list, a readme, what is hidden)."""
    if len(parts) < 3 or parts[-3] not in SPLITS or parts[-2].startswith(".") or parts[-1].startswith("."):
        return None
    return Place(parts[-3], printable(parts[-2]), printable(parts[-1]))


def count(path: Path, roots: Sequence[Path], counts: dict[tuple[str, str], int]) -> None:
    """Add the images of an archive, or folder <split>, to the counts per (split, class); empty classes get 0."""
    if path.is_dir():
        for name, folder in subfolders(path, roots):
            counts[path.name, name] = counts.get((path.name, name), 0) + len(images(folder, roots))
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


def members(path: Path) -> Iterator[tuple[str, Lazy]]:
    """Name and bytes of each file in a tar or zip, in archive order."""
    if path.suffix == ".zip":
        with zips.opened(path) as archive:
            for info in zips.files(archive, path.name):
                yield info.filename, zips.part(archive, info, path)
        return
    with tars.opened(path) as tar:
        for member in tars.files(tar, path.name):
            yield member.name, tars.piece(tar, member, path.name)


def stream(paths: Sequence[Path], roots: Sequence[Path], split: str, labels: dict[str, int]) -> Iterator[Picture]:
    """The images of one split, from folders class by class, from archives all sorted at once."""
    gathered = []
    for path in paths:
        if not path.is_dir():
            for name, data in members(path):
                found = place(name.split("/"))
                if found and found.split == split:
                    gathered.append(Picture(found.name, labels[found.folder], path.name, data))
        elif path.name == split:
            for folder_name, folder in subfolders(path, roots):
                where = f"{split}/{folder_name}"
                for name, extent in images(folder, roots):
                    yield Picture(name, labels[folder_name], where, extent)
    yield from sorted(gathered, key=lambda picture: picture.rank)


def open_class_folders(
    source: str, splits: Sequence[str] | None, paths: Sequence[Path], folders: Sequence[Path], variant: str = ""
) -> Catalogue:
    """Count the images of archives, or of folders called <split>; the classes are those of all splits together.

    Args:
        folders: those that the user named: links in the folders of `paths` may lead anywhere in them.

    Raises:
        UserError: there is no image, or a class has none in a split; or see `local_folders.images`.
    """
    counts: dict[tuple[str, str], int] = {}
    roots = [path.resolve() for path in (*folders, *paths)]
    for path in paths:
        count(path, roots, counts)
    places = ", ".join(path.name for path in paths)
    wanted = [split for split in SPLITS if (split in splits if splits else any(s == split for s, _ in counts))]
    names = sorted({folder for split, folder in counts if split in wanted})
    if not names:
        raise UserError(f"{places} has no {'/'.join(wanted) or 'train'}/<class>/<image>; check its layout")
    for split in wanted:
        for folder in names:
            if not counts.get((split, folder)):
                raise UserError(
                    f"class {folder} has no images in split {split} of {places}; "
                    "add some, or remove the class from every split"
                )
    labels = {folder: label for label, folder in enumerate(names)}
    words = IMAGENETTE if source == "imagenette" else {}
    opened = []
    for split in wanted:
        total = sum(n for (s, _), n in counts.items() if s == split)
        pictures: Callable[[], Iterator[Picture]] = partial(stream, paths, roots, split, labels)
        opened.append(Split(split, total, pictures))
    classes = tuple(ImageClass(name, words.get(name, name)) for name in names)
    return Catalogue(source, classes, tuple(opened), tuple(paths), variant)
