"""Layers against written-out NumPy loops, torch's own layers and numerical gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet.layers import Dropout, LocalResponseNorm


def written_out(x: np.ndarray, n: int, coefficient: float, beta: float, k: float, towers: int) -> np.ndarray:
    """The formula of s. 3.3, index by index; windows stop at the towers' borders."""
    out = np.empty_like(x)
    maps = x.shape[1]
    per_tower = maps // towers
    for i in range(maps):
        first = i // per_tower * per_tower
        low, high = max(first, i - n // 2), min(first + per_tower - 1, i + n // 2)
        total = sum(x[:, j] ** 2 for j in range(low, high + 1))
        out[:, i] = x[:, i] / (k + coefficient * total) ** beta
    return out


def written_out_within(x: np.ndarray, n: int, coefficient: float, beta: float, k: float) -> np.ndarray:
    out = np.empty_like(x)
    _, _, rows, columns = x.shape
    for y in range(rows):
        for z in range(columns):
            window = x[:, :, max(0, y - n // 2) : y + n // 2 + 1, max(0, z - n // 2) : z + n // 2 + 1]
            out[:, :, y, z] = x[:, :, y, z] / (k + coefficient * (window**2).sum((2, 3))) ** beta
    return out


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_across_maps_is_the_formula(size, divide, towers):
    x = np.random.default_rng(0).normal(0, 60, (2, 12, 5, 4))
    layer = LocalResponseNorm(size, 1e-4, 0.75, 2.0, divide_alpha_by_size=divide, towers=towers)
    expected = written_out(x, size, 1e-4 / size if divide else 1e-4, 0.75, 2.0, towers)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("divide", [False, True])
def test_within_maps_is_the_formula(divide):
    x = np.random.default_rng(1).normal(0, 60, (2, 3, 7, 6))
    layer = LocalResponseNorm(5, 1e-3, 0.75, 1.0, mode="within", divide_alpha_by_size=divide)
    expected = written_out_within(x, 5, 1e-3 / 25 if divide else 1e-3, 0.75, 1.0)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), expected, rtol=1e-10)


def test_equals_torch_where_torch_divides_alpha():
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64) * 50
    ours = LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha_by_size=True)(x)
    torch.testing.assert_close(ours, nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x))


def test_printed_and_programmed_alpha_differ():
    x = torch.full((1, 5, 1, 1), 100.0)
    printed = LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x)
    programmed = LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha_by_size=True)(x)
    assert (printed < programmed).all()


@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize(("mode", "towers"), [("across", 1), ("across", 2), ("within", 1)])
def test_gradient(mode, towers, beta):
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    layer = LocalResponseNorm(3, 0.1, beta, 1.5, mode=mode, towers=towers)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("arguments", [{"size": 4}, {"size": 5, "mode": "beside"}])
def test_refuses(arguments):
    with pytest.raises(ValueError):
        LocalResponseNorm(alpha=1.0, beta=0.5, k=1.0, **arguments)


def test_dropout_zeroes_in_training_and_scales_at_test():
    torch.manual_seed(0)
    layer, x = Dropout(0.3), torch.full((100_000,), 2.0)
    layer.train()
    out = layer(x)
    assert set(out.unique().tolist()) == {0.0, 2.0}  # not inverted: survivors keep their value
    assert abs((out > 0).float().mean().item() - 0.7) < 5 * (0.3 * 0.7 / 100_000) ** 0.5
    layer.eval()
    torch.testing.assert_close(layer(x), x * 0.7)
