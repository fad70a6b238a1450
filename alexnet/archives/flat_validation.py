"""Reads validation images that lie in one folder; their classes come from a list, in whose order their names are sorted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alexnet.archives import kaggle
from alexnet.archives.catalogue import ImageClass, Listed, Place
from alexnet.archives.devkits import Devkit
from alexnet.archives.ilsvrc import DEVKIT, flat, ground_truth
from alexnet.errors import UserError

WNIDS = "imagenet_2012_validation_synset_labels.txt"  # a wnid a line, as TensorFlow's scripts published it
LISTS = (kaggle.SOLUTION, DEVKIT[2012], WNIDS)  # any of them will do


def labelled(
    where: str, images: Listed, lists: dict[str, Path], kit: Devkit | None, classes: Sequence[ImageClass] | None
) -> list[Place]:
    """The images by class; `lists` has those of LISTS that are there, at least one.

    Raises:
        UserError: a list cannot be read, or is not about these images.
    """
    if kaggle.SOLUTION in lists and classes:
        return kaggle.labelled_by(lists[kaggle.SOLUTION], where, images, classes)
    if kit:
        wnids, truth = ground_truth("val", lists, kit)
    elif WNIDS in lists:
        wnids, truth = lists[WNIDS].read_text(encoding="utf-8", errors="replace").split(), WNIDS
    else:
        raise UserError(f"{kaggle.SOLUTION} needs {kaggle.MAPPING} beside it; put it there")
    return flat("val", 2012, where, images, wnids, truth)
