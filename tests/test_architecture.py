"""The layer table against the paper's numbers, recomputed by hand, and against the torch module."""

import json

import pytest
import torch

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.experiments.architecture import describe, layer_table
from alexnet.experiments.definitions import load, load_study
from alexnet.experiments.describe import describe_experiment
from alexnet.experiments.resolve import merge, resolve
from alexnet.net.model import build


def full_size(experiment: str, recipe: str = "code2012") -> dict:
    known = load()
    return merge(known["recipes"][recipe], known["experiments"][experiment]["diff"])["model"]


@pytest.mark.parametrize("recipe", ["paper", "code2012"])
@pytest.mark.parametrize(
    ("experiment", "parameters", "units", "macs"),
    [
        ("alexnet", 60_965_224, 659_272, 724_406_816),
        ("one_gpu", 59_798_312, 355_864, 391_514_384),
        ("no_lrn", 60_965_224, 659_272, 724_406_816),
    ],
)
def test_totals_at_full_size(recipe, experiment, parameters, units, macs):
    totals = describe(full_size(experiment, recipe), 224, 1000)["totals"]
    assert (totals["parameters"], totals["units"], totals["macs"]) == (parameters, units, macs)
    assert totals["parameters"] == totals["weights"] + totals["biases"]


@pytest.mark.parametrize(
    ("experiment", "share"),
    [  # parameters against the base, from the paper's sizes: original documentation of the removed layers
        ("no_conv2", -860_416),
        ("no_conv3", -663_936),
        ("no_conv3_separate_towers", -1_106_304),
        ("no_conv4", -663_936),
        ("no_conv5", 4096 * 128 * 36 - 442_624),  # fc6 then reads 384 maps instead of 256
        ("conv6", 590_080),
    ],
)
def test_parameters_of_nets_with_another_depth(experiment, share):
    totals = describe_experiment("ilsvrc2010", experiment)["totals"]
    assert totals["parameters"] == 60_965_224 + share


def test_the_recipes_at_full_size():
    totals = {name: describe_experiment("ilsvrc2010", name)["totals"] for name in ("alexnet", "paper", "onetower2014")}
    for name in ("alexnet", "paper"):
        found = [totals[name][key] for key in ("parameters", "units", "macs")]
        assert found == [60_965_224, 659_272, 724_406_816]
    assert totals["onetower2014"]["parameters"] == 61_100_840  # as torchvision's net, which has its sizes


@pytest.mark.parametrize(
    ("experiment", "parameters", "sides"),
    [  # by hand from the published files; 1,116,490 and 2,112,970 are those of the 13 % net and of the final 11 % net
        ("cifar_18pct", 32 * 76 + 32 * 801 + 64 * 801 + 10 * 1025, [32, 16, 16, 8, 8, 4]),
        ("fig1_relu_2012", 89_578, [32, 16, 16, 8, 8, 4]),
        ("fig1_tanh_modern", 89_578, [32, 16, 16, 8, 8, 4]),
        ("fig1_relu_deeper", 89_578 - 10_250 + 64 * 1025 + 650, [32, 16, 16, 8, 8, 4]),
        ("cifar_no_lrn", 1_116_490, [24, 12, 12, 6, 6, 6]),
        ("cifar_lrn", 1_116_490, [24, 12, 12, 6, 6, 6]),
        ("cifar_lrn_final", 2_112_970, [24, 12, 12, 6, 6, 6]),
    ],
)
def test_nets_for_cifar10_have_their_published_sizes(experiment, parameters, sides):
    net = describe_experiment("cifar10", experiment)
    assert net["totals"]["parameters"] == parameters
    kinds = ("conv", "local", "pool")
    assert [row["output_shape"][1] for row in net["layers"] if row["kind"] in kinds] == sides


def test_a_layer_without_shared_kernels_reads_all_towers():
    model = load()["recipes"]["cifar_local"]["model"]
    model = merge(model, {"towers": 2, "layers": {"local3": {"reads": "own_tower"}}})
    with pytest.raises(UserError, match="local3: .* reads all towers"):
        layer_table(model, 24, 10)


def test_two_poolings_after_one_layer_have_two_names():
    names = [row["name"] for row in describe_experiment("ilsvrc2010", "no_conv2")["layers"]]
    assert names[:6] == ["conv1", "lrn1", "pool1", "activation1", "pool1_2", "conv3"]


def test_maps_of_the_base_and_of_non_overlapping_pooling():
    def sides(experiment):
        rows = layer_table(full_size(experiment), 224, 1000)
        return [row.output_shape[1] for row in rows if row.kind in ("conv", "pool")]

    assert sides("alexnet") == [55, 27, 27, 13, 13, 13, 13, 6]
    assert sides("non_overlapping_pooling") == [55, 28, 26, 13, 13, 11, 11, 6]
    assert sides("non_overlapping_pooling_literal") == [55, 28, 28, 14, 14, 14, 14, 7]
    assert sides("text_whole_windows") == [54, 27, 27, 13, 13, 13, 13, 6]


def test_conv1_has_three_zero_pixels_right_and_bottom():
    conv1 = layer_table(full_size("alexnet"), 224, 1000)[0]
    assert (conv1.partial_window, conv1.pad, conv1.receptive_field) == (3, 0, 11)


def test_receptive_fields():
    # By hand: r <- r + (k - 1) j, j <- j s along conv1 11/4, pool 3/2, conv2 5, pool 3/2, conv3, conv4, conv5, pool 3/2.
    rows = {row.name: row.receptive_field for row in layer_table(full_size("alexnet"), 224, 1000)}
    wanted = {"conv1": 11, "pool1": 19, "conv2": 51, "pool2": 67, "conv3": 99, "conv4": 131, "conv5": 163, "pool5": 195}
    assert {name: rows[name] for name in wanted} == wanted


STUDIES = ("demo", "imagenette")
TRAINED = [
    (study, name)
    for study in STUDIES
    for name in load_study(study)["experiments"]
    if "members" not in load()["experiments"][name]
]
TRAINED += [("cifar10", name) for name in load_study("cifar10")["experiments"] if "lr" not in name.split("_")[-1]]
TRAINED += [("cifar10", "fig1_tanh_modern_lr016"), ("cifar10", "fig1_relu_deeper_lr001")]


@pytest.mark.parametrize(("study", "experiment"), TRAINED)
def test_table_agrees_with_the_torch_module(study, experiment):
    config = resolve(study, experiment, 1)
    net = build(config).eval()
    data = config["data"]
    rows = layer_table(config["model"], data["crop"], data["classes"])
    shapes: dict[str, tuple] = {}
    for name, module in net.layers.items():
        if name == "input":  # scales the picture, and is no layer of the table
            continue
        module.register_forward_hook(lambda m, i, o, name=name: shapes.__setitem__(name, tuple(o.shape[1:])))
    with torch.no_grad():
        net(torch.zeros(1, 3, data["crop"], data["crop"]))
    assert list(shapes.values()) == [row.output_shape for row in rows]
    for row in rows:
        if row.weights:
            layer = net.layers[row.name]
            assert (layer.weight.numel(), layer.bias.numel()) == (row.weights, row.biases)
    assert sum(p.numel() for p in net.parameters()) == sum(row.parameters for row in rows)


def test_a_crop_that_is_too_small_is_a_sentence():
    with pytest.raises(UserError, match="does not fit into 8 pixels"):
        layer_table(full_size("alexnet"), 8, 1000)


def test_describe_prints_json(capsys):
    assert main(["describe", "--study", "ilsvrc2010", "--experiment", "one_gpu"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["totals"]["parameters"] == 59_798_312
    assert record["difference"]["model.layers.conv1.maps"] == [96, 48]
