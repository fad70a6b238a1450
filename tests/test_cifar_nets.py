"""Parts that only the nets for CIFAR-10 use, against NumPy: pooling, input scale, initial weights, minibatches, decay."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.batches.loader import minibatches
from alexnet.errors import UserError
from alexnet.experiments import describe, resolve
from alexnet.net.model import build
from alexnet.training.schedule import MARGIN, hopeless, over, rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates

RACE = "fig1_relu_2012_lr001"


def net_of(experiment: str, seed: int = 1, **model):
    config = copy.deepcopy(resolve.resolve("cifar10", experiment, seed))
    config["model"] |= model
    return build(config), config


def pooled(x: np.ndarray, kind: str) -> np.ndarray:
    """Windows of 3 with stride 2 from the upper left, the last one cut off at the edge."""
    side = 1 + -(-(x.shape[2] - 3) // 2)
    out = np.empty((*x.shape[:2], side, side))
    for i in range(side):
        for j in range(side):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[:, :, i, j] = window.max((2, 3)) if kind == "max" else window.mean((2, 3))
    return out


@pytest.mark.parametrize(
    ("step", "kind"), [("pool_conv1", "max"), ("pool_conv2", "average"), ("pool_conv3", "average")]
)
def test_each_layer_has_its_own_pooling(step, kind):
    net, _ = net_of("cifar_18pct")
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8))
    found = net.layers[step](torch.from_numpy(x)).numpy()
    assert found.shape == (2, 4, 4, 4)
    np.testing.assert_allclose(found, pooled(x, kind), rtol=1e-12)


def test_max_pooling_before_the_activation_gives_the_same_values_and_gradients():
    for activation in (torch.relu, torch.tanh):
        x = torch.randn(2, 4, 9, 9, dtype=torch.float64, requires_grad=True)
        sides = [F.max_pool2d(activation(x), 3, 2, ceil_mode=True), activation(F.max_pool2d(x, 3, 2, ceil_mode=True))]
        torch.testing.assert_close(*sides)
        given = torch.randn_like(sides[0])
        torch.testing.assert_close(*(torch.autograd.grad(side, x, given)[0] for side in sides))


def test_the_input_is_divided_by_channel():
    divisors = [63.0, 62.1, 66.7]
    plain, _ = net_of(RACE)
    divided, _ = net_of(RACE, input_divisors=divisors)
    x = torch.randn(2, 3, 32, 32) * 60
    expected = plain(x / torch.tensor(divisors)[None, :, None, None])
    torch.testing.assert_close(divided(x), expected)
    assert list(divided.state_dict()) == list(plain.state_dict())  # a constant is no weight


def test_weights_start_as_torch_draws_them():
    """Moments of the uniform distribution within 1 / sqrt(fan-in), which is torch's own for convolutions and products."""
    net, _ = net_of("fig1_relu_modern_lr016")
    for name, fan_in in (("conv2", 32 * 25), ("conv3", 32 * 25), ("fc4", 1024)):
        layer, bound = net.layers[name], fan_in**-0.5
        for values in (layer.weight.detach().flatten(), layer.bias.detach()):
            assert values.abs().max() <= bound and values.min() < 0 < values.max()
        weights = layer.weight.detach()
        assert weights.abs().max() > 0.98 * bound
        assert weights.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        fresh = type(layer)(*((layer.in_channels, layer.out_channels, 5) if "conv" in name else (1024, 10)))
        assert fresh.weight.abs().max() <= bound and fresh.bias.abs().max() <= bound
    again, _ = net_of("fig1_relu_modern_lr016", seed=2)
    assert not torch.equal(net.layers["conv2"].weight, again.layers["conv2"].weight)


def test_published_initial_weights():
    net, config = net_of("cifar_no_lrn")
    crop = config["data"]["crop"]
    assert net(torch.zeros(2, 3, crop, crop)).shape == (2, 10)
    assert sum(p.numel() for p in net.parameters()) == 1_116_490  # layers-conv-local-13pct.cfg
    for name, deviation in (("conv1", 1e-4), ("conv2", 0.01), ("local3", 0.04), ("local4", 0.04), ("fc5", 0.01)):
        layer = net.layers[name]
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
        assert not layer.bias.any()


def test_minibatches_end_with_the_data_batch():
    optimizer = {"batch_size": 128, "partial_batch": "use", "data_batch": 10_000}
    spans = minibatches(50_000, optimizer)
    sizes = [end - first for first, end in spans]
    assert len(spans) == 395 and sizes == ([128] * 78 + [16]) * 5
    assert [first for first, _ in spans[1:]] == [end for _, end in spans[:-1]] and spans[-1][1] == 50_000
    dropped = minibatches(50_000, optimizer | {"partial_batch": "drop"})
    assert len(dropped) == 390 and {end - first for first, end in dropped} == {128}
    del optimizer["data_batch"]
    assert [end - first for first, end in minibatches(300, optimizer)] == [128, 128, 44]
    assert minibatches(100, optimizer | {"partial_batch": "drop"}) == []


def test_layers_decay_each_by_its_own_number():
    net, config = net_of("cifar_18pct")
    optimizer = PaperSGD(parameter_groups(net, config["optimizer"]))
    set_rates(optimizer, rates(config["optimizer"], 0, 140, []))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in net.named_parameters():
        decay = 0.0 if name.endswith("bias") else 1.0 if "fc4" in name else 0.004
        torch.testing.assert_close(p.detach(), before[name] * (1 - 1e-3 * decay), rtol=1e-6, atol=0)


def test_a_race_has_neither_decay_nor_augmentation_nor_normalisation():
    for name in resolve.load_study("cifar10")["experiments"]:
        if not name.startswith("fig1"):
            continue
        config = resolve.resolve("cifar10", name, 1)
        assert config["optimizer"]["weight_decay"] == 0 and "layer_weight_decay" not in config["optimizer"]
        assert not config["augmentation"]["random_crop"] and not config["augmentation"]["horizontal_flip"]
        steps = {step for layer in config["model"]["layers"].values() for step in layer["after"]}
        assert steps == {"pool", "activation"}


def test_conditions_differ_by_what_they_are_named_after():
    def difference(name):
        found = describe.differences(base, resolve.resolve("cifar10", name, 1))
        return {key.removeprefix("model.") for key in found}

    base = resolve.resolve("cifar10", "fig1_relu_2012", 1)
    pooling = {f"layers.conv{n}.{what}" for n in (2, 3) for what in ("after", "pool")}
    assert difference("fig1_tanh_2012") == {"activation"}
    assert difference("fig1_relu_initial") == {"initial"}
    assert difference("fig1_relu_scale") == {"input_divisors"}
    assert difference("fig1_relu_pool") == pooling
    assert difference("fig1_relu_2012_fp32") == {"precision"}
    assert difference("fig1_relu_modern") == pooling | {"initial", "input_divisors"}
    assert difference("fig1_tanh_modern") == pooling | {"initial", "input_divisors", "activation"}
    lrn = resolve.resolve("cifar10", "cifar_lrn", 1)
    plain = resolve.resolve("cifar10", "cifar_no_lrn", 1)
    assert set(describe.differences(plain, lrn)) == {f"model.layers.conv{n}.after" for n in (1, 2)}


@pytest.mark.parametrize(
    ("errors", "ends"),
    [
        ([], False),
        ([0.9, 0.5], False),
        ([0.9, 0.25], False),  # the epoch that reached it; one more is to come
        ([0.9, 0.25, 0.26], True),
        ([0.9, float("nan")], True),
        ([0.9, 0.8, float("nan")], True),
    ],
)
def test_a_training_with_a_mark_is_over_an_epoch_after_it(errors, ends):
    optimizer = {"stop_at": {"train_error": 0.25, "more_epochs": 1}}
    assert over(optimizer, errors, 60) is ends
    assert over({}, errors, 60) is False


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("start", "pace"), [(0, 0.1), (0, 0.04), (0, 0.02), (12, 0.1), (25, 0.1)])
def test_a_net_that_gets_there_is_not_given_up(start, pace, seed):
    """Errors fall exponentially, at once or after a time at chance, with the noise of 50,000 images."""
    epochs = np.arange(1, 61)
    fallen = 0.9 - 0.75 * (1 - np.exp(-pace * np.maximum(0, epochs - start)))
    errors = list(fallen + np.random.default_rng(seed).normal(0, 0.002, 60))
    reached = next((i for i, error in enumerate(errors) if error <= 0.25), None)
    given_up = next((i for i in range(1, 61) if hopeless(errors[:i], 60, 0.25)), None)
    if reached is not None:
        assert given_up is None or given_up > reached
    else:
        assert pace == 0.02


def test_a_net_that_will_not_get_there_is_given_up_early():
    epochs = np.arange(1, 61)
    given_up = {}
    for floor in (0.5, 0.4, 0.3):
        errors = list(0.9 - (0.9 - floor) * (1 - np.exp(-0.15 * epochs)))
        given_up[floor] = next(i for i in range(1, 61) if hopeless(errors[:i], 60, 0.25))
    assert 16 <= given_up[0.5] <= given_up[0.4] <= given_up[0.3] < 40
    assert not any(hopeless([0.9] * i, 60, 0.25) for i in range(1, 60))  # has not begun


def test_errors_that_fall_steadily_or_end_at_the_margin_are_no_reason_to_give_up():
    steadily = [0.875 - i / 256 for i in range(30)]  # exact in binary; 64 % after 60 epochs
    assert not hopeless(steadily, 60, 0.25)
    assert hopeless([*steadily[:-1], steadily[-2]], 60, 0.25)
    for end, given_up in ((0.25 + MARGIN, False), (0.251 + MARGIN, True)):
        assert hopeless([0.9] * 5 + [0.5] * 5 + [end] * 6, 60, 0.25) is given_up


def test_a_race_makes_one_experiment_a_rate():
    study = resolve.load_study("cifar10")
    names = [name for name in study["experiments"] if name.startswith("fig1_tanh_2012_lr")]
    assert len(names) >= 5
    for name in names:
        stages = resolve.resolve("cifar10", name, 1)["optimizer"]["schedule"]["stages"]
        assert float(f"0.{name.rpartition('_lr')[2]}") == stages[0]["weights"]
        assert stages == [{"until": 1, "weights": stages[0]["weights"], "biases": 2 * stages[0]["weights"]}]
        assert resolve.seeds_of("cifar10", name) == study["seeds_by_kind"]["race"]
    for net in ("relu", "tanh"):  # a rate given, not chosen: a seed that judges the twin too
        (alone,) = (name for name in study["experiments"] if name.startswith(f"fig1_{net}_2012_fp32"))
        assert set(resolve.seeds_of("cifar10", alone)) < set(study["seeds_by_kind"]["race"][1:])


def test_a_crop_larger_than_the_pictures_is_refused(definitions):
    import yaml

    path = definitions / "studies/tiny.yaml"
    record = yaml.safe_load(path.read_text())
    record["experiment_diffs"] = {"alexnet": {"crop": 41}}
    path.write_text(yaml.safe_dump(record))
    resolve.forget()
    with pytest.raises(UserError, match="`crop` .41. is larger than `image_size` .40."):
        resolve.resolve("tiny", "alexnet", 1, str(definitions))
