"""What is published about each archive: size, hash, and the page it comes from.

Checksums and sizes are those of the publishers or of torchvision's loaders; where neither states one it is
None. Nothing is published about ILSVRC-2010 but the names. Free of torch and quick to import.
"""

import contextlib
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

WIDTH, MOST_FILES, MOST_FOLDERS = 110, 7, 4
CREDENTIALS = "ALEXNET_USER and ALEXNET_PASSWORD, or ALEXNET_TOKEN"
ACCOUNT_HOST = "image-net.org"  # credentials are for it, unless ALEXNET_HOST names another
NOT_PUBLIC = "no public page: "

# Where each source's files lie, for the user's `downloads`; nothing is fetched from here unless configured.
BASE_URLS = {
    "ilsvrc2012": "https://image-net.org/data/ILSVRC",
    "ilsvrc2010": "https://image-net.org/data/ILSVRC",
    "imagenette": "https://s3.amazonaws.com/fast-ai-imageclas",
    "cifar10": "https://www.cs.toronto.edu/~kriz",
    "tiny_imagenet": "http://cs231n.stanford.edu",
}

PUBLISHED = {  # images of each split
    "ilsvrc2012": {"train": 1_281_167, "val": 50_000},
    "ilsvrc2010": {"train": 1_261_406, "val": 50_000, "test": 150_000},
    "imagenette": {"train": 9_469, "val": 3_925},
    "cifar10": {"train": 50_000, "test": 10_000},
}

# How a source may be held besides as its published archives.
LAYOUTS = {
    "ilsvrc2012": (
        "Kaggle's ILSVRC/Data/CLS-LOC with LOC_synset_mapping.txt and LOC_val_solution.csv",
        "train/<wnid>/ and val/<wnid>/",
        "val/ILSVRC2012_val_*.JPEG with the devkit, LOC_val_solution.csv or imagenet_2012_validation_synset_labels.txt",
        "Hugging Face's parquet (train-00000-of-00294.parquet)",
        "WebDataset shards (imagenet1k-train-0000.tar)",
    )
}


@dataclass(frozen=True)
class KnownFile:
    """An archive: `path` follows the base URL of its source, `page` is where a person gets it.

    `most`: bytes that are fetched at most; where no size is published, well above what people report.
    """

    name: str
    path: str
    bytes: int | None
    md5: str | None
    sha256: str | None
    page: str
    most: int = 50_000_000


_PAGES = {
    "image-net": "https://image-net.org/download (with an account, after accepting the terms)",
    "cifar": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "imagenette": "https://github.com/fastai/imagenette",
    "tiny": "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "lossy": f"{NOT_PUBLIC}a lossy copy of CIFAR-10; cifar-10-python.tar.gz is public",
    "shrunk": f"{NOT_PUBLIC}Imagenette with its shorter side at 224 pixels; imagenette2-320.tgz, which is public, will do too",
    "full": f"{NOT_PUBLIC}400 ILSVRC images at their original size, for tests",
}
_FILES: tuple[tuple[str, str, int | None, str, int], ...] = (  # path, page, size, md5 or sha256, most that is fetched
    ("2012/ILSVRC2012_img_train.tar", "image-net", 147_897_477_120, "1d675b47d978889d74fa0da5fadfb00e", 147_897_477_120),
    ("2012/ILSVRC2012_img_val.tar", "image-net", 6_744_924_160, "29b22e2961454d5413ddabcf34fc5622", 6_744_924_160),
    ("2012/ILSVRC2012_devkit_t12.tar.gz", "image-net", None, "fa75699e90414af021442c21a62c3abf", 50_000_000),
    ("2010/ILSVRC2010_images_train.tar", "image-net", None, "", 200_000_000_000),
    ("2010/ILSVRC2010_images_val.tar", "image-net", None, "", 10_000_000_000),
    ("2010/ILSVRC2010_images_test.tar", "image-net", None, "", 30_000_000_000),
    ("2010/ILSVRC2010_devkit-1.0.tar.gz", "image-net", None, "", 50_000_000),
    ("2010/ILSVRC2010_test_ground_truth.txt", "image-net", None, "", 50_000_000),
    ("2010/patch_images.tar", "image-net", None, "", 3_000_000_000),
    ("cifar-10-python.tar.gz", "cifar", 170_498_071, "c58f30108f718f92721af3b95e74349a", 170_498_071),
    ("imagenette2.tgz", "imagenette", None, "fe2fc210e6bb7c5664d602c3cd71e612", 3_000_000_000),
    ("imagenette2-320.tgz", "imagenette", None, "3df6f0d01a2c9592104656642f5e78a3", 3_000_000_000),
    ("imagenette2-160.tgz", "imagenette", None, "e793b78cc4c9e9a4ccc0c1155377a412", 3_000_000_000),
    ("tiny-imagenet-200.zip", "tiny", None, "", 3_000_000_000),
    ("cifar10-jpeg75.tar.gz", "lossy", None, "5bbd2193f3b9982b20b3e62de1fcb9691706d5884e1bfe2840596f4c5f9b9bec", 0),
    ("imagenette2-224-train.tar.gz", "shrunk", None, "088a62fcae332601f0e792253430b88237e91f3c94457d65db8a9d6d26c2e456", 0),
    ("imagenette2-224-val.tar.gz", "shrunk", None, "94a7c9d5517576f77ac5fb2781f0a39e4a9c15a6ae72dfe80f800ef3acbf5ca3", 0),
    ("ilsvrc-fullsize-400.tar", "full", None, "6e00cb0e3fa5f7c11cdda114d8ae9ba5abe6b4000d628934682e55091f553276", 0),
)  # fmt: skip


def _known(path: str, page: str, size: int | None, digest: str, most: int) -> KnownFile:
    md5, sha256 = (digest if len(digest) == length else None for length in (32, 64))
    return KnownFile(path.rpartition("/")[2], path, size, md5, sha256, _PAGES[page], most or 50_000_000)


KNOWN = {file.name: file for file in (_known(*row) for row in _FILES)}


def human_size(count: int) -> str:
    """1.2 GB, in powers of 1000."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} bytes"


def is_url(url: str) -> bool:
    """Whether requests can be sent there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def public(url: str) -> str:
    """The URL without user, password, query and fragment, fit for a message."""
    if not is_url(url):
        return "an address that is no URL"
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}"


def _line(name: str, width: int) -> str:
    """A missing file: its size and checksum, on two lines if one is too narrow."""
    file = KNOWN.get(name)
    if file is None:
        return f"  {name:{width}}  no size or checksum published"
    size = human_size(file.bytes) if file.bytes else "size not published"
    checksum = f"sha256 {file.sha256}" if file.sha256 else f"md5 {file.md5}" if file.md5 else "no checksum published"
    line = f"  {name:{width}}  {size:18}  {checksum}"
    return line if len(line) <= WIDTH else f"  {name:{width}}  {size}\n    {checksum}"


def _first(words: Sequence[str], most: int) -> str:
    """The words as a list; those beyond the first `most` as a number."""
    return ", ".join(words[:most]) + f" and {len(words) - most} more" * (len(words) > most)


def instead(source: str, folders: Sequence[str | Path]) -> str:
    """How else a source may be held, and what is in the folders, as a sentence; "" if in no other way."""
    if source not in LAYOUTS:
        return ""
    there: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            there += sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder))
    return f"Each split is also taken as {'; '.join(LAYOUTS[source])}. What is there: {_first(there, MOST_FILES) or 'nothing'}."


def describe_missing(source: str, names: list[str], folders: list[str], base_url: str | None) -> str:
    """What is missing and where a person, or the bench, gets it, on one screen.

    `base_url`: from where the bench would download the files, None if that is not configured.
    """
    known, shown = [KNOWN[name] for name in names if name in KNOWN], names[:MOST_FILES]
    files, width = f"{len(names)} file{'s' * (len(names) != 1)}", max(map(len, shown), default=0)
    pages = list(dict.fromkeys(file.page for file in known))
    private = any(page.startswith(NOT_PUBLIC) for page in pages)
    head = f"source {source} lacks {files}, found in none of these: {_first(folders, MOST_FOLDERS) or 'no folder'}"
    more = len(names) - MOST_FILES
    lines = [_line(name, width) for name in shown] + [f"  and {more} more"] * (more > 0)
    for page in pages:
        lines.append(f"{page[0].upper()}{page[1:]}." if page.startswith(NOT_PUBLIC) else f"Where to get them: {page}.")
    lines += [
        instead(source, folders),
        f"Put them into {folders[0] if folders else 'a folder'}, or name their folder in `archives` of "
        "config/config.yaml or in the environment variable ALEXNET_DATA.",
    ]
    account = f"Credentials, if it asks for any, go into the environment variables {CREDENTIALS}."
    if known and base_url:
        lines.append(f"The bench downloads them from {public(base_url)}. {account}")
    elif known:
        base = "<base URL>" if private else BASE_URLS.get(source, "<base URL>")
        lines.append("Or have the bench download them, with this in config/config.yaml:")
        lines += [f"  downloads: {{{source}: {base}}}", account]
    # The caller puts a few words before the first line. What is indented is to be copied, and stays whole.
    wrap = partial(textwrap.wrap, width=WIDTH, break_on_hyphens=False)
    text = [*wrap(head, initial_indent=" " * 36, subsequent_indent="  ")]
    for line in lines:
        text += [line] if line.startswith("  ") else wrap(line)
    return "\n".join(text).lstrip()
