"""Reads the official CIFAR-10 archive for Python.

Its pickles run no foreign code, and build no arrays either: numpy would take addresses in memory from them.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, Found, ImageClass, Picture, Split
from alexnet.errors import UserError, told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHIVE = "cifar-10-python.tar.gz"
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
PIXELS = 3 * 32 * 32
STOOD_FOR = (  # what a batch names: arrays and their types; anything else is refused
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype",
)  # fmt: skip
MISFIT = (KeyError, TypeError, ValueError, OverflowError, AttributeError)  # of a record with other parts or types


class StandIn:
    """Stands in for numpy.ndarray and numpy.dtype: keeps what it is made of, and its state."""

    state: Any = None

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self) -> NDArray[np.uint8]:
        """The array; ValueError, TypeError or AttributeError if it is none of bytes."""
        import numpy as np  # here, since Snakemake imports this module while it parses

        _, shape, kind, by_column, data = self.state
        if kind.made_of[:1] not in (("u1",), (b"u1",)) or len(data) != math.prod(shape):
            raise ValueError("its array is not one of bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if by_column else "C")


class Restricted(pickle.Unpickler):
    """Builds plain containers and stand-ins for arrays only, in memory of the order of the pickle's own bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.left = len(data)
        for opcode, argument, _ in pickletools.genops(data):  # which finds sizes beyond the end of the data
            if opcode.name.endswith("PUT") and (argument or 0) > len(data):
                raise pickle.UnpicklingError(f"it remembers {argument} things")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if f"{module}.{name}" not in STOOD_FOR:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return StandIn

    def _encode(self, text: str, _: str) -> bytes:
        """How Python 3 writes bytes into a pickle for Python 2; each text once."""
        self.left -= len(text)
        if self.left < 0:
            raise pickle.UnpicklingError("it grows")
        return text.encode("latin1")


def unpickle(path: Path, name: str) -> dict[bytes, Any]:
    """The record of a batch or of the class names; UserError if it is none, or names more than arrays."""
    data, where = tars.find(path, name), f"{path.name}/{name}"
    with told(lambda why: f"{where} cannot be read ({why}); fetch it again", Exception):
        record = Restricted(data).load()
    if not isinstance(record, dict):
        raise UserError(f"{where} holds no record; fetch it again")
    return record


def read_batch(path: Path, name: str, classes: int) -> list[Picture]:
    """The images of one batch, (32, 32, 3) each; UserError if a part is missing or misfits, or a label is no class."""
    import numpy as np

    where = f"{path.name}/{name}"
    record = unpickle(path, name)
    with told(lambda why: f"{where} lacks data or labels ({why}); fetch it again", *MISFIT):
        pixels, labels = record[b"data"].pixels(), [int(label) for label in record[b"labels"]]
        names = [file.decode() for file in record.get(b"filenames", [])]
    names = names or [f"{name}_{i:05d}.png" for i in range(len(labels))]
    if pixels.shape != (len(labels), PIXELS) or len(names) != len(labels):
        raise UserError(f"{where} has {len(labels)} labels for pixels of shape {pixels.shape}; fetch it again")
    wrong = [label for label in labels if not 0 <= label < classes]
    if wrong:
        raise UserError(f"{where} has label {wrong[0]}, but there are {classes} classes; fetch it again")
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return [Picture(file, label, where, image) for file, label, image in zip(names, labels, images, strict=True)]


def open_cifar(found: Found) -> Catalogue:
    """Look through the archive: its class names are sorted, so that a label is the rank of its name."""
    path = found.first
    meta = unpickle(path, "batches.meta")
    with told(lambda why: f"{path.name}/batches.meta lacks {why}; fetch it again", *MISFIT):
        names = [name.decode() for name in meta[b"label_names"]]
        images = int(meta[b"num_cases_per_batch"])
    if names != sorted(names):
        raise UserError(f"{path.name}: class names are not in sorted order; this is no CIFAR-10")
    classes = tuple(ImageClass(name, name) for name in names)

    def pictures(batches: list[str]) -> Iterator[Picture]:
        for name in batches:
            yield from read_batch(path, name, len(classes))

    batches = {split: BATCHES[split] for split in found.splits}
    opened = [Split(split, images * len(some), partial(pictures, some)) for split, some in batches.items()]
    return Catalogue(found.source, classes, tuple(opened), (path,), "original")
