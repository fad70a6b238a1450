"""Reads the files of a tar without unpacking or trusting it, and writes reproducible tars."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, Any, Self, cast

from alexnet.archives.catalogue import Extent
from alexnet.archives.zips import MAX_BYTES, most_unpacked
from alexnet.errors import UserError

UNDECODABLE = "backslashreplace"  # names that are not UTF-8 stand in the index as \\xff
YEAR_2013 = 1_356_998_400  # modification time of every member that is written
LONGEST_HEADER = 65_536  # bytes of a long name, or of further attributes
BLOCK = 1 << 20
LZMA_MEMORY = 128 << 20  # bytes; `xz -9` asks for 65 million


class Member(tarfile.TarInfo):
    """A header; one that is damaged, cut off or enormous is an error, where tarfile would end the archive or read it."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:  # the mark at the end of an archive
            raise
        except HeaderError as error:
            raise ReadError(str(error)) from error

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type == tarfile.GNUTYPE_SPARSE:  # its map may be as long as the archive
            raise ReadError(f"{self.name!r} is a sparse file")
        if self.type not in tarfile.REGULAR_TYPES and self.size > LONGEST_HEADER:
            raise ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise ReadError("it holds a sparse file")


class Tar(tarfile.TarFile):
    """One that knows its archive, in which file its bytes stand as they are, from which byte on, what keeps that open."""

    archive: Path
    file: Path
    begin: int = 0
    keep: object = None


@contextmanager
def _named(name: str, path: Path) -> Iterator[None]:
    """Raise UserError with the archive's name for whatever reading it raises."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{name} is missing: put it into {path.parent}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, RecursionError) as error:
        raise UserError(f"{name} in {path.parent} cannot be read to its end ({error}); fetch it again") from error


def _inflated(path: Path) -> Iterator[bytes] | None:
    """The content of a compressed file, a megabyte at a time at most; None if it is not compressed."""
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic[:2] == b"\x1f\x8b":
        return _blocks(gzip.open(path))
    if magic[:3] == b"BZh":
        return _blocks(bz2.open(path))
    return _xz(path) if magic == b"\xfd7zXZ\0" else None


def _blocks(stream: Any) -> Iterator[bytes]:
    with stream:
        while block := stream.read(BLOCK):
            yield block


def _xz(path: Path) -> Iterator[bytes]:
    """As `_blocks`; lzma.open would take as much memory as the file asks for."""
    reader = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    with open(path, "rb") as file:
        while not reader.eof:
            data = file.read(BLOCK) if reader.needs_input else b""
            if reader.needs_input and not data:
                raise EOFError("it breaks off")
            yield reader.decompress(data, BLOCK)


class Unpacked:
    """A nameless temporary file, closed with its last reader."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.path = Path(f"/proc/self/fd/{self.file.fileno()}")

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


@lru_cache(maxsize=2)
def _unpacked(path: Path, size: int, changed: int) -> Unpacked | None:
    """What a compressed file unpacks to; None if it is not compressed.

    Memory stays that of a block, and images are read where they stand, in any order.

    Raises:
        UserError: it unpacks to more than `most_unpacked`, or to more than there is room for.
    """
    blocks = _inflated(path)
    if blocks is None:
        return None
    unpacked, most = Unpacked(), most_unpacked(size)
    for block in blocks:
        try:
            unpacked.file.write(block)
        except OSError as error:
            raise UserError(
                f"{path.name} cannot be unpacked to {tempfile.gettempdir()} ({error.strerror}); name a folder with "
                "more room in the environment variable TMPDIR"
            ) from error
        if unpacked.file.tell() > most:
            raise UserError(f"{path} unpacks to more than {most:,} bytes; do not use this file")
    unpacked.file.flush()
    return unpacked


@contextmanager
def opened(path: Path) -> Iterator[Tar]:
    """The tar at `path`, compressed or not.

    Raises:
        UserError: the archive is missing, is no tar, or breaks off, also while the caller reads it.
    """
    with _named(path.name, path):
        status = path.stat()
        keep = _unpacked(path, status.st_size, status.st_mtime_ns)
        file = keep.path if keep else path
        with Tar.open(file, mode="r:", tarinfo=Member, errors=UNDECODABLE) as tar:
            tar.archive, tar.file, tar.keep = path, file, keep
            yield tar


@contextmanager
def inside(outer: Tar, member: tarfile.TarInfo, where: str) -> Iterator[Tar]:
    """The plain tar that is a member of another, called `where` in messages.

    Raises:
        UserError: see `opened`.
    """
    with _named(where, outer.archive):
        stream = cast(IO[bytes], outer.extractfile(member))
        with Tar.open(fileobj=stream, mode="r:", tarinfo=Member, errors=UNDECODABLE) as tar:
            tar.archive, tar.file, tar.keep = outer.archive, outer.file, outer.keep
            tar.begin = outer.begin + member.offset_data
            yield tar


def files(tar: Tar, where: str, folders: bool = False) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar, if asked also its folders, in archive order and in constant memory.

    Raises:
        UserError: a member is a link, a device or a sparse file, its name is absolute or climbs out of the archive, or
            the archive is damaged there.
    """
    with _named(where, tar.archive):
        at = -1
        while (member := tar.next()) is not None:
            tar.members, tar.pax_headers = [], {}  # type: ignore[attr-defined]  # tarfile would keep them all
            if member.issparse():
                raise ReadError(f"{member.name!r} is a sparse file")
            if member.size < 0 or tar.offset <= at:
                raise ReadError(f"{member.name!r} has a size below zero")
            at = tar.offset
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(
                    f"{where} holds {member.name!r}, a name that leads out of the archive; do not use this file"
                )
            if not (member.isdir() or member.isreg()):
                raise UserError(f"{where} holds {member.name!r}, which is a link or a device; do not use this file")
            if folders or member.isreg():
                yield member


def piece(tar: Tar, member: tarfile.TarInfo, where: str) -> Extent:
    """Where a member's bytes stand.

    Raises:
        UserError: the member is a decompression bomb.
    """
    if member.size > MAX_BYTES:
        raise UserError(
            f"{where} holds {member.name!r} with {member.size:,} bytes, more than {MAX_BYTES:,}; do not use this file"
        )
    return Extent(tar.file, tar.begin + member.offset_data, member.size, tar.keep)


def names(path: Path) -> list[str]:
    """Names of the files in an archive, in archive order; reads only headers."""
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
                data = piece(tar, member, path.name)
        if data is None:
            raise UserError(f"{path.name} in {path.parent} holds no {ending}; fetch it again")
        return data.read()


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
