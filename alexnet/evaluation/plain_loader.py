"""Runs a net that `python -m alexnet export` wrote, with torch and safetensors alone."""

import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F


def load(path: str) -> tuple[Callable[[Tensor], Tensor], Tensor, dict[str, Any]]:
    """The net, the mean image that is subtracted first (3, side, side), and what the file says of itself.

    The net takes (B, 3, crop, crop), red first, 0 to 255 less the mean image's central part, and gives (B, classes) logits.
    """
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["alexnet"])
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}

    def step(kind: str, s: dict[str, Any], x: Tensor) -> Tensor:
        if kind == "across":  # within a tower; torch divides alpha by the size, too
            towers = x.reshape(len(x) * s["towers"], -1, *x.shape[2:])
            return F.local_response_norm(towers, s["size"], s["alpha"], s["beta"], s["k"]).reshape(x.shape)
        if kind == "within":
            return x / (s["k"] + s["alpha"] * F.avg_pool2d(x * x, s["size"], 1, s["size"] // 2)) ** s["beta"]
        if kind == "max":
            return F.max_pool2d(x, s["kernel"], s["stride"], ceil_mode=True)
        if kind == "average":
            return F.avg_pool2d(x, s["kernel"], s["stride"], ceil_mode=True, count_include_pad=False)
        return x * s["by"] if kind == "scale" else getattr(torch, kind)(x)  # relu or tanh

    def net(x: Tensor) -> Tensor:
        x = x / torch.tensor(about["input_divisors"])[:, None, None]
        for name, layer in about["layers"].items():
            weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            if weight.dim() == 4:
                x = F.pad(x, (0, layer["partial"], 0, layer["partial"]))
                x = F.conv2d(x, weight, bias, layer["stride"], layer["pad"], groups=layer["groups"])
            else:
                x = F.linear(x.flatten(1), weight, bias)
            for kind, settings in layer["after"]:
                x = step(kind, settings, x)
        return x

    return net, tensors["mean"], about
