"""The file of a packed split: pixels at fixed places, or JPEG files end to end; written, sliced and compared with hashes."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.lib import format as npy
from numpy.typing import NDArray

from alexnet.errors import UserError


class StoredImages:
    """An array-like (N, S, S, 3) of uint8 that is read image by image; any number of threads may read at once.

    Files are read, not mapped: what is mapped counts as memory of the process, and a disk that fails ends it without a word.

    Args:
        offsets, sizes: (N,), where each image begins and how many bytes it has.
    """

    def __init__(self, path: Path, size: int, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self.path, self.offsets, self.sizes = path, offsets, sizes
        self.shape = (len(offsets), size, size, 3)
        self.file = os.open(path, os.O_RDONLY)
        if len(offsets) and os.fstat(self.file).st_size < int((offsets + sizes).max()):
            raise UserError(f"{path} is shorter than its index says; pack the data again")

    def __len__(self) -> int:
        return self.shape[0]

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def into(self, index: int, out: NDArray[np.uint8]) -> None:
        """Read one image into `out` (S, S, 3), which is contiguous.

        Raises:
            UserError: the disk fails, or the file was cut off or is damaged.
        """
        self._read(index, out.data.cast("B"))

    def _read(self, index: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of an image."""
        offset, done = int(self.offsets[index]), 0
        try:
            while done < len(buffer):
                if not (count := os.preadv(self.file, [buffer[done:]], offset + done)):
                    raise UserError(f"{self.path} was cut off; pack the data again")
                done += count
        except OSError as error:
            raise UserError(f"{self.path} cannot be read at byte {offset} ({error.strerror}); check the disk") from None

    def __getitem__(self, which: Any) -> NDArray[np.uint8]:
        """One image (S, S, 3) for a number; (n, S, S, 3) for a slice or an array. UserError as of `into`."""
        one = isinstance(which, int | np.integer)
        indices = [int(which)] if one else np.arange(len(self))[which]
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, index in enumerate(indices):
            self.into(int(index), out[place])
        return out[0] if one else out


class RawImages(StoredImages):
    """<split>.npy: pixels, one image after the other behind the header of the file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
        if dtype != np.uint8 or fortran or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(f"{path.name} holds {dtype} of the shape {shape}")
        each = shape[1] * shape[2] * 3
        super().__init__(path, shape[1], start + each * np.arange(shape[0]), np.full(shape[0], each))


class JpegImages(StoredImages):
    """<split>.jpegs: JPEG files end to end, decoded when they are read."""

    def into(self, index: int, out: NDArray[np.uint8]) -> None:
        data = bytearray(int(self.sizes[index]))
        self._read(index, memoryview(data))
        try:
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(bytes(data), fastdct=False, fastupsample=False)
        except ValueError as error:
            raise UserError(f"{self.path}: image {index} is damaged ({error}); pack the data again") from None
        if image.shape != self.shape[1:]:
            raise UserError(f"{self.path}: image {index} is of shape {image.shape}; pack the data again")
        out[...] = image


Images = NDArray[np.uint8] | StoredImages


def read_into(images: Images, which: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Copy the images `which` into `out` (n, S, S, 3)."""
    for place, index in enumerate(which):
        if isinstance(images, np.ndarray):
            out[place] = images[index]
        else:
            images.into(int(index), out[place])


class Digests:
    """The hashes of the pixels of a split, each compared with the stored image once.

    Args:
        path: the store, as it is named in a sentence.
        digests: (N, bytes), the beginnings of their SHA-256.
    """

    def __init__(self, path: Path, names: list[str], digests: NDArray[np.uint8]) -> None:
        self.path, self.names, self.digests = path, names, digests
        self.compared = np.zeros(len(digests), bool)

    def check(self, images: Images, which: NDArray[np.int64] | None = None, at: Images | None = None) -> None:
        """Compare those of `images` that were not compared yet; any number of threads may, of different images.

        Args:
            which: numbers of images; all if None.
            at: the pixels of `which` in this order, if they are at hand.

        Raises:
            UserError: an image is not the one that was packed.
        """
        numbers = np.arange(len(self.compared)) if which is None else which
        for place in np.flatnonzero(~self.compared[numbers]):
            number = int(numbers[place])
            pixels = np.ascontiguousarray(images[number] if at is None else at[int(place)])
            if hashlib.sha256(pixels.data).digest()[: self.digests.shape[1]] != self.digests[number].tobytes():
                raise UserError(
                    f"{self.path}: image {number} ({self.names[number]}) is not the one that was packed; pack the data again"
                )
            self.compared[number] = True


def content_line(name: str, label: Any, digest: str) -> bytes:
    """What an image adds to the hash of a split's content, which the manifest keeps."""
    return f"{name}\t{label}\t{digest}\n".encode()


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
