"""Finds ILSVRC-2012 as people hold it: each split in a layout of its own, in a named folder, one level above or below.

Whatever the layout, an image has its official name, and the classes are the sorted wnids: the same images give the same
packed set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from alexnet.archives import flat_validation, ilsvrc, kaggle, parquet, tars, web_dataset
from alexnet.archives.catalogue import Catalogue, Found, ImageClass, Lazy, Listed, Place, splits_of
from alexnet.archives.class_folders import places_of
from alexnet.archives.devkits import Devkit, read_devkit
from alexnet.archives.known_files import PUBLISHED
from alexnet.archives.labelled import Samples, official_name
from alexnet.archives.local_folders import around, images
from alexnet.archives.members import basename
from alexnet.errors import UserError

WNID, VALIDATION = re.compile(r"n\d{8}"), re.compile(r"ILSVRC2012_val_\d{8}\.")
LISTS = (ilsvrc.DEVKIT[2012], kaggle.MAPPING, kaggle.SOLUTION, kaggle.LIST, flat_validation.WNIDS)


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


def _tar(root: Path, split: str) -> list[Path]:
    path = root / ilsvrc.IMAGES[2012].format(split)
    return [path] if path.exists() else []


def _read_tar(split: str, paths: list[Path], held: Holding) -> list[Place]:
    assert held.kit
    if split == "train":
        return ilsvrc.tar_of_tars(paths[0], held.kit)
    wnids, truth = ilsvrc.ground_truth(split, held.lists, held.kit)
    members = ((basename(name), data) for name, data in tars.members(paths[0]))
    return ilsvrc.flat(split, 2012, paths[0].name, members, wnids, truth)


def _named(folder: Path, pattern: re.Pattern[str]) -> bool:
    """Whether something in a folder has such a name; of a folder of images a few names will do."""
    return folder.is_dir() and any(pattern.match(path.name) for path in islice(folder.iterdir(), 100))


def _sorted(base: str, root: Path, split: str) -> list[Path]:
    folder = root / base / split
    return [folder] if _named(folder, WNID) or (base and split == "train" and folder.is_dir()) else []


def _flat(base: str, root: Path, split: str) -> list[Path]:
    folder = root / base / split
    there = split == "val" and (_named(folder, VALIDATION) or (base and folder.is_dir()))
    return [folder] if there else []


def _read_sorted(split: str, paths: list[Path], held: Holding) -> list[Place]:
    places = [replace(place, listed=partial(_official, place.listed)) for place in places_of(paths[0], held.roots)]
    if split == "train" and kaggle.LIST in held.lists:
        kaggle.check_list(held.lists[kaggle.LIST], places)
    return places


def _read_flat(split: str, paths: list[Path], held: Holding) -> list[Place]:
    found = _official(partial(images, paths[0], held.roots))
    return flat_validation.labelled(str(paths[0]), found, held.lists, held.kit, held.classes)


def _official(listed: Callable[[], Listed]) -> list[tuple[str, Lazy]]:
    return [(official_name(name)[0], data) for name, data in listed()]


LAYOUTS = (
    Layout("official tars", _tar, _read_tar, (ilsvrc.DEVKIT[2012],)),
    Layout("Kaggle folders", partial(_sorted, kaggle.IMAGES), _read_sorted, (kaggle.MAPPING,)),
    Layout("Kaggle folders", partial(_flat, kaggle.IMAGES), _read_flat, flat_validation.LISTS),
    Layout("folders by class", partial(_sorted, ""), _read_sorted),
    Layout("flat validation folder", partial(_flat, ""), _read_flat, flat_validation.LISTS),
    Layout("Hugging Face parquet", parquet.look, lambda split, paths, _: parquet.read(split, paths)),
    Layout("WebDataset shards", web_dataset.look, lambda split, paths, _: web_dataset.read(split, paths)),
)


def find(source: str, folders: Sequence[Path], splits: list[str], archive_order: bool) -> Found:
    """Where the splits and the lists about them are or, by their official names, would be.

    Raises:
        UserError: shards are missing.
    """
    searched = list(around(folders))
    lists = {name: root / name for name in LISTS for root in reversed(searched) if (root / name).exists()}
    held: dict[str, tuple[Layout, list[Path]]] = {}
    for split in splits:
        every = ((layout, layout.look(root, split)) for root in searched for layout in LAYOUTS)
        if found := next((pair for pair in every if pair[1]), None):
            held[split] = found
    layouts = [held[split][0] if split in held else LAYOUTS[0] for split in splits]
    wanted = [names[0] for about in layouts if (names := about.lists) and not set(names) & set(lists)]
    wanted += [ilsvrc.IMAGES[2012].format(split) for split in splits if split not in held]
    missing = {name: folders[0] / name for name in wanted}
    paths = missing | lists | {str(path): path for _, files in held.values() for path in files}
    parts = {split: (layout.words, files) for split, (layout, files) in held.items()}
    return Found(source, splits, list(folders), paths, partial(_open, held, lists), archive_order, parts)


def _open(held: dict[str, tuple[Layout, list[Path]]], lists: dict[str, Path], found: Found) -> Catalogue:
    kit = read_devkit(lists[ilsvrc.DEVKIT[2012]], 2012) if ilsvrc.DEVKIT[2012] in lists else None
    classes = kit.classes if kit else kaggle.read_classes(lists[kaggle.MAPPING]) if kaggle.MAPPING in lists else None
    roots = [path.resolve() for path in (*found.folders, *(path for _, paths in held.values() for path in paths))]
    holding = Holding(lists, kit, classes, roots)
    read = [layout.read(split, paths, holding) for split, (layout, paths) in held.items()]
    if not classes:
        wnids = {w for some in read for w in (some.wnids if isinstance(some, Samples) else {p.wnid for p in some})}
        classes = tuple(ImageClass(wnid, wnid) for wnid in sorted(wnids))
    places = [place for some in read for place in (some.places(classes) if isinstance(some, Samples) else some)]
    words = list(dict.fromkeys(layout.words for layout, _ in held.values()))
    read_from = [str(p) if p.is_dir() else p.name for _, paths in held.values() for p in (paths[0], paths[-1])]
    where = ", ".join(dict.fromkeys([*read_from, *[name for name in LISTS[:2] if name in lists][:1]]))
    opened = splits_of(places, found.splits, classes, where, found.archive_order)
    expected = {"train": sum(kit.train_images)} if kit else PUBLISHED[found.source] if len(classes) == 1000 else {}
    for split in opened:
        if split.images != expected.get(split.name, split.images):
            raise UserError(
                f"split {split.name} of {where} has {split.images:,} images, but {expected[split.name]:,} were published; "
                "fetch it again"
            )
    files = tuple(path for path in found.paths.values() if path.is_file())
    return Catalogue(
        found.source, tuple(classes), opened, files, "" if words == ["official tars"] else ", ".join(words)
    )
