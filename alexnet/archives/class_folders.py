"""Reads <split>/<class>/<image> from tars, zips or folders on disk; the folder names the class.

Files on disk get the checks that members of an archive get.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from alexnet.archives import tars, zips
from alexnet.archives.catalogue import SPLITS, Catalogue, Extent, Found, ImageClass, Lazy, Place, splits_of
from alexnet.archives.members import MAX_BYTES, is_litter, printable, refuse_lost
from alexnet.errors import UserError

IMAGENETTE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip


def around(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders, then those one level below, then those one level above."""
    yield from folders
    for folder in folders:
        if folder.is_dir():
            inner = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
            yield from sorted(path for path in inner if os.access(path, os.R_OK | os.X_OK))  # not lost+found
    yield from (folder.resolve().parent for folder in folders)


def images(folder: Path, roots: Sequence[Path]) -> list[tuple[str, Extent]]:
    """(printable name, bytes) of each file in `folder`, in the order of the names, hidden ones left out.

    `roots`: the folders that the user named, resolved; a link may lead anywhere in them.

    UserError if a link leads nowhere or out of all roots, or an entry is a folder, a pipe or a device, or larger than an
    image can be.
    """
    found = []
    for path in folder.iterdir():
        if is_litter(path.name):
            continue
        status = _inside(path, roots).stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder among images, in which none is looked for; move them, or take it away")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is a pipe or a device, not an image; take it away")
        size = status.st_size
        if size > MAX_BYTES:
            raise UserError(f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} of an image; take it away")
        found.append((printable(path.name), Extent(path, 0, size)))
    return sorted(found, key=lambda image: image[0])


def _inside(path: Path, roots: Sequence[Path]) -> Path:
    """The path; an error if it is a link that leads nowhere, or out of all roots."""
    if path.is_symlink():
        target = path.resolve()
        if not target.exists():
            raise UserError(f"{path} is a link that leads nowhere; take it away, or put the image there")
        if not any(target.is_relative_to(root) for root in roots):
            raise UserError(
                f"{path} is a link that leads out of its folder, to {target}; copy the image, or name the folder that "
                "it leads to in `archives` or ALEXNET_DATA as well"
            )
    return path


def by_class(path: Path, roots: Sequence[Path]) -> Iterator[Place]:
    """The classes of an archive, or of a folder called <split>, those without images too; hidden ones are left out."""
    if path.is_dir():
        folders = sorted(p for p in path.iterdir() if not is_litter(p.name))
        for file in (p for p in folders if p.is_file()):
            refuse_lost(str(path), [file.name])
        for folder in (p for p in folders if p.is_dir() or not p.exists()):  # those that do not exist are links
            listed, name = partial(images, _inside(folder, roots), roots), printable(folder.name)
            yield Place(path.name, name, f"{path.name}/{name}", len(listed()), listed)
        return
    found: dict[tuple[str, str], list[tuple[str, Lazy]]] = {}
    members: Iterator[tuple[str, Lazy]] = (zips if path.suffix == ".zip" else tars).members(path, folders=True)
    for name, data in members:
        parts = name.split("/")  # [...]/<split>/<class>/<image>, of a folder without the image; all else is no image
        if len(parts) > 2 and parts[-3] in SPLITS and not is_litter(parts[-2]) and not is_litter(parts[-1]):
            of_class = found.setdefault((parts[-3], printable(parts[-2])), [])
            if parts[-1]:
                of_class.append((printable(parts[-1]), data))
        elif split := next((part for part in parts[:-1] if part in SPLITS), None):
            refuse_lost(f"{path.name}, {split}", parts[parts.index(split) + 1 :])
    for (split, name), files in found.items():
        yield Place(split, name, path.name, len(files), partial(iter, files))


def open_class_folders(found: Found) -> Catalogue:
    """Count the images of archives, or of folders called <split>; the classes are those of all splits together.

    Links in the folders may lead anywhere in those that the user named. If no splits were asked for, those are read that
    are there.

    UserError if there is no image, or a class has none in a split; or see `images`.
    """
    paths = tuple(found.paths.values())
    roots = [path.resolve() for path in (*found.folders, *paths)]
    places = [place for path in paths for place in by_class(path, roots)]
    where, there = ", ".join(path.name for path in paths), found.splits or {place.split for place in places}
    wanted = [split for split in SPLITS if split in there]
    places = [place for place in places if place.split in wanted]
    if not places:
        raise UserError(f"{where} has no {'/'.join(wanted) or 'train'}/<class>/<image>; check its layout")
    words = IMAGENETTE if found.source == "imagenette" else {}
    classes = tuple(ImageClass(name, words.get(name, name)) for name in sorted({place.wnid for place in places}))
    variant = paths[0].name.split(".")[0].removesuffix("-train").removesuffix("-val") * (found.source != "folders")
    return Catalogue(found.source, classes, splits_of(places, wanted, classes, where), paths, variant)
