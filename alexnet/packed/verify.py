"""Verifies a packed set: one sentence says that it is what was packed, or names what is not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from alexnet.packed.manifest import read_manifest
from alexnet.packed.packed_set import mean_image, open_split

SPAN = 256  # images that a thread takes at a time


def verify(folder: Path) -> str:
    """Compare manifest, indices, mean image and the pixels of all images of a packed set with their hashes.

    Raises:
        UserError: something was changed, is missing, or cannot be read.
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
