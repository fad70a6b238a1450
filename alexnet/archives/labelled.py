"""Images that come one after another with a name and a label, in numbered shards that mix the classes."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet.archives.catalogue import ImageClass, Place, places_of
from alexnet.archives.members import basename, printable
from alexnet.errors import UserError, told

SPLIT_WORDS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}  # in names of shards
OF_CLASS = re.compile(r"(n\d{8})_\d+")
WITH_CLASS = re.compile(r"(.+)_(n\d{8})")  # Hugging Face appends the class to the official name


def shards(pattern: re.Pattern[str], root: Path, split: str) -> list[Path]:
    """The shards of a split in a folder, in order; UserError if some are missing, or there twice.

    `pattern` has groups for the `split`, the `number` and, if it is in the names, the `total`.
    """
    matches = [match for path in root.glob("*.*") if (match := pattern.fullmatch(path.name))]
    own = sorted((match for match in matches if match["split"] in SPLIT_WORDS[split]), key=lambda match: match[0])
    numbers = [int(match["number"]) for match in own]
    total = max((int(match.groupdict().get("total") or int(match["number"]) + 1) for match in own), default=0)
    absent = sorted(set(range(total)) - set(numbers))
    if absent or len(numbers) != total:
        what = f"number {absent[0]:0{len(own[0]['number'])}d} is missing" if absent else "some twice"
        kind = own[0][0].rpartition(".")[2]
        raise UserError(f"{root} has {len(own)} of the {total} {kind} shards of {split}, {what}; fetch them again")
    return [root / match[0] for match in own]


def official_name(name: str) -> tuple[str, str | None]:
    """The name that an image has in the official archives, and the wnid in it; "" if there is none, None if there are two."""
    stem = basename(name).rpartition(".")[0] or basename(name)
    appended = WITH_CLASS.fullmatch(stem)
    stem, wnid = (appended[1], appended[2]) if appended else (stem, "")
    own = OF_CLASS.fullmatch(stem)
    own_class = own[1] if own else ""
    return f"{printable(stem)}.JPEG", None if own and wnid not in ("", own_class) else wnid or own_class


class Samples:
    """The images of a split, with their labels.

    Args:
        official: their names are to be those of the official archives.
        listed: see `places_of`.
    """

    def __init__(self, split: str, official: bool = True, listed: Callable[..., Any] = iter) -> None:
        self.split, self.official, self.listed = split, official, listed
        self.images: list[tuple[int, str, str, Any]] = []  # label, archive, name, what stands for the bytes
        self.first: dict[int, tuple[str, str]] = {}  # where a label was first seen, and of which wnid
        self.names: set[str] = set()

    def add(self, where: str, archive: str, name: object, label: object, data: object) -> None:
        """Take an image; `where` names file and row.

        UserError if it has no name or label, was there before, or its name is of another class than its label.
        """
        given = str(name or "")
        with told(lambda _: f"{where}: {label!r} is no label; fetch the shard again", TypeError, ValueError):
            known_as, wnid = official_name(given) if self.official else (printable(basename(given)), "")
            number = int(label)  # type: ignore[call-overload]
        if not name or number < 0 or wnid is None:
            what = "has no name" if not name else f"has label {number}" if number < 0 else f"{name} is of two classes"
            raise UserError(f"{where}: the image {what}; fetch the shard again")
        if (key := known_as if self.official else f"{number}/{known_as}") in self.names:
            raise UserError(f"{where}: {known_as} is there twice; fetch the shards again")
        before, known = self.first.get(number, (where, ""))
        if wnid and known and wnid != known:
            raise UserError(f"{where}: label {number} is of class {wnid}, but of {known} in {before}")
        if not known:
            self.first[number] = (where, wnid)
        self.names.add(key)
        self.images.append((number, archive, known_as, data))

    def places(self, classes: Sequence[ImageClass]) -> list[Place]:
        """The images by class; UserError if a label is outside of the classes, or is not the rank of its class."""
        for label, (where, wnid) in self.first.items():
            if label >= len(classes):
                raise UserError(
                    f"{where}: label {label} is none of {len(classes)} classes; put ILSVRC2012_devkit_t12.tar.gz or "
                    "LOC_synset_mapping.txt beside the shards if they do not name the classes, else fetch them again"
                )
            own = classes[label].wnid
            if wnid not in ("", own):
                raise UserError(f"{where}: label {label} is class {own}, but the image is of class {wnid}")
        by_label = sorted(self.images, key=lambda image: image[0])
        images = ((archive, classes[label].wnid, name, data) for label, archive, name, data in by_label)
        return places_of(self.split, images, self.listed)
