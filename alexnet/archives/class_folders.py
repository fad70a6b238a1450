"""Reads <split>/<class>/<image> from tars, zips or folders on disk; the folder names the class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from alexnet.archives import tars, zips
from alexnet.archives.catalogue import SPLITS, Catalogue, ImageClass, Lazy, Place, splits_of
from alexnet.archives.local_folders import images, subfolders
from alexnet.archives.members import is_litter, printable
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


def places_of(path: Path, roots: Sequence[Path]) -> Iterator[Place]:
    """The classes of an archive, or of a folder called <split>, those without images too; hidden ones are left out."""
    if path.is_dir():
        for name, folder in subfolders(path, roots):
            listed = partial(images, folder, roots)
            yield Place(path.name, name, f"{path.name}/{name}", len(listed()), listed)
        return
    found: dict[tuple[str, str], list[tuple[str, Lazy]]] = {}
    members: Iterator[tuple[str, Lazy]] = (zips if path.suffix == ".zip" else tars).members(path, folders=True)
    for name, data in members:
        parts = name.split("/")  # [...]/<split>/<class>/<image>, of a folder without the image; all else is no image
        if len(parts) > 2 and parts[-3] in SPLITS and not is_litter(parts[-2]) and not is_litter(parts[-1]):
            listed_here = found.setdefault((parts[-3], printable(parts[-2])), [])
            if parts[-1]:
                listed_here.append((printable(parts[-1]), data))
    for (split, name), files in found.items():
        yield Place(split, name, path.name, len(files), partial(iter, files))


def open_class_folders(
    source: str, splits: Sequence[str] | None, paths: Sequence[Path], folders: Sequence[Path], variant: str = ""
) -> Catalogue:
    """Count the images of archives, or of folders called <split>; the classes are those of all splits together.

    Args:
        folders: those that the user named: links in the folders of `paths` may lead anywhere in them.

    Raises:
        UserError: there is no image, or a class has none in a split; or see `local_folders.images`.
    """
    roots = [path.resolve() for path in (*folders, *paths)]
    places = [place for path in paths for place in places_of(path, roots)]
    where = ", ".join(path.name for path in paths)
    wanted = [split for split in SPLITS if (split in splits if splits else any(p.split == split for p in places))]
    places = [place for place in places if place.split in wanted]
    if not places:
        raise UserError(f"{where} has no {'/'.join(wanted) or 'train'}/<class>/<image>; check its layout")
    words = IMAGENETTE if source == "imagenette" else {}
    classes = tuple(ImageClass(name, words.get(name, name)) for name in sorted({place.wnid for place in places}))
    return Catalogue(source, classes, splits_of(places, wanted, classes, where), tuple(paths), variant)
