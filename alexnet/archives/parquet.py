"""Reads Hugging Face's parquet of images: a column `image` (bytes, path) and a column `label`.

The rows are in no order. What a label is of is read from the columns of names and labels alone; the bytes go, row group by
row group, into a temporary file when the first image is asked for.
"""

from __future__ import annotations

import json
import re
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Lock
from typing import Any

from alexnet.archives.catalogue import Catalogue, Extent, Found, ImageClass, splits_of
from alexnet.archives.known_files import human_size
from alexnet.archives.labelled import SPLIT_WORDS, Samples
from alexnet.archives.local_folders import around
from alexnet.archives.members import MAX_BYTES, Spool, printable, readable
from alexnet.errors import UserError

SHARD = re.compile(r"(\w+)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?\.parquet")
MOST_GROUP = 1_000_000_000  # bytes of a row group, which is in memory as a whole


def look(root: Path, split: str) -> list[Path]:
    """The shards of a split in a folder, in order.

    Raises:
        UserError: some of them are not there.
    """
    found = {path: match for path in sorted(root.glob("*.parquet")) if (match := SHARD.fullmatch(path.name))}
    shards = {path: match for path, match in found.items() if match[1] in SPLIT_WORDS[split]}
    numbers = [int(match[2]) for match in shards.values()]
    total = int(next(iter(shards.values()))[3]) if shards else 0
    absent = sorted(set(range(total)) - set(numbers))
    if absent or len(numbers) != total:
        raise UserError(
            f"{root} has {len(numbers)} of the {total} parquet shards of {split}"
            f"{f', number {absent[0]:05d} is missing' if absent else ', some twice'}; fetch them again"
        )
    return list(shards)


class Table:
    """The images of shards, by the number of their row in all of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.lock = paths, Lock()
        self.spool: Extent | None = None
        self.starts = array("q", [0])

    def extent(self, number: int) -> Extent:
        """Where the bytes of an image stand.

        Raises:
            UserError: a shard cannot be read, an image is missing or too large, or there is no room for all.
        """
        with self.lock:
            if self.spool is None:
                self.spool = self._unpacked()
        start, end = self.starts[number : number + 2]
        return Extent(self.spool.path, start, end - start, self.spool.keep)

    def _unpacked(self) -> Extent:
        spool = Spool(f"the parquet of {self.paths[0].parent}")
        for where, _, image, _ in rows(self.paths, "image"):
            data = image["bytes"] if image else None
            if not data or len(data) > MAX_BYTES:
                what = f"has {len(data):,} bytes, more than the {MAX_BYTES:,} of an image" if data else "is missing"
                raise UserError(f"{where}: the image {what}; fetch the shard again")
            spool.add(data)
            self.starts.append(spool.size)
        return spool.flush()


@dataclass(frozen=True, slots=True)
class Row:
    """An image of a table."""

    table: Table
    number: int

    @property
    def size(self) -> int:
        return self.table.extent(self.number).size

    def read(self) -> bytes:
        """Its bytes; see `Table.extent` for what it raises."""
        return self.table.extent(self.number).read()


def rows(paths: Sequence[Path], *columns: str) -> Iterator[tuple[str, Path, Any, Any]]:
    """(file and row in words, file, image, label) of each row; of the columns asked for, a row group at a time.

    Raises:
        UserError: a file cannot be read, lacks a column, has null images or a row group that is too large.
    """
    import pyarrow.parquet as pq  # here, since Snakemake imports this module while it parses

    for path in paths:
        with readable(path.name, path):
            file = pq.ParquetFile(path)
            leaves = [column.path for column in file.schema]
            lacking = [name for name in ("image.bytes", "image.path", "label") if name not in leaves]
            if lacking:
                raise UserError(f"{path} has no column {lacking[0]}, so it is no data set of images; take it away")
            before = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if group.total_byte_size > MOST_GROUP:
                    raise UserError(
                        f"{path}: row group {number} has {group.total_byte_size:,} bytes; do not use this file"
                    )
                nulls = group.column(leaves.index("image.bytes")).statistics
                every = nulls is not None and nulls.has_null_count and nulls.null_count
                table = file.read_row_group(number, columns=["image", *columns] if every else list(columns))
                images = table["image"].to_pylist()
                labels = table["label"].to_pylist() if "label" in columns else [None] * len(images)
                for place, (image, label) in enumerate(zip(images, labels, strict=True), before):
                    where = f"{path.name}, row {place}"
                    if image is None or (every and image["bytes"] is None):
                        raise UserError(f"{where}: the image is missing; fetch the shard again")
                    yield where, path, image, label
                before += group.num_rows


def read(split: str, paths: Sequence[Path], official: bool = True) -> Samples:
    """List the images of shards by their names and labels, without their bytes; `official`: see `Samples`.

    Raises:
        UserError: the temporary folder has no room for the bytes; or see `rows` and `Samples.add`.
    """
    size, free = sum(path.stat().st_size for path in paths), shutil.disk_usage(gettempdir()).free
    if size > free:
        raise UserError(
            f"the images of {split} in {paths[0].parent} need {human_size(size)} in the temporary folder {gettempdir()}, which "
            f"has {human_size(free)} free; name one with more room in the environment variable TMPDIR"
        )
    samples, table = Samples(split, official), Table(paths)
    for number, (where, path, image, label) in enumerate(rows(paths, "image.path", "label")):
        samples.add(where, path.name, image["path"], label, Row(table, number))
    return samples


def find(folders: Sequence[Path], splits: Sequence[str]) -> dict[str, list[Path]]:
    """Shards of the splits that are in the folders or beside them; none if a split is in none."""
    found = {split: next(filter(None, (look(root, split) for root in around(folders))), []) for split in splits}
    return {split: paths for split, paths in found.items() if paths}


def open_parquet(held: dict[str, list[Path]], words: dict[str, str], found: Found) -> Catalogue:
    """A data set other than ILSVRC; its classes are those of `words` (wnid and name), else those that the shards name.

    Raises:
        UserError: see `read`; or the shards name no classes.
    """
    import pyarrow.parquet as pq

    first = next(iter(held.values()))[0]
    with readable(first.name, first):
        about = (pq.read_schema(first).metadata or {}).get(b"huggingface", b"{}")
    try:
        named = sorted(words) or list(json.loads(about)["info"]["features"]["label"]["names"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{first} does not name its classes; sort the images into folders by class") from None
    by_label = [ImageClass(name, words.get(name, name)) for name in map(printable, map(str, named))]
    classes = tuple(sorted(by_label, key=lambda c: c.wnid))
    places = [p for split, paths in held.items() for p in read(split, paths, official=False).places(by_label)]
    splits = splits_of(places, list(held), classes, f"{first.name} and others")
    return Catalogue(found.source, classes, splits, tuple(found.paths.values()), "parquet")
