"""Benchmarks packing full-size ILSVRC JPEGs: beside the usual scripts, against the decoder's limit, on one core.

Everything per core runs pinned to one core, with all that packing does: reading, hashing archives and contents,
sums for the mean image, index and manifest. All peers write the same raw pixels to a file.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
import torchvision.io
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from alexnet.archives import ilsvrc, tars
from alexnet.bench.compare import Row, Side, compare, row
from alexnet.images.decode import quick, square_of
from alexnet.images.resample import central_square
from alexnet.packed import moments, pack
from alexnet.packed.chunks import reencode
from alexnet.synthetic import synsets

ARCHIVE = "ilsvrc-fullsize-400.tar"
SIZE = 256
GENERATED = 200
CLASSES = 4
MANY = 4000  # images, of which the beginning and the end of a packing are a small part


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and those that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def full_size_files(folders: list[Path]) -> tuple[str, list[bytes]]:
    """Files like those of ILSVRC and what they are: real ones if their archive is there, else generated ones."""
    found = next((folder / ARCHIVE for folder in folders if (folder / ARCHIVE).is_file()), None)
    if found:
        files = [data.read() for _, data in tars.members(found)]
        return f"{len(files)} real ILSVRC images", files
    return f"{GENERATED} generated images of 500 x 375", [generated(i) for i in range(GENERATED)]


def generated(seed: int) -> bytes:
    """A JPEG of about the size and the bytes of an ILSVRC image."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (38, 50, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = pixels + generator.normal(0, 9, pixels.shape).astype(np.int16)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_archive(folder: Path, files: list[bytes], copies: int = 1) -> Path:
    """Training images of an ILSVRC-2012 with four classes, in the official format: each file `copies` times."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = synsets.synsets(2012, 0, CLASSES)
    each = copies * len(files) // CLASSES
    with tarfile.open(folder / ilsvrc.IMAGES[2012].format("train"), "w") as outer:
        for k, row in enumerate(sorted((row for row in rows if not row.children), key=lambda row: row.wnid)):
            numbers = range(k * each, (k + 1) * each)
            members = [(f"{row.wnid}_{i}.JPEG", files[i % len(files)]) for i in numbers]
            tars.add(outer, f"{row.wnid}.tar", tars.plain_tar(members))
    (folder / ilsvrc.DEVKIT[2012]).write_bytes(synsets.devkit("kit", 2012, rows, each, []))
    return folder


def packing(folder: Path, out: Path, workers: int) -> None:
    how: dict[str, Any] = {"image_size": SIZE, "workers": workers, "stand_ins": True, "progress": io.StringIO()}
    pack.pack("ilsvrc2012", folder, out, splits=["train"], **how)


def by_pillow(data: bytes, method: Image.Resampling = Image.Resampling.LANCZOS) -> NDArray[np.uint8]:
    """The usual script: resize the shorter side to 256, crop the centre."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height, left, top = shorter_side(image.width, image.height)
    return np.asarray(image.resize((width, height), method).crop((left, top, left + SIZE, top + SIZE)))


def by_torchvision(data: bytes) -> NDArray[np.uint8]:
    """torchvision's decoder and its antialiased bicubic resize, then the crop."""
    with warnings.catch_warnings():  # it is to be superseded by another package, but is the usual way today
        warnings.simplefilter("ignore", DeprecationWarning)
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels = torchvision.io.decode_jpeg(raw, mode=torchvision.io.ImageReadMode.RGB)
    width, height, left, top = shorter_side(pixels.shape[2], pixels.shape[1])
    full = F.interpolate(pixels[None], [height, width], mode="bicubic", antialias=True)[0]
    return full[:, top : top + SIZE, left : left + SIZE].permute(1, 2, 0).numpy()


def shorter_side(width: int, height: int) -> tuple[int, int, int, int]:
    """Width and height with the shorter side resized to `SIZE`, and where the central square begins, from left and top."""
    scale = SIZE / min(width, height)
    width, height = round(width * scale), round(height * scale)
    return width, height, (width - SIZE) // 2, (height - SIZE) // 2


def script(path: Path, files: list[bytes], square: Callable[[bytes], NDArray[np.uint8]]) -> None:
    """Make the squares of all files and store them."""
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(files), SIZE, SIZE, 3))
    for i, data in enumerate(files):
        store[i] = square(data)
    store.flush()


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB; identical pictures count as 100."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return min(100.0, 10 * float(np.log10(255**2 / max(error, 1e-12))))


def fidelity(what: str, files: list[bytes]) -> Row:
    """PSNR of our squares, and of torchvision's, against Pillow's LANCZOS: medians over the files."""
    subject, peer = "alexnet.packed.pack against Pillow LANCZOS", "torchvision against Pillow LANCZOS"
    expected = [by_pillow(data) for data in files]
    ours = [psnr(square_of(data, SIZE).pixels, square) for data, square in zip(files, expected, strict=True)]
    theirs = [psnr(by_torchvision(data), square) for data, square in zip(files, expected, strict=True)]
    return row(f"fidelity of resizing, {what}", subject, ours, peer, theirs, "dB PSNR")


def stages(what: str, files: list[bytes], pack_all: Callable[[], object], rounds: int) -> Iterator[Row]:
    """Processor time of each stage of packing, measured alone, beside that of packing the same files, which the caller has packed once; us an image."""
    decoded = [np.array(quick(data)[0]) for data in files]
    squares = np.stack([central_square(pixels, SIZE) for pixels in decoded])
    work: dict[str, Callable[[], object]] = {
        "decoding": lambda: deque(map(quick, files), maxlen=0),
        "resampling": lambda: deque((central_square(pixels, SIZE) for pixels in decoded), maxlen=0),
        "SHA-256 of the pixels": lambda: [hashlib.sha256(square) for square in squares],
        "SHA-256 and MD5 of the archive": lambda: [(hashlib.sha256(data), hashlib.md5(data)) for data in files],
        "sums for mean and covariance": lambda: moments.sums_of(squares),
    }

    def cost(work: Callable[[], object]) -> float:
        started = time.process_time()
        work()
        return 1e6 * (time.process_time() - started) / len(files)

    times = [(cost(pack_all), *map(cost, work.values())) for _ in range(rounds)]
    wholes, *parts = zip(*times, strict=True)
    for name, values in zip(work, parts, strict=True):
        yield row(f"processor time of packing an image, {what}", name, values, "all of packing", wholes, "us")


def memory_of(folder: Path, out: Path, workers: int) -> float:
    """Largest resident memory of a process that packs, and holds nothing else, in MB."""
    code = (
        "import sys, io, re\nfrom alexnet.packed.pack import pack\n"
        "pack('ilsvrc2012', *sys.argv[1:3], splits=['train'], workers=int(sys.argv[3]), stand_ins=True, progress=io.StringIO())\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    call = [sys.executable, "-c", code, str(folder), str(out), str(workers)]
    return int(subprocess.run(call, capture_output=True, text=True, check=True).stdout) / 1024


def ingest_rows(folders: list[Path], work: Path, rounds: int) -> Iterator[Row]:
    """Rows of the table; `work` is a folder for some gigabytes."""
    what, files = full_size_files(folders)
    ordinary = [data for data in files if quick(data)[0] is not None]
    ordinary = ordinary[: len(ordinary) // CLASSES * CLASSES]
    what = f"{len(ordinary)} of {what}" if len(ordinary) < len(files) else what
    once, out, count = write_archive(work / "once", ordinary), work / "out", len(ordinary)
    cores, us = len(os.sched_getaffinity(0)), "alexnet.packed.pack"
    by_script = partial(script, work / "p.npy", ordinary)
    fast = partial(simplejpeg.decode_jpeg, fastdct=True, fastupsample=True)
    bilinear = partial(by_pillow, method=Image.Resampling.BILINEAR)
    peers: dict[str, Callable[[], object]] = {
        "Pillow: open, resize LANCZOS, crop, save": lambda: by_script(by_pillow),
        "Pillow: open, resize BILINEAR, crop, save": lambda: by_script(bilinear),
        "torchvision: decode, antialiased bicubic, crop, save": lambda: by_script(by_torchvision),
        "full decoding alone (simplejpeg, libjpeg-turbo)": lambda: deque(map(quick, ordinary), maxlen=0),
        "full decoding alone, fast DCT and upsampling": lambda: deque(map(fast, ordinary), maxlen=0),
    }
    one = partial(packing, once, out, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with one_core():
        for name, theirs in peers.items():
            ours = Side(f"{us}, raw store", one, count)
            yield compare(f"ingest on one core, {what}", ours, Side(name, theirs, count), rounds)
        yield from stages(what, ordinary, one, rounds)
    torch.set_num_threads(threads)
    yield fidelity(what, ordinary)
    sizes = [len(reencode(square_of(data, SIZE).pixels, pack.QUALITY)[0]) / 1000 for data in ordinary]
    raw = [SIZE * SIZE * 3 / 1000] * count
    yield row(f"size of an image, {what}", f"jpeg store, quality {pack.QUALITY}", sizes, "raw store", raw, "kB")
    copies = -(-MANY // count)
    large, total = write_archive(work / "large", ordinary, copies), copies * count
    if cores > 1:
        alone = one_core()(partial(packing, large, out, 1))
        two = Side(f"{us}, two workers on two cores", partial(packing, large, out, 2), total)
        name = f"ingest of {total:,} images, {what} {copies} times"
        yield compare(name, two, Side(f"{us}, one worker on one core", alone, total), rounds)
    many = Side(f"packing {total:,} images, {cores} workers", partial(packing, large, out, cores), total)
    few = Side(f"packing {count:,} images", partial(packing, once, out, cores), count)
    measured = [
        (few.speed(), memory_of(once, out, cores), many.speed(), memory_of(large, out, cores)) for _ in range(rounds)
    ]
    speeds, memory, many_speeds, many_memory = zip(*measured, strict=True)
    yield row("ingest, cost as the set grows", many.name, many_speeds, few.name, speeds, "images/s")
    yield row("peak memory", many.name, many_memory, few.name, memory, "MB")
