"""Draws the order, crops, reflections and colours of an epoch.

Every random draw is keyed by (seed, epoch, position or index), so that neither worker counts nor resuming change
a batch. Images are (rows, columns, RGB) uint8 in the store and float32 (B, 3, crop, crop), channels last in
memory, mean-subtracted on the 0-255 scale, in a batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.experiments.config import Augmentation


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def epoch_order(count: int, seed: int, epoch: int, reshuffle: bool) -> NDArray[np.int64]:
    """Order of the images in `epoch`; without `reshuffle` that of epoch 0 (code data.cu:50-57)."""
    return _generator(seed, 0, epoch if reshuffle else 0).permutation(count)


@dataclass(frozen=True)
class Draws:
    """All random draws of one epoch, by position in its order: top, left, flip, and colour (N, 3)."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    flip: NDArray[np.bool_]
    color: NDArray[np.float32]


def draw_epoch(
    count: int, augmentation: Augmentation, margin: int, color_axes: NDArray[np.float32], seed: int, epoch: int
) -> Draws:
    """Draw crops (offsets 0..margin), flips and colour noise for `count` images (s. 4.1).

    Args:
        color_axes: (3, 3), what a unit draw along each principal axis adds to R, G and B; zeros for none.
    """
    generator = _generator(seed, 1, epoch)
    group = augmentation["images_per_crop"]
    chunk = np.arange(count) // group
    top, left = generator.integers(0, margin + 1, (2, count))[:, chunk * group]
    flip = generator.random(count)[chunk * group] < 0.5
    if not augmentation["random_crop"]:
        top = left = np.full(count, margin // 2)
    if not augmentation["horizontal_flip"]:
        flip = np.zeros(count, dtype=bool)
    alpha = generator.normal(0.0, 1.0, (count, 3)) * augmentation["color_noise"]
    return Draws(top, left, flip, (alpha @ color_axes.T).astype(np.float32))


def color_axes(rgb: dict[str, Any], scale: str) -> NDArray[np.float32]:
    """Columns: principal axes of the RGB covariance times standard deviation or eigenvalue (s. 4.1).

    Returns:
        (3, 3) in grey levels of the 0-255 scale. The text multiplies by eigenvalues, the program by their
        square roots (convdata_jpeg.py:57-66).
    """
    values = np.maximum(np.array(rgb["eigenvalues"]), 0.0)
    factors = values if scale == "eigenvalue" else np.sqrt(values)
    return (np.array(rgb["eigenvectors"]) * factors).astype(np.float32)
