"""Reads WebDataset shards: tars in which the members of an image (KEY.jpg, KEY.cls, KEY.json) follow each other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Extent
from alexnet.archives.labelled import SPLIT_WORDS, Samples
from alexnet.archives.members import basename
from alexnet.errors import UserError

SHARD = re.compile(r"(?:[\w.-]*-)?([a-z]+)-(\d{2,6})\.tar")
IMAGES = ("jpg", "jpeg", "png", "webp")
OFFICIAL = re.compile(r"n\d{8}_\d+|ILSVRC2012_val_\d{8}")


def look(root: Path, split: str) -> list[Path]:
    """The shards of a split in a folder, in order.

    Raises:
        UserError: a number is missing.
    """
    found = {path: match for path in sorted(root.glob("*.tar")) if (match := SHARD.fullmatch(path.name))}
    shards = {path: int(match[2]) for path, match in found.items() if match[1] in SPLIT_WORDS[split]}
    if sorted(shards.values()) != list(range(len(shards))):
        absent = sorted(set(range(max(shards.values()) + 1)) - set(shards.values()))
        what = f"shard {absent[0]} of {split} is missing" if absent else f"the shards of {split} have a number twice"
        raise UserError(f"{root}: {what}, there are {len(shards)}; fetch them again")
    return list(shards)


def read(split: str, paths: Sequence[Path]) -> Samples:
    """List the images of shards.

    Raises:
        UserError: a shard cannot be read, an image lacks its label, a label its image; or see `Samples.add`.
    """
    samples = Samples(split)
    for path in paths:
        members = ((basename(name), data) for name, data in tars.members(path))
        for key, some in groupby(members, key=lambda member: member[0].partition(".")[0]):
            if key:  # what is hidden has none
                _add(samples, path, key, {name.partition(".")[2].lower(): data for name, data in some})
    return samples


def _add(samples: Samples, path: Path, key: str, parts: dict[str, Extent]) -> None:
    where = f"{path.name}, sample {key}"
    images = [data for kind, data in parts.items() if kind in IMAGES]
    if len(images) != 1:
        raise UserError(f"{where}: {len(images)} images ({', '.join(sorted(parts))}); fetch the shard again")
    about, name = {}, key
    try:
        if "json" in parts and not ("cls" in parts and OFFICIAL.fullmatch(key)):
            about = json.loads(parts["json"].read())
            name = str(about.get("filename") or key)
        label = parts["cls"].read().decode() if "cls" in parts else about["label"]
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: no label ({type(error).__name__}: {error}); fetch the shard again") from None
    samples.add(where, path.name, name, label, images[0])
