"""Turns the bytes of one image file into its central square, S x S RGB, and lists what had to be repaired."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 100_000_000  # more is a decompression bomb: the largest images of ILSVRC have about 40 million
MAX_BYTES = 200_000_000  # of a gzip-compressed image, uncompressed
PLUGINS = (JpegImageFile, PngImageFile, GifImageFile, BmpImageFile, TiffImageFile, WebPImageFile)
FORMATS = tuple(plugin.format for plugin in PLUGINS)
INTERPOLATION = "bicubic, antialiased (Pillow)"


class Undecodable(Exception):
    """The bytes are no whole image; the message says why."""


@dataclass(frozen=True)
class Square:
    """A packed image with the size of its file's picture and the repairs it took."""

    pixels: NDArray[np.uint8]  # (S, S, 3)
    width: int
    height: int
    repairs: tuple[str, ...]


def decode(data: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """The RGB picture in a file, whatever the file is called, and its repairs in a fixed order of words.

    Words: gzip (was compressed once more), png, gif, bmp, tiff, webp (not the JPEG that ILSVRC promises),
    grayscale, cmyk, palette, alpha (dropped), 16bit, exif (unreadable, unused). Orientation in EXIF data is
    not applied: the tools of 2012 did not.

    Raises:
        Undecodable: no image, cut off, or too large.
    """
    repairs = []
    if data[:2] == b"\x1f\x8b":  # as n02487347_1956.JPEG of 2010
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                data = stream.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Undecodable(f"damaged gzip data ({error})") from error
        if len(data) > MAX_BYTES:
            raise Undecodable(f"more than {MAX_BYTES} bytes in gzip data")
        repairs.append("gzip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise Undecodable(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            if image.format not in ("JPEG", "MPO"):
                repairs.append(str(image.format).lower())
            deep = image.mode.startswith("I") or any(
                ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
            )
            image.load()
        except (Undecodable, MemoryError):
            raise
        except Image.UnidentifiedImageError as error:
            raise Undecodable("no known image format") from error
        except (
            Exception
        ) as error:  # on damaged data Pillow raises nearly anything; one file must not end a run of a million
            raise Undecodable(f"{type(error).__name__}: {error}") from error
    rgb, changes = to_rgb(image)
    repairs += changes
    repairs += ["16bit"] * deep
    repairs += ["exif"] * any(
        "exif" in str(w.message).lower() or "tiff" in str(w.message).lower() for w in caught
    )
    return rgb, tuple(repairs)


def to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded picture of any mode as 8-bit RGB, and the repairs that this took."""
    mode = image.mode
    if mode == "RGB":
        return image, []
    if mode == "CMYK":
        # Pillow takes the inverted values of Adobe for granted; a file without Adobe's marker has plain ones
        if image.format == "JPEG" and "adobe" not in image.info:
            image = ImageChops.invert(image)
        return image.convert("RGB"), ["cmyk"]
    if mode in ("L", "1"):
        return image.convert("RGB"), ["grayscale"]
    if mode.startswith("I"):  # 16 bits of gray: keep the high byte, as Pillow does for 16-bit RGB
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB"), ["grayscale"]
    if mode == "P":
        alpha = "transparency" in image.info
        return image.convert("RGBA" if alpha else "RGB").convert("RGB"), ["palette", *["alpha"] * alpha]
    if mode in ("RGBA", "LA", "PA", "RGBX", "La", "RGBa"):
        return image.convert("RGBA").convert("RGB"), [*["grayscale"] * mode.startswith("L"), "alpha"]
    return image.convert("RGB"), [mode.lower()]


def central_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Shorter side resized to `size`, central `size` x `size` kept (s. 2): (size, size, 3).

    Only the square is computed: the box is where a full resize to round(long * size / short) and a crop at
    half the excess, rounded down, take their pixels from, so the outcome is the same but for rounding.
    *Deviation*: the paper names no interpolation, the 2012 tools averaged areas.
    """
    width, height = image.size
    short = min(width, height)

    def span(side: int) -> tuple[float, float]:
        resized = size if side == short else max(size, round(side * size / short))
        start = (resized - size) // 2
        return start * side / resized, (start + size) * side / resized

    (left, right), (top, bottom) = span(width), span(height)
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return np.asarray(square, dtype=np.uint8)


def square_of(data: bytes, size: int) -> Square:
    """`decode`, then `central_square`.

    Raises:
        Undecodable: see `decode`.
    """
    image, repairs = decode(data)
    return Square(central_square(image, size), image.width, image.height, repairs)
