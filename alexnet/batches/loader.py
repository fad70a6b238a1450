"""Makes training batches from a packed split in the background while the net computes.

A batch depends on seed, epoch and position alone, not on the number of workers. On CUDA the stored uint8 images go to the
device and are cropped, reflected and coloured there (tests/test_gpu.py; its arithmetic is tested on the processor too).
"""

import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches import gather
from alexnet.batches.augment import Draws, color_axes, draw_epoch, epoch_order
from alexnet.batches.views import central_crop
from alexnet.experiments.config import Optimizer, RunConfig
from alexnet.packed.packed_set import Split
from alexnet.packed.stores import read_into

AHEAD = 2  # batches that are made in advance: bounds the memory
ALIGNMENT = 64  # bytes, as torch aligns its own memory
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """What is done to the images of an epoch."""

    draws: Draws
    noisy: bool
    divisor: float
    aligned: bool


class Memory:
    """Memory of batches, handed out again once nothing refers to it: fresh pages cost more than filling them.

    Args:
        values: float32 values of the largest batch.
    """

    def __init__(self, values: int) -> None:
        self.values = values
        self.free: list[NDArray[np.float32]] = []

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised float32 tensor; its memory comes back when the last tensor or array on it is gone."""
        try:
            memory = self.free.pop()
        except IndexError:
            memory = np.empty(self.values + ALIGNMENT // 4, np.float32)
        first = -memory.ctypes.data % ALIGNMENT // 4
        lease = memory[first : first + int(np.prod(shape))]  # what views of the tensor keep alive
        weakref.finalize(lease, self._give_back, memory).atexit = False
        return torch.from_numpy(lease).view(shape)

    def _give_back(self, memory: NDArray[np.float32]) -> None:
        if len(self.free) < AHEAD + 2:  # those in advance, the consumer's, and the next
            self.free.append(memory)


def augment_on_device(
    images: Tensor, draws: Draws, mean: Tensor, crop: int, noisy: bool, divisor: float, aligned: bool
) -> Tensor:
    """Stored images (B, S, S, 3) uint8 -> (B, 3, crop, crop) float32, channels last, on the device that they are on.

    The same to the bit as `alexnet.batches.gather.crops`.

    Args:
        draws: those of these B images.
        mean: (crop, crop, 3), or if `aligned` (S, S, 3), on the same device.
    """
    device, span = images.device, torch.arange(crop, device=images.device)
    top, left, flip, color = (
        torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
        for values in (draws.top, draws.left, draws.flip, draws.color)
    )
    rows = top[:, None] + span
    columns = left[:, None] + torch.where(flip[:, None], crop - 1 - span, span)
    number = torch.arange(len(images), device=device)[:, None, None]
    out = images[number, rows[:, :, None], columns[:, None, :]].float()
    if aligned:
        out -= mean[rows[:, :, None], columns[:, None, :]]
    else:
        out -= mean
    if noisy:
        # by a plain number CUDA would multiply by its reciprocal, which rounds differently
        out = out.add_(color[:, None, None, :]).div_(torch.full((), divisor, dtype=out.dtype, device=device))
    return out.permute(0, 3, 1, 2)


def minibatches(count: int, optimizer: Optimizer) -> list[tuple[int, int]]:
    """First position and the one after the last of each minibatch of an epoch of `count` images.

    With `data_batch` the images come in batches of so many, and a minibatch ends where one of these does: 10,000 images are
    78 minibatches of 128 and one of 16 (code data.cu:50-57). A smaller minibatch counts as `partial_batch` says.
    """
    size, together = optimizer["batch_size"], optimizer.get("data_batch", count)
    spans = [
        (first, min(first + size, begin + together, count))
        for begin in range(0, count, together)
        for first in range(begin, min(begin + together, count), size)
    ]
    return spans if optimizer["partial_batch"] == "use" else [s for s in spans if s[1] - s[0] == size]


class TrainingBatches:
    """Batches of one split for training, as the recipe's `augmentation` says.

    Args:
        mean: (S, S, 3), the mean image.
        workers: threads that make batches; 0 makes each when it is asked for.
        device: where batches are wanted.
    """

    def __init__(
        self,
        split: Split,
        config: RunConfig,
        mean: NDArray[np.float32],
        workers: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.split, self.config, self.workers, self.device = split, config, workers, torch.device(device)
        self.crop = config["data"]["crop"]
        self.margin = split.images.shape[1] - self.crop
        aligned = config["augmentation"]["mean"] == "aligned"
        self.mean = np.ascontiguousarray(mean if aligned else central_crop(mean, self.crop), np.float32)
        self.mean_there = torch.from_numpy(self.mean).to(self.device)
        largest = min(config["optimizer"]["batch_size"], len(split))
        self.memory = Memory(largest * self.crop * self.crop * 3)

    @cached_property
    def uploads(self) -> torch.cuda.Stream:
        """Where batches are sent to a GPU, beside the steps that it has still to do."""
        return torch.cuda.Stream(self.device)

    def epoch(self, epoch: int, color_noise: bool = True, first: int = 0) -> Iterator[Batch]:
        """Yield (images, labels) of `epoch` (0-based); a last, smaller batch as `partial_batch` says.

        Args:
            first: number of the first batch to make; those before it cost nothing.
        """
        settings, seed = self.config["augmentation"], self.config["seed"]
        count = len(self.split)
        noisy = color_noise and settings["color_noise"] > 0
        axes = np.zeros((3, 3), np.float32)
        if noisy:
            axes = color_axes(self.split.manifest["rgb"], settings["color_noise_scale"])
        order = epoch_order(count, seed, epoch, settings["reshuffle"])
        draws = draw_epoch(count, settings, self.margin, axes, seed, epoch)
        recipe = Recipe(draws, noisy, settings["color_divisor"], settings["mean"] == "aligned")
        spans = minibatches(count, self.config["optimizer"])[first:]
        if not self.workers:
            for start, end in spans:
                pixels = self._empty(end - start)
                self._fill(pixels, order, recipe, start, start, end)
                yield self._finish(pixels, order, recipe, start, end)
            return
        yield from self._in_background(spans, order, recipe)

    def _in_background(self, spans: list[tuple[int, int]], order: NDArray[np.int64], recipe: Recipe) -> Iterator[Batch]:
        """The batches of `spans`, each filled by all workers, a few in advance."""
        waiting: deque[tuple[Tensor, list[Future[None]], int, int]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as pool:
            try:
                for start, end in spans:
                    pixels = self._empty(end - start)
                    cuts = np.linspace(start, end, self.workers + 1).astype(int)
                    parts = [
                        pool.submit(self._fill, pixels, order, recipe, start, int(a), int(b))
                        for a, b in pairwise(cuts)
                        if a < b
                    ]
                    waiting.append((pixels, parts, start, end))
                    if len(waiting) > AHEAD:
                        yield self._ready(waiting, order, recipe)
                while waiting:
                    yield self._ready(waiting, order, recipe)
            finally:
                for _, parts, _, _ in waiting:
                    for part in parts:
                        part.cancel()

    def _ready(
        self, waiting: deque[tuple[Tensor, list[Future[None]], int, int]], order: NDArray[np.int64], recipe: Recipe
    ) -> Batch:
        pixels, parts, start, end = waiting.popleft()
        for part in parts:
            part.result()
        return self._finish(pixels, order, recipe, start, end)

    def _empty(self, count: int) -> Tensor:
        """Memory for a batch: of crops, or for CUDA of stored images, from where they are copied without waiting."""
        if self.device.type == "cuda":
            shape = (count, *self.split.images.shape[1:])
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return self.memory.take((count, self.crop, self.crop, 3))

    def _fill(
        self, pixels: Tensor, order: NDArray[np.int64], recipe: Recipe, start: int, first: int, last: int
    ) -> None:
        """Make the images at positions `first` to `last` of the epoch in a batch that begins at `start`."""
        out, here = pixels.numpy()[first - start : last - start], slice(first, last)
        indices, draws = order[here], recipe.draws
        images = out if self.device.type == "cuda" else np.empty((last - first, *self.split.images.shape[1:]), np.uint8)
        read_into(self.split.images, indices, images)
        self.split.check(indices, images)
        if self.device.type == "cuda":
            return
        noise = draws.color[here] if recipe.noisy else draws.color[:0]
        gather.crops(
            images, np.arange(last - first), draws.top[here], draws.left[here], draws.flip[here], self.mean,
            recipe.aligned, noise, recipe.divisor, out,
        )  # fmt: skip

    def _finish(self, pixels: Tensor, order: NDArray[np.int64], recipe: Recipe, start: int, end: int) -> Batch:
        labels, draws = torch.from_numpy(self.split.labels[order[start:end]]), recipe.draws
        if self.device.type != "cuda":
            return pixels.permute(0, 3, 1, 2), labels
        here = slice(start, end)
        own = Draws(draws.top[here], draws.left[here], draws.flip[here], draws.color[here])
        with torch.cuda.stream(self.uploads):
            images = pixels.to(self.device, non_blocking=True)
        now = torch.cuda.current_stream(self.device)
        now.wait_stream(self.uploads)
        images.record_stream(now)
        settings = (self.crop, recipe.noisy, recipe.divisor, recipe.aligned)
        return augment_on_device(images, own, self.mean_there, *settings), labels
