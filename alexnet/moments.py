"""Turns packed pixels into their mean image and RGB covariance.

Sums are whole numbers, so that the order of the additions cannot change the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sums:
    """Sums over images: per pixel place, and over all pixels of the products of two colour channels."""

    images: int
    pixels: NDArray[np.int64]  # (S, S, 3)
    products: NDArray[np.int64]  # (3, 3)


def no_images(size: int) -> Sums:
    """The sums over nothing, for images of `size` x `size`."""
    return Sums(0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64))


def sums_of(images: NDArray[np.uint8]) -> Sums:
    """The sums over a batch (n, S, S, 3); n up to some thousands."""
    # whole numbers in float64, for the sake of a fast product: exact while below 2**53
    rows = images.reshape(-1, 3).astype(np.float64)
    return Sums(len(images), images.sum(axis=0, dtype=np.int64), np.rint(rows.T @ rows).astype(np.int64))


def add(a: Sums, b: Sums) -> Sums:
    """The sums over both. The products of 2 million images of 256 x 256 fit into 63 bits; ILSVRC has 1.3."""
    return Sums(a.images + b.images, a.pixels + b.pixels, a.products + b.products)


def mean_image(sums: Sums) -> NDArray[np.float32]:
    """The mean of each pixel place (s. 2): (S, S, 3), 0-255."""
    return (sums.pixels / max(sums.images, 1)).astype(np.float32)


def rgb_statistics(sums: Sums) -> dict[str, Any]:
    """Mean, covariance and principal axes of the RGB values of all pixels (s. 4.1), 0-255 units, for JSON.

    Eigenvalues (variances, not standard deviations) descend; eigenvectors are columns, signed so that their
    largest component is positive.
    """
    count = sums.images * sums.pixels.shape[0] * sums.pixels.shape[1]
    total = [int(t) for t in sums.pixels.sum(axis=(0, 1))]
    mean = np.array([t / count for t in total])
    # n * sum(xy) - sum(x) * sum(y) in Python's unbounded integers: no cancellation
    covariance = np.array(
        [
            [(count * int(sums.products[i, j]) - total[i] * total[j]) / count**2 for j in range(3)]
            for i in range(3)
        ]
    )
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(3)])
    return {
        "mean": mean.tolist(),
        "covariance": covariance.tolist(),
        "eigenvalues": values.tolist(),
        "eigenvectors": vectors.tolist(),
    }
