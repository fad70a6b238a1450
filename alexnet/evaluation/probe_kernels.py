"""Colour and selectivity of first kernels, against surrogates that are as smooth.

A smooth kernel looks oriented, or like a blob, by chance. So each is held against surrogates of its own: cut-outs of isotropic
Gaussian textures with the kernel's autocovariance by distance, which is its radial spectrum (Wiener and Khinchin), and with
no phase in common. Of such textures one in twenty lies above the 95th percentile of its surrogates. Phases drawn anew on the
kernel's own grid would not do: it has no opposite edges that meet, and smooth textures would pass three times too often.

Arrays are (kernels, 3, rows, columns), RGB, float64. NumPy alone.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SURROGATES = 499  # the kernel is the 500th; 25 of these are 5 %
SEED = 2012
TINY = np.finfo(float).tiny
Array = NDArray[np.float64]


def chroma_share(kernels: Array) -> Array:
    """Share of each kernel's energy that is colour: 0 for a grey kernel, at most 1.

    Returns:
        (K,): squared distance of the kernel from its grey part (at each place the mean of the three channels), over
        the sum of squares. Independent Gaussian weights have 2/3 on average; a kernel of zeros has 0.
    """
    grey = kernels.mean(1, keepdims=True)
    energy = np.square(kernels).sum((1, 2, 3))
    return np.square(kernels - grey).sum((1, 2, 3)) / np.maximum(energy, TINY)


def dominant(kernels: Array) -> tuple[Array, Array, Array]:
    """The best approximation of each kernel by one pattern in one colour (its first singular vectors).

    Returns:
        patterns (K, rows, columns); colours (K, 3), of length 1; (K,) share of the energy that they hold.
    """
    count, channels, rows, columns = kernels.shape
    colours, values, patterns = np.linalg.svd(kernels.reshape(count, channels, -1), full_matrices=False)
    first = values[:, :1] * patterns[:, 0]
    held = np.square(values[:, 0]) / np.maximum(np.square(values).sum(1), TINY)
    return first.reshape(count, rows, columns), colours[:, :, 0], held


def colourfulness(colours: Array) -> Array:
    """(K,): how far colours (K, 3) of length 1 are from grey: 0 grey, above 1/2 more colour than grey, 1 no grey at all."""
    return 1 - np.square(colours.sum(1)) / 3


def _places(rows: int, columns: int) -> Array:
    """(rows * columns, 2)."""
    return np.indices((rows, columns)).reshape(2, -1).T.astype(float)


def surrogates(pattern: Array, count: int, rng: np.random.Generator) -> Array:
    """(count, rows, columns): isotropic Gaussian textures with the autocovariance of the pattern (rows, columns) by distance.

    The autocovariance is the mean product over pairs of places, in bins of a pixel's distance but for distance zero, and linear
    in between; what is no covariance in it (negative eigenvalues) is left out.
    """
    places, flat = _places(*pattern.shape), pattern.ravel()
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    bins = np.rint(distance).astype(np.int64).ravel()
    pairs = np.bincount(bins)
    product = np.bincount(bins, np.outer(flat, flat).ravel()) / pairs
    covariance = np.interp(distance, np.bincount(bins, distance.ravel()) / pairs, product)
    values, vectors = np.linalg.eigh(covariance)
    drawn = rng.standard_normal((count, len(flat))) * np.sqrt(np.maximum(values, 0))
    found: Array = (drawn @ vectors.T).reshape(count, *pattern.shape)
    return found


def _power(patterns: Array) -> tuple[Array, Array, Array]:
    """Power spectra (N, rows, columns) without zero frequency, and frequencies down and across, cycles a pixel."""
    rows, columns = patterns.shape[1:]
    power = np.abs(np.fft.fft2(patterns)) ** 2
    power[:, 0, 0] = 0
    if not rows % 2:  # the highest frequency stands there without its opposite
        power[:, rows // 2] = 0
    if not columns % 2:
        power[:, :, columns // 2] = 0
    down, across = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
    return power, down, across


def orientation(patterns: Array) -> tuple[Array, Array]:
    """How far the power of patterns (N, rows, columns) lies along one orientation, and which.

    Returns:
        (N,) |sum of P exp(2 i theta)| / sum of P, with P the power at frequencies other than zero and theta their direction: 0
        none, 1 a grating; no contrast gives 0. (N,) the direction across the stripes, degrees in [0, 180).
    """
    power, down, across = _power(patterns)
    turned = (power * np.exp(2j * np.arctan2(down, across))).sum((1, 2))
    return np.abs(turned) / np.maximum(power.sum((1, 2)), TINY), np.degrees(np.angle(turned) / 2) % 180


def frequency(patterns: Array) -> Array:
    """(N,): mean frequency of the power of patterns (N, rows, columns), zero left out, cycles a pixel."""
    power, down, across = _power(patterns)
    mean: Array = (power * np.hypot(down, across)).sum((1, 2)) / np.maximum(power.sum((1, 2)), TINY)
    return mean


@cache
def bumps(rows: int, columns: int) -> Array:
    """(B, rows * columns), of length 1: Gaussian bumps around each place, of an eighth to half a side in sd, and a flat one."""
    places, side = _places(rows, columns), max(rows, columns)
    squared = np.square(places[:, None] - places[None]).sum(2)
    found = [np.exp(-squared / (2 * (side * share) ** 2)) for share in (1 / 8, 1 / 4, 1 / 2)]
    out: Array = np.concatenate([*found, np.ones((1, len(places)))])
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def blob(kernels: Array) -> Array:
    """(K,): greatest share of a kernel's energy that a bump of one colour holds (`bumps`)."""
    flat = kernels.reshape(*kernels.shape[:2], -1)
    held: Array = np.square(flat @ bumps(*kernels.shape[2:]).T).sum(1).max(1)
    return held / np.maximum(np.square(flat).sum((1, 2)), TINY)


def rarity(own: float, others: Array) -> float:
    """Share of the values, its own counted among them, that are at least `own`: a p-value."""
    return float(1 + np.sum(others >= own * (1 - 1e-9))) / (1 + len(others))


def selectivity(kernels: Array, count: int = SURROGATES) -> dict[str, list[float]]:
    """What each kernel is like, and how rare that is among surrogates.

    Returns:
        By name, one number a kernel.
        chroma         share of energy that is colour
        one_colour     share of energy in the dominant pattern, to which colourfulness, orientation, angle and frequency belong
        orientation_p  `rarity` of the orientation among surrogates of that pattern
        blob           share of energy that one bump of one colour holds
        blob_p         its rarity among kernels of which each channel is a surrogate of its own
        patch_p        its rarity among kernels of white noise, as they are before training
    """
    rng = np.random.default_rng(SEED)
    patterns, colours, held = dominant(kernels)
    oriented, angle = orientation(patterns)
    blobs = blob(kernels)
    white = blob(rng.standard_normal((count, *kernels.shape[1:])))
    p: dict[str, list[float]] = {"orientation_p": [], "blob_p": []}
    for i, kernel in enumerate(kernels):
        textures = orientation(surrogates(patterns[i], count, rng))[0]
        p["orientation_p"].append(rarity(oriented[i], textures))
        channels = np.stack([surrogates(channel, count, rng) for channel in kernel], 1)
        p["blob_p"].append(rarity(blobs[i], blob(channels)))
    plain = {
        "chroma": chroma_share(kernels),
        "one_colour": held,
        "colourfulness": colourfulness(colours),
        "orientation": oriented,
        "angle": angle,
        "frequency": frequency(patterns),
        "blob": blobs,
    }
    p["patch_p"] = [rarity(value, white) for value in blobs]
    return {key: np.round(values, 6).tolist() for key, values in plain.items()} | p
