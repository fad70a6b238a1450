"""Reads the files of a zip without unpacking or trusting it."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from alexnet.errors import UserError

MAX_BYTES = 200_000_000  # of one file, unpacked: more is a decompression bomb
MAX_DIRECTORY = 100_000_000  # bytes of a zip's list of members: about a million of them
MOST_TIMES, ALWAYS_ALLOWED = 50, 1_000_000_000


def most_unpacked(size: int) -> int:
    """Bytes that an archive of `size` bytes may unpack to in all; images hardly shrink when they are packed."""
    return max(ALWAYS_ALLOWED, MOST_TIMES * size)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise UserError with the archive's name for whatever reading it raises."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: put it into {path.parent}") from None
    except (
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        raise UserError(f"{path.name} in {path.parent} cannot be read ({error}); fetch it again") from error


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a zip, unpacked when it is read; any number of threads may read at once."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: Path

    @property
    def size(self) -> int:
        return self.info.file_size

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            UserError: it is damaged, or does not have the size and the checksum that it declares.
        """
        with _named(self.path):
            return self.archive.read(self.info)


def _check_directory(path: Path) -> None:
    """Raise UserError if the list of members, which is read as a whole, takes too much memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 66_000))
        end = file.read()
    at, at64 = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    sizes = [struct.unpack_from("<I", end, at + 12)[0]] if at >= 0 else []
    if at64 >= 0:
        sizes = [struct.unpack_from("<Q", end, at64 + 40)[0]]
    if sizes and sizes[0] > MAX_DIRECTORY:
        raise UserError(f"{path} lists its members in {sizes[0]:,} bytes; do not use this file")


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip at `path`; it stays open as long as there are parts of it.

    Raises:
        UserError: it is missing, no zip, damaged, also while the caller reads it, or unpacks to more than
            `most_unpacked`.
    """
    with _named(path):
        _check_directory(path)
        archive = zipfile.ZipFile(path)
        total, most = sum(info.file_size for info in archive.infolist()), most_unpacked(path.stat().st_size)
        if total > most:
            raise UserError(f"{path} unpacks to {total:,} bytes, more than {most:,}; do not use this file")
        yield archive


def check(info: zipfile.ZipInfo, where: str) -> None:
    """Raise UserError if a member is a link or a device, leads out of the archive, or is a decompression bomb."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        raise UserError(f"{where} holds {info.filename!r}, a name that leads out of the archive; do not use this file")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise UserError(f"{where} holds {info.filename!r}, which is a link or a device; do not use this file")
    if info.file_size > MAX_BYTES:
        raise UserError(
            f"{where} holds {info.filename!r} with {info.file_size:,} bytes, more than {MAX_BYTES:,}; do not "
            "use this file"
        )


def files(archive: zipfile.ZipFile, where: str, folders: bool = False) -> Iterator[zipfile.ZipInfo]:
    """The regular files of a zip, if asked also its folders, in archive order.

    Raises:
        UserError: see `check`.
    """
    for info in archive.infolist():
        check(info, where)
        if folders or not info.is_dir():
            yield info


def part(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str, path: Path) -> Part:
    """A member, or the last of that name.

    Raises:
        UserError: there is no such member; or see `check`.
    """
    try:
        info = archive.getinfo(member) if isinstance(member, str) else member
    except KeyError:
        raise UserError(f"{path.name} holds no {member}; fetch it again") from None
    check(info, path.name)
    return Part(archive, info, path)
