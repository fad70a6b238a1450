"""Turns a resolved configuration into the network of section 3.5, both towers on one device.

A layer that reads its own tower is a grouped convolution over the maps [tower 0 | tower 1].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from alexnet.architecture import Layer, layer_table, steps_after
from alexnet.layers import Dropout, LocalResponseNorm

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class AlexNet(nn.Module):
    """Krizhevsky, Sutskever & Hinton (2012), or one of its ablations.

    Shape: (B, 3, crop, crop), mean-subtracted pixels on the 0-255 scale -> (B, classes) logits.
    `features(x, "fc7")` gives the output of the named layer after what follows it.
    """

    def __init__(self, model: dict[str, Any], crop: int, classes: int) -> None:
        super().__init__()
        rows = {row.name: row for row in layer_table(model, crop, classes)}
        self.learned, self.towers = list(model["layers"]), model["towers"]
        self.reads = {name: rows[name].reads for name in self.learned}
        modules: dict[str, nn.Module] = {}
        for name, record in model["layers"].items():
            row = rows[name]
            if row.kind == "conv":
                modules[name] = _convolution(row, rows)
            else:
                modules[name] = nn.Linear(row.fan_in, row.units)
            for step, suffix in steps_after(record["after"]):
                modules[f"{step}_{name}{suffix}"] = _following(step, model)
        self.layers = nn.ModuleDict(modules)
        self.partial = {name: rows[name].partial_window for name in self.learned}

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, last=None)

    def features(self, x: Tensor, layer: str) -> Tensor:
        """Activations after `layer` and all that follows it before the next learned layer."""
        return self._run(x, last=layer)

    def _run(self, x: Tensor, last: str | None) -> Tensor:
        current = ""
        for name, module in self.layers.items():
            if name in self.partial:
                if current and current == last:
                    return x
                current = name
                extra = self.partial[name]
                if extra:
                    x = nn.functional.pad(x, (0, extra, 0, extra))
                if isinstance(module, nn.Linear) and x.dim() > 2:
                    x = x.flatten(1)  # (B, C, H, W) -> (B, C*H*W), tower 0 first
            x = module(x)
        return x


def _convolution(row: Layer, rows: dict[str, Layer]) -> nn.Conv2d:
    inputs = row.fan_in // row.kernel**2 * row.groups
    return nn.Conv2d(inputs, row.output_shape[0], row.kernel, row.stride, row.pad, groups=row.groups)


def _following(step: str, model: dict[str, Any]) -> nn.Module:
    if step == "activation":
        return ACTIVATIONS[model["activation"]]()
    if step == "lrn":
        return LocalResponseNorm(**model["lrn"], towers=model["towers"])
    if step == "spatial_norm":
        return LocalResponseNorm(**model["spatial_norm"], mode="within", divide_alpha_by_size=True)
    if step == "pool":
        return nn.MaxPool2d(model["pool"]["kernel"], model["pool"]["stride"], ceil_mode=True)
    return Dropout(model["drop_probability"])


def build(config: dict[str, Any]) -> AlexNet:
    """The network of a resolved configuration, weights drawn as section 5 says, keyed by its seed.

    Raises:
        alexnet.errors.UserError: a net that cannot be built.
    """
    data = config["data"]
    net = AlexNet(config["model"], data["crop"], data["classes"])
    generator = torch.Generator().manual_seed(config["seed"])
    with torch.no_grad():
        for name, record in config["model"]["layers"].items():
            layer = net.layers[name]
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            layer.weight.normal_(0.0, record["weight_std"], generator=generator)
            assert layer.bias is not None
            layer.bias.fill_(record["bias"])
    return net.to(memory_format=torch.channels_last)
