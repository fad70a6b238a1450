"""Response normalisation on the processor, one compiled pass forward and one backward.

`torch.nn.LocalResponseNorm` takes half of an obvious training step (`make bench`). Here a position's maps are read
once, while they are in the first cache, and nothing but the input is kept for the way back. Sums and powers are in
float32 whatever the activations are; float32 results are those of the formula, each operation rounded once, so they
do not depend on the machine's vector width.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.runtime.numba_jit import compiled

F = np.float32
U = np.uintp  # unsigned: numba then leaves out the test for negative indices
BITS, HALF = np.uint32, np.uint16
LINE = 1536  # values that are normalised across maps at a time
BLOCK = 256  # maps that are normalised together within their neighbourhoods; more fill no cache better
BETA = 0.75  # the only power that is compiled: s**-0.75 = r * sqrt(r) with r = 1 / sqrt(s)


@compiled()
def _window_sums(values: Any, size: int, count: int, out: Any) -> None:
    """out[i] = values[i] + ... + values[i + size - 1], added in this order."""
    n = U(count)
    if size == 5:  # the paper's; one pass
        for i in range(n):
            out[i] = values[i] + values[i + U(1)] + values[i + U(2)] + values[i + U(3)] + values[i + U(4)]
        return
    for i in range(n):
        out[i] = values[i]
    for d in range(U(1), U(size)):
        for i in range(n):
            out[i] += values[i + d]


@compiled(error_model="numpy")
def _forward(x: Any, width: int, wide: Any, size: int, coefficient: float, k: float, out: Any) -> None:
    """See `normalize`; `x`, `out` are flat, in rows of the `width` maps of a tower at one position.

    They are float32, or if `wide` bfloat16's bits. Rows are normalised LINE values at a time, with zeros between them for the windows that reach over their ends:
    the loops are long, and what they need stays in the first cache.
    """
    edge, count = size // 2, x.shape[0] // width
    step = width + edge
    together = max(1, LINE // step)
    full = together * step + 2 * edge
    bits_in, bits_out = np.zeros(full, BITS), np.empty(full, BITS)
    values, results = bits_in.view(np.float32), bits_out.view(np.float32)
    squares, sums, a, b = np.zeros(full, np.float32), np.empty(full, np.float32), F(coefficient), F(k)
    for start in range(0, count, together):
        rows = min(together, count - start)
        n = rows * step
        for r in range(rows):
            _load(x, (start + r) * width, width, wide, bits_in, values, edge + r * step)
        for i in range(U(n + edge)):
            squares[i] = values[i] * values[i]
        _window_sums(squares, size, n, sums)
        middle = values[edge:]
        for i in range(U(n)):
            root = F(1) / np.sqrt(b + a * sums[i])
            results[i] = middle[i] * (root * np.sqrt(root))
        for r in range(rows):
            _store(bits_out, results, r * step, wide, out, (start + r) * width, width)


@compiled(error_model="numpy")
def _backward(x: Any, grad: Any, width: int, wide: Any, size: int, coefficient: float, k: float, out: Any) -> None:
    """See `normalize_backward`; arrays as in `_forward`."""
    edge, count = size // 2, x.shape[0] // width
    step = width + edge
    together = max(1, LINE // step)
    full = together * step + 2 * edge
    bits_x, bits_grad = np.zeros(full, BITS), np.zeros(full, BITS)
    values, grads = bits_x.view(np.float32), bits_grad.view(np.float32)
    squares, inner, sums = np.zeros(full, np.float32), np.zeros(full, np.float32), np.empty(full, np.float32)
    a, b, factor = F(coefficient), F(k), F(2 * BETA * coefficient)
    for start in range(0, count, together):
        rows = min(together, count - start)
        n = rows * step
        for r in range(rows):
            _load(x, (start + r) * width, width, wide, bits_x, values, edge + r * step)
            _load(grad, (start + r) * width, width, wide, bits_grad, grads, edge + r * step)
        for i in range(U(n + edge)):
            squares[i] = values[i] * values[i]
        _window_sums(squares, size, n, sums)
        middle, arriving, weighted = values[edge:], grads[edge:], inner[edge:]
        for i in range(U(n)):
            root = F(1) / np.sqrt(b + a * sums[i])
            power = arriving[i] * (root * np.sqrt(root))
            arriving[i] = power
            weighted[i] = power * middle[i] * (root * root)
        for i in range(U(n), U(n + edge)):
            weighted[i] = F(0)
        _window_sums(inner, size, n, sums)
        for i in range(U(n)):
            arriving[i] = arriving[i] - factor * middle[i] * sums[i]
        for r in range(rows):
            _store(bits_grad, grads, edge + r * step, wide, out, (start + r) * width, width)


@compiled(error_model="numpy")
def _forward_within(
    x: Any, shape: Any, wide: Any, size: int, coefficient: float, k: float, first: int, last: int, out: Any
) -> None:
    """See `normalize_within`; `x`, `out` are flat, `shape` is (B, H, W, C). Does blocks of maps `first` to `last` - 1."""
    rows, columns, all_maps = shape[1], shape[2], shape[3]
    a, b, blocks = F(coefficient), F(k), _blocks(all_maps)
    for item in range(first, last):
        n, start = item // blocks, item % blocks * BLOCK
        maps = min(BLOCK, all_maps - start)
        line = columns * maps
        bits = np.empty(rows * line, BITS)
        flat, squares = bits.view(np.float32), np.empty((rows, line), np.float32)
        values = flat.reshape(rows, line)
        sums, columns_sums = np.empty(line, np.float32), np.zeros(line + (size - 1) * maps, np.float32)
        for y in range(rows):
            for w in range(columns):
                at = ((n * rows + y) * columns + w) * all_maps + start
                _load(x, at, maps, wide, bits, flat, y * line + w * maps)
            for i in range(U(line)):
                squares[y, i] = values[y, i] * values[y, i]
        for y in range(rows):
            _box_sums(squares, y, size, maps, columns_sums, sums)
            row = values[y]
            for i in range(U(line)):
                root = F(1) / np.sqrt(b + a * sums[i])
                row[i] = row[i] * (root * np.sqrt(root))
            for w in range(columns):
                at = ((n * rows + y) * columns + w) * all_maps + start
                _store(bits, flat, y * line + w * maps, wide, out, at, maps)


@compiled(error_model="numpy")
def _backward_within(
    x: Any, grad: Any, shape: Any, wide: Any, size: int, coefficient: float, k: float, first: int, last: int, out: Any
) -> None:
    """See `normalize_within_backward`."""
    rows, columns, all_maps = shape[1], shape[2], shape[3]
    a, b, factor, blocks = F(coefficient), F(k), F(2 * BETA * coefficient), _blocks(all_maps)
    for item in range(first, last):
        n, start = item // blocks, item % blocks * BLOCK
        maps = min(BLOCK, all_maps - start)
        line = columns * maps
        bits_x, bits_grad = np.empty(rows * line, BITS), np.empty(rows * line, BITS)
        flat_x, flat_grad = bits_x.view(np.float32), bits_grad.view(np.float32)
        values, grads = flat_x.reshape(rows, line), flat_grad.reshape(rows, line)
        squares, inner = np.empty((rows, line), np.float32), np.empty((rows, line), np.float32)
        sums, columns_sums = np.empty(line, np.float32), np.zeros(line + (size - 1) * maps, np.float32)
        for y in range(rows):
            for w in range(columns):
                at = ((n * rows + y) * columns + w) * all_maps + start
                _load(x, at, maps, wide, bits_x, flat_x, y * line + w * maps)
                _load(grad, at, maps, wide, bits_grad, flat_grad, y * line + w * maps)
            for i in range(U(line)):
                squares[y, i] = values[y, i] * values[y, i]
        for y in range(rows):
            _box_sums(squares, y, size, maps, columns_sums, sums)
            for i in range(U(line)):
                root = F(1) / np.sqrt(b + a * sums[i])
                grads[y, i] = grads[y, i] * (root * np.sqrt(root))
                inner[y, i] = grads[y, i] * values[y, i] * (root * root)
        for y in range(rows):
            _box_sums(inner, y, size, maps, columns_sums, sums)
            for i in range(U(line)):
                grads[y, i] = grads[y, i] - factor * values[y, i] * sums[i]
            for w in range(columns):
                at = ((n * rows + y) * columns + w) * all_maps + start
                _store(bits_grad, flat_grad, y * line + w * maps, wide, out, at, maps)


@compiled()
def _box_sums(values: Any, y: int, size: int, maps: int, columns: Any, sums: Any) -> None:
    """sums = those over size x size windows around the places of row `y`, zeros outside.

    Args:
        values: (rows, width * maps).
        columns: scratch of (width + size - 1) * maps, zeros at both ends.
    """
    edge, line = size // 2, U(sums.shape[0])
    top, bottom, margin = max(0, y - edge), min(values.shape[0], y + edge + 1), U(edge * maps)
    first = values[top]
    for i in range(line):
        columns[margin + i] = first[i]
    for row in range(top + 1, bottom):
        more = values[row]
        for i in range(line):
            columns[margin + i] += more[i]
    for i in range(line):
        sums[i] = columns[i]
    for d in range(1, size):
        shift = U(d * maps)
        for i in range(line):
            sums[i] += columns[shift + i]


@compiled()
def _blocks(maps: int) -> int:
    return -(-maps // BLOCK)


@compiled()
def _load(source: Any, at: int, count: int, wide: Any, bits: Any, values: Any, to: int) -> None:
    """Copy `count` values of float32, or of bfloat16's bits, to `values`, which is the same memory as `bits`.

    Places are passed, not slices of arrays: each slice would count references, atomically.
    """
    first, place = U(at), U(to)
    if wide:
        for c in range(U(count)):
            bits[place + c] = BITS(source[first + c]) << BITS(16)
    else:
        for c in range(U(count)):
            values[place + c] = source[first + c]


@compiled()
def _store(bits: Any, values: Any, at: int, wide: Any, target: Any, to: int, count: int) -> None:
    """The way back; to bfloat16 rounded to the nearest, ties to even."""
    first, place = U(at), U(to)
    if wide:
        for c in range(U(count)):
            b = bits[first + c]
            target[place + c] = HALF((b + BITS(0x7FFF) + ((b >> BITS(16)) & BITS(1))) >> BITS(16))
    else:
        for c in range(U(count)):
            target[place + c] = values[first + c]


Kernel = Callable[..., None]


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    """Threads beside the calling one, kept for the life of the process."""
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="lrn")


def _with_threads(count: int, work: Callable[[int, int], None]) -> None:
    """Call `work(first, last)` for parts of `count` things, as many parts as torch has threads."""
    threads = torch.get_num_threads()
    bounds = [count * i // threads for i in range(threads + 1)]
    parts = list(pairwise(bounds))
    others = [_helpers(threads).submit(work, *part) for part in parts[1:]]
    work(*parts[0])
    for other in others:
        other.result()


def _across(kernel: Kernel, inputs: list[Tensor], towers: int, settings: tuple[Any, ...]) -> Tensor:
    """What a kernel across maps makes of its inputs, on parts of the positions."""
    made = torch.empty_like(inputs[0])
    width = made.shape[1] // towers
    flat = [_memory(tensor) for tensor in (*inputs, made)]

    def part(first: int, last: int) -> None:
        *read, out = (array[first * width : last * width] for array in flat)
        kernel(*read, width, made.dtype == torch.bfloat16, *settings, out)

    _with_threads(len(flat[0]) // width, part)
    return made


def _within(kernel: Kernel, inputs: list[Tensor], settings: tuple[Any, ...]) -> Tensor:
    """Likewise for a kernel within maps, on blocks of maps of one image."""
    made = torch.empty_like(inputs[0])
    *read, out = (_memory(tensor) for tensor in (*inputs, made))
    n, maps, rows, columns = made.shape
    wide, shape = made.dtype == torch.bfloat16, (n, rows, columns, maps)

    def part(first: int, last: int) -> None:
        kernel(*read, shape, wide, *settings, first, last, out)

    _with_threads(n * -(-maps // BLOCK), part)
    return made


def _memory(x: Tensor) -> NDArray[Any]:
    """The memory of a dense channels-last tensor, flat; bfloat16 as its bits."""
    flat = x.detach().permute(0, 2, 3, 1).reshape(-1)
    if x.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy()


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
    return _across(_forward, [x], towers, (size, coefficient, k))


def normalize_backward(x: Tensor, grad: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """The gradient for `x` from that for `normalize(x, ...)`; both channels last and of one type."""
    return _across(_backward, [x, grad], towers, (size, coefficient, k))


def normalize_within(x: Tensor, size: int, coefficient: float, k: float) -> Tensor:
    """x * (k + coefficient * sum of squares over size x size places of the same map)**-0.75; else as `normalize`."""
    return _within(_forward_within, [x], (size, coefficient, k))


def normalize_within_backward(x: Tensor, grad: Tensor, size: int, coefficient: float, k: float) -> Tensor:
    """The gradient for `x` from that for `normalize_within(x, ...)`; both channels last and of one type."""
    return _within(_backward_within, [x, grad], (size, coefficient, k))
