"""Reads the folders of Kaggle's "ImageNet Object Localization Challenge" as ILSVRC-2012.

The images and their 1000 classes are those of ILSVRC-2012; classes come from LOC_synset_mapping.txt, labels of
the validation images from LOC_val_solution.csv (image, then class and box of each object: the class counts).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from alexnet.archives.catalogue import Catalogue, ImageClass, Picture, Split
from alexnet.archives.local_folders import images, subfolders
from alexnet.errors import UserError

IMAGES, MAPPING, SOLUTION = "ILSVRC/Data/CLS-LOC", "LOC_synset_mapping.txt", "LOC_val_solution.csv"


def needed(splits: Sequence[str]) -> list[str]:
    """Paths, below the folder of the unpacked download, of what some splits are read from."""
    return [MAPPING, *[SOLUTION] * ("val" in splits), *(f"{IMAGES}/{split}" for split in splits)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error


def read_classes(path: Path) -> tuple[ImageClass, ...]:
    """The classes, sorted by wnid.

    Raises:
        UserError: no text, no classes, or one twice.
    """
    pairs = sorted([*line.split(maxsplit=1), ""][:2] for line in _lines(path) if line.strip())
    if not pairs or len({wnid for wnid, _ in pairs}) < len(pairs):
        raise UserError(f"{path} has no classes, or one twice; fetch it again")
    return tuple(ImageClass(wnid, words) for wnid, words in pairs)


def read_solution(path: Path, labels: dict[str, int]) -> dict[str, int]:
    """Label of each validation image, by name without ending.

    Raises:
        UserError: no table, a line has no class, an unknown one, or two, or an image is there twice.
    """
    found: dict[str, int] = {}
    try:
        rows = list(csv.DictReader(_lines(path)))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    for number, row in enumerate(rows, start=2):
        image, wnids = row.get("ImageId"), set((row.get("PredictionString") or "").split()[::5])
        if not image or len(wnids) != 1 or not wnids <= labels.keys():
            raise UserError(
                f"{path.name}, line {number}: {' '.join(sorted(wnids)) or 'nothing'!r} is not one class of {MAPPING}"
            )
        if image in found:
            raise UserError(f"{path.name}, line {number}: {image} is there twice; fetch it again")
        found[image] = labels[wnids.pop()]
    return found


def train(root: Path, roots: Sequence[Path], labels: dict[str, int]) -> Iterator[Picture]:
    """The training images."""
    for wnid, label in labels.items():
        for name, data in images(root / wnid, roots):
            yield Picture(name, label, f"{IMAGES}/train/{wnid}", data)


def val(root: Path, roots: Sequence[Path], label_of: dict[str, int]) -> Iterator[Picture]:
    """The validation images."""
    found = images(root, roots)
    pictures = [Picture(name, label_of[Path(name).stem], f"{IMAGES}/val", data) for name, data in found]
    return iter(sorted(pictures, key=lambda picture: picture.rank))


def open_kaggle(source: str, splits: Sequence[str], paths: dict[str, Path], folders: Sequence[Path]) -> Catalogue:
    """Look through the folders; `paths` has those that `needed` names, `folders` are those that the user named.

    Raises:
        UserError: see `read_classes`, `read_solution` and `local_folders.images`; a class or an image is missing
            or unknown.
    """
    classes = read_classes(paths[MAPPING])
    labels = {c.wnid: label for label, c in enumerate(classes)}
    opened = []
    for split in splits:
        root = paths[f"{IMAGES}/{split}"]
        roots = [path.resolve() for path in (*folders, root)]
        if split == "train":
            odd = sorted({name for name, _ in subfolders(root, roots)} ^ labels.keys())
            if odd:
                raise UserError(f"{root}: class {odd[0]} is not both a folder and in {MAPPING} ({len(odd)} are not)")
            counts = {wnid: len(images(root / wnid, roots)) for wnid in labels}
            empty = [wnid for wnid, count in counts.items() if not count]
            if empty:
                raise UserError(f"class {empty[0]} has no images in {root}; fetch it again")
            total, pictures = sum(counts.values()), partial(train, root, roots, labels)
        else:
            label_of = read_solution(paths[SOLUTION], labels)
            odd = sorted(label_of.keys() ^ {Path(name).stem for name, _ in images(root, roots)})
            if odd:
                raise UserError(f"{root}: image {odd[0]} is not both there and in {SOLUTION} ({len(odd)} are not)")
            total, pictures = len(label_of), partial(val, root, roots, label_of)
        stream: Callable[[], Iterator[Picture]] = pictures
        opened.append(Split(split, total, stream))
    files = tuple(path for path in paths.values() if path.is_file())
    return Catalogue(source, classes, tuple(opened), files, "Kaggle folders")
