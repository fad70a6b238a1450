"""Lists images in folders on disk, with the checks that members of an archive get."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from alexnet.archives.catalogue import Extent
from alexnet.archives.members import MAX_BYTES, is_litter, printable
from alexnet.errors import UserError


def around(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders, then those one level below, then those one level above."""
    yield from folders
    for folder in folders:
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    yield from (folder.resolve().parent for folder in folders)


def subfolders(folder: Path, roots: Sequence[Path]) -> list[tuple[str, Path]]:
    """(printable name, path) of each folder in `folder`, in the order of the names, hidden ones left out.

    Raises:
        UserError: see `images`.
    """
    found = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    return sorted((printable(p.name), _inside(p, roots)) for p in found if not is_litter(p.name))


def images(folder: Path, roots: Sequence[Path]) -> list[tuple[str, Extent]]:
    """(printable name, bytes) of each file in `folder`, in the order of the names, hidden ones left out.

    Args:
        roots: the folders that the user named, resolved; a link may lead anywhere in them.

    Raises:
        UserError: a link leads nowhere or out of all roots, an entry is a pipe or a device, or has more bytes than
            an image can have.
    """
    found = []
    for entry in os.scandir(folder):
        if is_litter(entry.name):
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            _inside(path, roots)
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is a pipe or a device, not an image; take it away")
        if status.st_size > MAX_BYTES:
            raise UserError(
                f"{path} has {status.st_size:,} bytes, more than the {MAX_BYTES:,} of an image; take it away"
            )
        found.append((printable(entry.name), Extent(path, 0, status.st_size)))
    return sorted(found, key=lambda image: image[0])


def _inside(path: Path, roots: Sequence[Path]) -> Path:
    """The path.

    Raises:
        UserError: it is a link that leads nowhere, or out of all roots.
    """
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
