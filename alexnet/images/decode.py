"""Decodes an image file into its central square, S x S RGB, and lists what had to be repaired."""

import gzip
import io
import threading
import warnings
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageChops

from alexnet.images.resample import central_square

MAX_PIXELS = 100_000_000  # more is a decompression bomb: the largest images of ILSVRC have about 40 million
MAX_SIDE = 65_535  # pixels, as in a JPEG
MAX_BYTES = 200_000_000  # of a gzip-compressed image, uncompressed
ALONE = 20_000_000  # pixels, or bytes of a file, beyond which an image is handled while no other such is
LARGE = 12_000_000  # bytes of pixels beyond which memory is not kept
_kept = threading.local()
_alone = threading.RLock()
REPAIRS: dict[str, tuple[str, ...]] = {  # by Pillow's modes; of others their names
    "RGB": (), "CMYK": ("cmyk",), "L": ("grayscale",), "1": ("grayscale",), "I": ("grayscale",), "P": ("palette",),
    "LA": ("grayscale", "alpha"), "La": ("grayscale", "alpha"), **dict.fromkeys(("RGBA", "RGBa", "RGBX", "PA"), ("alpha",)),
}  # fmt: skip
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")


class Undecodable(Exception):
    """The bytes are no whole image; the message says why."""


class _Large(Exception):
    """The image has more pixels than may be decoded beside others."""


def alone(size: int) -> AbstractContextManager[object]:
    """What to hold while a file of `size` bytes is in memory: one large file at a time."""
    return _alone if size > ALONE else nullcontext()


@dataclass(frozen=True)
class Square:
    """A packed image with the size of its file's picture and the repairs it took."""

    pixels: NDArray[np.uint8]  # (S, S, 3)
    width: int
    height: int
    repairs: tuple[str, ...]


def decode(data: bytes, most: int = MAX_PIXELS) -> tuple[Image.Image, tuple[str, ...]]:
    """The RGB picture in a file, whatever the file is called, and its repairs in a fixed order of words.

    Words: gzip (was compressed once more), png, gif, bmp, tiff, webp (not the JPEG that ILSVRC promises),
    grayscale, cmyk, palette, alpha (dropped), 16bit, exif (unreadable, unused); `quick` has two more:
    extraneous (bytes between the segments), damaged (other warnings of libjpeg). Orientation in EXIF data is not
    applied: the tools of 2012 did not.

    Raises:
        Undecodable: no image, cut off, or too large.
        _Large: more pixels than `most`, or gzip data, and `most` is less than any image may have.
    """
    repairs = []
    if data[:2] == b"\x1f\x8b":  # as n02487347_1956.JPEG of 2010
        if most < MAX_PIXELS:
            raise _Large
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                data = stream.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Undecodable(f"damaged gzip data ({error})") from error
        if len(data) > MAX_BYTES:
            raise Undecodable(f"more than {MAX_BYTES} bytes in gzip data")
        repairs.append("gzip")
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
                limit = f"more than {MAX_PIXELS}, or {MAX_SIDE} a side"
                raise Undecodable(f"{image.width} x {image.height} pixels, {limit}")
            if image.width * image.height > most:
                raise _Large
            if image.format not in ("JPEG", "MPO"):
                repairs.append(str(image.format).lower())
            deep = image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
            image.load()
        except (Undecodable, _Large, MemoryError):
            raise
        except Exception as error:
            # damaged data make Pillow raise nearly anything; one file must not end a run of a million
            unknown = isinstance(error, Image.UnidentifiedImageError)
            raise Undecodable("no known image format" if unknown else f"{type(error).__name__}: {error}") from error
    rgb, changes = to_rgb(image)
    odd_exif = any("exif" in str(w.message).lower() or "tiff" in str(w.message).lower() for w in caught)
    return rgb, (*repairs, *changes, *["16bit"] * deep, *["exif"] * odd_exif)


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded picture of any mode as 8-bit RGB, and the repairs that this took."""
    mode = "I" if image.mode.startswith("I") else image.mode
    repairs = REPAIRS.get(mode, (mode.lower(),))
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow takes the inverted values of Adobe for granted; a file without Adobe's marker has plain ones
        image = ImageChops.invert(image)
    elif mode == "I":  # 16 bits of gray: keep the high byte, as Pillow does for 16-bit RGB
        image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    elif mode == "P" and "transparency" in image.info:
        repairs = (*repairs, "alpha")
    if "alpha" in repairs:
        image = image.convert("RGBA")
    return image if mode == "RGB" else image.convert("RGB"), repairs


def exif_damaged(data: bytes) -> bool:
    """Whether Pillow complains about the EXIF data in a JPEG's first segments."""
    if b"Exif" not in data[:1024]:
        return False
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                image.getexif()
        except Exception:
            return True
    return bool(caught)


def kept(name: str, size: int) -> NDArray[np.uint8]:
    """Memory of this thread under a name, used again and again: fresh pages cost a tenth of the decoding."""
    held: NDArray[np.uint8] | None = getattr(_kept, name, None)
    if held is None or len(held) < size:
        held = np.empty(size, np.uint8)
        if size <= LARGE:
            setattr(_kept, name, held)
    return held[:size]


def quick(data: bytes, most: int = MAX_PIXELS) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    """(height, width, 3) of an ordinary colour JPEG by libjpeg-turbo, to the bit as Pillow's, and its repairs.

    None for what `decode` must look at: other formats, gray and four-colour JPEGs, and whatever libjpeg warns
    about; its warning is then the repair, if `decode` finds a whole picture all the same. The pixels stay as they
    are until this thread calls again.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None, ()
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        if colours not in ("YCbCr", "RGB") or height * width > MAX_PIXELS:
            return None, ()
        if height * width > most:
            raise _Large
        pixels = simplejpeg.decode_jpeg(
            data, fastdct=False, fastupsample=False, strict=True, buffer=kept("file", height * width * 3)
        )
    except ValueError as error:
        return None, ("extraneous" if "extraneous" in str(error) else "damaged",)
    return pixels, ("exif",) * exif_damaged(data)


def square_of(data: bytes | NDArray[np.uint8], size: int, out: NDArray[np.uint8] | None = None) -> Square:
    """The central square of an image file, or of pixels (height, width, 3); written to `out` if given. See `decode`."""
    if isinstance(data, np.ndarray):
        return Square(central_square(data, size, out), data.shape[1], data.shape[0], ())
    try:
        return _square(data, size, out, ALONE)
    except _Large:
        with _alone:
            return _square(data, size, out, MAX_PIXELS)


def _square(data: bytes, size: int, out: NDArray[np.uint8] | None, most: int) -> Square:
    pixels, repairs = quick(data, most)
    if pixels is None:
        image, more = decode(data, most)
        pixels, repairs = np.array(image), (*repairs, *more)
    return Square(central_square(pixels, size, out), pixels.shape[1], pixels.shape[0], repairs)
