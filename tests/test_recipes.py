"""The recipes of others, against the nets and files that they were taken from."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision

from alexnet.experiments.architecture import layer_table
from alexnet.experiments.definitions import load
from alexnet.experiments.resolve import resolve
from alexnet.net.model import build
from alexnet.training.schedule import rates


def test_torchvisions_net_is_the_recipe_of_that_name() -> None:
    """Its weights, put into ours, give its outputs."""
    config = resolve("ilsvrc2012", "torchvision2014", 2)
    config["model"].pop("input_divisors")  # theirs is in the loader
    ours, theirs = build(config).eval(), torchvision.models.alexnet().eval()
    learned = [m for m in theirs.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        for name, layer in zip(config["model"]["layers"], learned, strict=True):
            assert ours.layers[name].weight.shape == layer.weight.shape
            ours.layers[name].weight.copy_(layer.weight)
            ours.layers[name].bias.copy_(layer.bias)
        x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    ours.train(), theirs.train()
    with torch.no_grad():  # masks differ, so that only scales are compared
        means = [torch.stack([net(x) for _ in range(32)]).std().item() for net in (ours, theirs)]
    assert means[0] == pytest.approx(means[1], rel=0.1)
    dropped = [type(m).__name__ for m in theirs.modules() if isinstance(m, torch.nn.Dropout | torch.nn.Linear)]
    assert [
        "Dropout" if "dropout" in n else "Linear" for n in ours.layers if n.startswith(("fc", "dropout"))
    ] == dropped


def test_torchvisions_weights_start_as_torch_draws_them() -> None:
    net = build(resolve("ilsvrc2012", "torchvision2014", 2))
    for layer in (net.layers["conv2"], net.layers["fc7"]):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert bound * 0.99 < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_caffes_net_has_the_weights_of_its_file() -> None:
    """Maps, kernels and groups of train_val.prototxt: kernels, inputs of one, biases."""
    convolutions = [(96, 3 * 11 * 11), (256, 48 * 5 * 5), (384, 256 * 3 * 3), (384, 192 * 3 * 3), (256, 192 * 3 * 3)]
    layers = [*convolutions, (4096, 256 * 6 * 6), (4096, 4096), (1000, 4096)]
    config = resolve("ilsvrc2012", "caffe2014", 2)
    rows = layer_table(config["model"], config["data"]["crop"], config["data"]["classes"])
    assert [(row.output_shape[0], row.fan_in) for row in rows if row.weights] == layers
    assert sum(row.parameters for row in rows) == 60_965_224  # what its readers count
    assert [row.output_shape[1] for row in rows if row.kind == "conv"] == [55, 27, 13, 13, 13]
    assert config["model"]["lrn"]["k"] == 1 and {row.bias_value for row in rows if row.weights} == {0.0, 0.1}


@pytest.mark.parametrize(
    ("experiment", "every", "biases"), [("caffe2014", 100_000 * 256 / 1_281_167, 2), ("torchvision2014", 30, 1)]
)
def test_rates_fall_tenfold_when_theirs_do(experiment: str, every: float, biases: int) -> None:
    optimizer = resolve("ilsvrc2012", experiment, 2)["optimizer"]
    for epoch in range(90):
        if abs(epoch / every - round(epoch / every)) * every < 0.2:
            continue  # the drop falls within this epoch
        found = rates(optimizer, epoch, 90, [])
        assert found.weights == pytest.approx(0.01 * 0.1 ** (epoch // every))
        assert found.biases == pytest.approx(biases * found.weights)


def test_published_errors_are_the_accuracies_of_their_sources() -> None:
    experiments = load("config")["experiments"]
    published = {name: about["published"] for name, about in experiments.items() if "published" in about}
    assert set(published) == {"onetower2014", "caffe2014", "torchvision2014"}
    weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    ours = published["torchvision2014"]
    assert (ours["top1"], ours["top5"]) == pytest.approx((100 - weights["acc@1"], 100 - weights["acc@5"]))
    assert published["caffe2014"]["top1"] == pytest.approx(100 - 57.1) and published["caffe2014"]["top5"] < 20
    assert (published["onetower2014"]["top1"], published["onetower2014"]["top5"]) == (42.548, 19.81)
