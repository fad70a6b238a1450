"""Reads the lists of Kaggle's "ImageNet Object Localization Challenge", whose images are those of ILSVRC-2012.

Classes come from LOC_synset_mapping.txt, labels of the validation images from LOC_val_solution.csv (image, then class and
box of each object: the class counts), the names of the training images from train_cls.txt.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from alexnet.archives.catalogue import ImageClass, Listed, Place, places_of
from alexnet.archives.members import shown
from alexnet.errors import UserError, told

IMAGES, MAPPING, SOLUTION = "ILSVRC/Data/CLS-LOC", "LOC_synset_mapping.txt", "LOC_val_solution.csv"
LIST = "ILSVRC/ImageSets/CLS-LOC/train_cls.txt"


def _lines(path: Path) -> list[str]:
    with told(lambda why: f"{path} cannot be read ({why}); fetch it again", OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").splitlines()


def read_classes(path: Path) -> tuple[ImageClass, ...]:
    """The classes, sorted by wnid; UserError if there are none, or one is there twice."""
    pairs = sorted([*line.split(maxsplit=1), ""][:2] for line in _lines(path) if line.strip())
    if not pairs or len({wnid for wnid, _ in pairs}) < len(pairs):
        raise UserError(f"{path} has no classes, or one twice; fetch it again")
    return tuple(ImageClass(wnid, words) for wnid, words in pairs)


def labelled_by(path: Path, where: str, images: Listed, classes: Sequence[ImageClass]) -> list[Place]:
    """Validation images, with the classes that LOC_val_solution.csv gives them.

    UserError if it is no table, a line has no class, an unknown one, or two, or an image is not both there and in the
    list, once.
    """
    known, wnid_of = {c.wnid for c in classes}, dict[str, str]()
    with told(lambda why: f"{path} cannot be read ({why}); fetch it again", csv.Error):
        rows = list(csv.DictReader(_lines(path)))
    for number, row in enumerate(rows, start=2):
        image, wnids = row.get("ImageId"), set((row.get("PredictionString") or "").split()[::5])
        if not image or len(wnids) != 1 or not wnids <= known:
            what = " ".join(sorted(wnids))[:80] or "nothing"
            raise UserError(f"{path.name}, line {number}: {what!r} is not one class of {MAPPING}")
        if image in wnid_of:
            raise UserError(f"{path.name}, line {number}: {shown(image)} is there twice; fetch it again")
        wnid_of[image] = wnids.pop()
    found = list(images)
    odd = sorted(wnid_of.keys() ^ {Path(name).stem for name, _ in found})
    if odd:
        raise UserError(f"{where}: image {shown(odd[0])} is not both there and in {path.name} ({len(odd)} are not)")
    return places_of("val", ((where, wnid_of[Path(name).stem], name, data) for name, data in found))


def check_list(path: Path, places: Sequence[Place]) -> None:
    """Compare training images with train_cls.txt: <wnid>/<name> and a number a line; UserError if they differ."""
    listed: dict[str, set[str]] = {}
    for line in filter(None, _lines(path)):
        wnid, _, name = line.split()[0].partition("/")
        listed.setdefault(wnid, set()).add(name)
    for place in places:
        expected = listed.get(place.wnid, set())
        if place.images != len(expected):
            odd = sorted(expected ^ {Path(name).stem for name, _ in place.listed()})
            raise UserError(
                f"{place.archive} has {place.images} images, but {path.name} lists {len(expected)}: "
                f"{shown(odd[0]) if odd else 'one twice'} is not both there and listed; fetch it again"
            )
