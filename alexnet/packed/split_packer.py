"""Packs one split into its store and index, in steps that survive being killed.

Every few seconds what is finished is put on record: the first chunks of the stream are in the store and in the
index, these are the sums over them. Whatever was written after the last record is written anew. So a run that
goes on ends with the same bytes as one that was never interrupted.
"""

import copy
import csv
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from alexnet.archives.catalogue import Picture, Split
from alexnet.errors import UserError
from alexnet.packed import moments
from alexnet.packed.chunks import CHUNK, Chunk, ImageFormat, convert, in_order
from alexnet.packed.stores import JpegWriter, RawWriter, content_line
from alexnet.runtime.files import write_atomically

COLUMNS = ("name", "label", "width", "height", "repairs", "digest")
PLACES = ("offset", "bytes")  # further columns of a jpeg store
RECORD_SECONDS = 10.0  # between two records of what is finished


@dataclass
class State:
    """What is finished of a split: `chunks` of the stream; the size of the index and of a jpeg store then."""

    chunks: int = 0
    index_bytes: int = 0
    store_bytes: int = 0
    error: float = 0.0
    problems: list[list[Any]] = field(default_factory=list)  # chunk, name, archive, what is wrong
    finished: bool = False
    sums: moments.Sums | None = None  # over the pixels, if they are taken

    def save(self, path: Path) -> None:
        """Write one file that is there wholly or not at all."""
        arrays = vars(self.sums) if self.sums else {}
        record = json.dumps(vars(self) | {"sums": None}).encode()

        def write(to: Path) -> None:
            with open(to, "wb") as file:
                np.savez(file, state=np.frombuffer(record, np.uint8), **arrays)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The state on record; that of a fresh start if there is none."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                state = cls(**json.loads(saved["state"].tobytes()))
                if "images" in saved:
                    state.sums = moments.Sums(int(saved["images"]), saved["pixels"], saved["products"])
                return state
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


def same_pictures(pictures: Iterator[Picture], index: Path, state: State) -> bool:
    """Pass over the pictures of the chunks on record; whether they are those of the index."""
    wrong = {(name, archive) for _, name, archive, _ in state.problems}
    passed = (p for p in islice(pictures, state.chunks * CHUNK) if (p.name, p.archive) not in wrong)
    with open(index, newline="", encoding="utf-8") as file:
        rows = islice(csv.reader(file), 1, None)
        return all(next(rows, [])[:2] == [picture.name, str(picture.label)] for picture in passed)


def summarize(index: Path, classes: int) -> dict[str, Any]:
    """What the manifest says of an index: images, images a class, the hash of the contents, repaired images."""
    digest, per_class, repaired = hashlib.sha256(), [0] * classes, []
    with open(index, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            digest.update(content_line(row["name"], row["label"], row["digest"]))
            per_class[int(row["label"])] += 1
            if row["repairs"]:
                repaired.append({"name": row["name"], "repairs": row["repairs"].split(";")})
    images, content = sum(per_class), digest.hexdigest()
    return {"images": images, "per_class": per_class, "content_sha256": content, "repaired": repaired}


class SplitPacker:
    """Writes <split>.npy or <split>.jpegs and <split>.csv into a folder.

    `progress` is told of images that are finished, their split, and whether this run packed them; earlier ones come first.
    """

    def __init__(self, split: Split, folder: Path, form: ImageFormat, progress: Callable[..., object]) -> None:
        self.split, self.form, self.progress = split, form, progress
        self.index, self.record = folder / f"{split.name}.csv", folder / f"{split.name}.state"
        self.store = folder / f"{split.name}{'.npy' if form.quality is None else '.jpegs'}"
        there = self.store.exists() and self.index.exists()  # not if killed while they were moved into place
        self.state = State.load(self.record) if there else State()

    def _resume(self) -> Iterator[Picture]:
        """The pictures that are still to be packed."""
        if self.state.chunks:
            pictures = self.split.pictures()
            with suppress(OSError):
                whole = self.index.stat().st_size >= self.state.index_bytes
                os.truncate(self.index, self.state.index_bytes)
                if whole and same_pictures(pictures, self.index, self.state):
                    return pictures
        self.state = State()
        self.store.unlink(missing_ok=True)
        with open(self.index, "w", newline="", encoding="utf-8") as file:
            columns = COLUMNS if self.form.quality is None else (*COLUMNS, *PLACES)
            csv.writer(file, lineterminator="\n").writerow(columns)
        return self.split.pictures()

    def run(self, workers: int, classes: int) -> dict[str, Any]:
        """Pack the rest; the record for the manifest. UserError if the images are not as many as announced."""
        if self.state.finished:
            self.progress(self.split.images, self.split.name, False)
        else:
            self._pack(self._resume(), workers)
        record = summarize(self.index, classes)
        if self.form.quality is not None and record["images"]:
            record["mean_squared_error"] = self.state.error / record["images"]
        return record

    def _pack(self, pictures: Iterator[Picture], workers: int) -> None:
        state, split, form = self.state, self.split, self.form
        seen = min(state.chunks * CHUNK, split.images)
        self.progress(seen, split.name, False)
        with (
            open(self.index, "a", newline="", encoding="utf-8") as file,
            closing(
                RawWriter(self.store, split.images, form.size, CHUNK)
                if form.quality is None
                else JpegWriter(self.store, state.store_bytes)
            ) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="record") as recorder,
        ):
            lines = csv.writer(file, lineterminator="\n")

            def save(finished: bool) -> Future[None]:
                file.flush()
                state.index_bytes, state.store_bytes = os.fstat(file.fileno()).st_size, writer.appended
                state.finished = finished
                return recorder.submit(record, copy.deepcopy(state))

            def record(state: State) -> None:
                os.fsync(writer.file)
                os.fsync(file.fileno())
                state.save(self.record)

            def work(number: int, chunk: list[Picture]) -> Chunk:
                return convert(chunk, form, partial(writer.write, number))

            saving, last = None, time.monotonic()
            for made in in_order(work, pictures, state.chunks, workers):
                images = len(made.rows) + len(made.problems)
                seen += images
                if seen > split.images:
                    break
                places = iter(writer.append(made.files))
                lines.writerows([*row, *next(places, ())] for row in made.rows)
                state.problems += [[state.chunks, *problem] for problem in made.problems]
                if made.sums:
                    state.sums = moments.add_to(state.sums or moments.no_images(form.size), made.sums)
                state.error, state.chunks = state.error + made.error, state.chunks + 1
                self.progress(images, split.name, True)
                if time.monotonic() - last >= RECORD_SECONDS and (saving is None or saving.done()):
                    if saving:
                        saving.result()
                    saving, last = save(False), time.monotonic()
            if seen != split.images:
                many = "more" if seen > split.images else f"{seen} images, fewer"
                raise UserError(
                    f"split {split.name} has {many} than the {split.images} images that its archives announce; "
                    "fetch them again"
                )
            if state.problems:
                self.record.unlink(missing_ok=True)  # closing gaps cannot be continued
                gone = Counter(number for number, *_ in state.problems)
                writer.close_gaps([min(CHUNK, split.images - i * CHUNK) - gone[i] for i in range(state.chunks)])
            save(True).result()
