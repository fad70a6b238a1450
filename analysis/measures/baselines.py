"""Errors of two linear classifiers that see no shapes, one on pixels and one on colours.

If they come near the network, the data set does not need vision. Each is a ridge regression on one-hot labels
whose strength is chosen on the last fifth of a fixed shuffle of the training images; then it is fitted on all.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.files import read_json

Array = NDArray[np.float32]
SIDE = 16  # pixels a side that the linear classifier sees
BINS = 6  # per colour channel
STRENGTHS = [10.0**k for k in range(-3, 6)]
CHUNK = 512  # images whose features are computed at once
MOST = 20_000  # training images; more add nothing to a linear model of this size


def baselines(folder: Path, train_split: str = "train", test_split: str = "val", seed: int = 0) -> dict[str, Any]:
    """Top-1 errors of both classifiers on `test_split` of the packed set in `folder`."""
    manifest = read_json(folder / "manifest.json")
    train, labels = _split(folder, train_split)
    test, truth = _split(folder, test_split)
    classes = len(manifest["classes"])
    order = np.random.default_rng(seed).permutation(len(train))[:MOST]
    chunks = [np.sort(order[i : i + CHUNK]) for i in range(0, len(order), CHUNK)]
    y = labels[np.concatenate(chunks)]
    out: dict[str, Any] = {
        "format": 1,
        "train_split": train_split,
        "test_split": test_split,
        "train_images": len(order),
        "data_fingerprint": manifest["fingerprint"],
    }
    ways: dict[str, Callable[[NDArray[np.uint8]], Array]] = {"linear_pixels": pixels, "color_histogram": histogram}
    for name, features in ways.items():
        x = np.concatenate([features(train[chunk]) for chunk in chunks])
        t = np.concatenate([features(test[i : i + CHUNK]) for i in range(0, len(test), CHUNK)])
        strength = _choose(x, y, classes)
        wrong = _predict(_fits(x, y, classes, [strength])[0], t) != truth
        out[name] = {"top1_error": float(wrong.mean()), "images": len(truth), "ridge": strength}
    return out


def _split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels; of a jpeg store all images at once: the sets of demo and proxy studies fit into memory."""
    import pandas as pd
    from PIL import Image

    try:
        table = pd.read_csv(folder / f"{split}.csv")
        labels = table["label"].to_numpy(np.int64)
        if (folder / f"{split}.jpegs").is_file():
            blob = (folder / f"{split}.jpegs").read_bytes()
            files = (blob[at : at + size] for at, size in zip(table["offset"], table["bytes"], strict=True))
            images = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        else:
            images = np.load(folder / f"{split}.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} has no packed split `{split}` ({error}); pack it first") from None
    if len(images) != len(labels) or not len(images):
        raise UserError(f"{folder}: {split}.npy holds {len(images)} images and {split}.csv {len(labels)} labels")
    return images, labels


def pixels(images: NDArray[np.uint8]) -> Array:
    """(N, S, S, 3) bytes -> (N, 3 * SIDE * SIDE) box means in -1..1; smaller images as they are."""
    n, size = images.shape[0], images.shape[1]
    step = size // SIDE if size > SIDE else 1
    kept = size // step
    start = (size - kept * step) // 2
    cut = images[:, start : start + kept * step, start : start + kept * step].astype(np.float32)
    boxes = cut.reshape(n, kept, step, kept, step, 3).mean(axis=(2, 4))
    return (boxes.reshape(n, -1) / 127.5 - 1).astype(np.float32)


def histogram(images: NDArray[np.uint8]) -> Array:
    """(N, S, S, 3) bytes -> (N, BINS**3) square roots of the shares of the image's pixels in each colour box."""
    boxes = images.astype(np.int32) * BINS // 256
    index = (boxes[..., 0] * BINS + boxes[..., 1]) * BINS + boxes[..., 2]
    n, cells = len(images), BINS**3
    flat = (index.reshape(n, -1) + np.arange(n)[:, None] * cells).ravel()
    counts = np.bincount(flat, minlength=n * cells).reshape(n, cells)
    return np.sqrt(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


Model = tuple[Array, Array, Array]  # mean of x, weights, mean of the one-hot labels


def _fits(x: Array, y: NDArray[np.int64], classes: int, strengths: list[float]) -> list[Model]:
    """Ridge regressions of all strengths from one eigendecomposition of the Gram matrix of features."""
    hot = np.eye(classes, dtype=np.float32)[y]
    mean, level = x.mean(axis=0), hot.mean(axis=0)
    centred = x - mean
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    right = vectors.T @ (centred.T @ (hot - level))
    solved = (vectors @ (right / (np.maximum(values, 0) + strength)[:, None]) for strength in strengths)
    return [(mean, weights.astype(np.float32), level) for weights in solved]


def _predict(model: Model, x: Array) -> NDArray[np.int64]:
    mean, weights, level = model
    return np.argmax((x - mean) @ weights + level, axis=1)


def _choose(x: Array, y: NDArray[np.int64], classes: int) -> float:
    """The ridge strength with the lowest error on held-out training images; ties go to the stronger."""
    order = np.random.default_rng(1).permutation(len(x))
    cut = max(1, len(x) * 4 // 5)
    fit, held = order[:cut], order[cut:]
    if not len(held):
        return STRENGTHS[-1]
    models = _fits(x[fit], y[fit], classes, STRENGTHS)
    errors = [float((_predict(model, x[held]) != y[held]).mean()) for model in models]
    return min(zip(errors, STRENGTHS, strict=True), key=lambda tried: (tried[0], -tried[1]))[1]
