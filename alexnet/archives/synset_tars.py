"""Reads an ImageNet release of per-synset tars, in a folder or a tar of tars, and splits each class in halves.

The Fall 2009 release (10,184 classes, 8.9 million images) was used so: "half ... for training and half for
testing" (s. 6.1). Which half an image is in follows from its name alone, by the rank of a hash in its class, so
that everybody gets the same split; of an odd number the larger half is for training. *Deviation*: the authors'
split was never published.
"""

import hashlib
import math
from functools import partial
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, Extent, Found, ImageClass, Place, splits_of
from alexnet.archives.members import basename
from alexnet.errors import UserError


def inner_tars(path: Path) -> list[tuple[str, str, Path, Extent | None]]:
    """(wnid, name for messages, archive, member of it) of each <wnid>.tar of a folder or a tar, by wnid."""
    if path.is_dir():
        return [(file.stem, file.name, file, None) for file in sorted(path.glob("*.tar"))]
    members = [(basename(name), data) for name, data in tars.members(path, most=math.inf)]
    return [
        (name.removesuffix(".tar"), f"{path.name}/{name}", path, data)
        for name, data in sorted(members, key=lambda member: member[0])
        if name.endswith(".tar")
    ]


def half(split: str, where: str, path: Path, member: Extent | None) -> list[tuple[str, Extent]]:
    """The images of a class that are in a split."""
    found = dict(tars.images(path, member, where))
    ranked = sorted(found, key=lambda name: (hashlib.sha256(name.encode(errors="surrogateescape")).digest(), name))
    middle = (len(ranked) + 1) // 2
    return [(name, found[name]) for name in (ranked[:middle] if split == "train" else ranked[middle:])]


def open_synset_tars(found: Found) -> Catalogue:
    """Count the images of each class from the headers; classes are the sorted wnids.

    UserError if there is no tar, if a class is there twice or has too few images for two halves, or a name twice.
    """
    path = found.first
    classes: list[ImageClass] = []
    places = []
    for wnid, where, archive, member in inner_tars(path):
        names = [name for name, _ in tars.images(archive, member, where)]
        if classes and classes[-1].wnid == wnid:
            raise UserError(f"{path.name} holds class {wnid} twice; fetch it again")
        if len(names) < 2 or len(set(names)) < len(names):
            what = f"{len(names)} images" if len(names) < 2 else "a name twice"
            raise UserError(f"class {wnid}: {where} has {what}, so there are no two halves; take it away")
        classes.append(ImageClass(wnid, wnid))
        for split, count in (("train", (len(names) + 1) // 2), ("test", len(names) // 2)):
            places.append(Place(split, wnid, where, count, partial(half, split, where, archive, member)))
    if not classes:
        raise UserError(f"{path} holds no <wnid>.tar")
    files = tuple(sorted(path.glob("*.tar"))) if path.is_dir() else (path,)
    return Catalogue(found.source, tuple(classes), splits_of(places, found.splits, classes, path.name), files)
