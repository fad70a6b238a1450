"""Writes a finished net as safetensors, with a card that says what it is and how to run it without this project."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from alexnet.errors import UserError
from alexnet.evaluation import plain_loader
from alexnet.experiments.architecture import layer_table, settings_of
from alexnet.experiments.config import Model
from alexnet.experiments.resolve import read_config
from alexnet.net.weights import finished_net
from alexnet.runtime.files import read_record, write_atomically

KEPT = ("study", "experiment", "seed", "tier", "config_fingerprint", "data_fingerprint", "weights_sha256", "final")
CARD = """# {experiment}, seed {seed}, of study {study}

Trained by the AlexNet reproducibility bench on {data}, to {error} % validation error (top-1, one view, {split} split).

- weights: `{file}`, sha256 of all tensors `{tensors_sha256}`; `python -m alexnet check-weights {file}` compares it
- run: configuration `{config_fingerprint}`, data `{data_fingerprint}`, model.pt `{weights_sha256}`
- input: {crop} x {crop} pixels, red first, 0 to 255, less the central part of the tensor `mean`
- output: {classes} logits, in the order of `classes` in the file's metadata

The terms of the images on which it was trained apply to what is done with it.

```python
{loader}```
"""


def export(folder: Path, out: Path) -> Path:
    """Write `out` (safetensors: the weights, and `mean`, (3, side, side)) and a card beside it; returns the card.

    Args:
        folder: of a run, with config.json, run.json and model.pt.

    Raises:
        UserError: no finished run, or a net with layers that the loader on the card does not know.
    """
    record = read_record(folder / "run.json", dict, "train the net first")
    config = read_config(folder / "config.json")
    _, saved = finished_net(config, folder / "model.pt")
    tensors = {name.removeprefix("layers."): tensor.contiguous() for name, tensor in saved["state_dict"].items()}
    tensors["mean"] = saved["mean"].permute(2, 0, 1).contiguous()
    about = {
        **{key: record.get(key) for key in KEPT},
        "classes": saved["wnids"],
        "tensors_sha256": tensors_sha256(tensors),
        "input_divisors": config["model"].get("input_divisors", [1.0, 1.0, 1.0]),
        "layers": _layers(config["model"], config["data"]["crop"], config["data"]["classes"]),
    }
    write_atomically(out, lambda path: save_file(tensors, path, {"alexnet": json.dumps(about, sort_keys=True)}))
    data, final = config["data"], record["final"]
    words = about | data | {"data": f"{data['set']} {data['train_split']}", "classes": len(saved["wnids"])}
    words |= {"split": data["validation_split"], "file": out.name, "loader": Path(plain_loader.__file__).read_text()}
    words["error"] = f"{100 * final['validation_error']:.1f}" if final["validation_error"] is not None else "unknown"
    card = out.with_suffix(".md")
    write_atomically(card, lambda path: path.write_text(CARD.format_map(words), encoding="utf-8"))
    return card


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names and bytes of all tensors, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _layers(model: Model, crop: int, classes: int) -> dict[str, Any]:
    """Of each learned layer what the plain loader needs: groups, paddings, and the steps that follow."""
    found = {}
    for row in layer_table(model, crop, classes):
        if row.kind == "local":
            raise UserError(f"{row.name} has kernels of its own at each place, which the loader on the card cannot run")
        if row.name in model["layers"]:
            steps = [_step(kind, model, row.name) for kind in model["layers"][row.name]["after"]]
            found[row.name] = {"stride": row.stride, "pad": row.pad, "groups": row.groups, "partial": row.partial_window, "after": [s for s in steps if s]}  # fmt: skip
    return found


def _step(kind: str, model: Model, layer: str) -> tuple[str, dict[str, Any]] | None:
    """A step after a layer as the plain loader names it; None if it does nothing at test."""
    if kind == "activation":
        return model["activation"], {}
    if kind == "dropout":
        return None if model.get("inverted_dropout") else ("scale", {"by": 1 - model["drop_probability"]})
    settings = settings_of(kind, model["layers"][layer], model)
    if kind == "pool":
        return settings.get("kind", "max"), settings
    mode = settings.get("mode", "within")
    if not settings.get("divide_alpha_by_size", True):  # the loader divides
        settings["alpha"] *= settings["size"] ** (1 if mode == "across" else 2)
    return mode, settings | {"towers": model["towers"]}
