"""Loads trained weights and checks that they belong to a configuration."""

from pathlib import Path
from typing import Any

import torch

from alexnet.errors import UserError
from alexnet.experiments.config import RunConfig
from alexnet.net import tensors
from alexnet.net.model import AlexNet, build
from alexnet.runtime.files import sha256


def load_weights(path: Path, fingerprint: str, advice: str) -> dict[str, Any]:
    """model.pt of the configuration with this fingerprint, read without running foreign code.

    Raises:
        UserError: missing, unreadable, or of another configuration; `advice` says how to make it.
    """
    try:
        with open(path, "rb") as file:
            saved = tensors.read_tensors(file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {advice}") from None
    except (OSError, tensors.Refused) as error:
        raise UserError(f"{path} is not a weights file of this bench: it {error}") from None
    if saved.get("config_fingerprint") != fingerprint:
        raise UserError(f"{path} was trained with another configuration; {advice}")
    weights, names, mean = saved.get("state_dict"), saved.get("wnids"), saved.get("mean")
    if not (
        isinstance(weights, dict)
        and all(isinstance(w, torch.Tensor) and w.is_floating_point() for w in weights.values())
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and isinstance(mean, torch.Tensor)
        and mean.dtype == torch.float32
    ):
        raise UserError(f"{path} lacks weights, classes or mean image; {advice}")
    return saved


def finished_net(config: RunConfig, path: Path) -> tuple[AlexNet, dict[str, Any]]:
    """The net of a finished run with its weights, on the processor, and all of its model.pt.

    Raises:
        UserError: missing, unreadable, or of another configuration or shape.
    """
    advice = "train with `python -m alexnet train`"
    saved, net, size = (load_weights(path, config["fingerprint"], advice), build(config), config["data"]["image_size"])
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in weights.items()}
        for weights in (net.state_dict(), saved["state_dict"])
    ]
    classes = config["data"]["classes"]
    if shapes[0] != shapes[1] or saved["mean"].shape != (size, size, 3) or len(saved["wnids"]) != classes:
        raise UserError(f"{path} holds weights, classes or a mean image of another shape; {advice}")
    net.load_state_dict(saved["state_dict"])
    return net, saved


def start_from(net: AlexNet, path: Path, source: dict[str, Any]) -> str:
    """Copy the weights of a finished run into `net`, except the layers that start random; returns their sha256.

    Args:
        source: `starts_from` of the configuration.

    Raises:
        UserError: not the weights that the configuration names, or layers of other shapes.
    """
    saved = load_weights(path, source["fingerprint"], f"train {source['experiment']} with the same seed first")
    own, given = net.state_dict(), saved["state_dict"]
    for name, tensor in own.items():
        if name.split(".")[1] in source["except"]:
            continue
        if name not in given or given[name].shape != tensor.shape:
            raise UserError(
                f"{path} does not fit: {name} is {tuple(tensor.shape)} here and "
                f"{tuple(given[name].shape) if name in given else 'absent'} there; name its layer under `except`"
            )
        own[name] = given[name]
    net.load_state_dict(own)
    return sha256(path)
