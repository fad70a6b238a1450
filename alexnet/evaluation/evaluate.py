"""Top-1 and top-5 errors of trained weights on a packed split, one view and ten, image by image."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.views import VIEWS, mean_views, test_views, to_batch
from alexnet.errors import UserError
from alexnet.experiments.config import RunConfig
from alexnet.experiments.resolve import read_config
from alexnet.net.execution import plan
from alexnet.net.metrics import log_loss, top_k_error
from alexnet.net.model import AlexNet
from alexnet.net.weights import finished_net
from alexnet.packed.packed_set import Split, open_split
from alexnet.packed.stores import Images
from alexnet.runtime import fingerprint
from alexnet.runtime.files import hashes, sha256, write_atomically, write_json

BATCH = 128  # images, counted over views


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
    net: AlexNet,
    images: Images,
    mean: NDArray[np.float32],
    crop: int,
    views: str,
    device: torch.device,
    rule: str = "central_crop",
) -> Iterator[Tensor]:
    """Yield (B, classes) probabilities, the mean of the softmax over the views of each image (s. 4.1).

    Args:
        images: (N, S, S, 3).
        mean: (S, S, 3), the mean image of the training set.
        rule: the recipe's `mean`, see `alexnet.batches.views.mean_views`.
    """
    net.eval()
    count = VIEWS[views]
    size = max(1, BATCH // count)
    means = mean_views(mean, crop, views, rule)
    for start in range(0, len(images), size):
        pixels = test_views(np.asarray(images[start : start + size]), crop, views)
        logits = net(to_batch(np.ascontiguousarray(pixels), means, device)).cpu()
        yield logits.softmax(1).unflatten(0, (-1, count)).mean(1)


def finished(
    config_path: Path, weights: Path, devices: str, threads: int | None
) -> tuple[RunConfig, AlexNet, dict[str, Any], torch.device]:
    """A finished run's configuration, its net, all of its model.pt, and the one device that it is used on, set up.

    Raises:
        UserError: an average of nets, or weights that are not of this configuration.
    """
    config = read_config(config_path)
    if "members" in config:
        raise UserError(f"{config_path}: {config['experiment']} is an average of nets; take one of its members")
    net, saved = finished_net(config, weights)
    execution = plan("1" if devices in ("2", "auto") else devices, threads or config["training"]["threads"])
    execution.apply()
    return config, net, saved, execution.device()


def split_for(config: RunConfig, saved: dict[str, Any], data: Path, name: str) -> tuple[Split, NDArray[np.int64]]:
    """A split that a finished net may be asked about, and the net's output unit of each of its labels.

    Raises:
        UserError: other classes or sizes than the net was trained on, or no images.
    """
    split, size = open_split(data, name), config["data"]["image_size"]
    units = same_classes(saved["wnids"], split)
    if split.images.shape[1] != size:
        raise UserError(f"{data}: images are not of {size} pixels; pack the set again")
    if not len(split):
        raise UserError(f"{data}: split {name!r} holds no images")
    return split, units


def evaluate(
    config_path: Path,
    data: Path,
    weights: Path,
    out: Path,
    split_name: str | None = None,
    devices: str = "auto",
    threads: int | None = None,
    keep_probabilities: bool = False,
) -> dict[str, Any]:
    """Evaluate one run on one split; writes <out>/<set>-<split>.parquet and, last, .json.

    Args:
        keep_probabilities: also write .probabilities.npy, (views, images, classes) float32 in the order of `VIEWS`
            and of the net's output units, which an ensemble is made of.

    Raises:
        UserError: files that do not belong together, or a count that contradicts the manifest.
    """
    started = time.monotonic()
    config, net, saved, device = finished(config_path, weights, devices, threads)
    split, units = split_for(config, saved, data, split_name or config["data"]["validation_split"])
    split.check()
    net.to(device)
    mean, crop, rule = saved["mean"].numpy(), config["data"]["crop"], config["augmentation"]["mean"]
    probabilities = {
        view: torch.cat(list(predict(net, split.images, mean, crop, view, device, rule))) for view in VIEWS
    }
    if any(len(p) != split.manifest["splits"][split.split]["images"] for p in probabilities.values()):
        raise UserError(f"{data}: the number of predictions is not the manifest's; pack again")
    record = {
        **identity(config, "evaluate"),
        "set": split.set,
        "split": split.split,
        "images": len(split),
        "data_fingerprint": split.manifest["fingerprint"],
        "weights_sha256": sha256(weights),
    }
    table = Scores(split.names, torch.from_numpy(units[split.labels]), probabilities)
    return write_scores(out, record, table, started, keep_probabilities)


@dataclass(frozen=True)
class Scores:
    """What a net, or an average of nets, says about the images of a split."""

    names: list[str]
    labels: Tensor  # (N,), the net's output unit of the true class
    probabilities: dict[str, Tensor]  # view -> (N, classes)


def identity(config: RunConfig, stage: str) -> dict[str, Any]:
    """Whose evaluation it is, and by which code of a stage of `alexnet.runtime.fingerprint.STAGES`."""
    of = {key: config[key] for key in ("study", "experiment", "seed", "tier")}
    code = fingerprint.code_sha256(stage)
    return {"format": 1, **of, "config_fingerprint": config["fingerprint"], "code_sha256": code}


def write_scores(
    out: Path, record: dict[str, Any], scores: Scores, started: float, keep_probabilities: bool
) -> dict[str, Any]:
    """Errors and predictions of each image to <out>/<set>-<split>.parquet, the summary, last, to .json.

    Returns:
        The summary: `record` with errors and loss by view, and the hashes of the other files.
    """
    import pandas as pd

    table: dict[str, Any] = {"name": scores.names, "label": scores.labels.numpy()}
    views = {}
    for view, probabilities in scores.probabilities.items():
        columns = {
            "top1_error": top_k_error(probabilities, scores.labels, 1),
            "top5_error": top_k_error(probabilities, scores.labels, 5),
            "loss": log_loss(probabilities, scores.labels),
        }
        views[view] = {key: column.double().mean().item() for key, column in columns.items()}
        best, units_of_best = probabilities.topk(min(5, probabilities.shape[1]))
        table |= {f"{view}_{key}": column.numpy() for key, column in columns.items()}
        table[f"{view}_prediction"] = units_of_best[:, 0].numpy()
        table[f"{view}_top5"] = units_of_best.tolist()
        table[f"{view}_top5_probability"] = best.tolist()
        print(
            f"{record['study']}/{record['experiment']}/{record['seed']}  {record['set']}/{record['split']}  {view}: "
            f"top-1 {views[view]['top1_error']:.2%}  top-5 {views[view]['top5_error']:.2%}  n={len(scores.labels)}",
            file=sys.stderr,
        )
    record = {**record, "views": views, "seconds": time.monotonic() - started}
    stem = f"{record['set']}-{record['split']}"
    (out / f"{stem}.json").unlink(missing_ok=True)  # its presence says that all of them belong together
    files = [out / f"{stem}.parquet"]
    write_atomically(files[0], lambda path: pd.DataFrame(table).to_parquet(path, index=False))
    if keep_probabilities:
        stacked = torch.stack([scores.probabilities[view] for view in VIEWS]).numpy()
        files.append(probabilities_of(out / f"{stem}.json"))
        write_atomically(files[1], lambda path: save_array(path, stacked))
    record["files"] = hashes(*files)
    write_json(out / f"{stem}.json", record)
    return record


def save_array(path: Path, array: NDArray[Any]) -> None:
    """numpy.save to exactly this path, whatever its ending."""
    with open(path, "wb") as target:
        np.save(target, array, allow_pickle=False)


def probabilities_of(record: Path) -> Path:
    """Where the probabilities of the evaluation `record` (.json) lie."""
    return record.with_suffix(".probabilities.npy")
