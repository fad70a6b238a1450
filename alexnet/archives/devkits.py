"""Reads the devkit of an ILSVRC year: its classes, and labels from that year's ground-truth ids.

2010 and 2012 number different sets of synsets (2012 shares 640 of its 1000 with 2010), so a map is always
read from the year's own kit and named after it.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.archives import tars
from alexnet.archives.catalogue import ImageClass
from alexnet.errors import UserError, told

MEMORY, SECONDS = (2 << 30, 60)  # bytes and seconds that the table's reader may take; it needs 0.4 GB and half a second


@dataclass(frozen=True)
class Devkit:
    """What a year's meta.mat says about its leaves, the synsets that images are labelled with."""

    year: int
    file: str  # the archive it was read from
    classes: tuple[ImageClass, ...]  # sorted by wnid: position = label, as in torchvision's ImageNet
    label_of_id: dict[int, int]
    train_images: tuple[int, ...]  # per label


def _table(mat: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Columns and rows of the struct array `synsets` in a MATLAB file, by scipy in a process with little memory and time.

    Its reader is compiled code that hostile files can crash.

    ValueError if there is no such table, the reader crashed, or it took too much.
    """
    package = Path(__file__).resolve().parents[2]
    code = f"import sys; sys.path.insert(0, {str(package)!r}); from alexnet.archives import devkits; devkits.child()"
    call = [sys.executable, "-c", code, *columns]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryFile() as answer:
        how: dict[str, Any] = {"stdout": answer, "stderr": subprocess.PIPE, "env": os.environ | one_thread}
        try:
            done = subprocess.run(call, input=mat, timeout=SECONDS, **how)
        except subprocess.TimeoutExpired:
            raise ValueError(f"its reader took more than {SECONDS} s") from None
        if done.returncode < 0:
            raise ValueError(f"its reader crashed by signal {-done.returncode}")
        if done.returncode:
            raise ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300])
        answer.seek(0)
        table: dict[str, Any] = json.load(answer)
    return table


def child() -> None:
    """The other side of `_table`: a MATLAB file on standard input, JSON on standard output, columns as arguments."""
    limits = {"AS": MEMORY, "FSIZE": MEMORY // 32, "CPU": SECONDS, "CORE": 0}
    for limit, most in ((getattr(resource, f"RLIMIT_{name}"), most) for name, most in limits.items()):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    from scipy.io import loadmat

    rows = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)["synsets"].reshape(-1)
    names = list(rows.dtype.names or ())
    kinds = {name: str if name in ("WNID", "words") else int for name in sys.argv[1:]}
    whole = set(kinds) <= set(names)
    table = [{name: kind(row[name]) for name, kind in kinds.items()} for row in rows if whole]
    json.dump({"columns": names, "rows": table}, sys.stdout)


def read_devkit(path: Path, year: int) -> Devkit:
    """Read <root>/data/meta.mat: a struct array `synsets`; the rows without children are the classes.

    UserError if the archive is missing or damaged, or belongs to another year.
    """
    key = f"ILSVRC{year}_ID"
    columns = (key, "WNID", "words", "num_children", "num_train_images")
    mat = tars.find(path, "data/meta.mat")
    with told(lambda why: f"data/meta.mat in {path.name} has no table of synsets ({why}); fetch it again", ValueError):
        table = _table(mat, columns)
    if lacking := [name for name in columns if name not in table["columns"]]:
        raise UserError(f"data/meta.mat in {path.name} has no column {lacking[0]}: it is not the kit of {year}")

    leaves = sorted((row for row in table["rows"] if row["num_children"] == 0), key=lambda row: row["WNID"])
    label_of_id = {row[key]: label for label, row in enumerate(leaves)}
    if len(label_of_id) != len(leaves) or len({row["WNID"] for row in leaves}) != len(leaves):
        raise UserError(f"data/meta.mat in {path.name} has an id or a wnid twice; fetch the archive again")
    classes = tuple(ImageClass(row["WNID"], row["words"]) for row in leaves)
    return Devkit(year, path.name, classes, label_of_id, tuple(row["num_train_images"] for row in leaves))
