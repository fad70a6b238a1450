"""Turns trained weights into what a finished net is like inside: its first kernels, its neighbourhoods, its training error.

One net gives, in the folder of its examination:

    sample.parquet     a row an image of a fixed sample of the training split, as the finished net sees it (centre view,
                       no augmentation, no dropout): name, label, top1_error, top5_error, loss
    queries.parquet    a row an image of a fixed sample of the validation split: name, label, and
                       chance             share of its class in the training sample
                       same_class         share of its NEIGHBOURS nearest training images that are of its class, by L2
                                          in the last hidden layer (s. 6.1)
                       same_class_pixels  the same by L2 between pixels of the centre views
                       far_in_pixels      share of the neighbours in the layer that are not among the nearest
                                          hundredth of the sample in pixels
                       halved             divergence, in nats, of the net with halved outputs from the geometric mean
                                          of `MASKS` thinned nets (s. 4.2); NaN in a net without dropout
                       thinned            the same of single thinned nets, their mean
                       neighbours         names of the nearest training images in the layer, nearest first
    kernels.npy        (kernels, rows, columns, RGB) float32, the first convolutional layer, tower 0 first
    examination.json   whose it is, sizes of both samples, means of the columns, and `kernels`: one entry a kernel of
                       the first convolutional layer and the tower it belongs to, see `kernels`

The samples depend on the sizes of the splits alone, so all nets of a study meet the same images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data import Split, mean_views, open_split, test_views, to_batch
from alexnet.errors import UserError
from alexnet.evaluate import BATCH, identity, same_classes, save_array
from alexnet.execution import plan
from alexnet.files import hashes, sha256, write_atomically, write_json
from alexnet.inputs import finished_net, read_config
from alexnet.layers import Dropout
from alexnet.metrics import log_loss, top_k_error
from alexnet.model import AlexNet, build

NEIGHBOURS = 6  # Fig. 4
NEAREST = (
    0.01  # share of the sample that counts as near in pixels (ours: the paper says "generally not close")
)
MASKS = 20  # thinned nets of which the geometric mean is taken
SAMPLE, QUERIES = 50_000, 1_000  # images; all of a smaller split


def fixed_sample(count: int, wanted: int) -> NDArray[np.int64]:
    """Indices of `wanted` of `count` images, ascending; the same ones whatever the net."""
    if wanted >= count:
        return np.arange(count)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((2012, count))))
    return np.sort(generator.choice(count, wanted, replace=False))


# First kernels ---------------------------------------------------------------------------------------------------


def chroma_share(kernels: Tensor) -> Tensor:
    """Share of each kernel's energy that is colour: 0 for a grey kernel, at most 1.

    Args:
        kernels: (K, 3, rows, columns), RGB.

    Returns:
        (K,): squared distance of the kernel from its grey part (at each place the mean of the three channels), over
        the sum of squares. Independent Gaussian weights have 2/3 on average; a kernel of zeros has 0.
    """
    grey = kernels.mean(1, keepdim=True)
    energy = kernels.square().sum((1, 2, 3))
    return (kernels - grey).square().sum((1, 2, 3)) / energy.clamp_min(torch.finfo(kernels.dtype).tiny)


def orientation_selectivity(kernels: Tensor) -> Tensor:
    """How far the power of each kernel's grey part lies along one orientation: 0 for none, 1 for a grating.

    Args:
        kernels: (K, 3, rows, columns), RGB.

    Returns:
        (K,): |sum of P exp(2 i theta)| / sum of P, with P the power spectrum (zero frequency left out) and theta the
        orientation of each frequency; a kernel without contrast has 0.
    """
    grey = kernels.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    side = 4 * max(grey.shape[1:]) + 1  # odd: no frequency without its opposite
    power = torch.fft.fft2(grey, s=(side, side)).abs().square()
    frequency = torch.fft.fftfreq(side, dtype=power.dtype)
    theta = torch.atan2(frequency[:, None].expand(side, side), frequency.expand(side, side))
    power[:, 0, 0] = 0
    turned = (power * torch.exp(2j * theta)).sum((1, 2)).abs()
    return turned / power.sum((1, 2)).clamp_min(torch.finfo(power.dtype).tiny)


def first_kernels(net: AlexNet) -> Tensor:
    """(K, 3, rows, columns): weights of the first layer, on the processor."""
    layer = net.layers[net.learned[0]]
    assert isinstance(layer, nn.Conv2d)
    return layer.weight.detach().cpu()


def kernels(net: AlexNet, start: AlexNet, towers: int) -> dict[str, list[float]]:
    """The first layer's kernels in order, tower 0 first: tower, energy, chroma, orientation, and those two at the start.

    Args:
        start: the net before training.
        towers: the maps are divided among them evenly.
    """
    weights, before = (first_kernels(n).double() for n in (net, start))
    return {
        "tower": [int(k * towers // len(weights)) for k in range(len(weights))],
        "energy": weights.square().sum((1, 2, 3)).tolist(),
        "chroma": chroma_share(weights).tolist(),
        "orientation": orientation_selectivity(weights).tolist(),
        "initial_chroma": chroma_share(before).tolist(),
        "initial_orientation": orientation_selectivity(before).tolist(),
    }


# What the net says about images ----------------------------------------------------------------------------------


def _views(split: Split, chosen: NDArray[np.int64], means: NDArray[np.float32], crop: int) -> Tensor:
    """(B, 3, crop, crop): centre views of the chosen images, mean-subtracted."""
    images = np.asarray(split.images[chosen])
    return to_batch(np.ascontiguousarray(test_views(images, crop, "center")), means)


def nearest(distances: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """(Q, count) columns of the smallest of each row of (Q, G) distances, nearest first; fewer if there are fewer."""
    return distances.topk(min(count, distances.shape[1]), largest=False).indices


def beyond(distances: Tensor, chosen: Tensor, share: float = NEAREST) -> Tensor:
    """(Q,) share of the `chosen` (Q, k) that are not among the nearest `share` (at least one) of each row of (Q, G)."""
    near = max(1, round(share * distances.shape[1]))
    limit = distances.kthvalue(near, dim=1).values
    return (distances.gather(1, chosen) > limit[:, None]).double().mean(1)


def divergences(geometric: Tensor, predictions: Tensor) -> Tensor:
    """Kullback-Leibler divergence, nats, of `predictions` from `geometric`; both (..., classes) log-probabilities."""
    return (geometric.exp() * (geometric - predictions)).sum(-1)


def geometric_mean(log_probabilities: Tensor) -> Tensor:
    """(B, classes) normalised geometric mean of (masks, B, classes), all log-probabilities."""
    return log_probabilities.mean(0).log_softmax(-1)


def _tail(net: AlexNet) -> tuple[str, nn.Sequential]:
    """The layer ("" for the input) before the first fully connected one, and all from there on; dropout comes later."""
    names = list(net.layers)
    linear = next(name for name in net.learned if isinstance(net.layers[name], nn.Linear))
    before = net.learned[net.learned.index(linear) - 1] if linear != net.learned[0] else ""
    if not before or any(isinstance(net.layers[name], Dropout) for name in names[: names.index(linear)]):
        return "", nn.Sequential(net)
    return before, nn.Sequential(nn.Flatten(), *(net.layers[name] for name in names[names.index(linear) :]))


@torch.no_grad()
def against_thinned_nets(net: AlexNet, views: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """(B,) divergences of the halved net, and on average of a thinned one, from the geometric mean of thinned nets (s. 4.2).

    NaN in a net without dropout.
    """
    dropouts = [module for module in net.modules() if isinstance(module, Dropout)]
    if not dropouts:
        return (torch.full((len(views),), torch.nan, dtype=torch.double),) * 2
    net.eval()
    before, tail = _tail(net)
    hidden = net.features(views, before) if before else views  # the same for all masks
    halved = tail(hidden).double().log_softmax(-1)
    for module in dropouts:
        module.train()
    try:
        thinned = torch.stack([tail(hidden).double().log_softmax(-1) for _ in range(masks)])
    finally:
        net.eval()
    center = geometric_mean(thinned)
    return divergences(center, halved).cpu(), divergences(center, thinned).mean(0).cpu()


@torch.no_grad()
def hidden_and_output(net: AlexNet, views: Tensor) -> tuple[Tensor, Tensor]:
    """(B, units) activations of the last hidden layer and (B, classes) probabilities, on the processor."""
    hidden = net.features(views, net.learned[-2]).flatten(1)
    last = net.layers[net.learned[-1]]
    return hidden.cpu(), last(hidden).cpu().softmax(1)


@dataclass(frozen=True)
class _Pictures:
    """The chosen images of a split, as centre views."""

    split: Split
    chosen: NDArray[np.int64]
    labels: Tensor  # (N,), the net's output units
    means: NDArray[np.float32]
    crop: int

    def __iter__(self) -> Iterator[Tensor]:
        for first in range(0, len(self.chosen), BATCH):
            yield _views(self.split, self.chosen[first : first + BATCH], self.means, self.crop)

    def table(self, columns: dict[str, Tensor]) -> dict[str, Any]:
        """Names, labels and `columns`, one row an image."""
        named = {"name": [self.split.names[i] for i in self.chosen], "label": self.labels.numpy()}
        return named | {key: values.double().numpy() for key, values in columns.items()}


def _pictures(
    data: Path, split_name: str, wanted: int, config: dict[str, Any], saved: dict[str, Any]
) -> _Pictures:
    """A fixed sample of a split.

    Raises:
        UserError: other images than the net was trained on, or none.
    """
    split, of = open_split(data, split_name), config["data"]
    if split.images.shape[1] != of["image_size"]:
        raise UserError(f"{data}: images are not of {of['image_size']} pixels; pack the set again")
    if not len(split):
        raise UserError(f"{data}: split {split_name!r} holds no images")
    units = same_classes(saved["wnids"], split)
    chosen = fixed_sample(len(split), wanted)
    split.check(chosen)
    means = mean_views(saved["mean"].numpy(), of["crop"], "center", config["augmentation"]["mean"])
    return _Pictures(split, chosen, torch.from_numpy(units[split.labels[chosen]]), means, of["crop"])


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
    config = read_config(config_path)
    if "members" in config:
        raise UserError(
            f"{config_path}: {config['experiment']} is an average of nets; examine one of its members"
        )
    net, saved = finished_net(config, weights)
    execution = plan("1" if devices in ("2", "auto") else devices, threads or config["training"]["threads"])
    execution.apply()
    device = execution.device()
    trained = _pictures(data, config["data"]["train_split"], sample, config, saved)
    asked = _pictures(data, config["data"]["validation_split"], queries, config, saved)
    start = build(config)
    net.to(device).eval()

    torch.manual_seed(config["seed"])  # of the masks
    own = [(views, against_thinned_nets(net, views.to(device), MASKS)) for views in asked]
    pixels = torch.cat([views.flatten(1) for views, _ in own]).to(device)
    features = torch.cat([hidden_and_output(net, views.to(device))[0] for views, _ in own]).to(device)
    halved, thinned = (torch.cat([pair[i] for _, pair in own]) for i in (0, 1))

    said, in_pixels, in_layer = [], [], []
    for views in trained:
        views = views.to(device)
        hidden, probabilities = hidden_and_output(net, views)
        said.append(probabilities)
        in_pixels.append(torch.cdist(pixels, views.flatten(1)).cpu())
        in_layer.append(torch.cdist(features, hidden.to(device)).cpu())
    probabilities, pixel_distances = torch.cat(said), torch.cat(in_pixels, 1)
    of_sample = {
        "top1_error": top_k_error(probabilities, trained.labels, 1),
        "top5_error": top_k_error(probabilities, trained.labels, 5),
        "loss": log_loss(probabilities, trained.labels),
    }
    chosen = nearest(torch.cat(in_layer, 1))
    same = asked.labels[:, None]
    of_queries = {
        "chance": (trained.labels[None] == same).double().mean(1),
        "same_class": (trained.labels[chosen] == same).double().mean(1),
        "same_class_pixels": (trained.labels[nearest(pixel_distances)] == same).double().mean(1),
        "far_in_pixels": beyond(pixel_distances, chosen),
        "halved": halved,
        "thinned": thinned,
    }
    record = {
        **identity(config),
        "set": trained.split.set,
        "train_split": trained.split.split,
        "validation_split": asked.split.split,
        "data_fingerprint": trained.split.manifest["fingerprint"],
        "weights_sha256": sha256(weights),
        "sample": {"images": len(trained.chosen), "of": len(trained.split), **_means(of_sample)},
        "queries": {"images": len(asked.chosen), "of": len(asked.split), **_means(of_queries)},
        "neighbours": {"count": chosen.shape[1], "layer": net.learned[-2], "dimensions": features.shape[1]},
        "masks": MASKS,
        "kernels": kernels(net, start, config["model"]["towers"]),
        "seconds": time.monotonic() - started,
    }
    near = [[trained.split.names[trained.chosen[place]] for place in row] for row in chosen.tolist()]
    answers = asked.table(of_queries) | {"neighbours": near}
    _write(out, record, {"sample": trained.table(of_sample), "queries": answers}, net)
    print(
        f"{config['study']}/{config['experiment']}/{config['seed']}  training error "
        f"{record['sample']['top1_error']:.2%} (n={len(trained.chosen)})  neighbours of the same class "
        f"{record['queries']['same_class']:.2%}, in pixels {record['queries']['same_class_pixels']:.2%} "
        f"(n={len(asked.chosen)})",
        file=sys.stderr,
    )
    return record


def _write(out: Path, record: dict[str, Any], tables: dict[str, dict[str, Any]], net: AlexNet) -> None:
    """All files of an examination; the record's presence says that they belong together."""
    import pandas as pd

    (out / "examination.json").unlink(missing_ok=True)
    for name, table in tables.items():
        frame = pd.DataFrame(table)
        write_atomically(out / f"{name}.parquet", partial(frame.to_parquet, index=False))
    pictures = first_kernels(net).float().permute(0, 2, 3, 1).contiguous().numpy()
    write_atomically(out / "kernels.npy", lambda path: save_array(path, pictures))
    files = hashes(*(out / f"{name}.parquet" for name in tables), out / "kernels.npy")
    write_json(out / "examination.json", record | {"files": files})


def _means(columns: dict[str, Tensor]) -> dict[str, float | None]:
    """Mean of each column; None where it is not measured."""
    means = {key: values.double().mean().item() for key, values in columns.items()}
    return {key: None if np.isnan(mean) else mean for key, mean in means.items()}
