"""Turns the files of a packed split into images that can be sliced: mapped pixels, or JPEG files decoded on demand."""

from __future__ import annotations

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
        """One image (S, S, 3) for a number; (n, S, S, 3) for a slice or an array of numbers.

        Raises:
            UserError: a damaged file.
        """
        if isinstance(which, int | np.integer):
            return self._decode(int(which))
        indices = np.arange(len(self))[which]
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, index in enumerate(indices):
            out[place] = self._decode(int(index))
        return out


Images = NDArray[np.uint8] | JpegImages


def read_index(folder: Path, split: str, columns: list[str]) -> dict[str, Any]:
    """Columns of <split>.csv, as arrays.

    Raises:
        ValueError, OSError: it cannot be read, or lacks one.
    """
    import pandas as pd

    table = pd.read_csv(folder / f"{split}.csv", usecols=columns, dtype={"name": str}, keep_default_na=False)
    return {column: table[column].to_numpy() for column in columns}


def open_store(
    folder: Path, split: str, storage: str, size: int
) -> tuple[Images, list[str], NDArray[np.int64]]:
    """Images, names and labels of a packed split.

    Raises:
        UserError: the store contradicts its index.
        ValueError, OSError: a file is missing or unreadable.
    """
    if storage == "jpeg":
        index = read_index(folder, split, ["name", "label", "offset", "bytes"])
        places = index["offset"].astype(np.int64), index["bytes"].astype(np.int64)
        images: Images = JpegImages(folder / f"{split}.jpegs", size, *places)
    else:
        index = read_index(folder, split, ["name", "label"])
        images = np.load(folder / f"{split}.npy", mmap_mode="r")
    return images, index["name"].tolist(), index["label"].astype(np.int64)
