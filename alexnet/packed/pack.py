"""Packs the archives of a data set: S x S RGB images, indexes, statistics and a manifest.

    <split>.npy    raw store: uint8 (N, S, S, 3), by label, then name (training shuffles); np.load(mmap_mode="r") reads it
    <split>.jpegs  jpeg store: S x S JPEG files end to end. *Deviation*: encoded once more, without chroma subsampling
    <split>.csv    name, label, width, height, repairs, digest of each image; in a jpeg store offset, bytes
    mean.npy       float32 (S, S, 3), 0-255: mean image of the training split, if there is one
    manifest.json  counts, hashes, classes, colour statistics; written last: a folder that has it is complete

The bytes of the store depend on the images, the image size and the quality only, not on how the images are kept, the
number of workers or interruptions: what is finished stands in <out>/.partial, where the next call goes on.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any, TextIO

import numpy as np
from filelock import Timeout

from alexnet.archives.catalogue import SPLITS, Catalogue
from alexnet.archives.known_files import KNOWN, KnownFile
from alexnet.archives.sources import Folders, find, open_source
from alexnet.errors import UserError
from alexnet.images.resample import INTERPOLATION
from alexnet.packed import moments
from alexnet.packed.chunks import CHUNK, ImageFormat
from alexnet.packed.manifest import FORMAT, fingerprint, hash_file, record_hash
from alexnet.packed.split_packer import SplitPacker
from alexnet.runtime.files import locked, read_record, sha256, write_atomically, write_json
from alexnet.runtime.progress import clock

REPORT_SECONDS = 2.0
LISTED = 100  # undecodable files named in an error
QUALITY = 95  # of the JPEG files of a jpeg store; the authors' batches seem to have had 85 (fix-big-imgnet.py)
JPEG_SHARE = 0.35  # of its pixels' bytes that a JPEG of quality 95 takes at most, by experience


class Progress:
    """A line every other second: images done, images/s, time left."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self.stream, self.total, self.done, self.fresh = stream, total, 0, 0
        self.start = self.last = time.monotonic()

    def add(self, images: int, split: str, fresh: bool) -> None:
        """Count some images of a split, and say so if it is time; `fresh`: packed now, not by an earlier run."""
        self.done += images
        self.fresh += images * fresh
        now = time.monotonic()
        if now - self.last >= REPORT_SECONDS or self.done == self.total:
            self.last = now
            rate = self.fresh / max(now - self.start, 1e-9)
            left = clock((self.total - self.done) / rate) if rate else "?"
            line = f"pack {split}  {self.done:,}/{self.total:,} images  {rate:,.0f} images/s  ETA {left}"
            print(line, file=self.stream, flush=True)


def list_undecodable(problems: list[dict[str, str]], allowed: int, listing: Path) -> None:
    """List undecodable images in a file: name, archive, what is wrong; UserError for more than `allowed`."""
    listing.unlink(missing_ok=True)
    if problems:
        text = "".join("\t".join(row.values()) + "\n" for row in problems)
        write_atomically(listing, lambda target: target.write_text(text, encoding="utf-8"))
    if len(problems) > allowed:
        listed = "; ".join("{name} in {archive} ({problem})".format(**row) for row in problems[:LISTED])
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise UserError(
            f"{len(problems)} image{'s' * (len(problems) > 1)} cannot be decoded, fetch the archives again or allow "
            f"for them (--allow-undecodable, `undecodable` of the study): {listed}{more}; all of them: {listing}"
        )


def plan(catalogue: Catalogue, folder: Path, size: int, storage: str) -> dict[str, Any]:
    """What a packed set will take: images a split, bytes (of a jpeg store at most), bytes free in `folder`."""
    images = {split.name: split.images for split in catalogue.splits}
    return {"images": images, "bytes": store_bytes(sum(images.values()), size, storage), "free": free_bytes(folder)}


def store_bytes(images: int, size: int, storage: str) -> int:
    """Bytes that so many images of size x size pixels take when packed, of a jpeg store at most."""
    each = size * size * 3 * (JPEG_SHARE if storage == "jpeg" else 1) + 200
    return int(images * each) + 16_000_000


def free_bytes(folder: Path) -> int:
    """Bytes free where a folder is, or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def forget_another(partial: Path, job: list[Any]) -> None:
    """Empty the folder of what is finished if that belongs to another job."""
    key, note = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest(), partial / "job"
    if not note.exists() or note.read_text() != key:
        for file in partial.iterdir():
            if file.name != "lock":
                file.unlink()
        write_atomically(note, lambda path: path.write_text(key))


def _hash_once(path: Path, published: KnownFile | None, partial: Path, stop: Event) -> dict[str, Any]:
    """`hash_file`, or what it found for the same job before; the job holds size and time of each archive."""
    note = partial / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.hash.json"
    if note.exists():
        return read_record(note, dict)
    record = hash_file(path, published, stop)
    if not stop.is_set():
        write_json(note, record)
    return record


def publish(partial: Path, out: Path, manifest: dict[str, Any]) -> None:
    """Move the finished files into place, the manifest last."""
    stored = ("mean.npy", *(f"{split}.{kind}" for split in SPLITS for kind in ("npy", "jpegs", "csv")))
    for name in ("manifest.json", *stored):
        (out / name).unlink(missing_ok=True)
    for name in stored:
        if (partial / name).exists():
            os.replace(partial / name, out / name)
    text = json.dumps(manifest, indent=1) + "\n"
    write_atomically(out / "manifest.json", lambda path: path.write_text(text, encoding="utf-8"))
    shutil.rmtree(partial)


def check_first(
    source: str, archives: Folders, splits: Sequence[str] | None, repacked: Collection[str] = ()
) -> dict[Path, dict[str, Any]]:
    """Compare the hashes of archives before anything in them is looked at; their records, which `hash_file` made.

    Plain tars are left out: the hundreds of gigabytes of images, of which only the headers are read before they are
    packed; they are hashed beside that. Their sizes are compared at once. UserError if one is not what was published.
    """
    names = set() if source == "folders" else KNOWN.keys() - set(repacked)
    paths = [path for path in find(source, archives, splits).paths.values() if path.name in names and path.is_file()]
    known = {path: KNOWN[path.name] for path in paths}
    for path, file in known.items():
        size = path.stat().st_size
        if file.bytes not in (None, size):
            raise UserError(f"{path.name} has {size:,} bytes, but {file.bytes:,} were published; fetch it again")
    hashed = {path: file for path, file in known.items() if (file.md5 or file.sha256) and path.suffix != ".tar"}
    return {path: hash_file(path, file) for path, file in hashed.items()}


def pack(
    source: str,
    archives: Folders,
    out: Path | str,
    *,
    image_size: int = 256,
    workers: int | None = None,
    splits: Sequence[str] | None = None,
    storage: str = "raw",
    quality: int = QUALITY,
    allow_undecodable: int = 0,
    stand_ins: bool = False,
    repacked: Collection[str] = (),
    archive_order: bool = False,
    progress: TextIO | None = None,
) -> dict[str, Any]:
    """Pack a source's archives into `out`, return the manifest; an earlier set stays until this is complete.

    Args:
        archives: one folder, or several that are searched in order.
        workers: threads that decode; None: one per core.
        storage: "raw" or "jpeg"; `quality` is that of the JPEG files.
        allow_undecodable: so many images may be left out; they are listed in the manifest.
        stand_ins: the archives only bear official names (generated ones do), so that no hash was published.
        repacked: names of archives that their owner packed again, which have other hashes than the published ones.
        archive_order: see `open_source`; the demo's results stand on the order of the generated archives.
        progress: where lines go, stderr by default.

    Raises:
        UserError: an archive is missing, damaged or not the published one, a class is empty, a label is outside
            the map, counts differ, images cannot be decoded (all are named), the disk is too small or full.
    """
    began = time.monotonic()
    out, progress = Path(out), progress or sys.stderr
    if image_size < 1:
        raise UserError(f"image size is {image_size}; choose 1 or more pixels")
    if storage not in ("raw", "jpeg"):
        raise UserError(f"storage is {storage!r}; choose raw or jpeg")
    records = {} if stand_ins else check_first(source, archives, splits, repacked)
    catalogue = open_source(source, archives, splits, archive_order)
    partial, needed = out / ".partial", plan(catalogue, out, image_size, storage)
    print(
        f"pack {source}: {sum(needed['images'].values()):,} images into {out}, {needed['bytes'] / 1e9:,.1f} GB "
        f"({'at most' if storage == 'jpeg' else 'raw'}), {needed['free'] / 1e9:,.1f} GB free",
        file=progress,
        flush=True,
    )
    there = sum(file.stat().st_blocks * 512 for file in partial.iterdir()) if partial.is_dir() else 0
    if needed["bytes"] > needed["free"] + there:
        raise UserError(
            f"the packed set takes {needed['bytes'] / 1e9:,.1f} GB, but {out} has {needed['free'] / 1e9:,.1f} GB "
            "free; make room, choose another folder, or store JPEG files (--storage jpeg)"
        )
    files = [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in catalogue.files]
    stored = [storage, quality * (storage == "jpeg"), image_size, INTERPOLATION, CHUNK]
    job = [FORMAT, source, archive_order, stored, needed["images"], files]
    partial.mkdir(parents=True, exist_ok=True)
    known = {} if stand_ins else {name: file for name, file in KNOWN.items() if name not in repacked}
    stop = Event()
    try:
        lock = locked(partial / "lock")
    except Timeout:
        raise UserError(f"another process is packing into {out}; wait for it or end it") from None
    with lock, ThreadPoolExecutor(1, thread_name_prefix="hash") as hasher:
        try:
            forget_another(partial, job)
            hashes = {  # taken beside the packing: sha256 leaves the interpreter free
                path: hasher.submit(_hash_once, path, known.get(path.name), partial, stop)
                for path in catalogue.files
                if path.is_file() and path not in records
            }
            lines, packed, problems, sums = Progress(progress, sum(needed["images"].values())), {}, [], None
            for split in catalogue.splits:
                form = ImageFormat(image_size, split.name == "train", quality if storage == "jpeg" else None)
                packer = SplitPacker(split, partial, form, lines.add)
                packed[split.name] = packer.run(workers or len(os.sched_getaffinity(0)), len(catalogue.classes))
                problems += [{"name": n, "archive": a, "problem": why} for _, n, a, why in packer.state.problems]
                sums = packer.state.sums or sums
            list_undecodable(problems, allow_undecodable, out / "undecodable.tsv")
            records |= {path: future.result() for path, future in hashes.items()}
            seconds = time.monotonic() - began
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "source": catalogue.source,
                "variant": catalogue.variant,
                "storage": storage,
                "image_size": image_size,
                "interpolation": INTERPOLATION,
                "classes": [{"wnid": c.wnid, "name": c.name} for c in catalogue.classes],
                "splits": packed,
                "archives": [
                    records[path] | ({"repacked": True} if path.name in repacked else {})
                    for path in catalogue.files
                    if path in records
                ],
                "tools": {name: version(name) for name in ("numba", "numpy", "pillow", "scipy", "simplejpeg")},
            }
            if storage == "jpeg":
                manifest["jpeg"] = {"quality": quality, "subsampling": "4:4:4"}
            if sums:
                np.save(partial / "mean.npy", (sums.pixels / max(sums.images, 1)).astype(np.float32))
                manifest["files"] = {"mean.npy": sha256(partial / "mean.npy")}
            manifest |= {
                "rgb": moments.rgb_statistics(sums) if sums else None,
                "undecodable": problems,
                "seconds": round(seconds, 3),
                "images_per_second": round(lines.fresh / seconds, 1),
            }
            manifest["fingerprint"] = fingerprint(manifest)
            manifest["record_sha256"] = record_hash(manifest)
            publish(partial, out, manifest)
            return manifest
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise UserError(
                f"{out} cannot be written: {error.strerror or error}{where}; make room or check the disk, and run "
                "the same again: it goes on where it stopped"
            ) from error
        finally:
            stop.set()
            hasher.shutdown(wait=True, cancel_futures=True)
