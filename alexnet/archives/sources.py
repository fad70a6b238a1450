"""The data sources: for each its files, splits and layouts, and the reader that opens it.

The archives are read as they are handed out; nothing is unpacked to disk. The label is the rank of the
class's wnid, or folder name, in sorted order, as in torchvision. The number of images is known before the
first is read. Free of torch and quick to import: Snakemake asks `missing_archives` while it parses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet.archives import cifar, ilsvrc, kaggle, synset_tars, tiny_imagenet
from alexnet.archives.catalogue import SPLITS, Catalogue
from alexnet.archives.class_folders import open_class_folders
from alexnet.errors import UserError

Folders = Path | str | Sequence[Path | str]
Needed = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Found:
    """What was asked of a source, and where its files are."""

    source: str
    splits: list[str]
    paths: dict[str, Path]  # by name, in the order in which the layout names them
    folders: list[Path]
    archive_order: bool

    @property
    def first(self) -> Path:
        return next(iter(self.paths.values()))


@dataclass(frozen=True)
class Layout:
    """One way in which a source may lie there: the names of its files for some splits, and their reader."""

    needed: Needed
    open: Callable[[Found], Catalogue]


@dataclass(frozen=True)
class Source:
    """A data set: its files in words, the splits that it offers, and its layouts, the one that is asked for first."""

    files: str
    splits: tuple[str, ...]
    layouts: tuple[Layout, ...]
    account: bool = False  # given to people with an account
    unlabelled: bool = False  # the labels of its test images were never published
    year: int | None = None  # of ILSVRC


def _official(year: int) -> Layout:
    def read(found: Found) -> Catalogue:
        patches = _locate(ilsvrc.PATCHES, found.folders)
        more = {ilsvrc.PATCHES: patches} if year == 2010 and patches.exists() else {}
        return ilsvrc.open_ilsvrc(found.source, year, found.splits, found.paths | more, found.archive_order)

    return Layout(partial(ilsvrc.needed, year), read)


def _named(read: Callable[[str, list[str], Path], Catalogue], *names: str) -> tuple[Layout, ...]:
    """A layout for each name, of one file or folder."""
    return tuple(
        Layout(lambda _, name=name: [name], lambda found: read(found.source, found.splits, found.first))  # type: ignore[misc]
        for name in names
    )


def _class_folders(needed: Needed) -> Layout:
    def read(found: Found) -> Catalogue:
        variant = found.first.name.split(".")[0].removesuffix("-train").removesuffix("-val")
        return open_class_folders(found.source, found.splits, list(found.paths.values()), found.folders, variant)

    return Layout(needed, read)


SOURCES = {
    "ilsvrc2012": Source(
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz; or Kaggle's "
        "folders: ILSVRC/Data/CLS-LOC/{train,val}, LOC_synset_mapping.txt, LOC_val_solution.csv",
        ilsvrc.OFFERED[2012],
        (
            _official(2012),
            Layout(
                kaggle.needed, lambda found: kaggle.open_kaggle(found.source, found.splits, found.paths, found.folders)
            ),
        ),
        account=True,
        unlabelled=True,
        year=2012,
    ),
    "ilsvrc2010": Source(
        "ILSVRC2010_images_{train,val,test}.tar, ILSVRC2010_devkit-1.0.tar.gz, "
        "ILSVRC2010_test_ground_truth.txt; also patch_images.tar, if there",
        ilsvrc.OFFERED[2010],
        (_official(2010),),
        account=True,
        year=2010,
    ),
    "fall2009": Source(
        "fall2009.tar or fall2009/: one <wnid>.tar for each synset, split in halves",
        synset_tars.OFFERED,
        _named(synset_tars.open_synset_tars, "fall2009.tar", "fall2009"),
        account=True,
    ),
    "fall2011": Source(
        "fall11_whole.tar or fall2011/: likewise",
        synset_tars.OFFERED,
        _named(synset_tars.open_synset_tars, "fall11_whole.tar", "fall2011"),
        account=True,
    ),
    "imagenette": Source(
        "imagenette2-320.tgz; or imagenette2-224-{train,val}.tar.gz, imagenette2.tgz, imagenette2-160.tgz",
        ("train", "val"),
        (
            _class_folders(lambda _: ["imagenette2-320.tgz"]),
            _class_folders(lambda splits: [f"imagenette2-224-{split}.tar.gz" for split in splits]),
            _class_folders(lambda _: ["imagenette2.tgz"]),
            _class_folders(lambda _: ["imagenette2-160.tgz"]),
        ),
    ),
    "cifar10": Source(
        "cifar-10-python.tar.gz; or cifar10-jpeg75.tar.gz, a lossy copy",
        ("train", "test"),
        (*_named(cifar.open_cifar, cifar.ARCHIVE), _class_folders(lambda _: ["cifar10-jpeg75.tar.gz"])),
    ),
    "tiny_imagenet": Source(
        "tiny-imagenet-200.zip",
        ("train", "val"),
        _named(tiny_imagenet.open_tiny_imagenet, tiny_imagenet.ARCHIVE),
        unlabelled=True,
    ),
    "folders": Source("any <split>/<class>/<image>, on disk or in .tar, .tar.gz, .tgz and .zip files", SPLITS, ()),
}


def list_sources() -> list[str]:
    """One line per source: its name and the files it wants."""
    width = max(map(len, SOURCES))
    return [f"{name:{width}}  {source.files}" for name, source in SOURCES.items()]


def _folders(folders: Folders) -> list[Path]:
    """The folders to search, as a list."""
    if isinstance(folders, str | Path):
        return [Path(folders)]
    return [Path(folder) for folder in folders]


def _locate(name: str, folders: Sequence[Path]) -> Path:
    """The first file of that name; if there is none, where it would be in the first folder."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def _splits(source: str, folders: Sequence[Path], splits: Sequence[str] | None) -> list[str]:
    """The splits to read: those asked for, else those offered, of 2010 those that are there."""
    if source == "ilsvrc2010" and not splits:
        names = {split: ilsvrc.IMAGES[2010].format(split) for split in SPLITS}
        present = [split for split, name in names.items() if _locate(name, folders).exists()]
        return present or list(SPLITS)
    return [split for split in SOURCES[source].splits if not splits or split in splits]


def _layout(source: str, folders: Sequence[Path], splits: Sequence[str]) -> Layout:
    """The layout in which a source lies there: one that is whole, else one that was begun, else the first."""
    layouts = SOURCES[source].layouts
    there = [[_locate(name, folders).exists() for name in layout.needed(splits)] for layout in layouts]
    for enough in (all, any):
        for layout, found in zip(layouts, there, strict=True):
            if enough(found):
                return layout
    return layouts[0]


def _paths(source: str, folders: Sequence[Path], splits: Sequence[str] | None) -> dict[str, Path]:
    """Where the files that a source is read from are or would be, by name; source `folders` has its own way."""
    wanted = _splits(source, folders, splits)
    names = _layout(source, folders, wanted).needed(wanted)
    return {name: _locate(name, folders) for name in names}


def _loose(folders: Sequence[Path], splits: Sequence[str] | None) -> list[Path]:
    """For source `folders`: split folders, else archives, of the first folder with any; or one archive."""
    for folder in folders:
        if folder.is_file():
            return [folder]
        found = [folder / split for split in SPLITS if (folder / split).is_dir()]
        found = [path for path in found if not splits or path.name in splits]
        endings = (".tar", ".tar.gz", ".tgz", ".zip")
        found = found or sorted(p for p in folder.glob("*") if p.is_file() and p.name.endswith(endings))
        if found:
            return found
    return []


def _check(source: str, splits: Sequence[str] | None) -> None:
    """Raise UserError for a source that does not exist or a split that the source does not have."""
    if source not in SOURCES:
        raise UserError(f"unknown source {source!r}; choose one of {', '.join(SOURCES)}")
    for split in splits or ():
        offered = SOURCES[source].splits
        if split not in offered:
            secret = " (the labels of its test images were never published)" * SOURCES[source].unlabelled
            raise UserError(f"source {source} has no split {split!r}{secret}; choose from {', '.join(offered)}")


def missing_archives(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[str]:
    """Names of the files that `open_source` needs and that are in none of the folders; looks at names only.

    Raises:
        UserError: unknown source or split.
    """
    _check(source, splits)
    searched = _folders(folders)
    if source == "folders":
        return [] if _loose(searched, splits) else ["train/<class>/<image>"]
    return [name for name, path in _paths(source, searched, splits).items() if not path.exists()]


def located(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[Path]:
    """The files that `open_source` will read, as far as they are there; source `folders` has no known ones.

    Raises:
        UserError: unknown source or split.
    """
    _check(source, splits)
    searched = _folders(folders)
    if source == "folders":
        return []
    return [path for path in _paths(source, searched, splits).values() if path.is_file()]


def open_source(
    source: str, folders: Folders, splits: Sequence[str] | None = None, archive_order: bool = False
) -> Catalogue:
    """Look through the archives of a source: classes, splits and counts; no image is decoded.

    Args:
        folders: searched in order.
        splits: those wanted; None for all that the source offers (of ilsvrc2010 and folders: all that are there).
        archive_order: official ILSVRC archives are read in their own order, not in that of labels and names.

    Raises:
        UserError: an archive is missing or damaged, a class is empty, a label is outside the map, counts
            differ.
    """
    searched = _folders(folders)
    missing = missing_archives(source, searched, splits)
    if missing:
        one = len(missing) == 1
        raise UserError(
            f"{', '.join(missing)} {'is' if one else 'are'} missing: put {'it' if one else 'them'} into "
            f"{' or '.join(map(str, searched))}"
        )
    if source == "folders":
        return open_class_folders(source, splits, _loose(searched, splits), searched)
    paths = _paths(source, searched, splits)
    odd = next((path for path in paths.values() if not (path.is_file() or path.is_dir())), None)
    if odd:
        raise UserError(f"{odd} is neither a file nor a folder; take it away")
    wanted = _splits(source, searched, splits)
    found = Found(source, wanted, paths, searched, archive_order)
    return _layout(source, searched, wanted).open(found)
