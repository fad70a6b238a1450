"""Turns a release of ImageNet as per-synset tars, in a folder or a tar of tars, into two halves of each class.

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
from typing import IO, cast

from alexnet import tars
from alexnet.catalogue import Catalogue, ImageClass, Picture, Split
from alexnet.errors import UserError

OFFERED = ("train", "test")
Tar = tuple[
    str, str, Path, IO[bytes] | None, int | None
]  # wnid, name for messages, file, stream inside it, its start


def synset_tars(path: Path) -> Iterator[Tar]:
    """Each <wnid>.tar of a folder, in sorted order, or of a tar, in its order."""
    if path.is_dir():
        for file in sorted(path.glob("*.tar")):
            yield file.stem, file.name, file, None, 0
        return
    with tars.opened(path) as outer:
        for member in tars.files(outer, path.name):
            name = member.name.rsplit("/", 1)[-1]
            if name.endswith(".tar"):
                stream = cast(IO[bytes], outer.extractfile(member))
                yield (
                    name.removesuffix(".tar"),
                    f"{path.name}/{name}",
                    path,
                    stream,
                    tars.start(outer, member),
                )


def training_half(names: Sequence[str]) -> set[str]:
    """The half of a class's file names that is for training."""
    ranked = sorted(
        names, key=lambda name: (hashlib.sha256(name.encode(errors="surrogateescape")).digest(), name)
    )
    return set(ranked[: (len(ranked) + 1) // 2])


def stream(path: Path, split: str, labels: dict[str, int]) -> Iterator[Picture]:
    """The images of one half."""
    for wnid, where, file, inner, base in synset_tars(path):
        with tars.opened(file, inner, where) as tar:
            found = [
                (member.name.rsplit("/", 1)[-1], tars.piece(tar, member, where, file, base))
                for member in tars.files(tar, where)
            ]
        train = training_half([name for name, _ in found])
        for name, data in found:
            if (name in train) == (split == "train"):
                yield Picture(name, labels[wnid], where, data)


def open_synset_tars(source: str, splits: Sequence[str], path: Path) -> Catalogue:
    """Count the images of each class from the headers; classes are the sorted wnids.

    Raises:
        UserError: there is no tar, a class is there twice or has too few images for two halves, or a name is
            there twice in a class.
    """
    counts: dict[str, int] = {}
    for wnid, where, file, inner, _ in synset_tars(path):
        with tars.opened(file, inner, where) as tar:
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
