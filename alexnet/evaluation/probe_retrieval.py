"""How alike an image and its nearest neighbours are (s. 6.1, Fig. 4).

Distances are (Q, G): a row an image that asks, a column an image that may be found.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 6  # Fig. 4
LEVELS = 8  # of each channel in a histogram of colours
BITS = 64  # of a code
SEED = 2012


def nearest(distances: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """(Q, count) columns of the smallest of each row, nearest first; fewer if there are fewer."""
    return distances.topk(min(count, distances.shape[1]), largest=False).indices


def same_class(distances: Tensor, found: Tensor, asking: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """(Q,) share of the `count` nearest that are of the class of the image that asks; ties at the border are shared out.

    Args:
        found, asking: (G,) and (Q,) classes.
    """
    count = min(count, distances.shape[1])
    limit = distances.kthvalue(count, dim=1, keepdim=True).values
    own = found[None] == asking[:, None]
    nearer, tied = distances < limit, distances == limit
    left = count - nearer.sum(1).double()
    shared = (tied & own).sum(1).double() / tied.sum(1).clamp(min=1)
    return ((nearer & own).sum(1).double() + left * shared) / count


def ranks(distances: Tensor, chosen: Tensor) -> Tensor:
    """(Q, k) percentile ranks, as fractions, of the `chosen` columns (Q, k) among all of their rows: 0 nearest, 1 farthest.

    Ties count half. Columns chosen at random have 1/2 on average.
    """
    own = distances.gather(1, chosen)
    below = [(distances < one[:, None]).sum(1) + (distances <= one[:, None]).sum(1) - 1 for one in own.T]
    return torch.stack(below, 1).double() / (2 * max(1, distances.shape[1] - 1))


def class_rank(distances: Tensor, found: Tensor, asking: Tensor) -> Tensor:
    """(Q,) mean percentile rank, a fraction, of all images of the class of the one that asks; NaN where there are none."""
    order = found[distances.argsort(dim=1)] == asking[:, None]
    places = torch.linspace(0, 1, distances.shape[1], dtype=torch.double)
    return (order * places).sum(1) / order.sum(1)


def colours(pixels: NDArray[np.uint8]) -> Tensor:
    """(B, LEVELS ** 3) square roots of the shares of colours in images (B, rows, columns, RGB).

    The distance between two of them is Hellinger's, but for a factor.
    """
    step = 256 // LEVELS
    index = (pixels // step).astype(np.int64) @ np.array([LEVELS**2, LEVELS, 1])
    index += np.arange(len(pixels))[:, None, None] * LEVELS**3
    counted = np.bincount(index.ravel(), minlength=len(pixels) * LEVELS**3).reshape(len(pixels), -1)
    return torch.from_numpy(np.sqrt(counted / counted.sum(1, keepdims=True)).astype(np.float32))


def projections(features: Tensor) -> Tensor:
    """(N, BITS) of features (N, units) on fixed random directions; the signs around their means are a code."""
    generator = torch.Generator().manual_seed(SEED)
    directions = torch.randn(features.shape[1], BITS, generator=generator)
    return features @ directions.to(features.device)


def hamming(asking: Tensor, found: Tensor) -> Tensor:
    """(Q, G) numbers of bits that differ between codes, the signs of `projections` around the means of `found`."""
    mean = found.mean(0)
    a, b = ((side > mean).float() for side in (asking, found))
    return a @ (1 - b).T + (1 - a) @ b.T
