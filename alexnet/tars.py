"""Turns a tar archive into its files, without unpacking or trusting it, and files into a reproducible tar."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, Self

from alexnet.catalogue import Extent
from alexnet.errors import UserError
from alexnet.zips import MAX_BYTES

UNDECODABLE = "backslashreplace"  # names that are not UTF-8 stand in the index as \\xff
YEAR_2013 = 1_356_998_400  # modification time of every member that is written


class Member(tarfile.TarInfo):
    """A header; one that is damaged or cut off is an error, where tarfile would end the archive there."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:  # the mark at the end of an archive
            raise
        except HeaderError as error:
            raise ReadError(str(error)) from error


@contextmanager
def opened(path: Path, inner: IO[bytes] | None = None, where: str = "") -> Iterator[tarfile.TarFile]:
    """The tar at `path`, compressed or not, or the plain tar `inner` inside it, which is called `where`.

    Raises:
        UserError: the archive is missing, is no tar, or breaks off, also while the caller reads it.
    """
    name = where or path.name
    try:
        with (
            tarfile.open(fileobj=inner, mode="r:", tarinfo=Member, errors=UNDECODABLE)
            if inner
            else tarfile.open(path, mode="r:*", tarinfo=Member, errors=UNDECODABLE)
        ) as tar:
            yield tar
    except FileNotFoundError:
        raise UserError(f"{name} is missing: put it into {path.parent}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise UserError(
            f"{name} in {path.parent} cannot be read to its end ({error}); fetch it again"
        ) from error


def files(tar: tarfile.TarFile, where: str, folders: bool = False) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar, if asked also its folders, in archive order and in constant memory.

    At its end also the checksum of a compressed archive is compared.

    Raises:
        UserError: a member is a link or a device, or its name is absolute or climbs out of the archive.
    """
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # tarfile would keep a record of each of a million
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{where} holds {member.name!r}, a name that leads out of the archive; do not use this file"
            )
        if member.isdir():
            if folders:
                yield member
        elif member.isreg():
            yield member
        else:
            raise UserError(
                f"{where} holds {member.name!r}, which is a link or a device; do not use this file"
            )
    if tar.fileobj and not isinstance(tar.fileobj, io.BufferedReader):
        while tar.fileobj.read(1 << 20):
            pass


def check_size(member: tarfile.TarInfo, where: str) -> None:
    """Raise UserError if a member is a decompression bomb."""
    if member.size > MAX_BYTES:
        raise UserError(
            f"{where} holds {member.name!r} with {member.size:,} bytes, more than {MAX_BYTES:,}; do not use this file"
        )


def content(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> bytes:
    """The bytes of a member.

    Raises:
        UserError: the archive ends before the member does, or the member is a decompression bomb.
    """
    check_size(member, where)
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != member.size:
        raise UserError(f"{where} breaks off inside {member.name!r}; fetch it again")
    return data


def start(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int | None:
    """Where a member's bytes begin in the tar's file; None if they do not stand there as they are."""
    plain = isinstance(tar.fileobj, io.BufferedReader) and not member.issparse()
    return member.offset_data if plain else None


def piece(
    tar: tarfile.TarFile, member: tarfile.TarInfo, where: str, path: Path, base: int | None = 0
) -> bytes | Extent:
    """Where a member's bytes stand in the file `path`; the bytes themselves if that is compressed.

    `base`: where `tar` begins in the file, as `start` says.

    Raises:
        UserError: see `content`.
    """
    check_size(member, where)
    offset = start(tar, member)
    if base is None or offset is None:
        return content(tar, member, where)
    return Extent(path, base + offset, member.size)


def names(path: Path) -> list[str]:
    """Names of the files in an archive, in archive order; reads only headers if it is not compressed."""
    with opened(path) as tar:
        return [member.name for member in files(tar, path.name)]


def find(path: Path, ending: str) -> bytes:
    """The bytes of the one file whose name is `ending` or ends in /`ending`.

    Raises:
        UserError: there is none.
    """
    data = None
    with opened(path) as tar:
        for member in files(tar, path.name):  # to the end, so that damage after it is seen too
            if data is None and f"/{member.name}".endswith(f"/{ending}"):
                data = content(tar, member, path.name)
    if data is None:
        raise UserError(f"{path.name} in {path.parent} holds no {ending}; fetch it again")
    return data


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member with fixed owner, mode and time."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), YEAR_2013, 0o644
    tar.addfile(info, io.BytesIO(data))


def plain_tar(members: list[tuple[str, bytes]]) -> bytes:
    """An uncompressed tar of the members, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            add(tar, name, data)
    return buffer.getvalue()
