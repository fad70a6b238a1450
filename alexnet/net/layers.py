"""The paper's layers in torch: response normalisation, dropout, local connections."""

import math
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.net import lrn_cpu

Pass = Callable[..., Tensor]


def _window_sum_across(x: Tensor, size: int) -> Tensor:
    """Sum over `size` adjacent entries of dim 2, window cut at both ends. x: (B, T, C/T, H, W)."""
    out = x.clone()
    for shift in range(1, size // 2 + 1):
        out[:, :, shift:] += x[:, :, :-shift]
    for shift in range(1, (size - 1) // 2 + 1):
        out[:, :, :-shift] += x[:, :, shift:]
    return out


def _window_sum_within(x: Tensor, size: int) -> Tensor:
    """Sum over a size x size neighbourhood in each map, zeros outside. x: (B, C, H, W), size odd."""
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, divisor_override=1)


class _Normalize(torch.autograd.Function):
    """y = x * scale**-beta with scale = k + coefficient * window_sum(x**2), and its exact derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, coefficient: float, beta: float, k: float, towers: int) -> Tensor:
        scale = _scale(x, size, coefficient, k, towers)
        ctx.save_for_backward(x, scale)
        ctx.settings = (size, coefficient, beta, towers)
        return x * _power(scale, beta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, scale = ctx.saved_tensors
        size, coefficient, beta, towers = ctx.settings
        scaled = grad * _power(scale, beta)
        # d/dx_j of sum_i g_i x_i s_i^-beta: the windows are symmetric for odd sizes, so the same sum serves
        inner = _window_sum(scaled * x / scale, size, towers)
        return scaled - 2 * beta * coefficient * x * inner, None, None, None, None, None


class _Compiled(torch.autograd.Function):
    """`_Normalize` in one pass over memory, by the processor or by Triton; keeps only its input.

    Args:
        forward_pass, backward_pass: those of a backend; they take x, (x and the gradient), and `settings`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward_pass: Pass, backward_pass: Pass, settings: tuple[Any, ...]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.backward_pass, ctx.settings = backward_pass, settings
        return forward_pass(x, *settings)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        return ctx.backward_pass(x, grad, *ctx.settings), None, None, None


def norm_backend(device: str) -> ModuleType | None:
    """What normalises in one pass on this type of device; None: torch's operations do.

    Chosen by `make bench`: numba needs no compiler on the machine and was as fast as a C++ extension, torch.compile
    needs one and was slower. Triton comes with torch for CUDA.
    """
    if device == "cpu":
        return lrn_cpu
    return _triton_backend() if device == "cuda" else None


@cache
def _triton_backend() -> ModuleType | None:
    try:
        from alexnet.net import lrn_triton
    except ImportError:
        return None
    return lrn_triton


def _window_sum(x: Tensor, size: int, towers: int) -> Tensor:
    if towers == 0:
        return _window_sum_within(x, size)
    return _window_sum_across(x.unflatten(1, (towers, -1)), size).flatten(1, 2)


def _scale(x: Tensor, size: int, coefficient: float, k: float, towers: int) -> Tensor:
    return _window_sum(x * x, size, towers).mul_(coefficient).add_(k)


def _power(scale: Tensor, beta: float) -> Tensor:
    if beta == 0.75:  # rsqrt(s) * sqrt(rsqrt(s)): several times faster than pow
        root = scale.rsqrt()
        return root * root.sqrt()
    return scale.pow(-beta)


class LocalResponseNorm(nn.Module):
    """Response normalisation, s. 3.3: b = a / (k + alpha * sum a**2)**beta.

    Args:
        size: window n, an odd number: kernel maps (`across`) or side of a square, pixels (`within`).
        alpha, beta, k: constants of s. 3.3.
        mode: "across" sums over adjacent maps at one position (the paper); "within" over an n x n
            neighbourhood in the same map (the lab's undocumented second norm, layers-145.cfg:107-117).
        divide_alpha_by_size: the original program, like PyTorch and Caffe, divides alpha by the number of
            summed values (layer.py:1183), n or n x n; the printed formula does not.
        towers: windows across maps stop at the border between towers (s. 3.2).

    Shape: (B, C, H, W) -> (B, C, H, W), C a multiple of `towers`.

    Raises:
        ValueError: an even size or an unknown mode.
    """

    def __init__(
        self,
        size: int,
        alpha: float,
        beta: float,
        k: float,
        mode: str = "across",
        divide_alpha_by_size: bool = False,
        towers: int = 1,
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"LocalResponseNorm: size must be odd, got {size}")
        if mode not in ("across", "within"):
            raise ValueError(f"LocalResponseNorm: mode must be 'across' or 'within', got {mode!r}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.mode, self.divide_alpha_by_size, self.towers = mode, divide_alpha_by_size, towers

    def of_one_tower(self) -> "LocalResponseNorm":
        """The same for the maps of one tower."""
        return LocalResponseNorm(self.size, self.alpha, self.beta, self.k, self.mode, self.divide_alpha_by_size)

    @property
    def coefficient(self) -> float:
        """What multiplies the sum of squares."""
        summed = self.size if self.mode == "across" else self.size**2
        return self.alpha / summed if self.divide_alpha_by_size else self.alpha

    def forward(self, x: Tensor) -> Tensor:
        backend = norm_backend(x.device.type)
        if backend and backend.supports(x, self.beta):
            settings: tuple[Any, ...] = (self.size, self.coefficient, self.k)
            passes = backend.normalize_within, backend.normalize_within_backward
            if self.mode == "across":
                settings = (*settings, self.towers)
                passes = backend.normalize, backend.normalize_backward
            fast: Tensor = _Compiled.apply(x, *passes, settings)
            return fast
        towers = self.towers if self.mode == "across" else 0
        # half precision would round k + coefficient * sum away: computed in single precision
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        out: Tensor = _Normalize.apply(wide, self.size, self.coefficient, self.beta, self.k, towers)
        return out.to(x.dtype)


class Dropout(nn.Module):
    """Dropout as in s. 4.2: units are zeroed in training; at test all are kept and scaled by the keep rate.

    `inverted`: as torch.nn.Dropout, which scales in training instead and is a different optimiser at equal rates.
    """

    def __init__(self, probability: float, inverted: bool = False) -> None:
        super().__init__()
        self.keep, self.inverted = 1.0 - probability, inverted
        self.first, self.units = 0, 0  # which of how many units of the layer are here; 0: all are

    def only(self, first: int, units: int) -> "Dropout":
        """The part of this layer whose units begin at `first` of `units`; masks are those of the whole layer."""
        part = Dropout(1.0 - self.keep, self.inverted)
        part.first, part.units = first, units
        return part

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x if self.inverted else x * self.keep
        shape = (x.shape[0], self.units, *x.shape[2:]) if self.units else x.shape
        # single precision whatever x has: uniform numbers of bfloat16 are too coarse for a rate
        draws = torch.rand(shape, device=x.device)
        if self.units:
            draws = draws[:, self.first : self.first + x.shape[1]]
        kept = x * (draws < self.keep)
        return kept / self.keep if self.inverted else kept


class _Local(torch.autograd.Function):
    """Products of windows and weights, one a place, and their derivatives; torch's own are several times slower.

    x: (rows, columns, B, C), contiguous, padded; weight (places, k * k * C, maps); bias (places, 1, maps).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernel: int, stride: int) -> Tensor:
        rows, columns = ((side - kernel) // stride + 1 for side in x.shape[:2])
        down, right, image, channel = x.stride()
        shape = (rows, columns, x.shape[2], kernel, kernel, x.shape[3])
        steps = (down * stride, right * stride, image, down, right, channel)
        windows = x.as_strided(shape, steps).reshape(rows * columns, x.shape[2], -1)
        ctx.save_for_backward(windows, weight)
        ctx.settings = (x.shape, shape, stride)
        return torch.baddbmm(bias, windows, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        windows, weight = ctx.saved_tensors
        given, (rows, columns, images, kernel, _, channels), stride = ctx.settings
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = grad.new_zeros(given)
            parts = torch.bmm(grad, weight.transpose(1, 2))
            parts = parts.view(rows, columns, images, kernel, kernel, channels)
            for y in range(kernel):
                for x in range(kernel):
                    there = of_input[y : y + stride * rows : stride, x : x + stride * columns : stride]
                    there[:rows, :columns] += parts[:, :, :, y, x]
        return of_input, torch.bmm(windows.transpose(1, 2), grad), grad.sum(1, keepdim=True), None, None


class LocallyConnected2d(nn.Module):
    """A convolution whose kernels are not shared between places; the `local` layer of the CIFAR-10 nets.

    Source: footnote 3 of the paper; layers-conv-local-13pct.cfg of the authors' release.

    Args:
        in_channels, out_channels: maps read and made.
        input_size: (rows, columns) of the input, pixels; weights exist for this size only.
        kernel_size, stride, padding: as of torch.nn.Conv2d, square.

    Shape: (B, in_channels, rows, columns) -> (B, out_channels, out_rows, out_columns). `weight` is (out_rows *
    out_columns, kernel_size**2 * in_channels, out_channels), read by rows, columns, maps of a window; `bias` is
    (out_channels, out_rows, out_columns).

    Raises:
        ValueError: the kernel does not fit into the input, or the input of `forward` has another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: tuple[int, int],
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        spans = [side + 2 * padding - kernel_size for side in input_size]
        if min(spans) < 0:
            raise ValueError(
                f"LocallyConnected2d: a {kernel_size}-pixel kernel does not fit into {input_size} with padding {padding}"
            )
        self.in_channels, self.out_channels, self.input_size = in_channels, out_channels, tuple(input_size)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.output_size = tuple(span // stride + 1 for span in spans)
        places, fan_in = math.prod(self.output_size), in_channels * kernel_size**2
        self.weight = nn.Parameter(torch.empty(places, fan_in, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels, *self.output_size))
        nn.init.normal_(self.weight, std=fan_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1:] != (self.in_channels, *self.input_size):
            raise ValueError(
                f"LocallyConnected2d: built for (B, {self.in_channels}, {self.input_size[0]}, {self.input_size[1]}), "
                f"got {tuple(x.shape)}"
            )
        weight: Tensor = self.weight
        bias = self.bias.flatten(1).T.unsqueeze(1)  # (places, 1, out_channels)
        if torch.is_autocast_enabled(x.device.type):
            precision = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(precision), weight.to(precision), bias.to(precision)
        # (rows, columns, B, C): windows of a place lie close together; what another such layer made lies so already
        x = F.pad(x.permute(2, 3, 0, 1), (0, 0, 0, 0, *(self.padding,) * 4)).contiguous()
        out: Tensor = _Local.apply(x, weight, bias, self.kernel_size, self.stride)
        return out.unflatten(0, self.output_size).permute(2, 3, 0, 1)
