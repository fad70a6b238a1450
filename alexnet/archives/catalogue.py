"""Records that every archive reader returns: classes, and for each split its images and their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from alexnet.errors import UserError

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
        """The bytes.

        Raises:
            UserError: the file cannot be read, or ends before they do.
        """
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.offset)
                data = file.read(self.size)
                while 0 < len(data) < self.size:  # disks over a network may give less than asked for
                    more = file.read(self.size - len(data))
                    if not more:
                        break
                    data += more
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read at byte {self.offset} ({error.strerror or error}); check the disk, or "
                "fetch it again"
            ) from error
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

    @property
    def rank(self) -> tuple[int, str]:
        """Its place in the canonical order of a split: by label, then by name, whatever the archive's order."""
        return self.label, self.name


@dataclass(frozen=True)
class Split:
    """One split: how many images it has, and a function that streams them, always in the same order.

    The order is that of `Picture.rank`, so that the same images give the same store however they are kept; of
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
