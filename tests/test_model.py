"""The network against explicit computations: two towers written out, conv1's zeros, order of operations."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.experiments.resolve import resolve
from alexnet.net.layers import LocalResponseNorm
from alexnet.net.model import build


def test_grouped_net_is_two_towers_that_meet_at_conv3_and_fc():
    config = resolve("demo", "alexnet", 3)
    net = build(config).eval()
    x = torch.randn(2, 3, 56, 56) * 50
    weights = {name: (net.layers[name].weight, net.layers[name].bias) for name in config["model"]["layers"]}

    def half(name, tower, dim=0):
        weight, bias = weights[name]
        return weight.chunk(2, dim)[tower], bias.chunk(2)[tower]

    def norm(a):
        return F.local_response_norm(a, 5, 1e-4, 0.75, 2.0)

    def spatial(a):
        return a / (1 + 1e-3 / 25 * F.avg_pool2d(a * a, 5, 1, 2) * 25) ** 0.75

    def pool(a):
        return F.max_pool2d(a, 3, 2, ceil_mode=True)

    padded = F.pad(x, (0, 1, 0, 1))
    towers = [F.conv2d(padded, *half("conv1", t), stride=2) for t in (0, 1)]
    towers = [F.relu(pool(norm(a))) for a in towers]
    towers = [F.relu(F.conv2d(a, *half("conv2", t), padding=2)) for t, a in enumerate(towers)]
    towers = [pool(spatial(norm(a))) for a in towers]
    both = torch.cat(towers, 1)
    towers = [F.relu(F.conv2d(both, *half("conv3", t), padding=1)) for t in (0, 1)]
    towers = [F.relu(F.conv2d(a, *half("conv4", t), padding=1)) for t, a in enumerate(towers)]
    towers = [F.relu(pool(F.conv2d(a, *half("conv5", t), padding=1))) for t, a in enumerate(towers)]
    flat = torch.cat([a.flatten(1) for a in towers], 1)
    for name in ("fc6", "fc7"):
        flat = F.relu(F.linear(flat, *weights[name])) * 0.5
    expected = F.linear(flat, *weights["fc8"])
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


def test_conv1_sees_zeros_only_at_the_right_and_the_bottom():
    config = resolve("ilsvrc2010", "alexnet", 0)
    small = copy.deepcopy(config)
    for name in ("fc6", "fc7"):
        small["model"]["layers"][name]["units"] = 8  # keeps the test small; conv1 is the full one
    net = build(small)
    image = np.random.default_rng(0).normal(0, 50, (3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        out = {}
        net.layers["conv1"].register_forward_hook(lambda m, i, o: out.__setitem__("conv1", o[0].numpy()))
        net(torch.from_numpy(image)[None])
    weight = net.layers["conv1"].weight.detach().numpy()
    assert out["conv1"].shape == (96, 55, 55)
    corner = (weight[:, :, :8, :8] * image[:, 216:, 216:]).sum((1, 2, 3))  # 8 of 11 rows and columns exist
    np.testing.assert_allclose(out["conv1"][:, 54, 54], corner, rtol=1e-4, atol=1e-3)
    first = (weight * image[:, :11, :11]).sum((1, 2, 3))
    np.testing.assert_allclose(out["conv1"][:, 0, 0], first, rtol=1e-4, atol=1e-3)


def test_initial_weights_have_the_recipes_moments():
    config = resolve("demo", "alexnet", 1)
    net = build(config)
    for name, record in config["model"]["layers"].items():
        weight, bias = net.layers[name].weight, net.layers[name].bias
        n = weight.numel()
        assert abs(weight.mean()) < 5 * record["weight_std"] / n**0.5
        assert abs(weight.std() / record["weight_std"] - 1) < 5 / (2 * n) ** 0.5
        assert (bias == record["bias"]).all()


def test_seeds_differ_and_repeat():
    first, again, other = (build(resolve("demo", "alexnet", seed)) for seed in (1, 1, 2))
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.dim() == 1 or not torch.equal(a, c)


@pytest.mark.parametrize(("experiment", "kind"), [("no_lrn", LocalResponseNorm), ("tanh", torch.nn.ReLU)])
def test_ablations_lack_what_they_are_named_after(experiment, kind):
    assert any(isinstance(m, kind) for m in build(resolve("demo", "alexnet", 1)).modules())
    assert not any(isinstance(m, kind) for m in build(resolve("demo", experiment, 1)).modules())


def test_features_are_the_activations_before_the_next_layer():
    net = build(resolve("demo", "no_dropout", 1)).eval()
    x = torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(net.layers["fc8"](net.features(x, "fc7")), net(x))
    assert (net.features(x, "fc7") >= 0).all()


def test_the_printed_place_of_the_fifth_relu_gives_the_same_values_and_gradients():
    outputs, gradients = [], []
    for name in ("alexnet", "text_relu_before_pool5"):
        net = build(resolve("demo", name, 4)).eval()
        out = net(torch.linspace(-120, 120, 2 * 3 * 52 * 52).sin().mul(90).reshape(2, 3, 52, 52))
        out.logsumexp(1).sum().backward()
        outputs.append(out.detach())
        gradients.append(net.layers["conv5"].weight.grad)
    assert torch.equal(*outputs) and torch.equal(*gradients)


def test_torchvisions_net_is_built_by_our_layers():
    import torchvision  # a second to import, which other tests do without

    theirs = torchvision.models.alexnet(weights=None, num_classes=12).eval()
    convolutions = [m for m in theirs.features if isinstance(m, torch.nn.Conv2d)]
    linears = [m for m in theirs.classifier if isinstance(m, torch.nn.Linear)]
    config = copy.deepcopy(resolve("ilsvrc2012", "onetower2014", 0))
    model = config["model"]
    model |= {"partial_windows": False, "drop_probability": 0.0}
    config["data"]["classes"] = 12
    model["layers"]["conv1"]["pad"] = 2
    for name, record in model["layers"].items():
        record["after"] = ["activation"] if name != "fc8" else []
        if name in ("conv1", "conv2", "conv5"):
            record["after"].append("pool")
    ours = build(config).eval()
    layers = [ours.layers[name] for name in model["layers"]]
    with torch.no_grad():
        for mine, other in zip(layers, [*convolutions, *linears], strict=True):
            mine.weight.copy_(other.weight)  # the same layout: (out, in, rows, columns), and flattened alike
            mine.bias.copy_(other.bias)
        x = torch.randn(2, 3, 224, 224)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-6)
