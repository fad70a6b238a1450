"""Writes the file of a packed split: pixels at fixed places, or JPEG files end to end."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def write_at(file: int, data: memoryview, at: int) -> None:
    """All of `data` at byte `at` of an open file: the system may take less than it is given."""
    while data:
        done = os.pwrite(file, data, at)
        data, at = data[done:], at + done


class RawWriter:
    """<split>.npy, uint8 (N, S, S, 3); its parts can be written in any order and by several threads at once.

    A chunk that has fewer images than its places leaves the last ones empty; `close_gaps` moves what follows.
    Written, not memory-mapped: mapped pages would count as this process's memory.
    """

    suffix = ".npy"

    def __init__(self, path: Path, images: int, size: int, chunk: int) -> None:
        self.path, self.images, self.size, self.chunk = path, images, size, chunk
        self.image_bytes = size * size * 3
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._header(images)

    def _header(self, images: int) -> None:
        with os.fdopen(os.dup(self.file), "r+b") as file:
            file.seek(0)
            shape = (images, self.size, self.size, 3)
            npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.flush()
            self.start = file.tell()
            file.truncate(self.start + images * self.image_bytes)

    def write(self, number: int, pixels: NDArray[np.uint8]) -> None:
        """The images of chunk `number`, (n, S, S, 3)."""
        at = self.start + number * self.chunk * self.image_bytes
        write_at(self.file, memoryview(pixels.reshape(-1).data), at)

    def append(self, files: Iterable[bytes]) -> list[tuple[int, int]]:
        return []

    def close_gaps(self, kept: list[int]) -> None:
        """Leave no gaps; chunk i has `kept[i]` images."""
        to = 0
        for number, count in enumerate(kept):
            source = number * self.chunk
            if source != to and count:
                block = os.pread(self.file, count * self.image_bytes, self.start + source * self.image_bytes)
                write_at(self.file, memoryview(block), self.start + to * self.image_bytes)
            to += count
        self._header(to)

    def sync(self) -> None:
        """What has been written is on the disk."""
        os.fsync(self.file)

    def close(self) -> None:
        os.close(self.file)


class JpegWriter:
    """<split>.jpegs, JPEG files end to end, in order; continues after the first `size` bytes."""

    suffix = ".jpegs"

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self.file, size)

    def write(self, number: int, pixels: NDArray[np.uint8]) -> None:
        """Nothing: the files come by `append`, since their places depend on those before."""

    def append(self, files: Iterable[bytes]) -> list[tuple[int, int]]:
        """Offset and length of each file."""
        places = []
        for data in files:
            places.append((self.size, len(data)))
            write_at(self.file, memoryview(data), self.size)
            self.size += len(data)
        return places

    def close_gaps(self, kept: list[int]) -> None:
        """Nothing: there are none."""

    def sync(self) -> None:
        """What has been written is on the disk."""
        os.fsync(self.file)

    def close(self) -> None:
        os.close(self.file)
