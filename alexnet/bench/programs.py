"""Programs that the step benchmark times: our net, a plain one, torchvision's, and single operations."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.experiments import resolve
from alexnet.experiments.config import RunConfig
from alexnet.net.execution import keep_memory, plan
from alexnet.net.layers import LocalResponseNorm
from alexnet.net.model import AlexNet, build
from alexnet.training.schedule import Rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates
from alexnet.training.step import Step
from alexnet.training.towers import Link, Tower

RATE = 1e-5  # low, so that the random images below lead nowhere
TIMEOUT = 600.0  # seconds that a tower waits for the other one
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class ObviousNorm(nn.Module):
    """Normalisation as one would write it in torch: LocalResponseNorm on each tower (s. 3.3, dividing alpha), or within maps."""

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm
        self.across = nn.LocalResponseNorm(norm.size, norm.coefficient * norm.size, norm.beta, norm.k)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        if n.mode == "across":
            return torch.cat([self.across(half) for half in x.chunk(n.towers, 1)], 1)
        sums = F.avg_pool2d(x * x, n.size, stride=1, padding=n.size // 2, divisor_override=1)
        return x / (n.k + n.coefficient * sums) ** n.beta


def obvious_net(config: RunConfig) -> nn.Module:
    """The same net as one would write it first: torch's normalisation, contiguous tensors."""
    net = build(config)
    for name, module in net.layers.items():
        if isinstance(module, LocalResponseNorm):
            net.layers[name] = ObviousNorm(module)
    return net.to(memory_format=torch.contiguous_format)


def resolved(study: str, experiment: str, precision: str = "fp32") -> RunConfig:
    return {**resolve.resolve(study, experiment, 1), "precision": precision}


def batch_of(config: RunConfig, batch: int, last: bool) -> tuple[Tensor, Tensor]:
    """Random images (batch, 3, crop, crop) and labels, the same in every process."""
    crop, generator = config["data"]["crop"], torch.Generator().manual_seed(0)
    images = 60 * torch.randn(batch, 3, crop, crop, generator=generator)
    format = torch.channels_last if last else torch.contiguous_format
    return images.contiguous(memory_format=format), torch.arange(batch) % config["data"]["classes"]


def training_step(
    net: nn.Module, optimizer: PaperSGD | torch.optim.Optimizer, config: RunConfig, batch: int, last: bool = True
) -> Callable[[], float]:
    """A step as a training takes it, on the device of the net; its loss is read each time."""
    step, device = Step(net.train(), optimizer, config["precision"] == "bf16"), next(net.parameters()).device
    images, labels = (tensor.to(device) for tensor in batch_of(config, batch, last))
    return lambda: step(images, labels)[0].item()


def our_step(config: RunConfig, batch: int, link: Link | None = None, devices: str = "0") -> Callable[[], float]:
    """Our program on the processor, or with `devices` 1 on a GPU where there is one; with a `link` one tower's part of it."""
    execution = plan(devices, torch.get_num_threads(), config["precision"])
    execution.apply()
    net: AlexNet | Tower = (Tower(build(config), link) if link else build(config)).to(execution.device())
    optimizer = PaperSGD(parameter_groups(net, config["optimizer"]))
    set_rates(optimizer, Rates(RATE, RATE, "bench"))
    return training_step(net, optimizer, config, batch)


def tower_step(config: RunConfig, batch: int, rank: int, meeting: Path) -> Callable[[], float]:
    """One tower's part of our program, which meets the other one's at the file `meeting`."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # both processes are on this machine
    store, timeout = dist.FileStore(str(meeting), 2), timedelta(seconds=TIMEOUT)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timeout)
    return our_step(config, batch, Link(rank, TIMEOUT))


def obvious_step(config: RunConfig, batch: int) -> Callable[[], float]:
    net = obvious_net(config)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    return training_step(net, optimizer, config, batch, last=False)


def torchvision_step(config: RunConfig, batch: int) -> Callable[[], float]:
    """torchvision's own AlexNet, another net (one tower, no normalisation), with the best settings known."""
    from torchvision.models import alexnet

    keep_memory()
    net = alexnet(num_classes=config["data"]["classes"]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, fused=True)
    least = config | {"data": config["data"] | {"crop": max(64, config["data"]["crop"])}}  # that it takes
    return training_step(net, optimizer, least, batch)


def matrix_product(size: int, precision: str) -> Callable[[], Any]:
    """A product of two size x size matrices."""
    a, b = (torch.randn(size, size).to(TYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def convolution(batch: int, precision: str) -> Callable[[], Any]:
    """conv3 of the full-size net, forward."""
    keep_memory()
    x, weight = (
        torch.randn(shape).to(TYPES[precision]).contiguous(memory_format=torch.channels_last)
        for shape in ((batch, 256, 13, 13), (384, 256, 3, 3))
    )
    return torch.no_grad()(lambda: F.conv2d(x, weight, padding=1))


def norm_alone(batch: int, precision: str, obvious: bool) -> Callable[[], Any]:
    """Response normalisation, forward and backward, at the shape of conv1 of the full-size net."""
    keep_memory()
    norm = LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha_by_size=True, towers=2)
    layer = ObviousNorm(norm) if obvious else norm
    x = torch.randn(batch, 96, 55, 55).to(TYPES[precision])
    x = (x if obvious else x.contiguous(memory_format=torch.channels_last)).requires_grad_()
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(layer(x), x, grad)


def layer_times(config: RunConfig, batch: int) -> Callable[[], dict[str, float]]:
    """Seconds that each layer takes, forward and backward, one after the other on what it gets in the net."""
    plan("0", torch.get_num_threads(), config["precision"]).apply()
    net = build(config).train()
    images, _ = batch_of(config, batch, True)
    bf16 = config["precision"] == "bf16"
    inputs: dict[str, Tensor] = {}

    def remember(name: str, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[name] = arguments[0].detach()

    for name, module in net.layers.items():
        module.register_forward_pre_hook(partial(remember, name))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        net(images)

    def measure() -> dict[str, float]:
        found = {}
        for number, (name, module) in enumerate(net.layers.items()):
            x = inputs[name].clone(memory_format=torch.preserve_format).requires_grad_(number > 0)
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = module(x)
            torch.autograd.backward(out, torch.ones_like(out))
            found[name] = time.perf_counter() - started
        return found

    return measure
