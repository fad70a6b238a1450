"""The data sources: for each its files, splits and layouts, and the reader that opens it.

The archives are read as they are handed out; compressed ones and parquet by way of a temporary file. The label is the rank of the
class's wnid, or folder name, in sorted order, as in torchvision. The number of images is known before the
first is read. Free of torch and quick to import: Snakemake asks `missing_archives` while it parses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet.archives import cifar, ilsvrc, imagenet, parquet, synset_tars, tiny_imagenet
from alexnet.archives.catalogue import SPLITS, Catalogue, Found
from alexnet.archives.class_folders import IMAGENETTE, open_class_folders
from alexnet.archives.known_files import LAYOUTS, instead
from alexnet.errors import UserError

Folders = Path | str | Sequence[Path | str]
LOOSE = (".tar", ".tar.gz", ".tgz", ".zip")
EXAMPLE = "train/<class>/<image>"
PARQUET = ("folders", "imagenette")  # sources that take Hugging Face's parquet as well


@dataclass(frozen=True)
class Layout:
    """One way in which a source may lie there: the names of its files for some splits, and their reader."""

    needed: Callable[[Sequence[str]], list[str]]
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


def _class_folders(*names: str) -> Layout:
    """Archives of class folders; `{}` in a name stands for the split."""

    def read(found: Found) -> Catalogue:
        variant = found.first.name.split(".")[0].removesuffix("-train").removesuffix("-val")
        return open_class_folders(found.source, found.splits, list(found.paths.values()), found.folders, variant)

    return Layout(lambda splits: list(dict.fromkeys(name.format(split) for name in names for split in splits)), read)


SOURCES = {
    "ilsvrc2012": Source(
        f"ILSVRC2012_img_{{train,val}}.tar with ILSVRC2012_devkit_t12.tar.gz; {'; '.join(LAYOUTS['ilsvrc2012'])}",
        ilsvrc.OFFERED[2012],
        (),
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
        "imagenette2-320.tgz; or imagenette2-224-{train,val}.tar.gz, imagenette2.tgz, imagenette2-160.tgz, parquet",
        ("train", "val"),
        tuple(
            map(
                _class_folders,
                ("imagenette2-320.tgz", "imagenette2-224-{}.tar.gz", "imagenette2.tgz", "imagenette2-160.tgz"),
            )
        ),
    ),
    "cifar10": Source(
        "cifar-10-python.tar.gz; or cifar10-jpeg75.tar.gz, a lossy copy",
        ("train", "test"),
        (*_named(cifar.open_cifar, cifar.ARCHIVE), _class_folders("cifar10-jpeg75.tar.gz")),
    ),
    "tiny_imagenet": Source(
        "tiny-imagenet-200.zip",
        ("train", "val"),
        _named(tiny_imagenet.open_tiny_imagenet, tiny_imagenet.ARCHIVE),
        unlabelled=True,
    ),
    "folders": Source(
        "any <split>/<class>/<image>, on disk or in .tar, .tar.gz, .tgz and .zip files; or parquet", SPLITS, ()
    ),
}


def list_sources() -> list[str]:
    """One line per source: its name and the files it wants."""
    width = max(map(len, SOURCES))
    return [f"{name:{width}}  {source.files}" for name, source in SOURCES.items()]


def _locate(name: str, folders: Sequence[Path]) -> Path:
    """The first file of that name; if there is none, where it would be in the first folder."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def _loose(folders: Sequence[Path], splits: Sequence[str] | None) -> list[Path]:
    """For source `folders`: split folders, else archives, of the first folder with any; or one archive."""
    for folder in folders:
        if folder.is_file():
            return [folder]
        found = [folder / split for split in splits or SPLITS if (folder / split).is_dir()]
        found = found or sorted(p for p in folder.glob("*") if p.is_file() and p.name.endswith(LOOSE))
        if found:
            return found
    return []


def find(source: str, folders: Folders, splits: Sequence[str] | None = None, archive_order: bool = False) -> Found:
    """The files of a source, in the layout in which it lies there: one that is whole, else one that was begun, else the first.

    Looks at names only. Of `ilsvrc2010`, without `splits`, those are meant that are there; of source `folders` all files
    found are.

    Raises:
        UserError: unknown source or split.
    """
    if source not in SOURCES:
        raise UserError(f"unknown source {source!r}; choose one of {', '.join(SOURCES)}")
    about = SOURCES[source]
    for split in splits or ():
        if split not in about.splits:
            secret = " (the labels of its test images were never published)" * about.unlabelled
            raise UserError(f"source {source} has no split {split!r}{secret}; choose from {', '.join(about.splits)}")
    searched = [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
    try:
        return _find(source, searched, splits, archive_order)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror or error}); give yourself the right to, or name another folder"
        ) from None


def _find(source: str, folders: list[Path], splits: Sequence[str] | None, archive_order: bool) -> Found:
    about = SOURCES[source]
    wanted = [split for split in about.splits if not splits or split in splits]
    if source == "ilsvrc2012":
        return imagenet.find(source, folders, wanted, archive_order)
    if source == "ilsvrc2010" and not splits:
        present = [s for s in wanted if _locate(ilsvrc.IMAGES[2010].format(s), folders).exists()]
        wanted = present or wanted
    layouts = [({name: _locate(name, folders) for name in one.needed(wanted)}, one.open) for one in about.layouts]
    if source == "folders":
        loose = {path.name: path for path in _loose(folders, splits)} or {EXAMPLE: folders[0] / EXAMPLE}
        layouts = [(loose, lambda found: open_class_folders(source, splits, list(found.paths.values()), folders))]
    for enough in (all, any):
        for paths, opener in layouts:
            if enough(path.exists() for path in paths.values()):
                return Found(source, wanted, folders, paths, opener, archive_order)
    shards = parquet.find(folders, wanted) if source in PARQUET else {}
    if shards and (len(shards) == len(wanted) or (source == "folders" and not splits)):
        paths = {str(path): path for some in shards.values() for path in some}
        words = IMAGENETTE if source == "imagenette" else {}
        return Found(
            source,
            list(shards),
            folders,
            paths,
            partial(parquet.open_parquet, shards, words),
            parts={split: ("parquet", some) for split, some in shards.items()},
        )
    return Found(source, wanted, folders, *layouts[0], archive_order)


def missing_archives(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[str]:
    """Names of the files that `open_source` needs and that are in none of the folders; see `find`."""
    return find(source, folders, splits).missing


def located(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[Path]:
    """The files that `open_source` will read, as far as they are there and have known names; see `find`."""
    return [path for path in find(source, folders, splits).paths.values() if path.is_file() and source != "folders"]


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
    found = find(source, folders, splits, archive_order)
    if found.missing:
        one = len(found.missing) == 1
        raise UserError(
            f"{', '.join(found.missing)} {'is' if one else 'are'} missing: put {'it' if one else 'them'} into "
            f"{' or '.join(map(str, found.folders))}. {instead(source, found.folders)}".removesuffix(". ")
        )
    odd = next((path for path in found.paths.values() if not (path.is_file() or path.is_dir())), None)
    if odd:
        raise UserError(f"{odd} is neither a file nor a folder; take it away")
    return found.read(found)
