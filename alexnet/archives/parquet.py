"""Reads Hugging Face's parquet of images: a column `image` (bytes, path) and a column `label`.

The rows are in no order. What a label is of is read from the columns of names and labels alone; the bytes go, row group by
row group, into a temporary file when the first image is asked for.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from alexnet.archives.catalogue import Catalogue, Extent, Found, ImageClass, splits_of
from alexnet.archives.class_folders import IMAGENETTE, around
from alexnet.archives.known_files import human_size
from alexnet.archives.labelled import Samples, shards
from alexnet.archives.members import MAX_BYTES, Spool, printable, readable
from alexnet.errors import UserError, told

SHARD = re.compile(r"(?P<split>\w+)-(?P<number>\d{5})-of-(?P<total>\d{5})(-[0-9a-f]+)?\.parquet")
MOST_GROUP = 1_000_000_000  # bytes of a row group, which is in memory as a whole


def spooled(paths: Sequence[Path]) -> list[Extent]:
    """Where the image of each row stands; UserError if one is missing or too large, or there is no room for all."""
    spool, found = Spool(f"the parquet of {paths[0].parent}"), []
    for where, _, row in rows(paths, "image"):
        data = row["image"]["bytes"]
        if not data or len(data) > MAX_BYTES:
            what = f"has {len(data):,} bytes, more than the {MAX_BYTES:,} of an image" if data else "is missing"
            raise UserError(f"{where}: the image {what}; fetch the shard again")
        found.append(spool.add(data))
    spool.flush()
    return found


def rows(paths: Sequence[Path], *columns: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(file and row in words, file, row) of each row; of the columns asked for, a row group at a time.

    UserError if a file cannot be read, lacks a column, has null images or a row group that is too large.
    """
    import pyarrow.parquet as pq  # here, since Snakemake imports this module while it parses

    for path in paths:
        with readable(path.name, path):
            file, at = pq.ParquetFile(path), 0
            lacking = {"image.bytes", "image.path", "label"} - {column.path for column in file.schema}
            if lacking:
                raise UserError(f"{path} has no column {min(lacking)}, so it is no data set of images; take it away")
            for number in range(file.num_row_groups):
                size = file.metadata.row_group(number).total_byte_size
                if size > MOST_GROUP:
                    raise UserError(f"{path}: row group {number} has {size:,} bytes; do not use this file")
                for row in file.read_row_group(number, columns=list(columns)).to_pylist():
                    where = f"{path.name}, row {at}"
                    if row["image"] is None:
                        raise UserError(f"{where}: the image is missing; fetch the shard again")
                    yield where, path, row
                    at += 1


def read(split: str, paths: Sequence[Path], official: bool = True) -> Samples:
    """List the images of shards by their names and labels, without their bytes; `official`: see `Samples`.

    UserError if the temporary folder has no room for the bytes; or see `rows` and `Samples.add`.
    """
    size, free = sum(path.stat().st_size for path in paths), shutil.disk_usage(gettempdir()).free
    if size > free:
        raise UserError(
            f"the images of {split} in {paths[0].parent} need {human_size(size)} in the temporary folder {gettempdir()}, which "
            f"has {human_size(free)} free; name one with more room in the environment variable TMPDIR"
        )
    extents = cache(partial(spooled, paths))  # when the first class is listed
    samples = Samples(split, official, lambda names: [(name, extents()[row]) for name, row in names])
    for number, (where, path, row) in enumerate(rows(paths, "image.path", "label")):
        samples.add(where, path.name, row["image"]["path"], row["label"], number)
    return samples


def find(folders: Sequence[Path], splits: Sequence[str]) -> dict[str, list[Path]]:
    """Shards of the splits that are in the folders or beside them; none if a split is in none."""
    found = {s: next(filter(None, (shards(SHARD, root, s) for root in around(folders))), []) for s in splits}
    return {split: paths for split, paths in found.items() if paths}


def open_parquet(found: Found) -> Catalogue:
    """A data set other than ILSVRC, with the classes of Imagenette or those that the shards name, else UserError."""
    import pyarrow.parquet as pq

    words = IMAGENETTE if found.source == "imagenette" else {}
    first = found.first
    with readable(first.name, first):
        about = (pq.read_schema(first).metadata or {}).get(b"huggingface", b"{}")
    unnamed = f"{first} does not name its classes; sort the images into folders by class"
    with told(lambda _: unnamed, ValueError, KeyError, TypeError):
        named = sorted(words) or list(json.loads(about)["info"]["features"]["label"]["names"])
    by_label = [ImageClass(name, words.get(name, name)) for name in map(printable, map(str, named))]
    classes = tuple(sorted(by_label, key=lambda c: c.wnid))
    read_in = (read(split, paths, official=False) for split, (_, paths) in found.parts.items())
    places = [place for samples in read_in for place in samples.places(by_label)]
    splits = splits_of(places, found.splits, classes, f"{first.name} and others")
    return Catalogue(found.source, classes, splits, tuple(found.paths.values()), "parquet")
