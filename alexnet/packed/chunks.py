"""Decodes and resizes a stream of images in chunks: in parallel, in order, in bounded memory.

The workers are threads: libjpeg-turbo, the resampling, hashing, reading and writing all leave the interpreter.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from alexnet.archives.catalogue import Picture
from alexnet.images.decode import Undecodable, alone, kept, square_of
from alexnet.packed import moments

CHUNK = 32  # images that a worker takes at a time
IN_FLIGHT = 3  # chunks per worker that are under way: bounds the memory
DIGEST = 32  # hexadecimal digits of a SHA-256 that the index keeps


@dataclass(frozen=True)
class Chunk:
    """What a worker makes of some images."""

    # of the index: name, label, width, height, repairs, digest of the stored pixels
    rows: list[tuple[str, int, int, int, str, str]]
    problems: list[tuple[str, str, str]]  # name, archive and what is wrong of the others, which could not be decoded
    files: list[bytes]  # the re-encoded images of a jpeg store
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


def convert(pictures: list[Picture], form: ImageFormat, store: Callable[[NDArray[np.uint8]], object]) -> Chunk:
    """Read, decode and resize some images, and hand those that could be decoded to `store`, (n, S, S, 3).

    They must not be kept: the memory is this thread's, and is used again. UserError if an archive cannot be read.
    """
    size, at, error = form.size, 0, 0.0
    pixels = kept("chunk", CHUNK * size * size * 3).reshape(CHUNK, size, size, 3)
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
    store(pixels)
    return Chunk(rows, problems, files, moments.sums_of(pixels) if form.sums else None, error)


def in_order(
    work: Callable[[int, list[Picture]], Chunk], pictures: Iterable[Picture], first: int, workers: int
) -> Iterator[Chunk]:
    """`work(chunk number, images)` over the stream, from chunk `first` on, in its order.

    At most IN_FLIGHT chunks per worker are in memory.
    """
    stream = iter(pictures)
    chunks = enumerate(iter(lambda: list(islice(stream, CHUNK)), []), first)
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            for number, chunk in chunks:
                waiting.append(pool.submit(work, number, chunk))
                if len(waiting) >= IN_FLIGHT * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
