"""Turns a source's name and the folders of its archives into a catalogue: classes, splits, streams of images.

The archives are read as they are handed out; nothing is unpacked to disk. The label is the rank of the
class's wnid, or folder name, in sorted order, as in torchvision. The number of images is known before the
first is read. Free of torch and quick to import: Snakemake asks `missing_archives` while it parses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alexnet.archives import cifar, ilsvrc, kaggle, synset_tars, tiny_imagenet
from alexnet.archives.catalogue import SPLITS, Catalogue
from alexnet.archives.class_folders import open_class_folders
from alexnet.errors import UserError

Folders = Path | str | Sequence[Path | str]

SOURCES = {
    "ilsvrc2012": "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz; or Kaggle's "
    "folders: ILSVRC/Data/CLS-LOC/{train,val}, LOC_synset_mapping.txt, LOC_val_solution.csv",
    "ilsvrc2010": "ILSVRC2010_images_{train,val,test}.tar, ILSVRC2010_devkit-1.0.tar.gz, "
    "ILSVRC2010_test_ground_truth.txt; also patch_images.tar, if there",
    "fall2009": "fall2009.tar or fall2009/: one <wnid>.tar for each synset, split in halves",
    "fall2011": "fall11_whole.tar or fall2011/: likewise",
    "imagenette": "imagenette2-320.tgz; or imagenette2-224-{train,val}.tar.gz, imagenette2.tgz, imagenette2-160.tgz",
    "cifar10": "cifar-10-python.tar.gz; or cifar10-jpeg75.tar.gz, a lossy copy",
    "tiny_imagenet": "tiny-imagenet-200.zip",
    "folders": "any <split>/<class>/<image>, on disk or in .tar, .tar.gz, .tgz and .zip files",
}
YEARS = {"ilsvrc2012": 2012, "ilsvrc2010": 2010}
OFFERED = {
    "ilsvrc2012": ilsvrc.OFFERED[2012],
    "ilsvrc2010": ilsvrc.OFFERED[2010],
    "fall2009": synset_tars.OFFERED,
    "fall2011": synset_tars.OFFERED,
    "imagenette": ("train", "val"),
    "cifar10": ("train", "test"),
    "tiny_imagenet": ("train", "val"),
    "folders": SPLITS,
}
ACCOUNT = ("ilsvrc2012", "ilsvrc2010", "fall2009", "fall2011")  # given to people with an account
UNLABELLED = ("ilsvrc2012", "tiny_imagenet")  # the labels of whose test images were never published


def list_sources() -> list[str]:
    """One line per source: its name and the files it wants."""
    width = max(map(len, SOURCES))
    return [f"{name:{width}}  {files}" for name, files in SOURCES.items()]


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
    return [split for split in OFFERED[source] if not splits or split in splits]


def _layouts(source: str, wanted: Sequence[str]) -> list[list[str]]:
    """The ways in which a source may lie there, each the names of its files; the first is asked for if none is."""
    if source == "ilsvrc2012":
        return [ilsvrc.needed(2012, wanted), kaggle.needed(wanted)]
    if source == "ilsvrc2010":
        return [ilsvrc.needed(2010, wanted)]
    if source == "cifar10":
        return [[cifar.ARCHIVE], ["cifar10-jpeg75.tar.gz"]]
    if source == "imagenette":
        parts = [f"imagenette2-224-{split}.tar.gz" for split in wanted]
        return [["imagenette2-320.tgz"], parts, ["imagenette2.tgz"], ["imagenette2-160.tgz"]]
    if source == "tiny_imagenet":
        return [[tiny_imagenet.ARCHIVE]]
    whole = {"fall2009": "fall2009.tar", "fall2011": "fall11_whole.tar"}[source]
    return [[whole], [source]]


def _needed(source: str, folders: Sequence[Path], splits: Sequence[str] | None) -> list[str]:
    """Names of the files that a source is read from, there or not; source `folders` has its own way."""
    layouts = _layouts(source, _splits(source, folders, splits))
    there = [[_locate(name, folders).exists() for name in names] for names in layouts]
    for enough in (all, any):  # one that is whole, else one that was begun
        for names, found in zip(layouts, there, strict=True):
            if enough(found):
                return names
    return layouts[0]


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
        if split not in OFFERED[source]:
            secret = " (the labels of its test images were never published)" * (source in UNLABELLED)
            raise UserError(
                f"source {source} has no split {split!r}{secret}; choose from {', '.join(OFFERED[source])}"
            )


def missing_archives(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[str]:
    """Names of the files that `open_source` needs and that are in none of the folders; looks at names only.

    Raises:
        UserError: unknown source or split.
    """
    _check(source, splits)
    searched = _folders(folders)
    if source == "folders":
        return [] if _loose(searched, splits) else ["train/<class>/<image>"]
    return [name for name in _needed(source, searched, splits) if not _locate(name, searched).exists()]


def located(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[Path]:
    """The files that `open_source` will read, as far as they are there; source `folders` has no known ones.

    Raises:
        UserError: unknown source or split.
    """
    _check(source, splits)
    searched = _folders(folders)
    if source == "folders":
        return []
    paths = [_locate(name, searched) for name in _needed(source, searched, splits)]
    return [path for path in paths if path.is_file()]


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
    wanted = _splits(source, searched, splits)
    paths = {name: _locate(name, searched) for name in _needed(source, searched, splits)}
    odd = next((path for path in paths.values() if not (path.is_file() or path.is_dir())), None)
    if odd:
        raise UserError(f"{odd} is neither a file nor a folder; take it away")
    first = next(iter(paths.values()))
    if kaggle.MAPPING in paths:
        return kaggle.open_kaggle(source, wanted, paths, searched)
    if source in YEARS:
        patches = _locate(ilsvrc.PATCHES, searched)
        if source == "ilsvrc2010" and patches.exists():
            paths[ilsvrc.PATCHES] = patches
        return ilsvrc.open_ilsvrc(source, YEARS[source], wanted, paths, archive_order)
    if source.startswith("fall"):
        return synset_tars.open_synset_tars(source, wanted, first)
    if source == "tiny_imagenet":
        return tiny_imagenet.open_tiny_imagenet(source, wanted, first)
    if cifar.ARCHIVE in paths:
        return cifar.open_cifar(source, wanted, first)
    variant = first.name.split(".")[0].removesuffix("-train").removesuffix("-val")
    return open_class_folders(source, wanted, list(paths.values()), searched, variant)
