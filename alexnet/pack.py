"""Turns the archives of a data set into a packed set: S x S RGB arrays, indexes, statistics and a manifest.

    <split>.npy    uint8 (N, S, S, 3), in archive order (training shuffles); np.load(mmap_mode="r") reads it
    <split>.csv    name, label, archive, width, height, repairs of each image
    mean.npy       float32 (S, S, 3), 0-255: mean image of the training split, if there is one
    manifest.json  counts, hashes, classes, colour statistics; written last: a folder that has it is complete

The bytes of the store depend on the archives and the image size only, not on the number of workers.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any, TextIO

import numpy as np

from alexnet import moments
from alexnet.archives import Folders, list_sources, missing_archives, open_source
from alexnet.batches import Batch, Row, batches
from alexnet.catalogue import SPLITS, Catalogue, Split
from alexnet.decode import INTERPOLATION
from alexnet.errors import UserError
from alexnet.manifest import FORMAT, fingerprint, hash_file, read_manifest
from alexnet.progress import clock

__all__ = ["list_sources", "missing_archives", "pack", "read_manifest"]

COLUMNS = ("name", "label", "archive", "width", "height", "repairs")
REPORT_SECONDS = 2.0
LISTED = 100  # undecodable files named in an error


class Progress:
    """A line every other second: images done, images/s, time left."""

    def __init__(self, stream: TextIO | None, total: int) -> None:
        self.stream, self.total, self.done = stream, total, 0
        self.start = self.last = time.monotonic()

    def add(self, images: int, split: str) -> None:
        """Count some images of a split, and say so if it is time."""
        self.done += images
        now = time.monotonic()
        if self.stream and (now - self.last >= REPORT_SECONDS or self.done == self.total):
            self.last = now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / rate
            line = (
                f"pack {split}  {self.done:,}/{self.total:,} images  {rate:,.0f} images/s  ETA {clock(left)}"
            )
            print(line, file=self.stream, flush=True)


@dataclass(frozen=True)
class PackedSplit:
    """What the manifest says about a split, and the sums over its pixels if they were asked for."""

    record: dict[str, Any]
    sums: moments.Sums | None
    problems: list[Row]


def pack_split(
    split: Split, folder: Path, classes: int, size: int, stream: Iterator[Batch], progress: Progress
) -> PackedSplit:
    """Write <split>.npy and <split>.csv.

    Raises:
        UserError: the archives hold another number of images than they said.
    """
    shape = (split.images, size, size, 3)
    store = np.lib.format.open_memmap(folder / f"{split.name}.npy", mode="w+", dtype=np.uint8, shape=shape)
    digest, index_digest = hashlib.sha256(), hashlib.sha256()
    per_class, repaired, problems, at, seen = [0] * classes, [], [], 0, 0
    total = moments.no_images(size)
    with open(folder / f"{split.name}.csv", "w", newline="", encoding="utf-8") as file:
        index = csv.writer(file, lineterminator="\n")
        index.writerow(COLUMNS)
        for batch in stream:
            seen += len(batch.rows)
            if seen > split.images:
                raise UserError(
                    f"split {split.name} has more than the {split.images} images that its archives announce; "
                    "fetch them again"
                )
            store[at : at + len(batch.pixels)] = batch.pixels
            at += len(batch.pixels)
            digest.update(batch.pixels.data)
            if batch.sums:
                total = moments.add(total, batch.sums)
            for row in batch.rows:
                if row.problem:
                    problems.append(row)
                    continue
                per_class[row.label] += 1
                index_digest.update(f"{row.name}\t{row.label}\n".encode())
                index.writerow(
                    [row.name, row.label, row.archive, row.width, row.height, ";".join(row.repairs)]
                )
                if row.repairs:
                    repaired.append({"name": row.name, "repairs": list(row.repairs)})
            progress.add(len(batch.rows), split.name)
    store.flush()
    if seen != split.images:
        raise UserError(
            f"split {split.name} has {seen} images, but its archives announce {split.images}; "
            "fetch them again"
        )
    digest.update(index_digest.digest())
    record = {
        "images": at,
        "per_class": per_class,
        "content_sha256": digest.hexdigest(),
        "repaired": repaired,
    }
    return PackedSplit(record, total, problems)


def undecodable(problems: list[Row]) -> UserError:
    """The error that names every image that could not be decoded."""
    listed = "; ".join(f"{row.name} in {row.archive} ({row.problem})" for row in problems[:LISTED])
    more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    return UserError(
        f"{len(problems)} image{'s' * (len(problems) > 1)} cannot be decoded, fetch the archives again: "
        f"{listed}{more}"
    )


def check_disk(catalogue: Catalogue, folder: Path, size: int) -> None:
    """Raise UserError if the packed set will not fit."""
    need = sum(split.images for split in catalogue.splits) * (size * size * 3 + 200) + 16_000_000
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"the packed set takes {need / 1e9:,.1f} GB, but {folder} has {free / 1e9:,.1f} GB free; "
            "make room or choose another folder"
        )


def publish(partial: Path, out: Path, manifest: dict[str, Any]) -> None:
    """Move the finished files into place, the manifest last."""
    (out / "manifest.json").unlink(missing_ok=True)
    for name in SPLITS:
        for stale in (out / f"{name}.npy", out / f"{name}.csv"):
            stale.unlink(missing_ok=True)
    (out / "mean.npy").unlink(missing_ok=True)
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for file in sorted(partial.iterdir(), key=lambda f: (f.name == "manifest.json", f.name)):
        os.replace(file, out / file.name)


def pack(
    source: str,
    archives: Folders,
    out: Path | str,
    *,
    image_size: int = 256,
    workers: int | None = None,
    splits: Sequence[str] | None = None,
    progress: TextIO | None = None,
) -> dict[str, Any]:
    """Pack a source's archives into `out`, return the manifest; an earlier set stays until this is complete.

    `archives`: one folder, or several that are searched in order.

    `workers`: processes that decode (None: one per core; 1: no extra process). `progress`: where lines go,
    stderr by default.

    Raises:
        UserError: an archive is missing or damaged, a class is empty, a label is outside the map, counts
        differ, images cannot be
            decoded (all are named), the disk is too small.
    """
    began = time.monotonic()
    out = Path(out)
    if image_size < 1:
        raise UserError(f"image size is {image_size}; choose 1 or more pixels")
    workers = workers or len(os.sched_getaffinity(0))
    progress = progress or sys.stderr
    catalogue = open_source(source, archives, splits)
    out.mkdir(parents=True, exist_ok=True)
    check_disk(catalogue, out, image_size)
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()

    stop = Event()
    hasher = ThreadPoolExecutor(1)  # reads along: sha256 leaves the interpreter free
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
    try:
        hashes = [hasher.submit(hash_file, path, stop) for path in catalogue.files if path.is_file()]
        lines = Progress(progress, sum(split.images for split in catalogue.splits))
        packed = {}
        for split in catalogue.splits:
            stream = batches(split.pictures(), image_size, split.name == "train", pool, workers)
            packed[split.name] = pack_split(split, partial, len(catalogue.classes), image_size, stream, lines)
        problems = [row for result in packed.values() for row in result.problems]
        if problems:
            raise undecodable(problems)
        rgb = None
        if "train" in packed and packed["train"].sums:
            rgb = moments.rgb_statistics(packed["train"].sums)
            np.save(partial / "mean.npy", moments.mean_image(packed["train"].sums))
        seconds = time.monotonic() - began
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "source": source,
            "storage": "raw",
            "image_size": image_size,
            "interpolation": INTERPOLATION,
            "classes": [{"wnid": c.wnid, "name": c.name} for c in catalogue.classes],
            "splits": {name: result.record for name, result in packed.items()},
            "archives": [future.result() for future in hashes],
            "rgb": rgb,
            "tools": {name: version(name) for name in ("numpy", "pillow", "scipy")},
            "seconds": round(seconds, 3),
            "images_per_second": round(lines.total / seconds, 1),
        }
        manifest["fingerprint"] = fingerprint(manifest)
        publish(partial, out, manifest)
        return manifest
    except BrokenProcessPool:
        raise UserError(
            f"one of the {workers} worker processes was killed, perhaps for want of memory; "
            "choose fewer workers"
        ) from None
    finally:
        stop.set()
        hasher.shutdown(wait=True, cancel_futures=True)
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(partial, ignore_errors=True)
