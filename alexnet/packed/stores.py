"""Images of a packed split that can be sliced: mapped pixels, or JPEG files decoded on demand; and their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from alexnet.errors import UserError


class JpegImages:
    """<split>.jpegs as an array-like (N, S, S, 3) of uint8; any number of threads may read at once.

    Args:
        offsets, sizes: (N,), where each file begins and how many bytes it has.
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

    def _decode(self, index: int) -> NDArray[np.uint8]:
        data = os.pread(self.file, int(self.sizes[index]), int(self.offsets[index]))
        try:
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False)
        except ValueError as error:
            raise UserError(f"{self.path}: image {index} is damaged ({error}); pack the data again") from None
        if image.shape != self.shape[1:]:
            raise UserError(f"{self.path}: image {index} is of shape {image.shape}; pack the data again")
        return image

    def __getitem__(self, which: Any) -> NDArray[np.uint8]:
        """One image (S, S, 3) for a number; (n, S, S, 3) for a slice or an array. UserError if a file is damaged."""
        if isinstance(which, int | np.integer):
            return self._decode(int(which))
        indices = np.arange(len(self))[which]
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, index in enumerate(indices):
            out[place] = self._decode(int(index))
        return out


Images = NDArray[np.uint8] | JpegImages


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
