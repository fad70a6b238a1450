"""Reads an ImageNet release of per-synset tars, in a folder or a tar of tars, and splits each class in halves.

The Fall 2009 release (10,184 classes, 8.9 million images) was used so: "half ... for training and half for
testing" (s. 6.1). Which half an image is in follows from its name alone, by the rank of a hash in its class, so
that everybody gets the same split; of an odd number the larger half is for training. *Deviation*: the authors'
split was never published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from alexnet.archives import tars
from alexnet.archives.catalogue import Catalogue, ImageClass, Picture, Split
from alexnet.errors import UserError

OFFERED = ("train", "test")


def synset_tars(path: Path) -> Iterator[tuple[str, str, tars.Tar]]:
    """(wnid, name for messages, tar) of each <wnid>.tar of a folder or a tar, in the order of the wnids."""
    if path.is_dir():
        for file in sorted(path.glob("*.tar")):
            with tars.opened(file) as tar:
                yield file.stem, file.name, tar
        return
    with tars.opened(path) as outer:
        members = [(member.name.rsplit("/", 1)[-1], member) for member in tars.files(outer, path.name)]
        for name, member in sorted(members, key=lambda pair: pair[0]):
            if name.endswith(".tar"):
                where = f"{path.name}/{name}"
                with tars.inside(outer, member, where) as tar:
                    yield name.removesuffix(".tar"), where, tar


def training_half(names: Sequence[str]) -> set[str]:
    """The half of a class's file names that is for training."""
    ranked = sorted(names, key=lambda name: (hashlib.sha256(name.encode(errors="surrogateescape")).digest(), name))
    return set(ranked[: (len(ranked) + 1) // 2])


def stream(path: Path, split: str, labels: dict[str, int]) -> Iterator[Picture]:
    """The images of one half."""
    for wnid, where, tar in synset_tars(path):
        found = {member.name.rsplit("/", 1)[-1]: tars.piece(tar, member, where) for member in tars.files(tar, where)}
        train = training_half(list(found))
        for name, data in sorted(found.items()):
            if (name in train) == (split == "train"):
                yield Picture(name, labels[wnid], where, data)


def open_synset_tars(source: str, splits: Sequence[str], path: Path) -> Catalogue:
    """Count the images of each class from the headers; classes are the sorted wnids.

    Raises:
        UserError: there is no tar, a class is there twice or has too few images for two halves, or a name is
            there twice in a class.
    """
    counts: dict[str, int] = {}
    for wnid, where, tar in synset_tars(path):
        names = [member.name.rsplit("/", 1)[-1] for member in tars.files(tar, where)]
        if wnid in counts:
            raise UserError(f"{path.name} holds class {wnid} twice; fetch it again")
        if len(names) < 2 or len(set(names)) < len(names):
            what = f"{len(names)} images" if len(names) < 2 else "a name twice"
            raise UserError(f"class {wnid}: {where} has {what}, so there are no two halves; take it away")
        counts[wnid] = len(names)
    if not counts:
        raise UserError(f"{path} holds no <wnid>.tar")
    labels = {wnid: label for label, wnid in enumerate(sorted(counts))}
    opened = []
    for split in splits:
        images = sum((n + 1) // 2 if split == "train" else n // 2 for n in counts.values())
        pictures: Callable[[], Iterator[Picture]] = partial(stream, path, split, labels)
        opened.append(Split(split, images, pictures))
    files = tuple(sorted(path.glob("*.tar"))) if path.is_dir() else (path,)
    return Catalogue(source, tuple(ImageClass(wnid, wnid) for wnid in labels), tuple(opened), files)
