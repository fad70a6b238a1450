"""A packed split, opened: its images, labels and names, each compared with the hash of what was packed."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import UserError
from alexnet.packed.manifest import read_manifest, regular
from alexnet.packed.stores import Digests, Images, JpegImages, RawImages, content_line
from alexnet.runtime.files import sha256

LONGEST_HEADER, ROW = 65_536, 2_000  # bytes at most: of a file's header; of a row of an index, or of what a JPEG adds
SPAN = 256  # images that a thread of `verify` takes at a time


@dataclass(frozen=True)
class Split:
    """One split of a packed set; `images` is (N, S, S, 3) uint8, on disk until it is sliced."""

    set: str
    split: str
    images: Images
    labels: NDArray[np.int64]
    names: list[str]
    manifest: dict[str, Any]
    digests: Digests | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, which: NDArray[np.int64] | None = None, at: Images | None = None) -> None:
        """Compare the images `which`, all if None, with what was packed, each once; UserError if one is another.

        `at`: their pixels, if at hand.
        """
        if self.digests:
            self.digests.check(self.images, which, at)

    @property
    def wnids(self) -> list[str]:
        return [entry["wnid"] for entry in self.manifest["classes"]]


def open_split(folder: Path, split: str) -> Split:
    """Open the store of a split and its index, which is compared with its hash; images are when they are used (`Split.check`).

    Raises:
        UserError: no packed set there, no such split, counts that contradict the manifest, an index that was changed, or a
            file that no packed set has (see `regular`).
    """
    import pandas as pd

    manifest = read_manifest(folder)
    if split not in manifest["splits"]:
        raise UserError(f"{folder} has no split {split!r}; it has {', '.join(manifest['splits'])}")
    about, size, jpeg = manifest["splits"][split], manifest["image_size"], manifest["storage"] == "jpeg"
    expected, index, store = about["images"], folder / f"{split}.csv", folder / f"{split}.{'jpegs' if jpeg else 'npy'}"
    columns = ["name", "label", "digest", *(("offset", "bytes") if jpeg else ())]
    try:
        regular(index, LONGEST_HEADER + expected * ROW)
        regular(store, LONGEST_HEADER + expected * (ROW + 6 * size * size))
        table = pd.read_csv(index, usecols=columns, dtype={"name": str, "digest": str}, keep_default_na=False)
        names, labels, digests = table["name"].tolist(), table["label"].to_numpy(), table["digest"].tolist()
        lines = b"".join(map(content_line, names, labels, digests))
        if hashlib.sha256(lines).hexdigest() != about["content_sha256"]:
            raise UserError(f"{index} is not the index that was packed; pack the data again")
        if jpeg:
            places = (table[column].to_numpy().astype(np.int64) for column in ("offset", "bytes"))
            images: Images = JpegImages(store, size, *places)
        else:
            images = RawImages(store)
            if images.shape[1] != size:
                raise ValueError(f"{store.name} holds images of {images.shape[1]} pixels")
        known = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(len(digests), -1)
        labels = labels.astype(np.int64)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{folder}: split {split!r} cannot be read ({error}); pack the data again") from None
    if len(images) != expected or len(names) != expected:
        raise UserError(
            f"{folder}: split {split!r} has {len(images)} images and {len(names)} index rows, its manifest "
            f"says {expected}; pack the data again"
        )
    return Split(folder.name, split, images, labels, names, manifest, Digests(store, names, known))


def mean_image(folder: Path) -> NDArray[np.float32]:
    """(S, S, 3): the training set's mean image, 0-255 (s. 2).

    Raises:
        UserError: missing, or not the one that was packed.
    """
    path, manifest = folder / "mean.npy", read_manifest(folder)
    side, expected = manifest["image_size"], manifest.get("files", {}).get("mean.npy")
    again = "pack the set that holds the training split again"
    try:
        regular(path, LONGEST_HEADER + side * side * 12)
        changed = bool(expected) and sha256(path) != expected
        mean: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = mean.shape == (side, side, 3) and mean.dtype == np.float32 and bool(np.isfinite(mean).all())
    except UserError:
        raise
    except Exception:  # whatever a torn file makes of the reader
        raise UserError(f"{path} is missing or unreadable; {again}") from None
    if changed:
        raise UserError(f"{path} is not the mean image that was packed; {again}")
    if not fits:
        raise UserError(f"{path} holds no mean of images of {side} pixels; {again}")
    return np.array(mean)


def verify(folder: Path) -> str:
    """Compare manifest, indices, mean image and the pixels of all images of a packed set with their hashes; a sentence.

    Raises:
        UserError: something was changed, is missing, or cannot be read; it names what.
    """
    manifest, images = read_manifest(folder), 0
    if (folder / "mean.npy").exists() or "mean.npy" in manifest.get("files", {}):
        mean_image(folder)
    for name in manifest["splits"]:
        split = open_split(folder, name)
        spans = np.split(np.arange(len(split)), np.arange(SPAN, len(split), SPAN))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(split.check, spans))
        images += len(split)
    return f"{folder}: all {images:,} images are those that were packed, fingerprint {manifest['fingerprint']}"
