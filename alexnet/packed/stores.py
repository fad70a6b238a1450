"""The file of a packed split: pixels at fixed places, or JPEG files end to end; sliced and compared with hashes."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
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
