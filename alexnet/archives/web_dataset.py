"""Reads WebDataset shards: tars in which the members of an image (KEY.jpg, KEY.cls, KEY.json) follow each other."""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.labelled import Samples
from alexnet.archives.members import basename
from alexnet.errors import UserError

SHARD = re.compile(r"(?:[\w.-]*-)?(?P<split>[a-z]+)-(?P<number>\d{2,6})\.tar")
IMAGES = ("jpg", "jpeg", "png", "webp")
OFFICIAL = re.compile(r"n\d{8}_\d+|ILSVRC2012_val_\d{8}")


def read(split: str, paths: Sequence[Path]) -> Samples:
    """List the images of shards; UserError if one cannot be read or an image or a label lacks the other; see `Samples.add`."""
    samples = Samples(split)
    for path in paths:
        members = ((*basename(name).partition(".")[::2], data) for name, data in tars.members(path))
        for key, some in groupby(members, key=lambda member: member[0]):
            where, parts = f"{path.name}, sample {key}", {kind.lower(): data for _, kind, data in some}
            images = [data for kind, data in parts.items() if kind in IMAGES]
            if len(images) != 1:
                raise UserError(
                    f"{where}: {len(images)} images ({', '.join(sorted(parts))}); fetch the shard again, or write it without dots in keys"
                )
            about, name = {}, key
            try:
                if "json" in parts and not ("cls" in parts and OFFICIAL.fullmatch(key)):
                    about = json.loads(parts["json"].read())
                    name = str(about.get("filename") or key)
                label = parts["cls"].read().decode() if "cls" in parts else about["label"]
            except (ValueError, KeyError, AttributeError, RecursionError) as error:
                raise UserError(f"{where}: no label ({type(error).__name__}: {error}); fetch the shard again") from None
            samples.add(where, path.name, name, label, images[0])
    return samples
