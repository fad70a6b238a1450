"""Counts the images of a split in seconds: from directory entries, the shards' footers, or an archive's size; none is opened."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alexnet.archives.known_files import KNOWN, PUBLISHED, human_size
from alexnet.archives.members import is_litter, readable
from alexnet.errors import UserError


class Part(NamedTuple):
    """What is there of a split, in words; its images, None where only reading tells; `broken`: packing it would fail."""

    words: str
    images: int | None
    broken: bool = False


def count(source: str, split: str, layout: str, paths: Sequence[Path], repacked: Sequence[str] = ()) -> Part:
    """Count what lies in `paths`, which the layout (in words) names for a split.

    Args:
        repacked: names of archives whose sizes need not be the published ones.
    """
    published = PUBLISHED.get(source, {}).get(split)
    where = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files in {paths[0].parent}"
    try:
        if paths[0].is_dir():
            return _of_folder(paths[0], layout, published)
        size = sum(path.stat().st_size for path in paths)
        if paths[0].suffix == ".parquet":
            rows = sum(map(_rows, paths))
            return Part(f"{rows:,} images, {layout}, {where}, {human_size(size)}", rows)
    except (OSError, UserError) as error:
        return Part(f"{layout}, {where}: {error}", None, True)
    known = KNOWN.get(paths[0].name)
    if known and known.bytes not in (None, size) and known.name not in repacked:
        said = f"{layout}, {where}: {size:,} bytes, but {known.bytes:,} were published; fetch it again"
        return Part(f"{said}, or name it in `repacked` of config/config.yaml if you packed it again", None, True)
    images = published if known else None
    counted = f"{images:,} images" if images else "counted when they are packed"
    return Part(f"{counted}, {layout}, {where}, {human_size(size)}", images)


def _of_folder(folder: Path, layout: str, published: int | None) -> Part:
    """Files in a folder and in those directly below it; what is hidden or litter does not count."""
    entries = [entry for entry in os.scandir(folder) if not is_litter(entry.name)]
    classes = [entry.path for entry in entries if entry.is_dir()]
    inner = [entry for path in classes for entry in os.scandir(path) if not is_litter(entry.name)]
    files = [entry for entry in (*entries, *inner) if not entry.is_dir()]
    nowhere = next((entry.path for entry in files if not entry.is_file()), None)  # costs a look at links alone
    if nowhere:
        return Part(
            f"{layout}, {folder}: {nowhere} is a link to nowhere, or no file; mend it or take it away", None, True
        )
    of = f" in {len(classes):,} classes" if classes else ""
    if len(classes) == 1000 and published and len(files) != published:
        said = f"{layout}, {folder}: {len(files):,} images{of}, but {published:,} were published; fetch what is missing"
        return Part(said, len(files), True)
    return Part(f"{len(files):,} images{of}, {layout}, {folder}", len(files))


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    with readable(path.name, path):
        return int(pq.read_metadata(path).num_rows)
