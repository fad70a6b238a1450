"""Generates the archives of a small ILSVRC in the official formats; a seed always gives the same bytes.

Written: ILSVRC2012_img_train.tar (a tar of one tar per synset), ILSVRC2012_img_val.tar,
ILSVRC2012_devkit_t12.tar.gz, ILSVRC2010_images_test.tar, ILSVRC2010_devkit-1.0.tar.gz and
ILSVRC2010_test_ground_truth.txt; for pre-training also ILSVRC2010_images_train.tar and ILSVRC2010_images_val.tar. As in the real ones, some files are not what they seem: grayscale JPEGs
everywhere, and in the training set one CMYK JPEG and one PNG called .JPEG. The two years number the same
synsets differently and have internal synsets among the rows of meta.mat.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from alexnet.archives.ilsvrc import DEVKIT, IMAGES, TEST_GROUND_TRUTH
from alexnet.archives.tars import add, plain_tar
from alexnet.errors import UserError
from alexnet.synthetic.scenes import render
from alexnet.synthetic.synsets import MAX_CLASSES, Synset, devkit, synsets

GRAYSCALE = 0.04  # fraction of the images
KEYS = {"train": 1, "val": 2, "test": 3}  # of the random numbers of a split


@dataclass(frozen=True)
class Order:
    """One image to draw; `stream` is the key of its random numbers, so who draws it, and when, is all one."""

    stream: tuple[int, ...]
    shape: str
    texture: str
    image_size: int
    encoding: str = "JPEG"  # or CMYK, PNG


def draw(order: Order) -> bytes:
    """The file of one image; shorter side 0.73 to 1.46 times `image_size`, aspect ratio up to 1.6."""
    rng = np.random.default_rng(order.stream)
    short = round(order.image_size * rng.uniform(0.73, 1.46))
    long = round(short * rng.choice([1.0, 4 / 3, 4 / 3, 1.5, rng.uniform(1, 1.6)]))
    width, height = (long, short) if rng.random() < 0.7 else (short, long)
    image = render(rng, order.shape, order.texture, width, height)
    buffer = io.BytesIO()
    if order.encoding == "PNG":
        image.save(buffer, "PNG")
        return buffer.getvalue()
    if order.encoding == "CMYK":
        image = image.convert("CMYK")
    elif rng.random() < GRAYSCALE:
        image = image.convert("L")
    image.save(buffer, "JPEG", quality=int(rng.integers(80, 96)))
    return buffer.getvalue()


def drawn(orders: list[Order], workers: int) -> Iterator[bytes]:
    """The files of all orders, in their order; `workers` processes draw."""
    if workers <= 1:
        yield from map(draw, orders)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, orders, chunksize=40)


def write_train(path: Path, leaves: list[Synset], count: int, files: Iterator[bytes], rng: np.random.Generator) -> None:
    """A tar of one tar per synset, each with `count` of the files."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as outer:
        for leaf in leaves:
            numbers = rng.permutation(10 * count)[:count]  # with gaps and unsorted, as the real names
            members = [(f"{leaf.wnid}_{number}.JPEG", next(files)) for number in numbers]
            add(outer, f"{leaf.wnid}.tar", plain_tar(members))


def synthesize(
    out: Path,
    *,
    seed: int = 2012,
    classes: int = 12,
    train_per_class: int = 300,
    val_per_class: int = 100,
    test_per_class: int = 100,
    pretraining_per_class: int = 0,
    image_size: int = 96,
    workers: int | None = None,
) -> None:
    """Write the archives into `out`.

    Args:
        pretraining_per_class: training images a class of an ILSVRC-2010, with a fifth as many for validation; 0: no
            such archives.
        image_size: typical shorter side of an image, in pixels.

    UserError if a number is out of its range.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise UserError(f"classes is {classes}, but the generator knows 2 to {MAX_CLASSES}; choose one of these")
    if image_size < 32:
        raise UserError(f"image size is {image_size}, but below 32 pixels a texture cannot be seen; choose 32 or more")
    for name, number in (("train", train_per_class), ("val", val_per_class), ("test", test_per_class)):
        if number < 1:
            raise UserError(f"{name} images per class is {number}; choose 1 or more")
    rows = {year: synsets(year, seed, classes) for year in (2012, 2010)}
    leaves = {year: sorted((r for r in some if not r.children), key=lambda r: r.wnid) for year, some in rows.items()}
    before = pretraining_per_class
    counts = {(2012, "train"): train_per_class, (2012, "val"): val_per_class, (2010, "test"): test_per_class}
    if before:
        counts |= {(2010, "train"): before, (2010, "val"): max(1, before // 5)}
    orders: dict[tuple[int, str], list[Order]] = {}
    ids: dict[tuple[int, str], list[int]] = {(2010, "val"): []}  # of flat archives, whose classes are mixed
    for (year, split), count in counts.items():
        key = (seed, year, KEYS[split])
        if split == "train":
            images = [((*key, c, k), leaf) for c, leaf in enumerate(leaves[year]) for k in range(count)]
        else:
            of_id = {leaf.id: leaf for leaf in leaves[year]}
            mixed = np.random.default_rng([*key, 1]).permutation(np.repeat(sorted(of_id), count))
            ids[year, split] = mixed.tolist()
            images = [((*key, 2, k), of_id[i]) for k, i in enumerate(ids[year, split])]
        orders[year, split] = [Order(stream, leaf.shape, leaf.texture, image_size) for stream, leaf in images]
    for image, encoding in ((train_per_class - 1, "CMYK"), (-1, "PNG")):  # the last of the first class, and of the last
        orders[2012, "train"][image] = replace(orders[2012, "train"][image], encoding=encoding)

    out.mkdir(parents=True, exist_ok=True)
    files = drawn([order for some in orders.values() for order in some], workers or os.cpu_count() or 1)
    shuffle = np.random.default_rng([seed, 3])
    for (year, split), count in counts.items():
        path = out / IMAGES[year].format(split)
        if split == "train":
            write_train(path, leaves[year], count, files, shuffle)
            continue
        found = [next(files) for _ in orders[year, split]]
        unsorted = shuffle.permutation(len(found))  # nothing promises that an archive is sorted
        path.write_bytes(plain_tar([(f"ILSVRC{year}_{split}_{k + 1:08d}.JPEG", found[k]) for k in unsorted]))
    roots = {2012: ("ILSVRC2012_devkit_t12", train_per_class), 2010: ("devkit-1.0", before or train_per_class)}
    for year, (root, count) in roots.items():
        (out / DEVKIT[year]).write_bytes(devkit(root, year, rows[year], count, ids[year, "val"]))
    (out / TEST_GROUND_TRUTH).write_text("".join(f"{i}\n" for i in ids[2010, "test"]))
