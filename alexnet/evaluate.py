"""Turns trained weights and a packed split into top-1 and top-5 errors, one view and ten, image by image."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data import VIEWS, Split, open_split, test_views, to_batch
from alexnet.errors import UserError
from alexnet.files import sha256, write_atomically, write_json
from alexnet.metrics import log_loss, top_k_error
from alexnet.model import AlexNet, build
from alexnet.train import choose_device, read_config

BATCH = 128  # images, counted over views


def load_weights(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """model.pt of `config`, read without running foreign code.

    Raises:
        UserError: missing, unreadable, or of another configuration.
    """
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; train first with `python -m alexnet train`") from None
    except Exception as error:
        raise UserError(f"{path} is not a weights file of this bench ({error.__class__.__name__})") from None
    if saved.get("config_fingerprint") != config["fingerprint"]:
        raise UserError(f"{path} was trained with another configuration; train again")
    return saved


def same_classes(wnids: list[str], split: Split) -> NDArray[np.int64]:
    """For each label of `split`, the net's output unit for the same synset.

    Labels are joined through synset names, never through numbers: ILSVRC-2010 and 2012 number differently.

    Raises:
        UserError: the classes of the split and of the net are not the same set.
    """
    if sorted(wnids) != sorted(split.wnids):
        ours, theirs = set(wnids), set(split.wnids)
        raise UserError(
            f"{split.set} has {len(theirs - ours)} classes that the net was not trained on and lacks "
            f"{len(ours - theirs)} that it was; evaluate on a set with the same synsets"
        )
    position = {wnid: unit for unit, wnid in enumerate(wnids)}
    return np.array([position[wnid] for wnid in split.wnids], dtype=np.int64)


@torch.no_grad()
def predict(
    net: AlexNet, images: NDArray[np.uint8], mean: Tensor, crop: int, views: str, device: torch.device
) -> Iterator[Tensor]:
    """Yield (B, classes) probabilities, the mean of the softmax over the views of each image (s. 4.1)."""
    net.eval()
    count = VIEWS[views]
    size = max(1, BATCH // count)
    for start in range(0, len(images), size):
        pixels = test_views(np.asarray(images[start : start + size]), crop, views)
        flat = np.ascontiguousarray(pixels.reshape(-1, crop, crop, 3))
        logits = net(to_batch(flat, mean).to(device)).cpu()
        yield logits.softmax(1).unflatten(0, (-1, count)).mean(1)


def evaluate(
    config_path: Path,
    data: Path,
    weights: Path,
    out: Path,
    split_name: str | None = None,
    devices: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Evaluate one run on one split; writes <out>/<set>-<split>.parquet and, last, .json.

    Raises:
        UserError: files that do not belong together, or a count that contradicts the manifest.
    """
    import pandas as pd

    started = time.monotonic()
    config = read_config(config_path)
    saved = load_weights(weights, config)
    device = choose_device(devices)
    torch.set_num_threads(threads or config["training"]["threads"])
    split = open_split(data, split_name or config["data"]["validation_split"])
    units = same_classes(saved["wnids"], split)
    if split.images.shape[1] != config["data"]["image_size"]:
        raise UserError(
            f"{data}: images are not of {config['data']['image_size']} pixels; pack the set again"
        )
    net = build(config)
    net.load_state_dict(saved["state_dict"])
    net.to(device)
    labels = torch.from_numpy(units[split.labels])
    table: dict[str, Any] = {"name": split.names, "label": labels.numpy()}
    views = {}
    for view in VIEWS:
        batches = list(predict(net, split.images, saved["mean"], config["data"]["crop"], view, device))
        probabilities = torch.cat(batches)
        if len(probabilities) != split.manifest["splits"][split.split]["images"]:
            raise UserError(
                f"{data}: {len(probabilities)} predictions, the manifest says otherwise; pack again"
            )
        columns = {
            "top1_error": top_k_error(probabilities, labels, 1),
            "top5_error": top_k_error(probabilities, labels, 5),
            "loss": log_loss(probabilities, labels),
        }
        views[view] = {key: column.double().mean().item() for key, column in columns.items()}
        best, units_of_best = probabilities.topk(min(5, probabilities.shape[1]))
        table |= {f"{view}_{key}": column.numpy() for key, column in columns.items()}
        table[f"{view}_prediction"] = units_of_best[:, 0].numpy()
        table[f"{view}_top5"] = units_of_best.tolist()
        table[f"{view}_top5_probability"] = best.tolist()
        print(
            f"{config['study']}/{config['experiment']}/{config['seed']}  {split.set}/{split.split}  {view}: "
            f"top-1 {views[view]['top1_error']:.2%}  top-5 {views[view]['top5_error']:.2%}  n={len(labels)}",
            file=sys.stderr,
        )
    record = {
        "format": 1,
        **{key: config[key] for key in ("study", "experiment", "seed", "tier")},
        "set": split.set,
        "split": split.split,
        "images": len(labels),
        "config_fingerprint": config["fingerprint"],
        "data_fingerprint": split.manifest["fingerprint"],
        "weights_sha256": sha256(weights),
        "views": views,
        "seconds": time.monotonic() - started,
    }
    stem = f"{split.set}-{split.split}"
    (out / f"{stem}.json").unlink(missing_ok=True)  # its presence says that the two belong together
    write_atomically(out / f"{stem}.parquet", lambda path: pd.DataFrame(table).to_parquet(path, index=False))
    write_json(out / f"{stem}.json", record)
    return record
