"""Mean image and RGB covariance of packed pixels.

Sums are whole numbers, so that the order of the additions cannot change the outcome.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.runtime.numba_jit import compiled


@dataclass(frozen=True)
class Sums:
    """Sums over images: per pixel place, and over all pixels of the products of two colour channels."""

    images: int
    pixels: NDArray[np.integer[Any]]  # (S, S, 3)
    products: NDArray[np.int64]  # (3, 3)


def no_images(size: int) -> Sums:
    """The sums over nothing, for images of `size` x `size`."""
    return Sums(0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64))


@compiled()
def _accumulate(images: Any, pixels: Any, products: Any) -> None:
    """Add images (n, S, values of a row) to sums (S, values of a row), and their products to (6,)."""
    for n in range(images.shape[0]):
        for y in range(images.shape[1]):
            row, total = images[n, y], pixels[y]
            for i in range(row.shape[0]):
                total[i] += row[i]
            rr = rg = rb = gg = gb = bb = np.uint64(0)
            for x in range(row.shape[0] // 3):
                r, g, b = np.uint64(row[3 * x]), np.uint64(row[3 * x + 1]), np.uint64(row[3 * x + 2])
                rr += r * r
                rg += r * g
                rb += r * b
                gg += g * g
                gb += g * b
                bb += b * b
            for i, value in enumerate((rr, rg, rb, gg, gb, bb)):
                products[i] += value


def sums_of(images: NDArray[np.uint8]) -> Sums:
    """The sums over a batch (n, S, S, 3), contiguous; n up to 16 million, for sums of 32 bits."""
    n, size = images.shape[:2]
    pixels, products = np.zeros((size, size * 3), np.uint32), np.zeros(6, np.uint64)
    _accumulate(images.reshape(n, size, size * 3), pixels, products)
    square = products.astype(np.int64)[[[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    return Sums(n, pixels.reshape(size, size, 3), square)


def add_to(a: Sums, b: Sums) -> Sums:
    """The sums over both, in the memory of `a`, whose pixels are int64.

    The products of 2 million images of 256 x 256 fit into 63 bits; ILSVRC has 1.3 million.
    """
    np.add(a.pixels, b.pixels, out=a.pixels, casting="same_kind")
    return Sums(a.images + b.images, a.pixels, a.products + b.products)


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
        [[(count * int(sums.products[i, j]) - total[i] * total[j]) / count**2 for j in range(3)] for i in range(3)]
    )
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(3)])
    found = {"mean": mean, "covariance": covariance, "eigenvalues": values, "eigenvectors": vectors}
    return {name: array.tolist() for name, array in found.items()}
