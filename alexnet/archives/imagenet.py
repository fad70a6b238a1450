"""Finds ILSVRC-2012 as people hold it: each split in a layout of its own, in a named folder, one level above or below.

Whatever the layout, an image has its official name, and the classes are the sorted wnids: the same images give the same
packed set.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from alexnet.archives import ilsvrc, kaggle, parquet, web_dataset
from alexnet.archives.catalogue import Catalogue, Found, ImageClass, Lazy, Listed, Place, splits_of
from alexnet.archives.class_folders import around, by_class, images
from alexnet.archives.devkits import Devkit, read_devkit
from alexnet.archives.known_files import PUBLISHED
from alexnet.archives.labelled import Samples, official_name, shards
from alexnet.errors import UserError

KIT, TAR = ilsvrc.DEVKIT[2012], ilsvrc.IMAGES[2012]
WNID, VALIDATION = re.compile(r"n\d{8}"), re.compile(r"ILSVRC2012_val_\d{8}\.")
WNIDS = "imagenet_2012_validation_synset_labels.txt"  # a wnid a line, as TensorFlow's scripts published it
FLAT = (kaggle.SOLUTION, KIT, WNIDS)  # any of them says the classes of validation images in one folder
LISTS = (KIT, kaggle.MAPPING, kaggle.SOLUTION, kaggle.LIST, WNIDS)


@dataclass(frozen=True)
class Holding:
    """What a reader may use: the lists that were found, by name, what they say, and where links may lead."""

    lists: dict[str, Path]
    kit: Devkit | None
    classes: Sequence[ImageClass] | None
    roots: Sequence[Path]


@dataclass(frozen=True)
class Layout:
    """One way to hold a split: its name, which of its files are in a folder ([] if none), and their reader."""

    words: str
    look: Callable[[Path, str], list[Path]]
    read: Callable[[str, list[Path], Holding], list[Place] | Samples]
    lists: tuple[str, ...] = ()  # one of these has to be there


def _read_tar(split: str, paths: list[Path], held: Holding) -> list[Place]:
    assert held.kit
    return ilsvrc.read_split(split, paths[0], held.lists, held.kit)


def _folder(base: str, flat: bool, root: Path, split: str) -> list[Path]:
    """The folder of a split below `base`; below none only if it looks like one, for which a few names will do."""
    folder = root / base / split
    if not folder.is_dir() or (flat and split != "val"):
        return []
    names = [path.name for path in islice(folder.iterdir(), 100)]
    sure = base and (flat or split == "train")
    return [folder] if sure or any(map((VALIDATION if flat else WNID).match, names)) else []


def _read_sorted(split: str, paths: list[Path], held: Holding) -> list[Place]:
    places = [replace(place, listed=partial(_official, place.listed)) for place in by_class(paths[0], held.roots)]
    if split == "train" and kaggle.LIST in held.lists:
        kaggle.check_list(held.lists[kaggle.LIST], places)
    return places


def _read_flat(split: str, paths: list[Path], held: Holding) -> list[Place]:
    """Validation images in one folder, by a list of their classes in the order of their names."""
    where, found, lists = str(paths[0]), _official(partial(images, paths[0], held.roots)), held.lists
    if kaggle.SOLUTION in lists and held.classes:
        return kaggle.labelled_by(lists[kaggle.SOLUTION], where, found, held.classes)
    if held.kit:
        wnids, truth = ilsvrc.ground_truth(split, lists, held.kit)
    elif WNIDS in lists:
        wnids, truth = lists[WNIDS].read_text(encoding="utf-8", errors="replace").split(), WNIDS
    else:
        raise UserError(f"{kaggle.SOLUTION} needs {kaggle.MAPPING} beside it; put it there")
    return ilsvrc.flat(split, 2012, where, found, wnids, truth)


def _official(listed: Callable[[], Listed]) -> list[tuple[str, Lazy]]:
    return [(official_name(name)[0], data) for name, data in listed()]


def _tar(root: Path, split: str) -> list[Path]:
    return [tar for tar in [root / TAR.format(split)] if tar.exists()]


LAYOUTS = (
    Layout("official tars", _tar, _read_tar, (KIT,)),
    Layout("Kaggle folders", partial(_folder, kaggle.IMAGES, False), _read_sorted, (kaggle.MAPPING,)),
    Layout("Kaggle folders", partial(_folder, kaggle.IMAGES, True), _read_flat, FLAT),
    Layout("folders by class", partial(_folder, "", False), _read_sorted),
    Layout("flat validation folder", partial(_folder, "", True), _read_flat, FLAT),
    Layout("Hugging Face parquet", partial(shards, parquet.SHARD), lambda split, paths, _: parquet.read(split, paths)),
    Layout(
        "WebDataset shards", partial(shards, web_dataset.SHARD), lambda split, paths, _: web_dataset.read(split, paths)
    ),
)


def find(source: str, folders: Sequence[Path], splits: Sequence[str], archive_order: bool) -> Found:
    """Where the splits and the lists about them are or, by their official names, would be."""
    searched = list(around(folders))
    lists = {name: root / name for name in LISTS for root in reversed(searched) if (root / name).exists()}
    held: dict[str, tuple[Layout, list[Path]]] = {}
    for split in splits:
        every = ((layout, layout.look(root, split)) for root in searched for layout in LAYOUTS)
        if found := next((pair for pair in every if pair[1]), None):
            held[split] = found
    layouts = [held[split][0] if split in held else LAYOUTS[0] for split in splits]
    wanted = [names[0] for about in layouts if (names := about.lists) and not set(names) & set(lists)]
    wanted += [TAR.format(split) for split in splits if split not in held]
    missing = {name: folders[0] / name for name in wanted}
    paths = missing | lists | {str(path): path for _, files in held.values() for path in files}
    parts = {split: (layout.words, files) for split, (layout, files) in held.items()}
    return Found(source, splits, folders, paths, partial(_open, held, lists), archive_order, parts)


def _open(held: dict[str, tuple[Layout, list[Path]]], lists: dict[str, Path], found: Found) -> Catalogue:
    kit = read_devkit(lists[KIT], 2012) if KIT in lists else None
    classes = kit.classes if kit else kaggle.read_classes(lists[kaggle.MAPPING]) if kaggle.MAPPING in lists else None
    roots = [path.resolve() for path in (*found.folders, *(path for _, paths in held.values() for path in paths))]
    holding = Holding(lists, kit, classes, roots)
    read = [layout.read(split, paths, holding) for split, (layout, paths) in held.items()]
    if not classes:
        first = (some.first.values() if isinstance(some, Samples) else [("", p.wnid) for p in some] for some in read)
        classes = tuple(ImageClass(wnid, wnid) for wnid in sorted({wnid for seen in first for _, wnid in seen} - {""}))
    places = [place for some in read for place in (some.places(classes) if isinstance(some, Samples) else some)]
    words = ", ".join(dict.fromkeys(layout.words for layout, _ in held.values()))
    read_from = [str(p) if p.is_dir() else p.name for _, paths in held.values() for p in (paths[0], paths[-1])]
    where = ", ".join(dict.fromkeys([*read_from, *[name for name in LISTS[:2] if name in lists][:1]]))
    opened = splits_of(places, found.splits, classes, where, found.archive_order)
    expected = {"train": sum(kit.train_images)} if kit else PUBLISHED[found.source] if len(classes) == 1000 else {}
    if kit and "val" in held:
        expected = {**expected, "val": len(ilsvrc.ground_truth("val", lists, kit)[0])}
    for split in opened:
        number = expected.get(split.name, split.images)
        if split.images != number:
            what = f"{split.images:,} images, but {number:,} were published"
            raise UserError(f"split {split.name} of {where} has {what}; fetch it again")
    files = tuple(path for path in found.paths.values() if path.is_file())
    return Catalogue(found.source, classes, opened, files, "" if words == LAYOUTS[0].words else words)
