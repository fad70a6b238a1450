"""Tells weights that were trained from those that were only drawn, whoever saved them.

First kernels that see pictures become smooth: neighbouring weights are alike. Weights that are drawn one by one are not, whatever they
are drawn from.
"""

import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from alexnet.errors import UserError
from alexnet.evaluation.export import tensors_sha256
from alexnet.net import tensors

SIGMAS = 6.0  # standard errors from zero at which a correlation counts


def check_weights(path: Path) -> tuple[bool, str]:
    """Whether the first kernels in a file are trained, and a line that says by what it shows.

    Args:
        path: safetensors, or a file of torch.save with named tensors.

    Raises:
        UserError: unreadable, without kernels of at least 3 x 3, or other weights than the file says it holds.
    """
    found, said = _read(path)
    if said and tensors_sha256(found) != said:
        raise UserError(f"{path} holds other weights than its metadata say; export the run again")
    kernels = next((t for t in found.values() if t.dim() == 4 and min(t.shape[2:]) >= 3), None)
    if kernels is None:
        raise UserError(f"{path} has no tensor of kernels, (maps, channels, rows, columns), of at least 3 x 3")
    correlation, error = _of_neighbours(kernels.double())
    trained = correlation > SIGMAS * error
    maps, _, rows, columns = kernels.shape
    return trained, (
        f"{path}: {'trained' if trained else 'not trained'}: neighbouring weights of its {maps} first kernels, {rows} x {columns}, "
        f"correlate by {correlation:.3f}; without training, by 0 ± {error:.3f}"
    )


def _of_neighbours(kernels: Tensor) -> tuple[float, float]:
    """Correlation of weights beside and above each other, and its standard error if they are independent; NaN if all are equal."""
    centred = kernels - kernels.mean((2, 3), keepdim=True)
    products = [centred[..., 1:] * centred[..., :-1], centred[..., 1:, :] * centred[..., :-1, :]]
    pairs = sum(product.numel() for product in products)
    places = kernels.shape[2] * kernels.shape[3]
    total = sum(product.sum().item() for product in products) / pairs / max(centred.square().mean().item(), 1e-300)
    return total + 1 / places, 1 / math.sqrt(pairs)  # taking the mean away makes weights less alike by so much


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The named tensors of a file, and the hash that it says they have, if it was exported."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("alexnet", "{}"))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, about.get("tensors_sha256", "")
    except SafetensorError:
        pass
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        with open(path, "rb") as source:
            record = tensors.read_tensors(source)
    except tensors.Refused as error:
        raise UserError(f"{path} is neither safetensors nor a file of torch.save: it {error}") from None
    named = record.get("state_dict", record)
    return {name: t for name, t in named.items() if isinstance(t, torch.Tensor)} if isinstance(named, dict) else {}, ""
