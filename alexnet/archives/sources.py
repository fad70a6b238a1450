"""The data sources: for each its files, splits and layouts, and the reader that opens it.

The archives are read as they are handed out; compressed ones and parquet by way of a temporary file. The label is the rank of the
class's wnid, or folder name, in sorted order, as in torchvision. The number of images is known before the
first is read. Free of torch and quick to import: Snakemake asks `missing_archives` while it parses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.archives import cifar, ilsvrc, imagenet, parquet
from alexnet.archives.catalogue import SPLITS, Catalogue, Found
from alexnet.archives.class_folders import open_class_folders
from alexnet.archives.known_files import LAYOUTS, instead
from alexnet.archives.members import locate
from alexnet.archives.synset_tars import open_synset_tars
from alexnet.archives.tiny_imagenet import open_tiny_imagenet
from alexnet.errors import UserError

Folders = Path | str | Sequence[Path | str]
Reader = Callable[[Found], Catalogue]
LOOSE = (".tar", ".tar.gz", ".tgz", ".zip")
EXAMPLE = "train/<class>/<image>"


@dataclass(frozen=True)
class Source:
    """A data set: its files in words, and the splits that it offers.

    `layouts`: names of archives or folders, `{}` for the split, and their readers; the first is asked for.
    """

    files: str
    splits: tuple[str, ...]
    layouts: tuple[tuple[str, Reader], ...] = ()
    account: bool = False  # given to people with an account
    unlabelled: bool = False  # the labels of its test images were never published
    year: int | None = None  # of ILSVRC
    parquet: bool = False  # also taken as Hugging Face's parquet


def _each(read: Reader, *names: str) -> tuple[tuple[str, Reader], ...]:
    return tuple((name, read) for name in names)


SOURCES = {
    "ilsvrc2012": Source(
        f"ILSVRC2012_img_{{train,val}}.tar with ILSVRC2012_devkit_t12.tar.gz; {'; '.join(LAYOUTS['ilsvrc2012'])}",
        ("train", "val"), account=True, unlabelled=True, year=2012),
    "ilsvrc2010": Source(
        "ILSVRC2010_images_{train,val,test}.tar, ILSVRC2010_devkit-1.0.tar.gz, ILSVRC2010_test_ground_truth.txt; also "
        "patch_images.tar, if there", SPLITS, account=True, year=2010),
    "fall2009": Source(
        "fall2009.tar or fall2009/: one <wnid>.tar for each synset, split in halves",
        ("train", "test"), _each(open_synset_tars, "fall2009.tar", "fall2009"), account=True),
    "fall2011": Source(
        "fall11_whole.tar or fall2011/: likewise",
        ("train", "test"), _each(open_synset_tars, "fall11_whole.tar", "fall2011"), account=True),
    "imagenette": Source(
        "imagenette2-320.tgz; or imagenette2-224-{train,val}.tar.gz, imagenette2.tgz, imagenette2-160.tgz, parquet",
        ("train", "val"), _each(open_class_folders, "imagenette2-320.tgz", "imagenette2-224-{}.tar.gz", "imagenette2.tgz",
        "imagenette2-160.tgz"), parquet=True),
    "cifar10": Source(
        "cifar-10-python.tar.gz; or cifar10-jpeg75.tar.gz, a lossy copy", ("train", "test"),
        _each(cifar.open_cifar, cifar.ARCHIVE) + _each(open_class_folders, "cifar10-jpeg75.tar.gz")),
    "tiny_imagenet": Source(
        "tiny-imagenet-200.zip", ("train", "val"), _each(open_tiny_imagenet, "tiny-imagenet-200.zip"), unlabelled=True),
    "folders": Source(
        "any <split>/<class>/<image>, on disk or in .tar, .tar.gz, .tgz and .zip files; or parquet", SPLITS, parquet=True),
}  # fmt: skip


def list_sources() -> list[str]:
    """One line per source: its name and the files it wants."""
    width = max(map(len, SOURCES))
    return [f"{name:{width}}  {source.files}" for name, source in SOURCES.items()]


def _loose(folders: Sequence[Path], splits: Sequence[str]) -> dict[str, Path]:
    """For source `folders`: split folders, else archives, of the first folder with any; or one archive."""
    for folder in folders:
        if folder.is_file():
            return {folder.name: folder}
        found = [folder / split for split in splits if (folder / split).is_dir()]
        found = found or sorted(p for p in folder.glob("*") if p.is_file() and p.name.endswith(LOOSE))
        if found:
            return {path.name: path for path in found}
    return {EXAMPLE: folders[0] / EXAMPLE}


def find(source: str, folders: Folders, splits: Sequence[str] | None = None, archive_order: bool = False) -> Found:
    """The files of a source, in the layout in which it lies there: one that is whole, else one that was begun, else the first.

    Looks at names only. Of `ilsvrc2010`, without `splits`, those are meant that are there; of source `folders` all files
    found are. UserError if source or split is unknown, or a folder cannot be read.
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
        return _find(source, searched, splits or (), archive_order)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror or error}); give yourself the right to, or name another folder"
        ) from None


def _find(source: str, folders: list[Path], splits: Sequence[str], archive_order: bool) -> Found:
    about = SOURCES[source]
    wanted = [split for split in about.splits if not splits or split in splits]
    if about.year == 2012:
        return imagenet.find(source, folders, wanted, archive_order)
    if about.year == 2010:
        there = [split for split in wanted if locate(ilsvrc.IMAGES[2010].format(split), folders).exists()]
        wanted = (not splits and there) or wanted
        paths = {name: locate(name, folders) for name in ilsvrc.needed(2010, wanted)}
        return Found(source, wanted, folders, paths, ilsvrc.open_2010, archive_order)
    if source == "folders":
        layouts = [Found(source, splits, folders, _loose(folders, wanted), open_class_folders)]
    else:
        layouts = [
            Found(source, wanted, folders, {n: locate(n, folders) for n in map(name.format, wanted)}, read)
            for name, read in about.layouts
        ]
    for enough in (all, any):
        for found in layouts:
            if enough(path.exists() for path in found.paths.values()):
                return found
    shards = parquet.find(folders, wanted) if about.parquet else {}
    if shards and (len(shards) == len(wanted) or (source == "folders" and not splits)):
        paths = {str(path): path for some in shards.values() for path in some}
        parts = {split: ("parquet", some) for split, some in shards.items()}
        return Found(source, list(shards), folders, paths, parquet.open_parquet, parts=parts)
    return layouts[0]


def missing_archives(source: str, folders: Folders, splits: Sequence[str] | None = None) -> list[str]:
    """Names of the files that `open_source` needs and that are in none of the folders; see `find`."""
    return find(source, folders, splits).missing


def open_source(
    source: str, folders: Folders, splits: Sequence[str] | None = None, archive_order: bool = False
) -> Catalogue:
    """Look through the archives of a source: classes, splits and counts; no image is decoded.

    Args:
        folders: searched in order.
        splits: those wanted; None for all that the source offers (of ilsvrc2010 and folders: all that are there).
        archive_order: official ILSVRC archives are read in their own order, not in that of labels and names.

    UserError if an archive is missing or damaged, a class is empty, a label is outside the map, or counts differ.
    """
    found = find(source, folders, splits, archive_order)
    if found.missing:
        verb, them = ("is", "it") if len(found.missing) == 1 else ("are", "them")
        place, other = " or ".join(map(str, found.folders)), instead(source, found.folders)
        raise UserError(
            f"{', '.join(found.missing)} {verb} missing: put {them} into {place}. {other}".removesuffix(". ")
        )
    odd = next((path for path in found.paths.values() if not (path.is_file() or path.is_dir())), None)
    if odd:
        raise UserError(f"{odd} is neither a file nor a folder; take it away")
    return found.read(found)
