"""Crops, reflects, subtracts the mean, adds colour noise and divides, in one compiled pass over stored images."""

from typing import Any

import numpy as np

from alexnet.runtime.numba_jit import compiled

F = np.float32
U = np.uintp  # unsigned: numba then leaves out the test for negative indices


@compiled()
def crops(
    images: Any,
    indices: Any,
    tops: Any,
    lefts: Any,
    flips: Any,
    mean: Any,
    aligned: bool,
    noise: Any,
    divisor: float,
    out: Any,
) -> None:
    """Fill `out`, float32 (n, crop, crop, 3): (pixel - mean + noise) / divisor, each step rounded to float32.

    Args:
        images: uint8 (N, S, S, 3); `indices` (n,) are those of the crops.
        tops, lefts, flips: (n,), the crops' upper left corners, and whether they are reflected.
        mean: float32; (crop, crop, 3), or if `aligned` (S, S, 3), cut and reflected as the image is.
        noise: float32 (n, 3), added to red, green and blue; of no rows for neither noise nor division.
    """
    side, stored = U(out.shape[1]), images.shape[1]
    width, d = out.shape[1] * 3, F(divisor)
    rows = images.reshape(images.shape[0], stored, stored * 3)
    base = mean.reshape(mean.shape[0], mean.shape[1] * 3)
    target = out.reshape(out.shape[0], out.shape[1], width)
    turned, turned_base, colour = (np.empty(width, np.uint8), np.empty(width, np.float32), np.empty(width, np.float32))
    coloured = noise.shape[0] > 0
    for n in range(out.shape[0]):
        at = lefts[n] * 3
        if coloured:
            for x in range(side):
                for c in range(U(3)):
                    colour[U(3) * x + c] = noise[n, c]
        for y in range(out.shape[1]):
            pixels = rows[indices[n], tops[n] + y, at : at + width]
            below = base[tops[n] + y, at : at + width] if aligned else base[y]
            if flips[n]:
                for x in range(side):
                    for c in range(U(3)):
                        turned[U(3) * x + c] = pixels[U(3) * (side - U(1) - x) + c]
                pixels = turned
                if aligned:
                    for x in range(side):
                        for c in range(U(3)):
                            turned_base[U(3) * x + c] = below[U(3) * (side - U(1) - x) + c]
                    below = turned_base
            line = target[n, y]
            if coloured:
                for i in range(width):
                    line[i] = (F(pixels[i]) - below[i] + colour[i]) / d
            else:
                for i in range(width):
                    line[i] = F(pixels[i]) - below[i]
