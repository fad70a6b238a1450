"""Response normalisation on CUDA devices, one Triton kernel forward and one backward.

Tested by tests/test_gpu.py where there is a GPU, else in Triton's interpreter where Triton is installed. It
comes with torch for CUDA; without it `alexnet.net.layers` takes the expression in torch and does not import this.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


def supports(x: Tensor, beta: float) -> bool:
    """Whether there is a kernel for these activations."""
    known = (torch.float32, torch.bfloat16, torch.float16)
    return x.is_cuda and x.dim() == 4 and x.dtype in known and beta == 0.75


@triton.jit
def _scale_at(x, index, place, n, width, size: tl.constexpr, coefficient, k):  # type: ignore[no-untyped-def]
    """k + coefficient * the sum of squares around the value at `index`, which is map `place` of its tower."""
    total = tl.zeros_like(index).to(tl.float32)
    for d in tl.static_range(-(size // 2), size // 2 + 1):
        inside = (place + d >= 0) & (place + d < width) & (index < n)
        value = tl.load(x + index + d, mask=inside, other=0.0).to(tl.float32)
        total += value * value
    return k + coefficient * total


@triton.jit
def _forward(x, out, n, width, size: tl.constexpr, coefficient, k, block: tl.constexpr):  # type: ignore[no-untyped-def]
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    place = index % width
    root = 1.0 / tl.sqrt(_scale_at(x, index, place, n, width, size, coefficient, k))
    value = tl.load(x + index, mask=index < n, other=0.0).to(tl.float32)
    tl.store(out + index, (value * root * tl.sqrt(root)).to(out.dtype.element_ty), mask=index < n)


@triton.jit
def _backward(x, grad, out, n, width, size: tl.constexpr, coefficient, k, block: tl.constexpr):  # type: ignore[no-untyped-def]
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    place = index % width
    inner = tl.zeros_like(index).to(tl.float32)
    for d in tl.static_range(-(size // 2), size // 2 + 1):  # neighbours whose sums hold this value
        inside = (place + d >= 0) & (place + d < width) & (index < n)
        root = 1.0 / tl.sqrt(_scale_at(x, index + d, place + d, n, width, size, coefficient, k))
        value = tl.load(x + index + d, mask=inside, other=0.0).to(tl.float32)
        arriving = tl.load(grad + index + d, mask=inside, other=0.0).to(tl.float32)
        inner += arriving * value * root * tl.sqrt(root) * root * root
    root = 1.0 / tl.sqrt(_scale_at(x, index, place, n, width, size, coefficient, k))
    value = tl.load(x + index, mask=index < n, other=0.0).to(tl.float32)
    arriving = tl.load(grad + index, mask=index < n, other=0.0).to(tl.float32)
    result = arriving * root * tl.sqrt(root) - 1.5 * coefficient * value * inner
    tl.store(out + index, result.to(out.dtype.element_ty), mask=index < n)


def _grid(x: Tensor) -> tuple[int]:
    return (triton.cdiv(x.numel(), BLOCK),)


def normalize(x: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize`: channels last in, the same out."""
    out = torch.empty_like(x)
    width = x.shape[1] // towers
    _forward[_grid(x)](x, out, x.numel(), width, size, coefficient, k, BLOCK)
    return out


def normalize_backward(x: Tensor, grad: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    """As `alexnet.net.lrn_cpu.normalize_backward`."""
    out = torch.empty_like(x)
    width = x.shape[1] // towers
    _backward[_grid(x)](x, grad, out, x.numel(), width, size, coefficient, k, BLOCK)
    return out
