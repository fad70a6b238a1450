"""Reads the files of a tar without unpacking or trusting it, and writes reproducible tars."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import Any, BinaryIO, Self

from alexnet.archives.catalogue import Extent
from alexnet.archives.members import MAX_BYTES, Spool, basename, check, is_litter, most_unpacked, readable
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


def _xz(file: BinaryIO) -> Iterator[bytes]:
    """The content, a megabyte at a time at most; lzma.open would take as much memory as the file asks for."""
    reader = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    while not reader.eof:
        data = file.read(BLOCK) if reader.needs_input else b""
        if reader.needs_input and not data:
            raise EOFError("it breaks off")
        yield reader.decompress(data, BLOCK)


def _blocks(opened: Any, file: BinaryIO) -> Iterator[bytes]:
    stream = opened(file)
    return iter(lambda: stream.read(BLOCK), b"")


INFLATED: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {  # by how such a file begins
    b"\x1f\x8b": partial(_blocks, gzip.open),
    b"BZh": partial(_blocks, bz2.open),
    b"\xfd7zXZ\0": _xz,
}


@lru_cache(maxsize=2)
def _unpacked(path: Path, size: int, changed: int) -> Extent:
    """The bytes of a file, `changed` at that time, or what it unpacks to if it is compressed.

    Memory stays that of a block, and images are read where they stand, in any order. UserError if it unpacks to more than
    `most_unpacked`, or to more than there is room for.
    """
    with open(path, "rb") as file:
        magic = file.peek(6)
        inflated = next((inflate for begin, inflate in INFLATED.items() if magic.startswith(begin)), None)
        if inflated is None:
            return Extent(path, 0, size)
        spool, most = Spool(path.name), most_unpacked(size)
        for block in inflated(file):
            spool.add(block)
            if spool.size > most:
                raise UserError(f"{path} unpacks to more than {most:,} bytes; do not use this file")
        return spool.flush()


def members(
    path: Path, folders: bool = False, within: Extent | None = None, where: str = "", most: float = MAX_BYTES
) -> Iterator[tuple[str, Extent]]:
    """Name and bytes of each regular file of a tar, compressed or not, in archive order and in constant memory;
    litter is passed over.

    Args:
        folders: yield folders as well, as no bytes under a name that ends in a slash.
        within: a member, whose members are wanted; it is called `where` in messages.
        most: bytes that a member may have.

    Raises:
        UserError: the archive is missing, no tar, damaged or breaks off; a member is a link, a device, a sparse file or a
            decompression bomb, or its name is absolute or climbs out of the archive.
    """
    where = where or path.name
    with readable(where, path):
        status = path.stat()
        whole = within or _unpacked(path, status.st_size, status.st_mtime_ns)
        with open(whole.path, "rb") as file:
            file.seek(whole.offset)
            tar = tarfile.TarFile(fileobj=file, tarinfo=Member, errors=UNDECODABLE)
            at, end = -1, whole.offset + whole.size
            while (member := tar.next()) is not None:
                tar.members, tar.pax_headers = [], {}  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.issparse():
                    raise ReadError(f"{member.name!r} is a sparse file")
                if member.size < 0 or tar.offset <= at:
                    raise ReadError(f"{member.name!r} has a size below zero")
                if tar.offset > end and within:
                    raise EOFError("it breaks off")
                at = tar.offset
                check(where, member.name, member.isdir() or member.isreg(), member.size, most)
                if (member.isreg() or folders) and not is_litter(member.name):
                    name = f"{member.name}/" if member.isdir() else member.name
                    yield name, Extent(whole.path, member.offset_data, member.size, whole.keep)
            if tar.offset >= end:  # what follows an inner tar is not its end
                raise EOFError("it breaks off")


def images(path: Path, within: Extent | None = None, where: str = "") -> list[tuple[str, Extent]]:
    """Base name and bytes of each file; see `members`."""
    return [(basename(name), data) for name, data in members(path, within=within, where=where)]


def find(path: Path, ending: str) -> bytes:
    """The bytes of the one file whose name is `ending` or ends in /`ending`; UserError if there is none."""
    # to the end, so that damage shows
    found = [data for name, data in members(path) if f"/{name}".endswith(f"/{ending}")]
    if not found:
        raise UserError(f"{path.name} in {path.parent} holds no {ending}; fetch it again")
    return found[0].read()


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
