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
    examination.json   whose it is, sizes of both samples, means of the columns, and `kernels`: one entry a kernel of
                       the first convolutional layer and the tower it belongs to, see `kernels`

The samples depend on the sizes of the splits alone, so all nets of a study meet the same images.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data import Split, mean_views, open_split, test_views, to_batch
from alexnet.errors import UserError
from alexnet.evaluate import BATCH, identity, same_classes
from alexnet.files import sha256, write_atomically, write_json
from alexnet.inputs import choose_device, load_weights, read_config
from alexnet.layers import Dropout
from alexnet.metrics import log_loss, top_k_error
from alexnet.model import AlexNet, build

NEIGHBOURS = 6  # Fig. 4
NEAREST = 0.01  # share of the sample that counts as near in pixels (ours: the paper says "generally not close")
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
    side = 4 * max(grey.shape[1:])
    power = torch.fft.fft2(grey, s=(side, side)).abs().square()
    frequency = torch.fft.fftfreq(side, dtype=power.dtype)
    theta = torch.atan2(frequency[:, None].expand(side, side), frequency.expand(side, side))
    power[:, 0, 0] = 0
    turned = (power * torch.exp(2j * theta)).sum((1, 2)).abs()
    return turned / power.sum((1, 2)).clamp_min(torch.finfo(power.dtype).tiny)


def kernels(net: AlexNet, start: AlexNet, towers: int) -> dict[str, list[float]]:
    """The first layer's kernels in order, tower 0 first: tower, energy, chroma, orientation, and those two at the start.

    Args:
        start: the net before training.
        towers: the maps are divided among them evenly.
    """
    weights, before = (n.layers[n.learned[0]].weight.detach().double().cpu() for n in (net, start))
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


def neighbours(queries: Tensor, gallery: Tensor, count: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """(Q, G) distances (L2) and (Q, count) indices of the nearest rows of `gallery` for each row of `queries`."""
    distances = torch.cdist(queries, gallery)
    return distances, distances.topk(min(count, len(gallery)), largest=False).indices


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


@torch.no_grad()
def against_thinned_nets(net: AlexNet, views: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """(B,) divergences of the halved net, and on average of a thinned one, from the geometric mean of thinned nets (s. 4.2).

    NaN in a net without dropout.
    """
    dropouts = [module for module in net.modules() if isinstance(module, Dropout)]
    if not dropouts:
        return (torch.full((len(views),), torch.nan, dtype=torch.double),) * 2
    net.eval()
    halved = net(views).double().log_softmax(-1)
    for module in dropouts:
        module.train()
    try:
        thinned = torch.stack([net(views).double().log_softmax(-1) for _ in range(masks)])
    finally:
        net.eval()
    center = geometric_mean(thinned)
    return divergences(center, halved).cpu(), divergences(center, thinned).mean(0).cpu()


class _Collected:
    """Predictions, features and pixels of the chosen images of a split, batch by batch."""

    def __init__(self, net: AlexNet, device: torch.device) -> None:
        self.net, self.device = net, device
        self.layer, self.last = net.learned[-2], net.layers[net.learned[-1]]
        self.probabilities: list[Tensor] = []
        self.features: list[Tensor] = []

    @torch.no_grad()
    def add(self, views: Tensor) -> None:
        hidden = self.net.features(views.to(self.device), self.layer).flatten(1)
        assert isinstance(self.last, nn.Linear)
        self.probabilities.append(self.last(hidden).cpu().softmax(1))
        self.features.append(hidden.cpu())


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
    """Examine one finished net; writes the three files of the module docstring, examination.json last.

    Args:
        sample, queries: images of the training and of the validation split; a smaller split is taken whole.

    Raises:
        UserError: files that do not belong together, or a split without images.
    """
    import pandas as pd

    started = time.monotonic()
    config = read_config(config_path)
    saved = load_weights(weights, config["fingerprint"], "train with `python -m alexnet train`")
    device = choose_device(devices)
    torch.set_num_threads(threads or config["training"]["threads"])
    splits = [open_split(data, config["data"][key]) for key in ("train_split", "validation_split")]
    for split in splits:
        if split.images.shape[1] != config["data"]["image_size"]:
            raise UserError(
                f"{data}: images are not of {config['data']['image_size']} pixels; pack the set again"
            )
        if not len(split):
            raise UserError(f"{data}: split {split.split!r} holds no images")
    net, start = build(config), build(config)
    net.load_state_dict(saved["state_dict"])
    net.to(device).eval()
    train, validation = splits
    units = same_classes(saved["wnids"], train)
    crop = config["data"]["crop"]
    means = mean_views(saved["mean"].numpy(), crop, "center", config["augmentation"]["mean"])

    asked = fixed_sample(len(validation), queries)
    of_queries = _Collected(net, device)
    pixels = []
    halved, thinned = [], []
    torch.manual_seed(config["seed"])  # of the masks
    for first in range(0, len(asked), BATCH):
        views = _views(validation, asked[first : first + BATCH], means, crop)
        of_queries.add(views)
        pixels.append(views.flatten(1))
        for column, values in zip(
            (halved, thinned), against_thinned_nets(net, views.to(device), MASKS), strict=True
        ):
            column.append(values)
    asked_pixels = torch.cat(pixels).to(device)

    chosen = fixed_sample(len(train), sample)
    of_sample = _Collected(net, device)
    in_pixels = []
    for first in range(0, len(chosen), BATCH):
        views = _views(train, chosen[first : first + BATCH], means, crop)
        of_sample.add(views)
        in_pixels.append(torch.cdist(asked_pixels, views.flatten(1).to(device)).cpu())
    pixel_distances = torch.cat(in_pixels, 1)

    labels, asked_labels = (
        torch.from_numpy(units[split.labels[where]])
        for split, where in ((train, chosen), (validation, asked))
    )
    probabilities = torch.cat(of_sample.probabilities)
    columns = {
        "top1_error": top_k_error(probabilities, labels, 1),
        "top5_error": top_k_error(probabilities, labels, 5),
        "loss": log_loss(probabilities, labels),
    }
    distances, nearest = neighbours(torch.cat(of_queries.features), torch.cat(of_sample.features))
    nearest_pixels = pixel_distances.topk(min(NEIGHBOURS, len(chosen)), largest=False).indices
    counts = torch.bincount(labels, minlength=len(units)).double()
    of_query = {
        "chance": counts[asked_labels] / len(labels),
        "same_class": (labels[nearest] == asked_labels[:, None]).double().mean(1),
        "same_class_pixels": (labels[nearest_pixels] == asked_labels[:, None]).double().mean(1),
        "far_in_pixels": beyond(pixel_distances, nearest),
        "halved": torch.cat(halved),
        "thinned": torch.cat(thinned),
    }
    record = {
        **identity(config),
        "set": train.set,
        "train_split": train.split,
        "validation_split": validation.split,
        "data_fingerprint": train.manifest["fingerprint"],
        "weights_sha256": sha256(weights),
        "sample": {"images": len(chosen), "of": len(train), **_means(columns)},
        "queries": {"images": len(asked), "of": len(validation), **_means(of_query)},
        "neighbours": {
            "count": nearest.shape[1],
            "layer": of_sample.layer,
            "dimensions": of_sample.features[0].shape[1],
        },
        "masks": MASKS,
        "kernels": kernels(net, start, config["model"]["towers"]),
        "seconds": time.monotonic() - started,
    }
    (out / "examination.json").unlink(missing_ok=True)  # its presence says that all of them belong together
    for name, split, where, of, table in (
        ("sample", train, chosen, labels, columns),
        ("queries", validation, asked, asked_labels, of_query),
    ):
        frame = pd.DataFrame(
            {"name": [split.names[i] for i in where], "label": of.numpy()}
            | {key: values.double().numpy() for key, values in table.items()}
        )
        write_atomically(out / f"{name}.parquet", lambda path, f=frame: f.to_parquet(path, index=False))
    write_json(out / "examination.json", record)
    print(
        f"{config['study']}/{config['experiment']}/{config['seed']}  training error "
        f"{record['sample']['top1_error']:.2%} (n={len(chosen)})  neighbours of the same class "
        f"{record['queries']['same_class']:.2%}, in pixels {record['queries']['same_class_pixels']:.2%} (n={len(asked)})",
        file=sys.stderr,
    )
    return record


def _means(columns: dict[str, Tensor]) -> dict[str, float | None]:
    """Mean of each column; None where it is not measured."""
    means = {key: values.double().mean().item() for key, values in columns.items()}
    return {key: None if np.isnan(mean) else mean for key, mean in means.items()}
