"""Turns the paper's formulas into torch layers: response normalisation and dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    def forward(
        ctx: Any, x: Tensor, size: int, coefficient: float, beta: float, k: float, towers: int
    ) -> Tensor:
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
            summed values (layer.py:1183); the printed formula does not.
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

    @property
    def coefficient(self) -> float:
        """What multiplies the sum of squares."""
        summed = self.size if self.mode == "across" else self.size**2
        return self.alpha / summed if self.divide_alpha_by_size else self.alpha

    def forward(self, x: Tensor) -> Tensor:
        towers = self.towers if self.mode == "across" else 0
        return _Normalize.apply(x, self.size, self.coefficient, self.beta, self.k, towers)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}, mode={self.mode!r}, "
            f"divide_alpha_by_size={self.divide_alpha_by_size}, towers={self.towers}"
        )


class Dropout(nn.Module):
    """Dropout as in s. 4.2: units are zeroed in training; at test all are kept and scaled by the keep rate.

    Not torch.nn.Dropout, which scales in training instead and is a different optimiser at equal rates.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1.0 - probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x * self.keep
        return x * (torch.rand_like(x) < self.keep)

    def extra_repr(self) -> str:
        return f"keep={self.keep:g}"
