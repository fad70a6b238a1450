"""Reads the folders of Kaggle's "ImageNet Object Localization Challenge" as ILSVRC-2012.

The images and their 1000 classes are those of ILSVRC-2012; classes come from LOC_synset_mapping.txt, labels of
the validation images from LOC_val_solution.csv (image, then class and box of each object: the class counts).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from alexnet.archives.catalogue import Catalogue, ImageClass, Place, single, splits_of
from alexnet.archives.class_folders import places_of
from alexnet.archives.local_folders import images
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


def read_solution(path: Path, classes: Sequence[ImageClass]) -> dict[str, str]:
    """Wnid of each validation image, by name without ending.

    Raises:
        UserError: no table, a line has no class, an unknown one, or two, or an image is there twice.
    """
    known, found = {c.wnid for c in classes}, dict[str, str]()
    try:
        rows = list(csv.DictReader(_lines(path)))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    for number, row in enumerate(rows, start=2):
        image, wnids = row.get("ImageId"), set((row.get("PredictionString") or "").split()[::5])
        if not image or len(wnids) != 1 or not wnids <= known:
            raise UserError(
                f"{path.name}, line {number}: {' '.join(sorted(wnids)) or 'nothing'!r} is not one class of {MAPPING}"
            )
        if image in found:
            raise UserError(f"{path.name}, line {number}: {image} is there twice; fetch it again")
        found[image] = wnids.pop()
    return found


def open_kaggle(source: str, splits: Sequence[str], paths: dict[str, Path], folders: Sequence[Path]) -> Catalogue:
    """Look through the folders; `paths` has those that `needed` names, `folders` are those that the user named.

    Raises:
        UserError: see `read_classes`, `read_solution` and `local_folders.images`; a class or an image is missing
            or unknown.
    """
    classes = read_classes(paths[MAPPING])
    places: list[Place] = []
    for split in splits:
        root = paths[f"{IMAGES}/{split}"]
        roots = [path.resolve() for path in (*folders, root)]
        if split == "train":
            places += places_of(root, roots)
            continue
        wnid_of, found = read_solution(paths[SOLUTION], classes), images(root, roots)
        odd = sorted(wnid_of.keys() ^ {Path(name).stem for name, _ in found})
        if odd:
            raise UserError(f"{root}: image {odd[0]} is not both there and in {SOLUTION} ({len(odd)} are not)")
        places += single(split, f"{IMAGES}/val", [(name, wnid_of[Path(name).stem], data) for name, data in found])
    files = tuple(path for path in paths.values() if path.is_file())
    opened = splits_of(places, splits, classes, f"{IMAGES} and {MAPPING}")
    return Catalogue(source, classes, opened, files, "Kaggle folders")
