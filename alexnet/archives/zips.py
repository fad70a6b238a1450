"""Reads the files of a zip without unpacking or trusting it."""

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet.archives.members import check, most_unpacked, readable
from alexnet.errors import UserError

MAX_DIRECTORY = 100_000_000  # bytes of a zip's list of members: about a million of them


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
        """Its bytes; UserError if it is damaged, or has not the size and the checksum that it declares."""
        with readable(self.path.name, self.path):
            return self.archive.read(self.info)


def members(path: Path, folders: bool = False) -> Iterator[tuple[str, Part]]:
    """Name and bytes of each regular file of a zip, if asked also its folders (as NAME/), in archive order.

    The zip stays open as long as there are parts of it.

    UserError if it is missing, no zip, damaged, or unpacks to more than `most_unpacked`; or see `members.check`.
    """
    with readable(path.name, path):
        with open(path, "rb") as file:  # the list of members is read as a whole
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY:  # type: ignore[attr-defined]
            raise UserError(f"{path} lists its members in {end[zipfile._ECD_SIZE]:,} bytes; do not use this file")  # type: ignore[attr-defined]
        archive = zipfile.ZipFile(path)  # closed with its last part
        total, most = sum(info.file_size for info in archive.infolist()), most_unpacked(path.stat().st_size)
        if total > most:
            raise UserError(f"{path} unpacks to {total:,} bytes, more than {most:,}; do not use this file")
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            ordinary = not kind or stat.S_ISREG(kind) or stat.S_ISDIR(kind)
            check(path.name, info.filename.replace("\\", "/"), ordinary, info.file_size)
            if folders or not info.is_dir():
                yield info.filename, Part(archive, info, path)
