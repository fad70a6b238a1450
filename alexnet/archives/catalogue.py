"""Records that every archive reader returns: classes, and for each split its images and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alexnet.errors import UserError, told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageClass:
    """A class of a data set; its position in the sorted list of wnids is its label."""

    wnid: str
    name: str


class Lazy(Protocol):
    """Bytes that are read when they are needed, `size` of them; `read` raises UserError if they cannot be."""

    @property
    def size(self) -> int: ...

    def read(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes that stand in a file as they are, so that whoever needs them can read them there.

    `keep`: what holds the file open if it has no name of its own.
    """

    path: Path
    offset: int
    size: int
    keep: object = None

    def read(self) -> bytes:
        """The bytes; UserError if the file cannot be read, or ends before they do."""
        data, place = b"", f"{self.path} cannot be read at byte {self.offset}"
        unreadable = told(lambda why: f"{place} ({why}); check the disk, or fetch it again", OSError)
        with unreadable, open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            while more := file.read(self.size - len(data)):  # disks over a network may give less than asked for
                data += more
        if len(data) != self.size:
            raise UserError(f"{self.path.name} in {self.path.parent} breaks off; fetch it again")
        return data


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: where the bytes of its file stand, or its pixels (height, width, 3)."""

    name: str
    label: int
    archive: str  # where it came from: the archive, and within it the inner archive
    data: Lazy | NDArray[np.uint8]
    repairs: tuple[str, ...] = ()  # what was done before decoding

    def read(self) -> bytes | NDArray[np.uint8]:
        """The bytes or pixels; see `Extent.read` for what it raises."""
        return self.data.read() if hasattr(self.data, "read") else self.data


@dataclass(frozen=True)
class Split:
    """One split: how many images it has, and a function that streams them, always in the same order.

    The order is by label, then by name, so that the same images give the same store however they are kept; of
    official CIFAR-10 it is that of the batches.
    """

    name: str
    images: int
    pictures: Callable[[], Iterator[Picture]]


@dataclass(frozen=True)
class Catalogue:
    """A data set: its classes (position = label), its splits, and the files that it is read from."""

    source: str
    classes: tuple[ImageClass, ...]
    splits: tuple[Split, ...]
    files: tuple[Path, ...]
    variant: str = ""  # which of several forms of the data, where they differ


@dataclass(frozen=True)
class Found:
    """What was asked of a source, where its files are or would be, and their reader."""

    source: str
    splits: Sequence[str]
    folders: Sequence[Path]
    paths: dict[str, Path]  # by name, in the order in which the layout names them
    read: Callable[[Found], Catalogue]
    archive_order: bool = False
    parts: dict[str, tuple[str, list[Path]]] = field(default_factory=dict)  # by split: its layout in words, its files

    @property
    def first(self) -> Path:
        return next(iter(self.paths.values()))

    def part(self, split: str) -> tuple[str, list[Path]]:
        """The layout of a split in words, and its files; all files where they are not told apart by their names."""
        files = [path for path in self.paths.values() if path.exists()]
        own = [path for path in files if split in path.name.replace(".", "-").split("-")]
        return self.parts.get(split, ("archives" if any(path.is_file() for path in files) else "folders", own or files))

    @property
    def missing(self) -> list[str]:
        return [name for name, path in self.paths.items() if not path.exists()]


def locate(name: str, folders: Sequence[Path]) -> Path:
    """The first file of that name; if there is none, where it would be in the first folder."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


@dataclass(frozen=True, slots=True)
class Place:
    """Where images of one class of a split are: how many, and a function that lists them when their turn comes."""

    split: str
    wnid: str
    archive: str  # in words
    images: int
    listed: Callable[[], Iterable[tuple[str, Lazy]]]  # name and bytes of each


def places_of(
    split: str, images: Iterable[tuple[str, str, str, Any]], listed: Callable[..., Any] = iter
) -> list[Place]:
    """A place for each run of images (archive, wnid, name, bytes) of the same archive and class.

    `listed`: makes the list of names and bytes of one of names and whatever stands for the bytes.
    """
    places = []
    for (archive, wnid), run in groupby(images, key=itemgetter(0, 1)):
        files = [(name, data) for _, _, name, data in run]
        places.append(Place(split, wnid, archive, len(files), partial(listed, files)))
    return places


def splits_of(
    places: Sequence[Place], splits: Sequence[str], classes: Sequence[ImageClass], where: str, as_listed: bool = False
) -> tuple[Split, ...]:
    """The splits that have these images; UserError if a class has none in a split, or is not among `classes`.

    Args:
        where: what was read, and where the classes come from, in words.
        as_listed: the order of the images is that of the places and of their lists.
    """
    labels = {c.wnid: label for label, c in enumerate(classes)}
    opened = []
    for split in splits:
        here = [place for place in places if place.split == split]
        counts = Counter[str]()
        for place in here:
            if place.wnid not in labels:
                raise UserError(f"{place.archive} holds class {place.wnid}, which is none of {where}")
            counts[place.wnid] += place.images
        empty = [c for c in classes if not counts[c.wnid]]
        if empty:
            words = f" ({empty[0].name})" if empty[0].name != empty[0].wnid else ""
            raise UserError(
                f"class {empty[0].wnid}{words} has no images in split {split} of {where} ({len(empty)} of "
                f"{len(classes)} classes have none); add some, or take the class out of every split"
            )
        in_order = here if as_listed else sorted(here, key=lambda place: labels[place.wnid])
        opened.append(Split(split, counts.total(), partial(_stream, in_order, labels, as_listed)))
    return tuple(opened)


def _stream(places: Sequence[Place], labels: dict[str, int], as_listed: bool) -> Iterator[Picture]:
    """The images of a split; those of one class are in memory at a time."""
    for wnid, run in groupby(places, key=lambda place: place.wnid):
        found = [Picture(name, labels[wnid], p.archive, data) for p in run for name, data in p.listed()]
        yield from found if as_listed else sorted(found, key=lambda picture: picture.name)
