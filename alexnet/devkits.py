"""Turns the devkit of one ILSVRC year into its classes, and that year's ground-truth ids into labels.

2010 and 2012 number different sets of synsets (2012 shares 640 of its 1000 with 2010), so a map is always
read from the year's own kit and named after it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from alexnet import tars
from alexnet.catalogue import ImageClass
from alexnet.errors import UserError


@dataclass(frozen=True)
class Devkit:
    """What a year's meta.mat says about its leaves, the synsets that images are labelled with."""

    year: int
    file: str  # the archive it was read from
    classes: tuple[ImageClass, ...]  # sorted by wnid: position = label, as in torchvision's ImageNet
    label_of_id: dict[int, int]
    train_images: tuple[int, ...]  # per label


def read_devkit(path: Path, year: int) -> Devkit:
    """Read <root>/data/meta.mat: a struct array `synsets`; the rows without children are the classes.

    Raises:
        UserError: the archive is missing or damaged, or belongs to another year.
    """
    from scipy.io import loadmat  # half a second: only when needed
    from scipy.io.matlab import MatReadError

    try:
        rows = loadmat(io.BytesIO(tars.find(path, "data/meta.mat")), squeeze_me=True)["synsets"]
        names = rows.dtype.names or ()
    except (KeyError, ValueError, TypeError, MatReadError) as error:
        raise UserError(
            f"data/meta.mat in {path.name} has no table of synsets ({error}); fetch the archive again"
        ) from error
    key = f"ILSVRC{year}_ID"
    lacking = [
        name for name in (key, "WNID", "words", "num_children", "num_train_images") if name not in names
    ]
    if lacking:
        raise UserError(
            f"data/meta.mat in {path.name} has no column {lacking[0]}: it is not the kit of {year}"
        )

    leaves = sorted(
        (row for row in rows.reshape(-1) if int(row["num_children"]) == 0), key=lambda row: str(row["WNID"])
    )
    label_of_id = {int(row[key]): label for label, row in enumerate(leaves)}
    if len(label_of_id) != len(leaves) or len({str(row["WNID"]) for row in leaves}) != len(leaves):
        raise UserError(f"data/meta.mat in {path.name} has an id or a wnid twice; fetch the archive again")
    return Devkit(
        year,
        path.name,
        tuple(ImageClass(str(row["WNID"]), str(row["words"])) for row in leaves),
        label_of_id,
        tuple(int(row["num_train_images"]) for row in leaves),
    )


def read_ground_truth(text: bytes, file: str, kit: Devkit) -> list[int]:
    """Labels of a ground-truth file, which has one id of the kit's year a line.

    Raises:
        UserError: a line is no number, or a number that the kit does not know as a class; names file, line
        and value.
    """
    labels = []
    for number, line in enumerate(text.decode("ascii", "replace").split("\n"), start=1):
        value = line.strip()
        if not value:
            continue
        label = kit.label_of_id.get(int(value)) if value.isdecimal() else None
        if label is None:
            raise UserError(
                f"{file}, line {number}: {value!r} is not among the {len(kit.classes)} class ids of "
                f"{kit.file}; check that both files are of the same year"
            )
        labels.append(label)
    return labels
