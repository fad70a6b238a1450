"""Writes the file of a packed split: pixels at fixed places, or JPEG files end to end."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


class Writer:
    """A file of images; `appended`: bytes that came by `append`."""

    def __init__(self, path: Path) -> None:
        self.file, self.appended = os.open(path, os.O_RDWR | os.O_CREAT, 0o644), 0

    def write(self, number: int, pixels: NDArray[np.uint8]) -> None:
        """Store the images of chunk `number`, (n, S, S, 3); any thread, in any order."""

    def append(self, files: Iterable[bytes]) -> list[tuple[int, int]]:
        """Store the files of the next chunk; offset and length of each."""
        return []

    def close_gaps(self, kept: list[int]) -> None:
        """Leave no gaps; chunk i has `kept[i]` images."""

    def close(self) -> None:
        os.close(self.file)

    def _put(self, data: bytes | memoryview, at: int) -> None:
        """All of `data` at byte `at`: the system may take less than it is given."""
        data = memoryview(data)
        while data:
            done = os.pwrite(self.file, data, at)
            data, at = data[done:], at + done


class RawWriter(Writer):
    """<split>.npy, uint8 (N, S, S, 3); its parts can be written in any order and by several threads at once.

    A chunk that has fewer images than its places leaves the last ones empty; `close_gaps` moves what follows.
    Written, not memory-mapped: mapped pages would count as this process's memory.
    """

    def __init__(self, path: Path, images: int, size: int, chunk: int) -> None:
        super().__init__(path)
        self.images, self.size, self.chunk, self.image_bytes = images, size, chunk, size * size * 3
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
        if number * self.chunk <= self.images:  # more than announced is an error that comes soon
            self._put(pixels.reshape(-1).data, self.start + number * self.chunk * self.image_bytes)

    def close_gaps(self, kept: list[int]) -> None:
        to = 0
        for number, count in enumerate(kept):
            source = number * self.chunk
            if source != to and count:
                block = os.pread(self.file, count * self.image_bytes, self.start + source * self.image_bytes)
                self._put(block, self.start + to * self.image_bytes)
            to += count
        self._header(to)


class JpegWriter(Writer):
    """<split>.jpegs, JPEG files end to end, in order; continues after the first `size` bytes."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        self.appended = size
        os.ftruncate(self.file, size)

    def append(self, files: Iterable[bytes]) -> list[tuple[int, int]]:
        places = []
        for data in files:
            places.append((self.appended, len(data)))
            self._put(data, self.appended)
            self.appended += len(data)
        return places
