"""Turns gradients into the weight update of section 5, with rates that follow fixed stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class PaperSGD(torch.optim.Optimizer):
    """v <- momentum * v - decay * lr * w - lr * gradient;  w <- w + v  (s. 5; code weights.cu:146-198).

    The learning rate is inside the velocity, so that a change of rate does not rescale past steps, as it would
    in torch.optim.SGD. A group with lr = 0 is frozen: it neither moves nor decays.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 5e-4
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure else None
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            params = [p for p in group["params"] if p.grad is not None]
            if rate == 0.0 or not params:
                continue
            velocities = []
            for p in params:
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = torch.zeros_like(p)
                velocities.append(self.state[p]["velocity"])
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, [p.grad for p in params], alpha=-rate)
            if decay:
                torch._foreach_add_(velocities, params, alpha=-rate * decay)
            torch._foreach_add_(params, velocities)
        return loss


def parameter_groups(net: nn.Module, optimizer: dict[str, Any]) -> list[dict[str, Any]]:
    """Groups named weights, biases, conv1 and conv1_biases, the units in which the recipes set rates."""
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "biases": [], "conv1": [], "conv1_biases": []}
    for name, parameter in net.named_parameters():
        bias = name.endswith(".bias")
        if ".conv1." in name:
            groups["conv1_biases" if bias else "conv1"].append(parameter)
        else:
            groups["biases" if bias else "weights"].append(parameter)
    decay = optimizer["weight_decay"]
    return [
        {
            "name": name,
            "params": params,
            "momentum": optimizer["momentum"],
            "weight_decay": decay if optimizer["decay_biases"] or not name.endswith("biases") else 0.0,
        }
        for name, params in groups.items()
    ]


def stage_of(schedule: dict[str, Any], epoch: int, epochs: int) -> dict[str, Any]:
    """The stage in force during `epoch` (0-based) of `epochs`; the schedule is compressed to `epochs`."""
    position = epoch / epochs * schedule["epochs"]
    for stage in schedule["stages"]:
        if position < stage["until"] - 1e-9:
            return stage
    return schedule["stages"][-1]


def set_rates(optimizer: torch.optim.Optimizer, stage: dict[str, Any]) -> None:
    """Give every group the rate of `stage`; conv1 follows the others where the stage does not name it."""
    rates = {
        "weights": stage["weights"],
        "biases": stage["biases"],
        "conv1": stage.get("conv1", stage["weights"]),
        "conv1_biases": stage.get("conv1_biases", stage["biases"]),
    }
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
