"""Turns paths into the checked inputs of training and evaluation: configuration, device, mean image, weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet import checkpoints, experiments
from alexnet.errors import UserError
from alexnet.files import sha256
from alexnet.manifest import read_manifest
from alexnet.model import AlexNet, build


def read_config(path: Path) -> dict[str, Any]:
    """A resolved configuration, its fingerprint checked.

    Raises:
        UserError: missing, not JSON, or edited by hand after `configure`.
    """
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; make it with `python -m alexnet configure`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); configure again") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is no configuration; make it with `python -m alexnet configure`")
    rest = {key: value for key, value in config.items() if key != "fingerprint"}
    if config.get("fingerprint") != experiments.fingerprint(rest):
        raise UserError(
            f"{path} was changed after `configure` (its fingerprint does not fit); edit config/ and configure again"
        )
    parts = (
        ("members",) if "members" in config else ("data", "model", "augmentation", "optimizer", "training")
    )
    missing = [key for key in ("study", "experiment", "seed", "tier", *parts) if key not in config]
    if missing:
        raise UserError(f"{path} lacks `{missing[0]}`; make it with `python -m alexnet configure`")
    return config


def mean_image(folder: Path) -> NDArray[np.float32]:
    """(S, S, 3): the training set's mean image, 0-255 (s. 2).

    Raises:
        UserError: missing, or not the one that was packed.
    """
    path, manifest = folder / "mean.npy", read_manifest(folder)
    side, expected = manifest["image_size"], manifest.get("files", {}).get("mean.npy")
    again = "pack the set that holds the training split again"
    try:
        changed = bool(expected) and sha256(path) != expected
        mean: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = mean.shape == (side, side, 3) and mean.dtype == np.float32 and bool(np.isfinite(mean).all())
    except Exception:  # whatever a torn file makes of the reader
        raise UserError(f"{path} is missing or unreadable; {again}") from None
    if changed:
        raise UserError(f"{path} is not the mean image that was packed; {again}")
    if not fits:
        raise UserError(f"{path} holds no mean of images of {side} pixels; {again}")
    return np.array(mean)


def load_weights(path: Path, fingerprint: str, advice: str) -> dict[str, Any]:
    """model.pt of the configuration with this fingerprint, read without running foreign code.

    Raises:
        UserError: missing, unreadable, or of another configuration; `advice` says how to make it.
    """
    try:
        with open(path, "rb") as file:
            saved = checkpoints.read_tensors(file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {advice}") from None
    except (OSError, checkpoints.Refused) as error:
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


def finished_net(config: dict[str, Any], path: Path) -> tuple[AlexNet, dict[str, Any]]:
    """The net of a finished run with its weights, on the processor, and all of its model.pt.

    Raises:
        UserError: missing, unreadable, or of another configuration or shape.
    """
    advice = "train with `python -m alexnet train`"
    saved, net, size = (
        load_weights(path, config["fingerprint"], advice),
        build(config),
        config["data"]["image_size"],
    )
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
    saved = load_weights(
        path, source["fingerprint"], f"train {source['experiment']} with the same seed first"
    )
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
