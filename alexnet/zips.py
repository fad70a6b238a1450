"""Turns a zip archive into its files, without unpacking or trusting it."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from alexnet.errors import UserError

MAX_BYTES = 200_000_000  # of one file, unpacked: more is a decompression bomb


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip at `path`.

    Raises:
        UserError: it is missing, no zip, or damaged, also while the caller reads it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: put it into {path.parent}") from None
    except (
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        raise UserError(f"{path.name} in {path.parent} cannot be read ({error}); fetch it again") from error


def check(info: zipfile.ZipInfo, where: str) -> None:
    """Raise UserError if a member is a link or a device, leads out of the archive, or is a decompression bomb."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        raise UserError(
            f"{where} holds {info.filename!r}, a name that leads out of the archive; do not use this file"
        )
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


def content(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str, where: str) -> bytes:
    """The bytes of a member, or of the last of that name.

    Raises:
        UserError: there is no such member; or see `check`.
    """
    try:
        info = archive.getinfo(member) if isinstance(member, str) else member
    except KeyError:
        raise UserError(f"{where} holds no {member}; fetch it again") from None
    check(info, where)
    return archive.read(info)
