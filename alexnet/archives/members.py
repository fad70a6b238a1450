"""What tars, zips and folders have in common: limits, checks of members, and sentences about archives that cannot be read."""

import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from alexnet.archives.catalogue import Extent
from alexnet.errors import UserError, told

MAX_BYTES = 200_000_000  # of one file, unpacked: more is a decompression bomb
MOST_TIMES, ALWAYS_ALLOWED = 50, 1_000_000_000
IMAGES = (".jpeg", ".jpg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".tar")  # and what holds those of a class
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError,
    RuntimeError,
)  # fmt: skip


def most_unpacked(size: int) -> int:
    """Bytes that an archive of `size` bytes may unpack to in all; images hardly shrink when they are packed."""
    return max(ALWAYS_ALLOWED, MOST_TIMES * size)


@contextmanager
def readable(name: str, path: Path) -> Iterator[None]:
    """Raise UserError with the name of an archive, at `path`, for whatever reading it raises."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{name} is missing: put it into {path.parent}") from None
    except DAMAGED as error:
        raise UserError(f"{name} in {path.parent} cannot be read to its end ({error}); fetch it again") from error


def check(where: str, name: str, ordinary: bool, size: int, most: float = MAX_BYTES) -> None:
    """Raise UserError if a member leads out of the archive `where`, is a link or a device, or a decompression bomb."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where} holds {name!r}, a name that leads out of the archive; do not use this file")
    if not ordinary:
        raise UserError(f"{where} holds {name!r}, which is a link or a device; do not use this file")
    if size > most:
        raise UserError(f"{where} holds {name!r} with {size:,} bytes, more than {most:,}; do not use this file")


def printable(name: str) -> str:
    """The name, with bytes that are not UTF-8 as \\xff, so that it can be written into an index."""
    return os.fsencode(name).decode(errors="backslashreplace")


def shown(name: str) -> str:
    """A name as a sentence can hold it: at most 80 characters of it, with what cannot be printed escaped."""
    return repr(name[:80])[1:-1]


def basename(name: str) -> str:
    """The last part of a member's name: archives differ in the folders before it."""
    return name.rsplit("/", 1)[-1]


def locate(name: str, folders: Sequence[Path]) -> Path:
    """The first file of that name; if there is none, where it would be in the first folder."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or what macOS, Windows and network disks leave beside images: those are passed over."""
    return basename(name).startswith(".") or basename(name) in ("Thumbs.db", "desktop.ini", "@eaDir", "__MACOSX")


def refuse_lost(where: str, below: Sequence[str]) -> None:
    """Raise UserError for an image, or what holds some, that would be left out: `below` are the parts of its path in a split."""
    if below[-1].lower().endswith(IMAGES) and not any(map(is_litter, below)):
        lost = shown("/".join(below))
        raise UserError(f"{where}: {lost} is not directly in the folder of a class; move or unpack it, or take it away")


class Spool:
    """A nameless temporary file for what `source` unpacks to; closed with its last reader."""

    def __init__(self, source: str) -> None:
        self.source, self.size = source, 0
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.path = Path(f"/proc/self/fd/{self.file.fileno()}")

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    def add(self, data: bytes) -> Extent:
        """Append some bytes; where they stand, to be read there after `flush`. UserError if there is no room."""
        place = f"{self.source} cannot be unpacked to {tempfile.gettempdir()}"
        advice = "name a folder with more room in the environment variable TMPDIR"
        with told(lambda why: f"{place} ({why}); {advice}", OSError):
            self.file.write(data)
        self.size += len(data)
        return Extent(self.path, self.size - len(data), len(data), self)

    def flush(self) -> Extent:
        """All bytes, which can be read now."""
        self.add(b"")
        self.file.flush()
        return Extent(self.path, 0, self.size, self)
