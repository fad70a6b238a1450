"""Reads Tiny ImageNet's official zip; its test images have no labels."""

from alexnet.archives import zips
from alexnet.archives.catalogue import Catalogue, Found, ImageClass, places_of, splits_of
from alexnet.archives.members import basename
from alexnet.errors import UserError

ROOT = "tiny-imagenet-200/"
ENDINGS = (".jpeg", ".jpg")


def open_tiny_imagenet(found: Found) -> Catalogue:
    """Look through the zip; UserError for an image of no class, or without its line in val_annotations.txt."""
    path = found.first
    files = {name.removeprefix(ROOT): part for name, part in zips.members(path) if name.startswith(ROOT)}

    def lines(name: str) -> list[list[str]]:
        if name not in files:
            raise UserError(f"{path.name} holds no {ROOT}{name}; fetch it again")
        text = files[name].read().decode("utf-8", "replace")
        return [line.split("\t") for line in text.splitlines() if line.strip()]

    words = {row[0]: row[-1] for row in lines("words.txt")}
    wnids = sorted(row[0].strip() for row in lines("wnids.txt"))
    of_file = {row[0]: row[1] for row in lines("val/val_annotations.txt") if len(row) > 1}
    places = []
    for name, part in files.items():
        split, _, inside = name.partition("/")
        if split in found.splits and inside.lower().endswith(ENDINGS):
            wnid = inside.split("/")[0] if split == "train" else of_file.get(basename(name), "")
            if wnid not in wnids:
                raise UserError(f"{path.name}: {ROOT}{name} is of no class of wnids.txt; fetch it again")
            places += places_of(split, [(path.name, wnid, basename(name), part)])
    classes = tuple(ImageClass(wnid, words.get(wnid, wnid)) for wnid in wnids)
    return Catalogue(found.source, classes, splits_of(places, found.splits, classes, path.name), (path,))
