"""The update of section 5 against a sequence worked by hand, and the stages."""

import pytest
import torch

from alexnet.experiments import resolve
from alexnet.model import build
from alexnet.optim import PaperSGD, parameter_groups, set_rates, stage_of


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


def test_groups_cover_the_net_and_only_weights_decay():
    config = resolve("demo", "alexnet", 1)
    net = build(config)
    groups = {group["name"]: group for group in parameter_groups(net, config["optimizer"])}
    assert sum(len(group["params"]) for group in groups.values()) == len(list(net.parameters()))
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "weights": 5e-4,
        "biases": 0.0,
        "conv1": 5e-4,
        "conv1_biases": 0.0,
    }
    assert all(p.dim() == 1 for p in groups["biases"]["params"] + groups["conv1_biases"]["params"])


def test_stages_of_the_2012_run():
    config = resolve("ilsvrc2010", "alexnet", 1)
    schedule = config["optimizer"]["schedule"]
    optimizer = PaperSGD(parameter_groups(build(resolve("demo", "alexnet", 1)), config["optimizer"]))

    def rates(epoch):
        set_rates(optimizer, stage_of(schedule, epoch, 93))
        return {group["name"]: group["lr"] for group in optimizer.param_groups}

    assert rates(22) == {"weights": 0.01, "biases": 0.02, "conv1": 0.01, "conv1_biases": 0.02}
    assert rates(23)["weights"] == 0.001
    assert rates(70)["conv1"] == 1e-5 and rates(70)["weights"] == 1e-4
    assert rates(75) == {"weights": 1e-4, "biases": 0.002, "conv1": 0.0, "conv1_biases": 0.0}
    assert rates(92)["weights"] == 1e-5


def test_stages_are_compressed_to_the_epochs_of_a_study():
    schedule = {
        "epochs": 90,
        "stages": [{"until": 30, "weights": 1}, {"until": 60, "weights": 2}, {"until": 90, "weights": 3}],
    }
    assert [stage_of(schedule, epoch, 6)["weights"] for epoch in range(6)] == [1, 1, 2, 2, 3, 3]
