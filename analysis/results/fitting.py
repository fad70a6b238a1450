"""Checks that a record fits what lies beside it, and reads its tables.

Compared are, besides the hashes: whose record it is with where it lies; counts with the packed set; the last epoch of
metrics.csv with the record; means computed again from the tables with those of the record. Where something does not fit,
`Unfit` is raised with a sentence that says what.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.integrity import Guard, Unfit, fingerprint, same

Record = Mapping[str, Any]
KEYS = ("study", "experiment", "seed")
MEASURED = ("epoch", "train_error", "train_loss", "validation_error", "validation_loss")
METRICS = ("top1_error", "top5_error", "loss")
SINGLE = 2.0**-24  # relative rounding of the numbers in tables, which are of single precision
HASH = re.compile(r"[0-9a-f]{64}\Z")
SHARE = re.compile(r"\w+_error|same_class\w*|\w*pixel_rank|chance|far_in_pixels")  # columns between 0 and 1
OF_KERNELS = re.compile(r"(initial_)?(chroma|orientation)|one_colour|colourfulness|blob|\w+_p")  # the same


def key_of(path: Path) -> tuple[str, str, int]:
    """Study, experiment and seed of a file <study>/<...>/<experiment>/<seed>/<name>."""
    return path.parents[3].name, path.parents[1].name, int(path.parent.name)


def whose(guard: Guard, path: Path, record: Record) -> None:
    """Compare whose record it is with the folders that it lies in, <study>/<...>/<experiment>/<seed>."""
    if key_of(path) != tuple(record.get(key) for key in KEYS):
        told = "/".join(str(record.get(key))[:40] for key in KEYS)
        raise Unfit(f"{guard.name(path)} is the record of {told}")


def config(guard: Guard, path: Path) -> dict[str, Any]:
    """A run's config.json, whose fingerprint is that of its content."""
    record = guard.record(path, "config")
    whose(guard, path, record)
    rest = {key: value for key, value in record.items() if key != "fingerprint"}
    if HASH.match(record["fingerprint"]) and fingerprint(rest) != record["fingerprint"]:
        raise Unfit(f"{guard.name(path)} was edited: its fingerprint is not that of its content")
    return record


def manifest(guard: Guard, path: Path) -> dict[str, Any]:
    """A packed set's manifest.json, whose fingerprint is that of its content; compared with the mean image beside it, if there is one."""
    record = guard.record(path, "manifest")
    splits = {name: split.get("content_sha256", "") for name, split in record["splits"].items()}
    if HASH.match(record.get("fingerprint", "")) and all(map(HASH.match, splits.values())):
        content = {"classes": record.get("classes"), "image_size": record.get("image_size"), "splits": splits}
        # of ILSVRC-2012 the words for a class do not count, as some layouts lack them; in older sets they do
        plain = [{"wnid": entry.get("wnid"), "name": entry.get("wnid")} for entry in record.get("classes", [])]
        both = [content, content | {"classes": plain}][: 1 + (record.get("source") == "ilsvrc2012")]
        if record["fingerprint"] not in [fingerprint(one, spaced=True) for one in both]:
            raise Unfit(f"{guard.name(path)} was edited: its fingerprint is not that of its content")
    for name, split in record["splits"].items():
        if sum(split.get("per_class", [split["images"]])) != split["images"]:
            raise Unfit(f"{guard.name(path)}: split {name} has another number of images than its classes together")
    if (mean := path.with_name("mean.npy")).is_file():
        size = record.get("image_size")
        guard.array(mean, (size, size, 3), record)
    return record


def run(guard: Guard, path: Path, record: Record) -> pd.DataFrame:
    """metrics.csv beside a run.json, a row an epoch."""
    whose(guard, path, record)
    source = path.with_name("metrics.csv")
    name = guard.name(source)
    guard.small(source, record)
    with guard.reading(source, "table"):
        table = pd.read_csv(source, nrows=record["epochs"] + 1)
    for column in MEASURED:
        if column not in table or table[column].dtype.kind not in "fiu":
            raise Unfit(f"{name} lacks the column {column}, or it holds no numbers")
    if len(table) != record["epochs"] or (table["epoch"] != np.arange(1, len(table) + 1)).any():
        raise Unfit(f"{name} has not one row for each of the {record['epochs']} epochs that run.json tells of")
    last = table.iloc[-1].to_dict()
    for column, told in record["final"].items():
        found = last.get(column)
        if not isinstance(found, float | int) or not same(float(found), told):
            raise Unfit(f"{name} ends with another {column} than run.json says")
    return table


def evaluation(guard: Guard, path: Path, record: Record) -> None:
    """Compare an evaluation with its table of errors."""
    whose(guard, path, record)
    if path.stem != f"{record['set']}-{record['split']}":
        raise Unfit(f"{guard.name(path)} is an evaluation on {record['set'][:40]}-{record['split'][:40]}")
    views = {f"{view}_{metric}": values[metric] for view, values in record["views"].items() for metric in METRICS}
    errors = {column: told for column, told in views.items() if not column.endswith("_loss")}
    _means(guard, path.with_suffix(".parquet"), record, record["images"], errors, shares=errors)


def examination(guard: Guard, path: Path, record: Record) -> None:
    """Compare an examination with its tables, its kernels and its thumbnails."""
    whose(guard, path, record)
    for name in ("sample", "queries"):
        means = {key: value for key, value in record[name].items() if key not in ("images", "of")}
        shares = filter(SHARE.fullmatch, means)
        source = path.with_name(f"{name}.parquet")
        _means(guard, source, record, record[name]["images"], means, shares)
    count = len(record["kernels"]["tower"])
    for key in ("kernels", "untrained_kernels"):
        if any(len(of) != count or not np.isfinite(of).all() for of in record.get(key, {}).values()):
            raise Unfit(f"{guard.name(path)} tells of {count} kernels, but not {count} finite numbers of each kind")
        for name, values in record.get(key, {}).items():
            if OF_KERNELS.fullmatch(name) and (min(values) < 0 or max(values) > 1 + 1e-6):
                raise Unfit(f"{guard.name(path)}: {name} of the kernels has values that are no shares")
    if (kernels := path.with_name("kernels.npy")).is_file():
        guard.array(kernels, (count, None, None, 3), record)
    _pictures(guard, path, record)


def _pictures(guard: Guard, path: Path, record: Record) -> None:
    """Compare the images that an examination tells of with its samples, and with its thumbnails if there are any."""
    entries = record.get("pictures", [])
    near = [one for entry in entries for one in entry.get("neighbours", [])]
    for found, name in ((entries, "queries"), (near, "sample")):
        if any(one["index"] >= record[name]["of"] for one in found):
            raise Unfit(f"{guard.name(path)} tells of an image that its {name} were not drawn from")
    if any(len(entry["top5"]) != len(entry["probabilities"]) for entry in entries):
        raise Unfit(f"{guard.name(path)} tells of an image with more labels than probabilities, or fewer")
    if (sheet := path.with_name("thumbnails.jpg")).is_file():
        guard.tiles(sheet, len(entries) + len(near), record)


def _means(guard: Guard, path: Path, record: Record, rows: int, means: Record, shares: Iterable[str]) -> None:
    """Compare the means of a table's columns with the recorded ones; `shares` lie between 0 and 1."""
    table = guard.table(path, rows, means, record)
    for column, told in means.items():
        mean, rounding = float(table[column].mean()), SINGLE * float(np.abs(table[column]).mean())
        if not (same(mean, told) or (told is not None and abs(mean - told) <= rounding)):
            raise Unfit(f"{guard.name(path)}: the mean of {column} is not the one of its record")
    for column in shares:
        if means[column] is not None and not ((table[column] >= 0) & (table[column] <= 1)).all():
            raise Unfit(f"{guard.name(path)}: {column} has values that are no shares")


def of_data(record: Record, manifest: Record | None, counts: Mapping[str, int]) -> None:
    """Compare the packed set that a record tells of with the one whose manifest is there.

    `counts`: split -> images that the record tells of.
    """
    if manifest is None:
        return
    if record.get("data_fingerprint") != manifest.get("fingerprint"):
        raise Unfit("made from other images than the packed set's present ones")
    for split, images in counts.items():
        if (there := manifest["splits"].get(split, {}).get("images")) != images:
            raise Unfit(f"it has {images:,} images of split {split[:40]}, the packed set {there}")
