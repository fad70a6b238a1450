"""The update rule of section 5."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from alexnet.experiments.config import Optimizer
from alexnet.training.schedule import Rates


class PaperSGD:
    """v <- momentum * v - decay * lr * w - lr * gradient;  w <- w + v  (s. 5; code weights.cu:146-198).

    The learning rate is inside the velocity, so that a change of rate does not rescale past steps, as it would
    in torch.optim.SGD. A group with lr = 0 is frozen: it neither moves nor decays (code weights.cu:148), and its
    velocity stands still. A step uses up the gradients of what moves: they are None after it. Groups and state are as those
    of torch's optimizers, whose base class would import torch's compiler: a second at the start of every run.

    Args:
        params: parameters, or groups of them with settings of their own (see `parameter_groups`).
        lr, momentum, weight_decay: settings of groups that do not name theirs.
    """

    def __init__(self, params: Any, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 5e-4) -> None:
        defaults, params = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, list(params)
        groups = params if isinstance(params[0], dict) else [{"params": params}]
        self.param_groups: list[dict[str, Any]] = [defaults | group for group in groups]
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        together: dict[tuple[float, float, float], list[torch.Tensor]] = defaultdict(list)
        for group in self.param_groups:  # groups with equal settings move in one fused step
            if group["lr"] != 0.0:
                moved = [p for p in group["params"] if p.grad is not None]
                together[group["lr"], group["momentum"], group["weight_decay"]] += moved
        # torch's own fused SGD, one pass over memory: b <- momentum b + (-gradient / grad_scale + weight_decay w),
        # w <- w - lr b; with lr -1 and "maximize" its buffer is our velocity; it overwrites the gradients
        for (rate, momentum, decay), params in together.items():
            if not params:
                continue
            for p in params:
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = torch.zeros_like(p)
            velocities, gradients = [self.state[p]["velocity"] for p in params], [_as_stored(p) for p in params]
            scale = torch.full((), 1 / rate, device=params[0].device)
            torch._fused_sgd_(
                params, gradients, velocities, weight_decay=-rate * decay, momentum=momentum, lr=-1.0, dampening=0.0,
                nesterov=False, maximize=True, is_first_step=False, grad_scale=scale,
            )  # fmt: skip
            for p in params:
                p.grad = None  # used up


def _as_stored(p: torch.Tensor) -> torch.Tensor:
    """The gradient of `p`, laid out in memory as `p` is: the fused update goes through memory, not through indices."""
    assert p.grad is not None
    return p.grad if p.grad.stride() == p.stride() else torch.empty_like(p).copy_(p.grad)


def parameter_groups(net: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """A group for the weights and one for the biases of each learned layer, named `conv1.weights` and so on."""
    own = optimizer.get("layer_weight_decay", {})
    groups = []
    for name, parameter in net.named_parameters():
        layer, kind = name.split(".")[-2:]
        biases = kind == "bias"
        decay = own.get(layer, optimizer["weight_decay"])
        groups.append(
            {
                "name": f"{layer}.{'biases' if biases else 'weights'}",
                "params": [parameter],
                "momentum": optimizer["momentum"],
                "weight_decay": decay if optimizer["decay_biases"] or not biases else 0.0,
            }
        )
    return groups


def set_rates(optimizer: PaperSGD, current: Rates) -> None:
    """Give every group of `parameter_groups` its rate."""
    for group in optimizer.param_groups:
        group["lr"] = current.of(group["name"])
