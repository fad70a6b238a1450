"""Reads Tiny ImageNet's official zip; its test images have no labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from alexnet.archives import zips
from alexnet.archives.catalogue import Catalogue, ImageClass, Picture, Split
from alexnet.errors import UserError

ARCHIVE = "tiny-imagenet-200.zip"
ROOT = "tiny-imagenet-200"
ENDINGS = (".jpeg", ".jpg")


def lines(path: Path, name: str) -> list[list[str]]:
    """The tab-separated lines of a text file in the zip."""
    with zips.opened(path) as archive:
        text = zips.part(archive, f"{ROOT}/{name}", path).read().decode("utf-8", "replace")
    return [line.split("\t") for line in text.splitlines() if line.strip()]


def labelled(path: Path, split: str, labels: dict[str, int]) -> list[tuple[str, int]]:
    """Member and label of each image of a split, by label, then by file name.

    Raises:
        UserError: an image of no class, or without its line in val_annotations.txt.
    """
    of_file = {row[0]: row[1] for row in lines(path, "val/val_annotations.txt") if len(row) > 1}
    found = []
    with zips.opened(path) as archive:
        for info in zips.files(archive, path.name):
            parts = info.filename.split("/")
            if parts[:2] != [ROOT, split] or not info.filename.lower().endswith(ENDINGS):
                continue
            wnid = parts[2] if split == "train" else of_file.get(parts[-1], "")
            if wnid not in labels:
                raise UserError(f"{path.name}: {info.filename} is of no class of wnids.txt; fetch it again")
            found.append((info.filename, labels[wnid]))
    return sorted(found, key=lambda pair: (pair[1], pair[0].rsplit("/", 1)[-1]))


def stream(path: Path, split: str, labels: dict[str, int]) -> Iterator[Picture]:
    """The images of a split."""
    members = labelled(path, split, labels)
    with zips.opened(path) as archive:
        for name, label in members:
            data = zips.part(archive, name, path)
            yield Picture(name.rsplit("/", 1)[-1], label, path.name, data)


def open_tiny_imagenet(source: str, splits: Sequence[str], path: Path) -> Catalogue:
    """Look through the zip; no image is decoded.

    Raises:
        UserError: see `labelled`; or a class has no images in a split.
    """
    words = {row[0]: row[-1] for row in lines(path, "words.txt")}
    wnids = sorted(row[0].strip() for row in lines(path, "wnids.txt"))
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    opened = []
    for split in splits:
        members = labelled(path, split, labels)
        absent = [wnid for wnid in wnids if labels[wnid] not in {label for _, label in members}]
        if absent:
            raise UserError(f"class {absent[0]} has no images in split {split} of {path.name}; fetch it again")
        opened.append(Split(split, len(members), partial(stream, path, split, labels)))
    classes = tuple(ImageClass(wnid, words.get(wnid, wnid)) for wnid in wnids)
    return Catalogue(source, classes, tuple(opened), (path,))
