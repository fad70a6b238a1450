"""Triton's kernels without a GPU: in its interpreter against loops and derivatives in double precision, and compiled for one.

The interpreter runs NumPy operations; what a card makes of the code is tested by test_gpu.py.
"""

import importlib
import importlib.util
import math
import sys

import pytest
import torch
from test_layers import CASES, WITHIN, both_ways, channels_last, written_out, written_out_within
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import alexnet.net
from alexnet.net import layers
from alexnet.net.layers import LocalResponseNorm

triton = pytest.importorskip("triton", reason="Triton is not installed: it comes with torch on Linux")

ROUNDING = {  # of what is stored; the interpreter cuts bfloat16, a card rounds it
    torch.float32: 2e-6,
    torch.float16: 2**-11 + 2e-6,
    torch.bfloat16: 2**-7 + 2e-6,
}


@pytest.fixture(scope="module")
def interpreted():
    """A copy of the module whose kernels the interpreter runs."""
    spec = importlib.util.find_spec("alexnet.net.lrn_triton")
    module = importlib.util.module_from_spec(spec)
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = True
        spec.loader.exec_module(module)
    return module


def windows(x, size, mode, towers):
    """Sums of squares in torch's plain operations."""
    edge = size // 2
    if mode == "within":
        return F.pad(x * x, (edge,) * 4).unfold(2, size, 1).unfold(3, size, 1).sum((-1, -2))
    squares = F.pad((x * x).unflatten(1, (towers, -1)), (0, 0, 0, 0, edge, edge))
    return squares.unfold(2, size, 1).sum(-1).flatten(1, 2)


def derivative(x, grad, size, coefficient, k, mode, towers=1):
    """By autograd, in double precision."""
    leaf = x.double().requires_grad_()
    (leaf / (k + coefficient * windows(leaf, size, mode, towers)) ** 0.75).backward(grad.double())
    return leaf.grad


def check(found, exact):
    """Within the rounding of the type, or for sums of both signs that of single precision in the largest."""
    rounding = ROUNDING[found.dtype]
    torch.testing.assert_close(found.double(), exact, rtol=rounding, atol=1e-6 * exact.abs().max().item())


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("size", "towers", "maps"), CASES)
def test_across_maps_the_kernels_are_the_formula_and_its_derivative(interpreted, size, towers, maps, dtype):
    shape = (3, maps, 5, 4)
    x, grad = channels_last(*shape).to(dtype), channels_last(*shape, seed=1, scale=1.0).to(dtype)
    settings = size, 1e-3, 2.0, towers
    out = interpreted.normalize(x, *settings)
    check(out, torch.from_numpy(written_out(x.double().numpy(), size, 1e-3, 0.75, 2.0, towers)))
    gradient = interpreted.normalize_backward(x, grad, *settings)
    check(gradient, derivative(x, grad, size, 1e-3, 2.0, "across", towers))
    assert out.dtype == gradient.dtype == dtype
    assert out.stride() == gradient.stride() == x.stride()


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("size", "shape"), WITHIN)
def test_within_maps_the_kernels_are_the_formula_and_its_derivative(interpreted, size, shape, dtype):
    x, grad = channels_last(*shape).to(dtype), channels_last(*shape, seed=1, scale=1.0).to(dtype)
    out = interpreted.normalize_within(x, size, 1e-3, 1.0)
    check(out, torch.from_numpy(written_out_within(x.double().numpy(), size, 1e-3, 0.75, 1.0)))
    gradient = interpreted.normalize_within_backward(x, grad, size, 1e-3, 1.0)
    check(gradient, derivative(x, grad, size, 1e-3, 1.0, "within"))
    assert out.dtype == gradient.dtype == dtype
    assert out.stride() == gradient.stride() == x.stride()


@pytest.mark.parametrize("mode", ["across", "within"])
def test_vectors_of_another_length_change_no_bit(interpreted, mode):
    shape, of = (2, 48, 3, 4), "" if mode == "across" else "_within"
    x, grad = channels_last(*shape).half(), channels_last(*shape, seed=1, scale=1.0).half()
    settings = (5, 1e-3, 2.0, 2) if mode == "across" else (5, 1e-3, 2.0)
    forward, backward = (getattr(interpreted, f"normalize{of}{way}") for way in ("", "_backward"))
    assert torch.equal(forward(x, *settings), forward(x.float(), *settings).half())
    assert torch.equal(backward(x, grad, *settings), backward(x.float(), grad.float(), *settings).half())


@pytest.mark.parametrize("mode", ["across", "within"])
def test_the_layer_takes_them_with_its_own_settings(interpreted, monkeypatch, mode):
    layer = LocalResponseNorm(3, 1e-3, 0.75, 1.5, mode=mode, divide_alpha_by_size=True, towers=2)
    x, grad = channels_last(2, 8, 4, 3), channels_last(2, 8, 4, 3, seed=1, scale=1.0)
    exact = both_ways(layer, x.double(), grad.double())
    monkeypatch.setattr(interpreted, "supports", lambda x, beta: True)  # on the processor no kernel is
    monkeypatch.setattr(layers, "norm_backend", lambda device: interpreted)
    assert layer(x.requires_grad_()).grad_fn.name() == "_CompiledBackward"
    for found, expected in zip(both_ways(layer, x, grad), exact, strict=True):
        check(found, expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "beta", "supported"),
    [
        ((2, 8, 4, 3), torch.float32, 0.75, True), ((2, 8, 4, 3), torch.bfloat16, 0.75, True),
        ((2, 8, 4, 3), torch.float16, 0.75, True), ((2, 8, 4, 3), torch.float64, 0.75, False),
        ((2, 8, 4, 3), torch.float32, 0.5, False), ((2, 8, 4), torch.float32, 0.75, False),
        ((0, 8, 4, 3), torch.float32, 0.75, False),
    ],
)  # fmt: skip
def test_other_activations_are_left_to_torch(interpreted, shape, dtype, beta, supported):
    with FakeTensorMode():  # tensors of a device that need not be there
        assert interpreted.supports(torch.empty(shape, dtype=dtype, device="cuda"), beta) == supported
        assert not interpreted.supports(torch.empty(shape, dtype=dtype), beta)


def test_without_triton_torch_normalises_on_cuda(monkeypatch):
    monkeypatch.delattr(alexnet.net, "lrn_triton", raising=False)
    monkeypatch.delitem(sys.modules, "alexnet.net.lrn_triton", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert layers._triton_backend.__wrapped__() is None


# Compiled ------------------------------------------------------------------------------------------------------------

COUNTED = {  # machine instructions of one value in bf16 and fp32, and a thread's loads, as the module's docstring has them
    ("across", "forward"): (18.6, 22.3, 3),
    ("across", "backward"): (38.6, 47.3, 6),
    ("within", "forward"): (47.2, 36.1, 68),
    ("within", "weigh"): (52.2, 40.4, 76),
    ("within", "collect"): (77.3, 65.1, 136),
}


def compiled(mode, stage, dtype, size, shape):
    """Machine code for an H100, specialised as a launch specialises it, and how many values a thread writes."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels = importlib.import_module("alexnet.net.lrn_triton")
    _, maps, height, width = shape
    tensors = dict.fromkeys(("x", "grad", "weighted", "out"), f"*{dtype}") | {"weighted": "*fp32"}
    if mode == "across":
        kernel, values = kernels._across, math.gcd(maps, 4 if dtype == "fp32" else 8)
        numbers = {"vectors": math.prod(shape) // values}
        constants = {"places": maps // values, "vector": values, "threads": kernels.THREADS}
        constants["backward"] = stage == "backward"
    else:
        kernel, values = kernels._within, kernels.EACH * kernels.ROWS
        tensors["out"] = "*fp32" if stage == "weigh" else tensors["out"]
        numbers = {"height": height, "line": width * maps, "maps": maps}
        constants = {"rows": kernels.ROWS, "block": kernels.THREADS * kernels.EACH, "stage": stage}
        numbers["blocks"] = -(-numbers["line"] // constants["block"])
        numbers["strips"] = -(-height // kernels.ROWS)
    constants |= {"size": size} | {name: 1 for name, value in numbers.items() if value == 1}
    types = dict.fromkeys(numbers, "i32") | tensors | {"coefficient": "fp32", "k": "fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    even = [name for name in types if name in tensors or numbers.get(name, 1) % 16 == 0]
    place = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        {name: types[name] for name in place},
        {place[name]: value for name, value in constants.items()},
        {place[name]: [["tt.divisibility", 16]] for name in even if name in place},
    )
    return triton.compile(source, GPUTarget("cuda", 90, 32), kernels.OPTIONS), values


def instructions(code):
    """Names of the machine instructions up to the last exit."""
    lines = (line.rpartition("\t")[2].rstrip(" ;").split() for line in code.asm["sass"].splitlines() if ";" in line)
    names = [words[words[0].startswith("@")] for words in lines]
    return names[: len(names) - names[::-1].index("EXIT")]


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize(("mode", "stage"), COUNTED)
def test_a_card_runs_the_instructions_that_the_docstring_counts(mode, stage, dtype):
    code, values = compiled(mode, stage, dtype, 5, (128, 48, 55, 55))
    names = instructions(code)
    assert len(names) / values == pytest.approx(COUNTED[mode, stage][dtype == "fp32"], rel=0.02)
    # straight on, from registers alone: the count is what a thread runs
    assert not [name for name in names if name.startswith(("BRA", "CALL", "LDL", "STL", "LDS", "STS", "BAR", "SHFL"))]
    assert sum(name.startswith("LDG") for name in names) == COUNTED[mode, stage][2]
    assert sum(name.startswith("STG") for name in names) == (1 if mode == "across" else 8)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 10, 9, 5)])
@pytest.mark.parametrize(("mode", "stage"), COUNTED)
def test_every_shape_compiles(mode, stage, shape):
    code, _ = compiled(mode, stage, "fp16", 3, shape)
    assert "EXIT" in instructions(code)
