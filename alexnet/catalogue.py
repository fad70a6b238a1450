"""Turns archives into words: the records that their readers hand to whoever packs the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageClass:
    """A class of a data set; its position in the sorted list of wnids is its label."""

    wnid: str
    name: str


@dataclass(frozen=True)
class Picture:
    """One image file."""

    name: str
    label: int
    archive: str  # where it came from: the archive, and within it the inner archive
    data: bytes


@dataclass(frozen=True)
class Split:
    """One split: how many images it has, and a function that streams them, always in the same order."""

    name: str
    images: int
    pictures: Callable[[], Iterator[Picture]]


@dataclass(frozen=True)
class Catalogue:
    """A data set: its classes (position = label), its splits, and the files that it is read from."""

    source: str
    classes: tuple[ImageClass, ...]
    splits: tuple[Split, ...]
    files: tuple[Path, ...]
