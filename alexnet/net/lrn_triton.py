"""Response normalisation on CUDA devices in Triton, across maps and within maps, forward and backward.

Tested in Triton's interpreter and compiled without a GPU by tests/test_lrn_triton.py, on a GPU by tests/test_gpu.py.
Triton comes with torch for CUDA; without it `alexnet.net.layers` takes the expression in torch and does not import this.

Arithmetic is in float32. Products are fused with sums only where `tl.fma` says so, thus half precision is the float32
result, rounded once. Counted for windows of 5 and towers of 48 maps in the machine code of Triton 3.8 for sm_90 (`asm["sass"]`
of `triton.compile`; the code has no branch, so a thread runs each instruction once; nothing was timed):

    of one value            instructions    loads         bytes of device memory
                            bf16   fp32     bf16   fp32   bf16   fp32
    across, forward         18.6   22.3     0.38   0.75   4      8
    across, backward        38.6   47.3     0.75   1.5    6      12
    within, forward         47.2   36.1     2.1    2.1    4      8
    within, backward        129.5  105.5    6.6    6.6    18     28

Bytes are reads and writes if each value is read once; neighbours are read again from the caches. Backward within maps takes two
launches, since a thread cannot see what others weighed: the first writes the summands, in float32, for the second.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128  # of a program
OPTIONS = {"num_warps": THREADS // 32, "enable_fp_fusion": False}
EACH, ROWS = 4, 8  # within maps: values of a line, and lines, that a thread writes; more need too many registers


def supports(x: Tensor, beta: float) -> bool:
    """Whether there is a kernel for these activations."""
    known = (torch.float32, torch.bfloat16, torch.float16)
    return x.is_cuda and x.dim() == 4 and x.dtype in known and beta == 0.75 and x.numel() > 0


# Across maps: a thread writes a vector of adjacent maps of one pixel


@triton.jit
def _columns(block):
    """The columns of a (threads, n) block, n a power of two, as a tuple; each thread keeps its row."""
    threads: tl.constexpr = block.shape[0]
    n: tl.constexpr = block.shape[1]
    if n == 1:
        return (tl.reshape(block, (threads,)),)
    else:
        left, right = tl.split(tl.permute(tl.reshape(block, (threads, 2, n // 2)), (0, 2, 1)))
        return _columns(left) + _columns(right)


@triton.jit
def _block(columns):
    """The inverse of `_columns`."""
    n: tl.constexpr = len(columns)
    if n == 1:
        return tl.reshape(columns[0], (columns[0].shape[0], 1))
    else:
        halves = tl.join(_block(columns[: n // 2]), _block(columns[n // 2 :]))
        return tl.reshape(tl.permute(halves, (0, 2, 1)), (columns[0].shape[0], n))


@triton.jit
def _around(x, at, place, places: tl.constexpr, inside, reach: tl.constexpr, vector: tl.constexpr):
    """The vector at `at`, number `place` of its tower's, and `reach` values on both sides, zeros beyond the tower."""
    beside: tl.constexpr = (reach + vector - 1) // vector
    values = ()
    for d in tl.static_range(-beside, beside + 1):
        there = inside & (place + d >= 0) & (place + d < places)
        index = (at + d * vector)[:, None] + tl.arange(0, vector)[None, :]
        values += _columns(tl.load(x + index, mask=there[:, None], other=0.0).to(tl.float32))
    return values[beside * vector - reach : beside * vector + vector + reach]


@triton.jit
def _squares(values, first: tl.constexpr, size: tl.constexpr):
    """The sum of squares of values[first] to values[first + size - 1]."""
    total = values[first] * values[first]
    for d in tl.static_range(1, size):
        total = tl.fma(values[first + d], values[first + d], total)
    return total


@triton.jit
def _sum(values, first: tl.constexpr, size: tl.constexpr):
    """values[first] + ... + values[first + size - 1], added in this order."""
    total = values[first]
    for d in tl.static_range(1, size):
        total += values[first + d]
    return total


@triton.jit
def _across(
    x, grad, out, vectors, places: tl.constexpr, size: tl.constexpr, coefficient, k,
    vector: tl.constexpr, backward: tl.constexpr, threads: tl.constexpr,
):  # fmt: skip
    """A tower has `places` vectors at each pixel, the tensors `vectors` in all."""
    program, lane = tl.program_id(0), tl.arange(0, threads)
    first = program.to(tl.int64) * threads
    inside = lane < tl.minimum(vectors - first, threads).to(tl.int32)
    place = (program % places * (threads % places) + lane) % places  # in 32 bits, with no product that could overflow
    at = lane * vector
    edge: tl.constexpr = size // 2
    reach: tl.constexpr = 2 * edge if backward else edge  # backward: its neighbours' scales need their windows
    values = _around(x + first * vector, at, place, places, inside, reach, vector)
    grads = _around(grad + first * vector, at, place, places, inside, reach - edge, vector) if backward else ()
    scaled = ()
    weighted = ()
    for i in tl.static_range(vector + 2 * (reach - edge)):
        root = tl.rsqrt(tl.fma(_squares(values, i, size), coefficient, k))
        scaled += ((grads[i] if backward else values[edge + i]) * (root * tl.sqrt(root)),)
        if backward:
            weighted += (scaled[i] * values[edge + i] * (root * root),)
    results = () if backward else scaled
    if backward:
        for i in tl.static_range(vector):
            factor = -1.5 * coefficient * values[reach + i]
            results += (tl.fma(factor, _sum(weighted, i, size), scaled[edge + i]),)
    index = at[:, None] + tl.arange(0, vector)[None, :]
    tl.store(out + first * vector + index, _block(results).to(out.dtype.element_ty), mask=inside[:, None])


# Within maps: a thread writes adjacent maps of one pixel and of those below it; a line is a row of pixels, with their maps


@triton.jit
def _line_sums(x, at, row, height, line, maps, size: tl.constexpr, rows: tl.constexpr, squared: tl.constexpr):
    """Sums over `size` pixels of a line around the places `at`, of all lines that the windows of `rows` lines hold.

    `x` is the first value of line `row`; zeros are outside of the image.
    """
    edge: tl.constexpr = size // 2
    sums = ()
    for y in tl.static_range(-edge, rows + edge):
        values = ()
        for d in tl.static_range(-edge, edge + 1):
            place = at + d * maps
            there = (place >= 0) & (place < line) & ((row + y >= 0) & (row + y < height))
            values += (tl.load(x + y * line + place, mask=there, other=0.0).to(tl.float32),)
        sums += (_squares(values, 0, size) if squared else _sum(values, 0, size),)
    return sums


@triton.jit
def _within(
    x, grad, weighted, out, height, line, maps, blocks, strips, size: tl.constexpr, coefficient, k,
    stage: tl.constexpr, rows: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """A program is one of an image's `strips` of `rows` lines, and there one of `blocks` of `block` values.

    Stages: `forward`; `weigh` writes what backward sums up; `collect` sums that up and writes the gradient.
    """
    strip = tl.program_id(0) // blocks
    at = tl.program_id(0) % blocks * block + tl.arange(0, block)
    row = strip % strips * rows
    start = ((strip // strips).to(tl.int64) * height + row) * line
    squares = _line_sums(x + start, at, row, height, line, maps, size, rows, True)
    if stage == "collect":
        inner = _line_sums(weighted + start, at, row, height, line, maps, size, rows, False)
    for y in tl.static_range(rows):
        index = start + y * line + at
        there = (at < line) & (row + y < height)
        value = tl.load(x + index, mask=there, other=0.0).to(tl.float32)
        root = tl.rsqrt(tl.fma(_sum(squares, y, size), coefficient, k))
        result = root * tl.sqrt(root)
        if stage == "forward":
            result *= value
        else:
            result *= tl.load(grad + index, mask=there, other=0.0).to(tl.float32)
            if stage == "weigh":
                result *= value * (root * root)
            else:
                result = tl.fma(-1.5 * coefficient * value, _sum(inner, y, size), result)
        tl.store(out + index, result.to(out.dtype.element_ty), mask=there)


def _run_across(
    x: Tensor, grad: Tensor, size: int, coefficient: float, k: float, towers: int, backward: bool
) -> Tensor:
    out = torch.empty_like(x)
    width = x.shape[1] // towers
    vector = math.gcd(width, 16 // x.element_size())  # 16 bytes are the longest load
    vectors = x.numel() // vector
    settings = width // vector, size, coefficient, k, vector, backward, THREADS
    _across[(triton.cdiv(vectors, THREADS),)](x, grad, out, vectors, *settings, **OPTIONS)
    return out


def _run_within(
    x: Tensor, grad: Tensor, weighted: Tensor, out: Tensor, size: int, coefficient: float, k: float, stage: str
) -> Tensor:
    images, maps, height, width = x.shape
    line, block = width * maps, THREADS * EACH
    blocks, strips = triton.cdiv(line, block), triton.cdiv(height, ROWS)
    settings = height, line, maps, blocks, strips, size, coefficient, k, stage, ROWS, block
    _within[(images * strips * blocks,)](x, grad, weighted, out, *settings, **OPTIONS)
    return out


def normalize(x: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize`: channels last in, the same out."""
    return _run_across(x, x, size, coefficient, k, towers, backward=False)


def normalize_backward(x: Tensor, grad: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize_backward`."""
    return _run_across(x, grad, size, coefficient, k, towers, backward=True)


def normalize_within(x: Tensor, size: int, coefficient: float, k: float) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize_within`."""
    return _run_within(x, x, x, torch.empty_like(x), size, coefficient, k, "forward")


def normalize_within_backward(x: Tensor, grad: Tensor, size: int, coefficient: float, k: float) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize_within_backward`."""
    weighted = torch.empty_like(x, dtype=torch.float32)
    _run_within(x, grad, x, weighted, size, coefficient, k, "weigh")
    return _run_within(x, grad, weighted, torch.empty_like(x), size, coefficient, k, "collect")
