"""Synsets and devkit of a generated ILSVRC year, in the official format."""

import gzip
import io
from dataclasses import dataclass

import numpy as np

from alexnet.archives.tars import plain_tar
from alexnet.synthetic.scenes import SHAPES, TEXTURES

PLURAL = {"striped": "stripes", "banded": "bands", "checked": "checks", "spotted": "spots"}
MAX_CLASSES = len(SHAPES) * len(TEXTURES)


@dataclass(frozen=True)
class Synset:
    """One row of a meta.mat: a leaf has shape and texture, an inner node has children (that year's ids)."""

    id: int
    wnid: str
    words: str
    gloss: str
    children: tuple[int, ...] = ()
    height: int = 0
    shape: str = ""
    texture: str = ""


def synsets(year: int, seed: int, classes: int) -> list[Synset]:
    """The rows of a year's meta.mat: leaves with ids 1..classes, one internal node per texture, the root.

    The wnids belong to the classes, not to the year; a year only numbers them, in an order of its own. The
    wnids of the internal nodes lie among those of the leaves, so that a rank over all rows is not the rank
    over the leaves.
    """
    # 3 and 4 have no common divisor: each pair comes once, and any first few are a fair selection
    pairs = [(SHAPES[i % len(SHAPES)], TEXTURES[i % len(TEXTURES)]) for i in range(classes)]
    textures = [texture for texture in TEXTURES if any(t == texture for _, t in pairs)]
    numbers = np.random.default_rng([seed, 0]).permutation(classes + len(textures) + 1) * 37 + 90_000_011
    wnids = [f"n{number:08d}" for number in numbers]
    ids = np.random.default_rng([seed, year]).permutation(classes) + 1

    leaves = []
    for number, wnid, (shape, texture) in zip(ids, wnids, pairs, strict=False):
        words = f"{texture} {shape}, {shape} with {PLURAL[texture]}"
        gloss = f"a {shape} covered with {PLURAL[texture]}"
        leaves.append(Synset(int(number), wnid, words, gloss, shape=shape, texture=texture))
    leaves.sort(key=lambda leaf: leaf.id)
    inner = []
    for k, texture in enumerate(textures):
        children = tuple(leaf.id for leaf in leaves if leaf.texture == texture)
        words, gloss, number = f"{texture} thing", f"any {texture} shape", classes + 1 + k
        inner.append(Synset(number, wnids[classes + k], words, gloss, children, height=1))
    children = tuple(synset.id for synset in inner)
    number = classes + 1 + len(textures)
    root = Synset(number, wnids[-1], "patterned shape", "a shape with a pattern", children, height=2)
    return [*leaves, *inner, root]


def meta_mat(rows: list[Synset], year: int, train_images: int) -> bytes:
    """A MATLAB 5 file with the struct array `synsets` and the fields of that year's devkit."""
    from scipy.io import savemat

    width = max(len(row.children) for row in rows)
    texts, numbers = (["WNID", "words", "gloss"], ["num_children", "children", "wordnet_height", "num_train_images"])
    fields = [f"ILSVRC{year}_ID", *texts, *numbers]
    table = np.zeros((len(rows), 1), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        children = np.array([[*row.children, *[0] * (width - len(row.children))]], dtype=np.float64)
        number, count, height, train = (
            np.array([[float(n)]]) for n in (row.id, len(row.children), row.height, 0 if row.children else train_images)
        )
        table[i, 0] = (number, row.wnid, row.words, row.gloss, count, children, height, train)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": table})
    header = b"MATLAB 5.0 MAT-file, written by a generator".ljust(116)  # scipy puts the time of day here
    return header + buffer.getvalue()[116:]


def devkit(root: str, year: int, rows: list[Synset], train_images: int, validation: list[int]) -> bytes:
    """A devkit .tar.gz: <root>/data/meta.mat and, one id a line, the validation ground truth."""
    members = [
        (f"{root}/readme.txt", b"A generated stand-in for the devkit of the same name.\n"),
        (f"{root}/data/meta.mat", meta_mat(rows, year, train_images)),
        (f"{root}/data/ILSVRC{year}_validation_ground_truth.txt", "".join(f"{i}\n" for i in validation).encode()),
    ]
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed:
        packed.write(plain_tar(members))
    return buffer.getvalue()
