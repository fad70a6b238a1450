"""Layers against written-out NumPy loops, torch's own layers and numerical gradients."""

import numba
import numpy as np
import pytest
import torch
from torch import nn

from alexnet.net.layers import Dropout, LocallyConnected2d, LocalResponseNorm
from alexnet.runtime.numba_jit import compiled


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


def channels_last(*shape, seed=0, scale=60.0):
    x = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
    return torch.from_numpy(x).contiguous(memory_format=torch.channels_last)


def both_ways(layer, x, grad):
    """Output and gradient."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(leaf)
    out.backward(grad)
    return out.detach(), leaf.grad


CASES = [  # window, towers, maps: vectors of 8, 4, 2 and 1 maps, windows that reach over several, or over a tower
    (5, 2, 96), (5, 1, 32), (3, 2, 24), (5, 2, 20), (9, 1, 10), (5, 1, 5), (1, 1, 7), (9, 2, 4), (19, 1, 16),
]  # fmt: skip
WITHIN = [  # window, shape: rows of several blocks and of less than one, strips that are cut, windows larger than maps
    (5, (3, 6, 7, 5)), (3, (2, 300, 4, 3)), (7, (2, 2, 3, 2)), (5, (1, 16, 19, 9)), (1, (2, 1, 17, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "towers", "maps"), CASES)
def test_the_compiled_pass_is_the_formula_and_its_derivative(size, towers, maps):
    layer = LocalResponseNorm(size, 1e-3, 0.75, 2.0, towers=towers)
    x, grad = channels_last(3, maps, 5, 4), channels_last(3, maps, 5, 4, seed=1, scale=1.0)
    out, gradient = both_ways(layer, x, grad)
    expected = written_out(x.double().numpy(), size, 1e-3, 0.75, 2.0, towers)
    np.testing.assert_allclose(out.numpy(), expected, rtol=2e-6)
    # the derivative of torch's operations in double precision, which gradcheck tests below
    _, exact = both_ways(layer, x.double(), grad.double())
    np.testing.assert_allclose(gradient.numpy(), exact.numpy(), atol=1e-6 * exact.abs().max().item())
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert layer(x.clone().requires_grad_()).grad_fn.name() == "_CompiledBackward"  # not the operations of torch
    contiguous = both_ways(layer, x.contiguous(), grad.contiguous())
    assert torch.equal(contiguous[0], out) and torch.equal(contiguous[1], gradient)


@pytest.mark.parametrize(("size", "shape"), WITHIN)
def test_the_compiled_pass_within_maps_is_the_formula_and_its_derivative(size, shape):
    layer = LocalResponseNorm(size, 1e-3, 0.75, 1.0, mode="within", divide_alpha_by_size=True)
    x, grad = channels_last(*shape), channels_last(*shape, seed=1, scale=1.0)
    out, gradient = both_ways(layer, x, grad)
    expected = written_out_within(x.double().numpy(), size, 1e-3 / size**2, 0.75, 1.0)
    np.testing.assert_allclose(out.numpy(), expected, rtol=2e-6)
    _, exact = both_ways(layer, x.double(), grad.double())
    np.testing.assert_allclose(gradient.numpy(), exact.numpy(), atol=1e-6 * exact.abs().max().item())
    half, wide = (
        both_ways(layer, x.bfloat16(), grad.bfloat16()),
        both_ways(layer, x.bfloat16().float(), grad.bfloat16().float()),
    )
    for short, long in zip(half, wide, strict=True):
        assert torch.equal(short, long.bfloat16())


@pytest.mark.parametrize(("size", "towers", "maps"), CASES)
def test_bfloat16_is_computed_in_float32_and_rounded_once(size, towers, maps):
    layer = LocalResponseNorm(size, 1e-3, 0.75, 2.0, towers=towers)
    x, grad = channels_last(3, maps, 5, 4).bfloat16(), channels_last(3, maps, 5, 4, seed=1).bfloat16()
    x[0, 0, 0, 0] = float("nan")
    half, wide = both_ways(layer, x, grad), both_ways(layer, x.float(), grad.float())
    for short, long in zip(half, wide, strict=True):
        assert short.dtype == torch.bfloat16
        torch.testing.assert_close(short, long.bfloat16(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("mode", ["across", "within"])
def test_the_number_of_threads_changes_no_bit(mode):
    layer = LocalResponseNorm(5, 1e-4, 0.75, 2.0, mode=mode, towers=2)
    x, grad = channels_last(2, 16, 7, 3), channels_last(2, 16, 7, 3, seed=1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(both_ways(layer, x, grad))
    finally:
        torch.set_num_threads(before)
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(gradient, results[0][1])


def test_loops_are_compiled_where_nothing_can_be_kept_on_disk():
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)  # numba finds no place beside a function without a file
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(scope["double"])
    assert compiled()(scope["double"])(21) == 42


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


def test_half_precision_is_normalised_in_single_precision():
    x = torch.randn(2, 16, 6, 6) * 50
    layer = LocalResponseNorm(5, 1e-4, 0.75, 2.0, towers=2)
    out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, layer(x.bfloat16().float()).bfloat16())


def test_dropout_in_training_and_at_test_agree_in_expectation():
    torch.manual_seed(1)
    layer, x = Dropout(0.5), torch.rand(400)
    w = torch.randn(400, 3)
    layer.train()
    outputs = torch.stack([layer(x) @ w for _ in range(4000)])
    layer.eval()
    error = outputs.std(0) / 4000**0.5
    assert ((outputs.mean(0) - layer(x) @ w).abs() < 5 * error).all()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 1, 0), (5, 2, 1), (1, 1, 0), (6, 1, 0)])
def test_locally_connected_is_a_product_at_each_place(kernel, stride, padding):
    torch.manual_seed(2)
    layer = LocallyConnected2d(3, 4, (7, 6), kernel, stride, padding).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    columns = nn.functional.unfold(x, kernel, padding=padding, stride=stride)  # (B, C * k * k, places)
    places, fan_in, maps = layer.weight.shape
    weight = layer.weight.view(places, kernel**2, 3, maps).transpose(1, 2).reshape(places, fan_in, maps)
    expected = torch.einsum("bfp,pfo->bop", columns, weight)
    expected = expected.unflatten(2, layer.output_size) + layer.bias
    torch.testing.assert_close(layer(x), expected)
    assert torch.autograd.gradcheck(layer, (x,))
    given = torch.randn_like(expected)
    ours = torch.autograd.grad(layer(x), (layer.weight, layer.bias), given)
    theirs = torch.autograd.grad(expected, (layer.weight, layer.bias), given)
    torch.testing.assert_close(ours, theirs)


def test_locally_connected_computes_in_half_precision_under_autocast():
    torch.manual_seed(5)
    layer = LocallyConnected2d(8, 4, (6, 6), 3, padding=1)
    x = torch.randn(16, 8, 6, 6)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.02, atol=0.05)
    half.float().square().sum().backward()
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == torch.float32


def test_locally_connected_with_equal_weights_is_a_convolution():
    torch.manual_seed(3)
    convolution = nn.Conv2d(2, 5, 3, padding=1).double()
    layer = LocallyConnected2d(2, 5, (6, 6), 3, padding=1).double()
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.permute(2, 3, 1, 0).flatten(0, 2).expand(36, 18, 5))
        layer.bias.copy_(convolution.bias[:, None, None].expand(5, 6, 6))
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), convolution(x))


def test_the_locally_connected_net_has_its_published_size():
    # layers-conv-local-13pct.cfg: 24 pixels, conv5 64, pool, conv5 64, pool, two local3 of 32 maps on 6 x 6, fc10
    convolutions = 64 * (3 * 25 + 1) + 64 * (64 * 25 + 1)
    local = sum(
        p.numel()
        for layer in (
            LocallyConnected2d(64, 32, (6, 6), 3, padding=1),
            LocallyConnected2d(32, 32, (6, 6), 3, padding=1),
        )
        for p in layer.parameters()
    )
    assert convolutions + local + 10 * (32 * 36 + 1) == 1_116_490
    assert LocallyConnected2d(64, 32, (6, 6), 3).weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.01)


def test_locally_connected_refuses_what_it_was_not_built_for():
    with pytest.raises(ValueError, match="does not fit"):
        LocallyConnected2d(3, 4, (4, 4), 5)
    with pytest.raises(ValueError, match=r"built for \(B, 3, 7, 6\)"):
        LocallyConnected2d(3, 4, (7, 6), 3)(torch.zeros(1, 3, 6, 7))


def test_dropout_of_a_part_has_the_masks_of_the_whole():
    whole = Dropout(0.5)
    x = torch.ones(50, 7)
    for first, last in ((0, 4), (4, 7)):
        torch.manual_seed(3)
        expected = whole(x)[:, first:last]
        torch.manual_seed(3)
        assert torch.equal(whole.only(first, 7)(x[:, first:last]), expected)


def test_dropout_keeps_its_rate_in_bfloat16():
    torch.manual_seed(0)
    kept = Dropout(0.501)(torch.ones(4_000_000, dtype=torch.bfloat16)).float().mean().item()
    assert abs(kept - 0.499) < 4 * (0.25 / 4_000_000) ** 0.5
