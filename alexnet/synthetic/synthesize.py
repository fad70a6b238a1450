"""Generates the archives of a small ILSVRC in the official formats; a seed always gives the same bytes.

Written: ILSVRC2012_img_train.tar (a tar of one tar per synset), ILSVRC2012_img_val.tar,
ILSVRC2012_devkit_t12.tar.gz, ILSVRC2010_images_test.tar, ILSVRC2010_devkit-1.0.tar.gz and
ILSVRC2010_test_ground_truth.txt; for pre-training also ILSVRC2010_images_train.tar and ILSVRC2010_images_val.tar. As in the real ones, some files are not what they seem: grayscale JPEGs
everywhere, and in the training set one CMYK JPEG and one PNG called .JPEG. The two years number the same
synsets differently and have internal synsets among the rows of meta.mat.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from alexnet.archives.tars import add, plain_tar
from alexnet.errors import UserError
from alexnet.synthetic.scenes import render
from alexnet.synthetic.synsets import MAX_CLASSES, Synset, devkit, synsets

GRAYSCALE = 0.04  # fraction of the images


@dataclass(frozen=True)
class Order:
    """One image to draw; `stream` is the key of its random numbers, so who draws it, and when, is all one."""

    stream: tuple[int, ...]
    shape: str
    texture: str
    image_size: int
    encoding: str  # JPEG | CMYK | PNG


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


def draw_chunk(orders: list[Order]) -> list[bytes]:
    """`draw` for several images: one message between processes."""
    return [draw(order) for order in orders]


def drawn(orders: list[Order], workers: int) -> Iterator[bytes]:
    """The files of all orders, in their order; `workers` processes draw."""
    if workers <= 1:
        yield from map(draw, orders)
        return
    chunks = [orders[i : i + 40] for i in range(0, len(orders), 40)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for files in pool.map(draw_chunk, chunks):
            yield from files


def flat_orders(
    rows: list[Synset], per_class: int, key: tuple[int, ...], image_size: int
) -> tuple[list[Order], list[int]]:
    """The images of a flat archive, classes mixed, and their ids in that year's numbering."""
    leaves = {row.id: row for row in rows if not row.children}
    ids = np.random.default_rng([*key, 1]).permutation(np.repeat(sorted(leaves), per_class))
    orders = [Order((*key, 2, k), leaves[i].shape, leaves[i].texture, image_size, "JPEG") for k, i in enumerate(ids)]
    return orders, [int(i) for i in ids]


def write_flat(path: Path, prefix: str, files: list[bytes], order: list[int]) -> None:
    """A flat tar of <prefix>_00000001.JPEG ... in the given order: nothing promises that it is sorted."""
    path.write_bytes(plain_tar([(f"{prefix}_{k + 1:08d}.JPEG", files[k]) for k in order]))


def leaves_of(rows: list[Synset]) -> list[Synset]:
    """The classes among the rows of a year, by wnid."""
    return sorted((row for row in rows if not row.children), key=lambda row: row.wnid)


def train_orders(rows: list[Synset], per_class: int, key: tuple[int, ...], image_size: int, odd: bool) -> list[Order]:
    """The images of a training archive, class by class; `odd`: two of them are not what they seem."""
    leaves = leaves_of(rows)
    strange = {0: "CMYK", len(leaves) - 1: "PNG"} if odd else {}  # in these classes, the last image
    return [
        Order(
            (*key, c, k), leaf.shape, leaf.texture, image_size, strange.get(c, "JPEG") if k == per_class - 1 else "JPEG"
        )
        for c, leaf in enumerate(leaves)
        for k in range(per_class)
    ]


def write_train(
    path: Path, rows: list[Synset], per_class: int, files: Iterator[bytes], shuffle: np.random.Generator
) -> None:
    """A tar of one tar per synset."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as outer:
        for leaf in leaves_of(rows):
            numbers = shuffle.permutation(10 * per_class)[:per_class]  # with gaps and unsorted, as the real names
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

    Raises:
        UserError: a number is out of its range.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise UserError(
            f"classes is {classes}, but the generator knows 2 to {MAX_CLASSES}; choose a number in this range"
        )
    if image_size < 32:
        raise UserError(f"image size is {image_size}, but below 32 pixels a texture cannot be seen; choose 32 or more")
    for name, number in (("train", train_per_class), ("val", val_per_class), ("test", test_per_class)):
        if number < 1:
            raise UserError(f"{name} images per class is {number}; choose 1 or more")
    workers = workers or os.cpu_count() or 1
    rows12, rows10 = synsets(2012, seed, classes), synsets(2010, seed, classes)

    train = train_orders(rows12, train_per_class, (seed, 2012, 1), image_size, odd=True)
    val, val_ids = flat_orders(rows12, val_per_class, (seed, 2012, 2), image_size)
    test, test_ids = flat_orders(rows10, test_per_class, (seed, 2010, 3), image_size)

    before: list[Order] = []
    before_val: list[Order] = []
    before_val_ids: list[int] = []
    if pretraining_per_class:
        before = train_orders(rows10, pretraining_per_class, (seed, 2010, 1), image_size, odd=False)
        fifth = max(1, pretraining_per_class // 5)
        before_val, before_val_ids = flat_orders(rows10, fifth, (seed, 2010, 2), image_size)

    out.mkdir(parents=True, exist_ok=True)
    files = drawn([*train, *val, *test, *before, *before_val], workers)
    shuffle = np.random.default_rng([seed, 3])
    write_train(out / "ILSVRC2012_img_train.tar", rows12, train_per_class, files, shuffle)
    for orders, name, prefix in (
        (val, "ILSVRC2012_img_val.tar", "ILSVRC2012_val"),
        (test, "ILSVRC2010_images_test.tar", "ILSVRC2010_test"),
    ):
        drawn_files = [next(files) for _ in orders]
        write_flat(out / name, prefix, drawn_files, shuffle.permutation(len(orders)).tolist())
    if pretraining_per_class:
        write_train(out / "ILSVRC2010_images_train.tar", rows10, pretraining_per_class, files, shuffle)
        order = shuffle.permutation(len(before_val)).tolist()
        write_flat(out / "ILSVRC2010_images_val.tar", "ILSVRC2010_val", [next(files) for _ in before_val], order)
    (out / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(
        devkit("ILSVRC2012_devkit_t12", 2012, rows12, train_per_class, val_ids)
    )
    (out / "ILSVRC2010_devkit-1.0.tar.gz").write_bytes(
        devkit("devkit-1.0", 2010, rows10, pretraining_per_class or train_per_class, before_val_ids)
    )
    (out / "ILSVRC2010_test_ground_truth.txt").write_text("".join(f"{i}\n" for i in test_ids))
