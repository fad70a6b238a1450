"""Turns a stream of image files into a stream of decoded, resized batches, in parallel, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from alexnet import moments
from alexnet.catalogue import Picture
from alexnet.decode import Undecodable, square_of

CHUNK = 32  # images per message between processes
IN_FLIGHT = 3  # messages per worker that are under way: bounds the memory


@dataclass(frozen=True)
class Row:
    """One line of the index, or an image that could not be decoded (`problem`)."""

    name: str
    label: int
    archive: str
    width: int = 0
    height: int = 0
    repairs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Batch:
    """What a worker makes of a chunk; images that could not be decoded have a row, but no pixels."""

    rows: list[Row]
    pixels: NDArray[np.uint8]  # (n, S, S, 3)
    sums: moments.Sums | None


def convert(chunk: list[Picture], size: int, with_sums: bool) -> Batch:
    """Decode and resize some images; runs in a worker process."""
    rows, squares = [], []
    for picture in chunk:
        try:
            square = square_of(picture.data, size)
        except Undecodable as error:
            rows.append(Row(picture.name, picture.label, picture.archive, problem=str(error)))
            continue
        squares.append(square.pixels)
        rows.append(
            Row(picture.name, picture.label, picture.archive, square.width, square.height, square.repairs)
        )
    pixels = np.stack(squares) if squares else np.empty((0, size, size, 3), np.uint8)
    return Batch(rows, pixels, moments.sums_of(pixels) if with_sums else None)


def batches(
    pictures: Iterator[Picture], size: int, with_sums: bool, pool: ProcessPoolExecutor | None, workers: int
) -> Iterator[Batch]:
    """`convert` over the stream, in its order; at most IN_FLIGHT chunks per worker are in memory."""
    chunks = iter(lambda: list(islice(pictures, CHUNK)), [])
    if pool is None:
        yield from (convert(chunk, size, with_sums) for chunk in chunks)
        return
    waiting: deque[Future[Batch]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(convert, chunk, size, with_sums))
        if len(waiting) >= IN_FLIGHT * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
