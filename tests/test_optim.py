"""The update of section 5 against a sequence worked by hand, and the schedules against published rates."""

import numpy as np
import pytest
import torch

from alexnet.experiments.resolve import resolve
from alexnet.net.model import build
from alexnet.training.schedule import rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates


def run(optimizer_class, rates, **settings):
    w = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = optimizer_class([w], lr=rates[0], momentum=0.9, weight_decay=0.0005, **settings)
    path = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        w.grad = 2 * w.detach()  # of the loss w**2
        optimizer.step()
        path.append(w.item())
    return path


def test_follows_the_printed_rule_through_a_change_of_rate():
    rates = [0.1, 0.1, 0.01, 0.01]
    w, v, by_hand = 1.0, 0.0, []
    for rate in rates:
        v = 0.9 * v - 0.0005 * rate * w - rate * 2 * w
        w = w + v
        by_hand.append(w)
    assert run(PaperSGD, rates) == pytest.approx(by_hand, rel=1e-12)
    torchs = run(torch.optim.SGD, rates)
    assert torchs[:2] == pytest.approx(by_hand[:2], rel=1e-12)  # the same while the rate stands
    assert abs(torchs[2] - by_hand[2]) > 0.05  # torch rescales the past at once


def test_a_frozen_group_neither_moves_nor_decays():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = PaperSGD([w], lr=0.0)
    w.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(w.data, torch.ones(3))


def test_a_frozen_group_thaws_where_it_stood_and_decay_can_cover_all():
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = PaperSGD([w], lr=0.1, momentum=0.9, weight_decay=0.5)
    for rate in (0.1, 0.0, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        w.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    v1 = -0.5 * 0.1 * 1.0 - 0.1
    w1 = 1 + v1
    v2 = 0.9 * v1 - 0.5 * 0.1 * w1 - 0.1  # the frozen step in between left no trace
    assert w.item() == pytest.approx(w1 + v2, rel=1e-12)


def test_groups_move_by_their_own_settings():
    a, b = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = PaperSGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.2, "weight_decay": 0.0}])
    a.grad, b.grad = (torch.ones(2, dtype=torch.float64) for _ in range(2))
    optimizer.step()
    assert a[0].item() == pytest.approx(1 - 0.1 - 0.1 * 5e-4)
    assert b[0].item() == pytest.approx(0.8)


def test_the_update_does_not_depend_on_how_weights_and_gradients_lie_in_memory():
    generator = np.random.default_rng(0)
    w, g = (generator.normal(0, 1, (8, 3, 5, 5)).astype(np.float32) for _ in range(2))
    v = np.zeros_like(w)
    parameter = torch.nn.Parameter(torch.from_numpy(w.copy()).contiguous(memory_format=torch.channels_last))
    optimizer = PaperSGD([parameter], lr=0.01)
    for _ in range(3):
        parameter.grad = torch.from_numpy(g.copy())  # contiguous, as the weights are not
        optimizer.step()
        assert parameter.grad is None
        v = 0.9 * v - 0.0005 * 0.01 * w - 0.01 * g
        w = w + v
    np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("recipe", "biases_decay"), [("alexnet", 0.0), ("paper", 5e-4)])
def test_groups_cover_the_net_and_biases_decay_as_the_recipe_says(recipe, biases_decay):
    config = resolve("demo", recipe, 1)
    net = build(config)
    groups = {group["name"]: group for group in parameter_groups(net, config["optimizer"])}
    parameters = [p for group in groups.values() for p in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in net.parameters()} and len(groups) == 16
    for name, group in groups.items():
        biases = name.endswith(".biases")
        assert group["weight_decay"] == (biases_decay if biases else 5e-4)
        assert all((p.dim() == 1) == biases for p in group["params"])
    assert groups["conv1.weights"]["params"][0] is net.layers["conv1"].weight


def test_stages_of_the_2012_run():
    optimizer = resolve("ilsvrc2010", "alexnet", 1)["optimizer"]

    def at(epoch):
        current = rates(optimizer, epoch, 93, [])
        names = ("conv1.weights", "conv1.biases", "conv2.weights", "conv2.biases", "fc8.weights")
        return [current.of(name) for name in names] + [current.color_noise]

    # original_code.md, section 4: epochs 23, 51, 68 (conv1, noise off), 72 (conv1 frozen), 78, 93
    assert at(0) == at(22) == [0.01, 0.02, 0.01, 0.02, 0.01, True]
    assert at(23) == at(50) == [1e-3, 2e-3, 1e-3, 2e-3, 1e-3, True]
    assert at(51) == at(67) == [1e-4, 2e-3, 1e-4, 2e-3, 1e-4, True]
    assert at(68) == at(71) == [1e-5, 2e-3, 1e-4, 2e-3, 1e-4, False]
    assert at(72) == at(77) == [0.0, 0.0, 1e-4, 2e-3, 1e-4, False]
    assert at(78) == at(92) == [0.0, 0.0, 1e-5, 2e-3, 1e-5, False]
    equal = optimizer | {"equal_rates": True}
    assert {
        rates(equal, 75, 93, []).of(f"{layer}.{kind}") for layer in ("conv1", "fc6") for kind in ("weights", "biases")
    } == {1e-4}


def test_stages_are_compressed_to_the_epochs_of_a_study():
    stages = [{"until": u, "weights": w, "biases": w} for u, w in ((30, 1), (60, 2), (90, 3))]
    optimizer = {"equal_rates": False, "schedule": {"rule": "stages", "epochs": 90, "stages": stages}}
    assert [rates(optimizer, epoch, 6, []).weights for epoch in range(6)] == [1, 1, 2, 2, 3, 3]
    del stages[2]  # then the last one stays
    assert [rates(optimizer, epoch, 6, []).weights for epoch in range(6)] == [1, 1, 2, 2, 2, 2]


def test_plateau_rule_divides_by_ten_three_times_at_most_and_says_why():
    optimizer = resolve("ilsvrc2010", "paper", 1)["optimizer"]
    optimizer = optimizer | {"schedule": optimizer["schedule"] | {"patience": 2}}
    #         falls       stands      falls  stands    stands    stands: no fourth drop
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    found = [rates(optimizer, epoch, 90, errors) for epoch in range(13)]
    #           1 to 4               5 to 7               8, 9               10 on
    expected = [1e-2, 1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5, 1e-5]
    assert [r.weights for r in found] == pytest.approx(expected)
    assert [r.biases for r in found] == pytest.approx(expected)  # s. 5: an equal rate for all layers
    assert found[3].reason == "first rate"
    assert found[4].reason == "drop 1 of 3: validation error not below 80.00% for 2 epochs up to epoch 4"
    assert all(r.color_noise for r in found)
    # errors of later epochs do not reach back: a resumed run sees what an uninterrupted one saw
    assert rates(optimizer, 4, 90, errors[:4]) == found[4]


def test_stepwise_exponential_has_the_published_rates():
    optimizer = resolve("ilsvrc2012", "onetower2014", 1)["optimizer"]
    found = [rates(optimizer, epoch, 90, []) for epoch in range(90)]
    # original_code.md, section 4: 0.01, 1.587e-3, 2.52e-4, 4e-5 in four equal parts; biases 0.02, then 0.002
    wanted = [1e-2] * 23 + [1.587e-3] * 22 + [2.52e-4] * 23 + [4e-5] * 22
    assert [r.weights for r in found] == pytest.approx(wanted, rel=1e-3)
    assert [r.biases for r in found] == pytest.approx([0.02] * 45 + [0.002] * 45)
    single = {
        "rule": "stepwise_exponential",
        "weights": {"base": 1, "factor": 9, "steps": 1},
        "biases": {"base": 2, "factor": 1, "steps": 1},
    }
    assert rates({"equal_rates": False, "schedule": single}, 5, 9, []).weights == 1


def test_fine_tuning_has_a_fast_softmax_and_a_slow_first_layer():
    optimizer = resolve("demo", "conv6_pretrained", 1)["optimizer"]
    first = rates(optimizer, 0, 54, [])
    assert (first.of("conv1.weights"), first.of("conv2.weights"), first.of("fc8.weights")) == (1e-4, 1e-3, 1e-2)
    net = build(resolve("demo", "conv6", 1))
    groups = PaperSGD(parameter_groups(net, optimizer))
    set_rates(groups, first)
    found = {group["name"]: group["lr"] for group in groups.param_groups}
    assert found["fc8.weights"] == 1e-2 and found["conv6.weights"] == 1e-3 and found["fc8.biases"] == 2e-3
