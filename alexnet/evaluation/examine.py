"""Examines a finished net: first kernels, dropout, nearest neighbours, error on training images.

One net gives, in the folder of its examination:

    sample.parquet     a row an image of a fixed sample of the training split, as the finished net sees it (centre view,
                       no augmentation, no dropout): name, label, top1_error, top5_error, loss
    queries.parquet    a row an image of a fixed sample of the validation split: name, label, top5 (the most probable
                       labels), and of the nearest images of the training sample (s. 6.1; `probe_retrieval`)
                       neighbours             their names, by L2 in the last hidden layer, nearest first
                       pixel_ranks            the percentile rank of each among all of the sample by L2 between pixels
                       pixel_rank             their mean; untrained_pixel_rank for neighbours in the layer of the untrained
                                              net, class_pixel_rank for all images of the class
                       same_class             share of the nearest `NEIGHBOURS` that are of its class
                       same_class_*           the same by pixels, in the untrained net, by histograms of colours, and by
                                              codes of 64 bits of the layer
                       chance                 share of its class in the sample
                       and, of a net with dropout, what `probe_dropout.compared` says (s. 4.2)
    kernels.npy        (kernels, rows, columns, RGB) float32, the first convolutional layer, tower 0 first
    thumbnails.jpg     of the images under `pictures`, where they may be passed on (`probe_pictures`)
    examination.json   whose it is, sizes of both samples, means of the columns, `pictures`, and `kernels`: one entry a kernel
                       of the first layer: its tower, and what `probe_kernels.selectivity` says; `untrained_kernels`:
                       the same before training

The samples depend on the sizes of the splits alone, so all nets of a study meet the same images.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.batches.views import mean_views, test_views, to_batch
from alexnet.errors import UserError
from alexnet.evaluation import probe_pictures, probe_retrieval
from alexnet.evaluation.evaluate import BATCH, finished, identity, save_array, split_for
from alexnet.evaluation.probe_dropout import MASKS, against_thinned_nets
from alexnet.evaluation.probe_kernels import selectivity
from alexnet.experiments.config import RunConfig
from alexnet.net.metrics import log_loss, top_k_error
from alexnet.net.model import AlexNet, build
from alexnet.packed.packed_set import Split
from alexnet.runtime.files import hashes, sha256, write_atomically, write_json

SAMPLE, QUERIES = 50_000, 500  # images; all of a smaller split


def fixed_sample(count: int, wanted: int) -> NDArray[np.int64]:
    """Indices of `wanted` of `count` images, ascending; the same ones whatever the net."""
    if wanted >= count:
        return np.arange(count)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((2012, count))))
    return np.sort(generator.choice(count, wanted, replace=False))


def first_kernels(net: AlexNet) -> NDArray[np.float32]:
    """(K, 3, rows, columns): weights of the first layer."""
    layer = net.layers[net.learned[0]]
    assert isinstance(layer, nn.Conv2d)
    return np.ascontiguousarray(layer.weight.detach().cpu().numpy())


@torch.no_grad()
def hidden_and_output(net: AlexNet, views: Tensor) -> tuple[Tensor, Tensor]:
    """(B, units) activations of the last hidden layer, and (B, classes) probabilities on the processor."""
    hidden = net.features(views, net.learned[-2]).flatten(1)
    last = net.layers[net.learned[-1]]
    return hidden, last(hidden).cpu().softmax(1)


@dataclass(frozen=True)
class _Pictures:
    """The chosen images of a split, as centre views."""

    split: Split
    chosen: NDArray[np.int64]
    labels: Tensor  # (N,), the net's output units
    means: NDArray[np.float32]
    crop: int

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], Tensor, Tensor]]:
        """Pixels (B, crop, crop, RGB), the net's input (B, 3, crop, crop), and labels (B,)."""
        for first in range(0, len(self.chosen), BATCH):
            part = slice(first, first + BATCH)
            images = np.asarray(self.split.images[self.chosen[part]])
            views = np.ascontiguousarray(test_views(images, self.crop, "center"))
            yield views[:, 0], to_batch(views, self.means), self.labels[part]

    def table(self, columns: dict[str, Tensor]) -> dict[str, Any]:
        """Names, labels and `columns`, one row an image."""
        named = {"name": [self.split.names[i] for i in self.chosen], "label": self.labels.numpy()}
        return named | {key: values.float().numpy() for key, values in columns.items()}


def _pictures(data: Path, split_name: str, wanted: int, config: RunConfig, saved: dict[str, Any]) -> _Pictures:
    """A fixed sample of a split.

    Raises:
        UserError: other images than the net was trained on, or none.
    """
    split, units = split_for(config, saved, data, split_name)
    chosen, crop = fixed_sample(len(split), wanted), config["data"]["crop"]
    split.check(chosen)
    means = mean_views(saved["mean"].numpy(), crop, "center", config["augmentation"]["mean"])
    return _Pictures(split, chosen, torch.from_numpy(units[split.labels[chosen]]), means, crop)


@dataclass(frozen=True)
class _Seen:
    """What is known of a batch of images: points in each space, and probabilities of the classes."""

    points: dict[str, Tensor]
    probabilities: Tensor

    @classmethod
    def of(cls, net: AlexNet, start: AlexNet, pixels: NDArray[np.uint8], views: Tensor) -> Self:
        """Args: `start`, the net before training; `views`, on the device of the nets."""
        hidden, probabilities = hidden_and_output(net, views)
        points = {
            "layer": hidden,
            "pixels": views.flatten(1),
            "untrained": hidden_and_output(start, views)[0],
            "colours": probe_retrieval.colours(pixels),
            "codes": probe_retrieval.projections(hidden),
        }
        return cls(points, probabilities)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def examine(
    config_path: Path,
    data: Path,
    weights: Path,
    out: Path,
    devices: str = "auto",
    threads: int | None = None,
    sample: int = SAMPLE,
    queries: int = QUERIES,
) -> dict[str, Any]:
    """Examine one finished net; writes the files of the module docstring, examination.json last.

    Args:
        sample, queries: images of the training and of the validation split; a smaller split is taken whole.

    Raises:
        UserError: files that do not belong together, or a split without images.
    """
    started = time.monotonic()
    config, net, saved, device = finished(config_path, weights, devices, threads)
    trained = _pictures(data, config["data"]["train_split"], sample, config, saved)
    asked = _pictures(data, config["data"]["validation_split"], queries, config, saved)
    start = build(config)
    before, after = (first_kernels(one) for one in (start, net))
    if not np.isfinite(after).all():
        raise UserError(f"{weights}: the weights are not finite, the training diverged; there is nothing to examine")
    for one in (start, net):
        one.to(device).eval()

    torch.manual_seed(config["seed"])  # of the masks
    own: list[_Seen] = []
    thinned: list[dict[str, Tensor]] = []
    for pixels, views, labels in asked:
        views = views.to(device)
        own.append(_Seen.of(net, start, pixels, views))
        thinned.append(against_thinned_nets(net, views, labels))
    points = _joined([seen.points for seen in own])
    said = torch.cat([seen.probabilities for seen in own])

    distances: dict[str, list[Tensor]] = {key: [] for key in points if key != "codes"}
    outputs, codes = [], []
    for pixels, views, _ in trained:
        seen = _Seen.of(net, start, pixels, views.to(device))
        outputs.append(seen.probabilities)
        codes.append(seen.points["codes"])
        for key, parts in distances.items():
            parts.append(torch.cdist(points[key], seen.points[key]).cpu())
    away = {key: torch.cat(parts, 1) for key, parts in distances.items()}
    away["codes"] = probe_retrieval.hamming(points["codes"], torch.cat(codes)).cpu()
    probabilities = torch.cat(outputs)
    of_sample = {
        "top1_error": top_k_error(probabilities, trained.labels, 1),
        "top5_error": top_k_error(probabilities, trained.labels, 5),
        "loss": log_loss(probabilities, trained.labels),
    }
    near = probe_retrieval.nearest(away["layer"])
    pixel_ranks = probe_retrieval.ranks(away["pixels"], near)
    of_queries = _alike(away, near, pixel_ranks, trained.labels, asked.labels) | _joined(thinned)
    best, labels_of_best = said.topk(min(5, said.shape[1]))
    neighbours = trained.chosen[near.numpy()]
    entries, sheet = probe_pictures.record(
        asked.split,
        asked.chosen,
        list(zip(labels_of_best.tolist(), best.tolist(), strict=True)),
        trained.split,
        neighbours,
    )
    towers = config["model"]["towers"]
    record = {
        **identity(config, "examine"),
        "set": trained.split.set,
        "train_split": trained.split.split,
        "validation_split": asked.split.split,
        "data_fingerprint": trained.split.manifest["fingerprint"],
        "weights_sha256": sha256(weights),
        "sample": {"images": len(trained.chosen), "of": len(trained.split), **_means(of_sample)},
        "queries": {"images": len(asked.chosen), "of": len(asked.split), **_means(of_queries)},
        "neighbours": {"count": near.shape[1], "layer": net.learned[-2], "dimensions": points["layer"].shape[1]},
        "masks": MASKS,
        "kernels": {"tower": [k * towers // len(after) for k in range(len(after))]} | selectivity(after.astype(float)),
        "untrained_kernels": selectivity(before.astype(float)),
        "pictures": entries,
        "seconds": time.monotonic() - started,
    }
    answers = asked.table(of_queries) | {
        "top5": list(labels_of_best.to(torch.int16).numpy()),
        "neighbours": [[trained.split.names[place] for place in row] for row in neighbours],
        "pixel_ranks": list(pixel_ranks.float().numpy()),
    }
    _write(out, record, {"sample": trained.table(of_sample), "queries": answers}, after, sheet)
    print(
        f"{config['study']}/{config['experiment']}/{config['seed']}  training error "
        f"{record['sample']['top1_error']:.2%} (n={len(trained.chosen)})  neighbours of the same class "
        f"{record['queries']['same_class']:.2%}, in pixels {record['queries']['same_class_pixels']:.2%}, untrained "
        f"{record['queries']['same_class_untrained']:.2%} (n={len(asked.chosen)})",
        file=sys.stderr,
    )
    return record


def _alike(
    away: dict[str, Tensor], near: Tensor, pixel_ranks: Tensor, found: Tensor, asking: Tensor
) -> dict[str, Tensor]:
    """Columns of `queries` on neighbours: from distances (Q, G) in each space, and classes (G,) and (Q,)."""
    untrained = probe_retrieval.nearest(away["untrained"])
    return {
        "chance": (found[None] == asking[:, None]).double().mean(1),
        "same_class": probe_retrieval.same_class(away["layer"], found, asking),
        **{
            f"same_class_{key}": probe_retrieval.same_class(away[key], found, asking)
            for key in ("pixels", "untrained", "colours", "codes")
        },
        "pixel_rank": pixel_ranks.mean(1),
        "untrained_pixel_rank": probe_retrieval.ranks(away["pixels"], untrained).mean(1),
        "class_pixel_rank": probe_retrieval.class_rank(away["pixels"], found, asking),
    }


def _write(
    out: Path,
    record: dict[str, Any],
    tables: dict[str, dict[str, Any]],
    kernels: NDArray[np.float32],
    sheet: bytes | None,
) -> None:
    """All files of an examination; the record's presence says that they belong together."""
    import pandas as pd

    (out / "examination.json").unlink(missing_ok=True)
    for name, table in tables.items():
        frame = pd.DataFrame(table)
        write_atomically(out / f"{name}.parquet", partial(frame.to_parquet, index=False))
    pictures = np.ascontiguousarray(kernels.transpose(0, 2, 3, 1))
    write_atomically(out / "kernels.npy", lambda path: save_array(path, pictures))
    made = [out / name for name in (*(f"{table}.parquet" for table in tables), "kernels.npy")]
    if sheet:
        write_atomically(out / "thumbnails.jpg", lambda path: path.write_bytes(sheet))
        made.append(out / "thumbnails.jpg")
    else:
        (out / "thumbnails.jpg").unlink(missing_ok=True)
    write_json(out / "examination.json", record | {"files": hashes(*made)})


def _means(columns: dict[str, Tensor]) -> dict[str, float | None]:
    """Mean of each column; None where it is not measured."""
    means = {key: values.double().nanmean().item() for key, values in columns.items()}
    return {key: None if np.isnan(mean) else mean for key, mean in means.items()}
