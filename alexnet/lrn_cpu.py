"""Turns activations in the processor's memory into normalised ones and back, in one compiled pass each way.

`torch.nn.LocalResponseNorm` takes half of an obvious training step (`make bench`). Here a position's maps are read
once, while they are in the first cache, and nothing but the input is kept for the way back. Sums and powers are in
float32 whatever the activations are; float32 results are those of the formula, each operation rounded once, so they
do not depend on the machine's vector width.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.compiled import compiled

F = np.float32
U = np.uintp  # unsigned: numba then leaves out the test for negative indices
BITS, HALF = np.uint32, np.uint16
BETA = 0.75  # the only power that is compiled: s**-0.75 = r * sqrt(r) with r = 1 / sqrt(s)


@compiled()
def _window_sums(values: Any, size: int, out: Any) -> None:
    """out[c] = values[c] + ... + values[c + size - 1], added in this order."""
    if size == 5:  # the paper's; one pass
        for c in range(U(out.shape[0])):
            out[c] = values[c] + values[c + U(1)] + values[c + U(2)] + values[c + U(3)] + values[c + U(4)]
        return
    for c in range(U(out.shape[0])):
        out[c] = values[c]
    for d in range(U(1), U(size)):
        for c in range(U(out.shape[0])):
            out[c] += values[c + d]


@compiled(error_model="numpy")
def _forward(x: Any, wide: Any, size: int, coefficient: float, k: float, towers: int, out: Any) -> None:
    """See `normalize`; `x`, `out` are (positions, maps), of float32, or of uint16 for bfloat16 (then `wide`)."""
    width, edge = x.shape[1] // towers, U(size // 2)
    squares, sums = np.zeros(width + size - 1, np.float32), np.empty(width, np.float32)
    bits_in, bits_out = np.empty(width, BITS), np.empty(width, BITS)
    values, results = bits_in.view(np.float32), bits_out.view(np.float32)
    a, b = F(coefficient), F(k)
    for p in range(x.shape[0]):
        for t in range(towers):
            row, target = x[p, t * width : (t + 1) * width], out[p, t * width : (t + 1) * width]
            _load(row, wide, bits_in, values)
            for c in range(U(width)):
                squares[edge + c] = values[c] * values[c]
            _window_sums(squares, size, sums)
            for c in range(U(width)):
                root = F(1) / np.sqrt(b + a * sums[c])
                results[c] = values[c] * (root * np.sqrt(root))
            _store(bits_out, results, wide, target)


@compiled(error_model="numpy")
def _backward(
    x: Any, grad: Any, wide: Any, size: int, coefficient: float, k: float, towers: int, out: Any
) -> None:
    """See `normalize_backward`; arrays as in `_forward`."""
    width, edge = x.shape[1] // towers, U(size // 2)
    squares, inner = np.zeros(width + size - 1, np.float32), np.zeros(width + size - 1, np.float32)
    sums, powers = np.empty(width, np.float32), np.empty(width, np.float32)
    bits_x, bits_grad, bits_out = np.empty(width, BITS), np.empty(width, BITS), np.empty(width, BITS)
    values, grads = bits_x.view(np.float32), bits_grad.view(np.float32)
    results = bits_out.view(np.float32)
    a, b, factor = F(coefficient), F(k), F(2 * BETA * coefficient)
    for p in range(x.shape[0]):
        for t in range(towers):
            first, last = t * width, (t + 1) * width
            _load(x[p, first:last], wide, bits_x, values)
            _load(grad[p, first:last], wide, bits_grad, grads)
            for c in range(U(width)):
                squares[edge + c] = values[c] * values[c]
            _window_sums(squares, size, sums)
            for c in range(U(width)):
                root = F(1) / np.sqrt(b + a * sums[c])
                powers[c] = grads[c] * (root * np.sqrt(root))
                inner[edge + c] = powers[c] * values[c] * (root * root)
            _window_sums(inner, size, sums)
            for c in range(U(width)):
                results[c] = powers[c] - factor * values[c] * sums[c]
            _store(bits_out, results, wide, out[p, first:last])


@compiled()
def _load(row: Any, wide: Any, bits: Any, values: Any) -> None:
    """Fill `values` (the same memory as `bits`) from a row of float32, or of bfloat16's bits."""
    if wide:
        for c in range(U(row.shape[0])):
            bits[c] = BITS(row[c]) << BITS(16)
    else:
        for c in range(U(row.shape[0])):
            values[c] = row[c]


@compiled()
def _store(bits: Any, values: Any, wide: Any, row: Any) -> None:
    """The way back; to bfloat16 rounded to the nearest, ties to even."""
    if wide:
        for c in range(U(row.shape[0])):
            b = bits[c]
            row[c] = HALF((b + BITS(0x7FFF) + ((b >> BITS(16)) & BITS(1))) >> BITS(16))
    else:
        for c in range(U(row.shape[0])):
            row[c] = values[c]


Kernel = Callable[..., None]


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    """Threads beside the calling one, kept for the life of the process."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="lrn")


def _in_parts(kernel: Kernel, arrays: list[NDArray[Any]], settings: tuple[Any, ...]) -> None:
    """Call a kernel on as many parts of the positions as torch has threads; the last array is the output."""
    threads = torch.get_num_threads()
    positions = len(arrays[0])
    bounds = [positions * i // threads for i in range(threads + 1)]

    def part(i: int) -> None:
        *inputs, out = (array[bounds[i] : bounds[i + 1]] for array in arrays)
        kernel(*inputs, *settings, out)

    others = [_helpers(threads).submit(part, i) for i in range(1, threads)] if threads > 1 else []
    part(0)
    for other in others:
        other.result()


def _rows(x: Tensor) -> NDArray[Any]:
    """The memory of a dense channels-last (B, C, H, W) as (positions, C); bfloat16 as its bits."""
    rows = x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    if x.dtype == torch.bfloat16:
        return rows.view(torch.int16).numpy().view(np.uint16)
    return rows.numpy()


def supports(x: Tensor, beta: float) -> bool:
    """Whether there is a compiled pass for these activations."""
    return (
        x.device.type == "cpu"
        and x.dim() == 4
        and x.dtype in (torch.float32, torch.bfloat16)
        and beta == BETA
        and x.numel() > 0
    )


def normalize(x: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """x * (k + coefficient * sum of squares over `size` adjacent maps of its tower)**-0.75.

    Args:
        x: (B, C, H, W), float32 or bfloat16, channels last; C a multiple of `towers`; `size` odd.

    Returns:
        The same shape, type and memory format.
    """
    out = torch.empty_like(x)
    settings = (x.dtype == torch.bfloat16, size, coefficient, k, towers)
    _in_parts(_forward, [_rows(x), _rows(out)], settings)
    return out


def normalize_backward(
    x: Tensor, grad: Tensor, size: int, coefficient: float, k: float, towers: int
) -> Tensor:
    """The gradient for `x` from that for `normalize(x, ...)`; both channels last and of one type."""
    out = torch.empty_like(x)
    settings = (x.dtype == torch.bfloat16, size, coefficient, k, towers)
    _in_parts(_backward, [_rows(x), _rows(grad), _rows(out)], settings)
    return out
