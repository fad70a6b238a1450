"""Decodes and resizes a stream of images in chunks: in parallel, in order, in bounded memory.

The workers are threads: libjpeg-turbo, the resampling, hashing, reading and writing all leave the interpreter.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from alexnet.archives.catalogue import Picture
from alexnet.images.decode import Undecodable, alone, square_of
from alexnet.packed import moments

CHUNK = 32  # images that a worker takes at a time
IN_FLIGHT = 3  # chunks per worker that are under way: bounds the memory, to 19 MB a worker with pixels of 256 x 256
DIGEST = 32  # hexadecimal digits of a SHA-256 that the index keeps


@dataclass(frozen=True)
class Chunk:
    """What a worker makes of some images."""

    rows: list[
        tuple[str, int, int, int, str, str]
    ]  # of the index: name, label, width, height, repairs, digest of the stored pixels
    problems: list[tuple[str, str, str]]  # name, archive and what is wrong of the others, which could not be decoded
    stored: list[Any]  # what the store gets of each: its JPEG file, or its pixels (S, S, 3)
    sums: moments.Sums | None
    error: float  # sum over the images of the mean squared error of re-encoding, in grey levels


@dataclass(frozen=True)
class ImageFormat:
    """How images are stored."""

    size: int  # pixels
    sums: bool  # whether the sums for mean image and covariance are taken
    quality: int | None = None  # of the JPEG files that are stored; None stores pixels


def reencode(pixels: NDArray[np.uint8], quality: int) -> tuple[bytes, NDArray[np.uint8]]:
    """A JPEG file without chroma subsampling, and the pixels that it decodes to."""
    file = simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="444", fastdct=False)
    return file, simplejpeg.decode_jpeg(file, fastdct=False, fastupsample=False)


def convert(pictures: list[Picture], form: ImageFormat) -> Chunk:
    """Read, decode and resize some images; UserError if an archive cannot be read."""
    size, at, error = form.size, 0, 0.0
    pixels = np.empty((len(pictures), size, size, 3), np.uint8)
    rows, problems, files = [], [], []
    for picture in pictures:
        try:
            with alone(picture.data.size):
                square = square_of(picture.read(), size, pixels[at])
        except Undecodable as problem:
            problems.append((picture.name, picture.archive, str(problem)))
            continue
        if form.quality is not None:
            file, stored = reencode(pixels[at], form.quality)
            error += float(np.mean((pixels[at].astype(np.float32) - stored) ** 2))
            pixels[at] = stored
            files.append(file)
        digest = hashlib.sha256(pixels[at].data).hexdigest()[:DIGEST]
        at += 1
        repairs = ";".join((*picture.repairs, *square.repairs))
        rows.append((picture.name, picture.label, square.width, square.height, repairs, digest))
    pixels = pixels[:at]
    return Chunk(rows, problems, files or list(pixels), moments.sums_of(pixels) if form.sums else None, error)


def in_order(work: Callable[[list[Picture]], Chunk], pictures: Iterable[Picture], workers: int) -> Iterator[Chunk]:
    """`work` over the chunks of the stream, in its order; at most IN_FLIGHT chunks per worker are in memory."""
    stream = iter(pictures)
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            for chunk in iter(lambda: list(islice(stream, CHUNK)), []):
                waiting.append(pool.submit(work, chunk))
                if len(waiting) >= IN_FLIGHT * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
