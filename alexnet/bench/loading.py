"""Benchmarks training batches: beside ImageFolder with DataLoader, and against the speed of memory."""

import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from alexnet.batches.loader import TrainingBatches
from alexnet.bench.compare import Row, Side, compare
from alexnet.bench.ingest import SIZE, generated, packing, write_archive
from alexnet.experiments import resolve
from alexnet.packed.packed_set import mean_image, open_split

IMAGES, COPIES, WORKERS = 200, 10, 2


def image_folder(folder: Path) -> Path:
    """<class>/<image>.jpg, 256 x 256: the images of the packed set, so that the peer need not resize."""
    for i in range(IMAGES):
        image = Image.open(io.BytesIO(generated(i))).resize((SIZE, SIZE))
        for copy in range(COPIES):
            path = folder / str(i % 4) / f"{copy}_{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=90)
    return folder


def usual_loader(folder: Path, crop: int) -> DataLoader[Any]:
    """What one would write first."""
    drawn = transforms.RandomCrop(crop), transforms.RandomHorizontalFlip()
    scaled = transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    images = datasets.ImageFolder(str(folder), transforms.Compose([*drawn, *scaled]))
    # workers stay, so that starting them is not counted
    return DataLoader(images, batch_size=128, shuffle=True, num_workers=WORKERS, persistent_workers=True)


def loader_rows(work: Path, rounds: int) -> Iterator[Row]:
    """Rows of the table; `work` is a folder for half a gigabyte."""
    config = resolve.resolve("ilsvrc2012", "alexnet", 1)
    count, crop = IMAGES * COPIES, config["data"]["crop"]
    archives = write_archive(work / "loader", [generated(i) for i in range(IMAGES)], COPIES)
    packing(archives, work / "packed", WORKERS)
    train = open_split(work / "packed", "train")
    train.check()  # which training does once, beside its first epoch
    batches = TrainingBatches(train, config, mean_image(work / "packed"), workers=WORKERS)
    what = f"training batches, {count:,} images of {SIZE} x {SIZE}, crops of {crop}, two threads"
    usual = usual_loader(image_folder(work / "folder"), crop)
    pixels = torch.zeros((128, crop, crop, 3), dtype=torch.uint8)
    floats = torch.zeros(pixels.shape)

    def convert() -> None:
        for _ in range(count // 128):
            floats.copy_(pixels)

    name = "alexnet.batches.augment, raw store: crop, flip, colour, mean"
    ours = Side(name, lambda: deque(batches.epoch(0), maxlen=0), count)
    threads = torch.get_num_threads()
    for peer, theirs, used in (
        ("ImageFolder + DataLoader, two workers: crop, flip, scale", lambda: deque(usual, maxlen=0), threads),
        ("conversion to float32 alone, at memory speed", convert, WORKERS),
    ):
        torch.set_num_threads(used)
        yield compare(what, ours, Side(peer, theirs, count), rounds)
    torch.set_num_threads(threads)
