"""Resamples a decoded picture to its central square, S x S RGB, in one compiled pass over what the square shows.

Bicubic (a = -0.5) and antialiased, with Pillow's coefficients: the filter is widened by the scale when a
picture shrinks. Sums are float32 and rounded once, to the nearest grey level. *Deviation*: the paper names no
interpolation; the 2012 tools averaged areas when they shrank (make-data/pyext.cpp:109-122).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.runtime.numba_jit import compiled

INTERPOLATION = "bicubic, antialiased (a = -0.5, float32)"
Weights = tuple[NDArray[np.int64], NDArray[np.float32]]


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5, of any shape."""
    x = np.abs(x)
    far = np.where(x < 2, ((2.5 - 0.5 * x) * x - 4) * x + 2, 0.0)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, far)


def span(side: int, short: int, size: int) -> tuple[float, float]:
    """Where the central `size` pixels of a resized side begin and end, in pixels of the file's picture.

    The side is resized to round(side * size / short), the crop starts at half the excess, rounded down.
    """
    resized = size if side == short else max(size, round(side * size / short))
    start = (resized - size) // 2
    return start * side / resized, (start + size) * side / resized


@lru_cache(maxsize=1024)
def weights(side: int, begin: float, end: float, size: int) -> Weights:
    """First source pixel (size,) and weights (size, taps) of each target pixel; rows sum to 1."""
    scale = (end - begin) / size
    stretch = max(scale, 1.0)
    centres = begin + (np.arange(size) + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), side)
    taps = int((last - first).max())
    start = np.minimum(first, side - taps)
    pixels = start[:, None] + np.arange(taps)
    table = cubic((pixels + 0.5 - centres[:, None]) / stretch)
    table[(pixels < first[:, None]) | (pixels >= last[:, None])] = 0.0
    return start, (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


F = np.float32
U = np.uintp  # unsigned: numba then leaves out the test for negative indices


@compiled(fastmath={"contract"})
def _blend(rows: Any, first: int, weight: Any, begin: int, count: int, line: Any) -> None:
    """line = 0.5 + sum over k of weight[k] * rows[first + k], three rows at a time."""
    for i in range(count):
        line[i] = F(0.5)  # for rounding
    k = 0
    while k + 3 <= weight.shape[0]:
        a, b = rows[first + k, begin : begin + count], rows[first + k + 1, begin : begin + count]
        c = rows[first + k + 2, begin : begin + count]
        wa, wb, wc = weight[k], weight[k + 1], weight[k + 2]
        for i in range(count):
            line[i] += wa * F(a[i]) + wb * F(b[i]) + wc * F(c[i])
        k += 3
    while k < weight.shape[0]:
        a, wa = rows[first + k, begin : begin + count], weight[k]
        for i in range(count):
            line[i] += wa * F(a[i])
        k += 1


@compiled(fastmath={"contract"})
def _byte(value: Any) -> Any:
    return np.uint8(min(max(value, F(0)), F(255)))


@compiled(fastmath={"contract"})
def _resample(pixels: Any, down: Any, vertical: Any, right: Any, horizontal: Any, out: Any) -> None:
    """Rows first, then columns, a target row at a time: what lies between stays in the cache."""
    begin, end = right.min(), right.max() + horizontal.shape[1]
    rows = pixels.reshape(pixels.shape[0], pixels.shape[1] * 3)
    count, taps = (end - begin) * 3, U(horizontal.shape[1])
    line = np.empty(count, np.float32)
    for y in range(out.shape[0]):
        _blend(rows, down[y], vertical[y], begin * 3, count, line)
        for x in range(out.shape[1]):
            red = green = blue = F(0)
            at = U((right[x] - begin) * 3)
            for k in range(taps):
                w = horizontal[x, k]
                red += w * line[at]
                green += w * line[at + U(1)]
                blue += w * line[at + U(2)]
                at += U(3)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = _byte(red), _byte(green), _byte(blue)


def central_square(pixels: NDArray[np.uint8], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Shorter side resized to `size`, central `size` x `size` kept (s. 2): (size, size, 3).

    Only the square is computed; it is where a full resize and a crop at half the excess take their pixels from.

    Args:
        pixels: (height, width, 3), contiguous.
        out: (size, size, 3), to be filled.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    if out is None:
        out = np.empty((size, size, 3), np.uint8)
    if height == width == size:
        out[:] = pixels
        return out
    down, vertical = weights(height, *span(height, short, size), size)
    right, horizontal = weights(width, *span(width, short, size), size)
    _resample(pixels, down, vertical, right, horizontal, out)
    return out
