"""Reads files of a results folder only if their hashes, types and sizes allow it; else a sentence says why not.

    MANIFEST.sha256    in a folder of kept results: sha256 and path of each file, as `sha256sum --check` reads them

A file is compared with what the manifest says, and with what the record says that it belongs to (`files`). Hashes find what
was torn, swapped or edited. Somebody who makes the hashes anew as well is found by the hash of the manifest itself, where
that is known from elsewhere, such as from the commit that published it.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.files import write_text

MANIFEST = "MANIFEST.sha256"
SCHEMAS = Path(__file__).with_name("records.schema.yaml")
LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\Z")
ACROSS, TILE = 8, 64  # thumbnails in a row of a sheet; pixels of a side of one, at most
LARGEST = 64 << 20  # bytes of a record, of a table of epochs, or of an array
DIGITS = 18  # of a whole number
MOST = 50_000_000  # numbers of a table: ten of each image of the largest split of ImageNet
NAMES = 512 << 20  # bytes of all names of a table: a hundred of each of those images


class Unfit(Exception):
    """A file that must not be used; the text names it and says why."""


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(record: Any, spaced: bool = False) -> str:
    """Hexadecimal sha256 of a record's JSON with sorted keys, as configurations have it; those of packed sets are `spaced`."""
    separators = (", ", ": ") if spaced else (",", ":")
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=separators).encode()).hexdigest()


@dataclass(frozen=True)
class Guard:
    """The files of a results folder, each compared with its hashes before it is read.

    Every method raises `Unfit` of a file that was changed, cannot be read, or is not what is asked for.

    """

    folder: Path
    kept: Mapping[str, str]  # path below the folder -> sha256, as the manifest says; empty without one
    bare: set[str] = field(default_factory=set)  # files of records that were read without a hash to compare

    def name(self, path: Path) -> str:
        """The path below the folder."""
        return path.relative_to(self.folder).as_posix()

    def unchanged(self, path: Path, record: Mapping[str, Any] | None = None) -> None:
        """Compare a file with the manifest, and with the hash that `record` gives it, where there is one."""
        name = self.name(path)
        if path.exists() and not path.is_file():  # a pipe or a device might never end
            raise Unfit(f"{name} is no file")
        told = {MANIFEST: self.kept.get(name), "its record": (record or {}).get("files", {}).get(path.name)}
        if not any(told.values()):
            self.bare.update([name] if record else [])
            return
        try:
            found = sha256(path)
        except OSError as error:
            raise Unfit(f"{name} cannot be read ({error.strerror})") from None
        for whose, expected in told.items():
            if expected and found != expected:
                raise Unfit(f"{name} is not the file of which {whose} has the hash")

    def small(self, path: Path, record: Mapping[str, Any] | None = None) -> None:
        """As `unchanged`, for a file that is read whole: it is not larger than such files are."""
        self.unchanged(path, record)
        if path.is_file() and path.stat().st_size > LARGEST:
            raise Unfit(f"{self.name(path)} is larger than {LARGEST >> 20} MB, which no such file is")

    @contextmanager
    def reading(self, path: Path, what: str) -> Iterator[None]:
        """Whatever a torn file makes of its reader becomes a sentence."""
        try:
            yield
        except Unfit:
            raise
        except Exception as error:
            raise Unfit(f"{self.name(path)} is no {what} that can be read ({error.__class__.__name__})") from None

    def record(self, path: Path, kind: str = "object") -> dict[str, Any]:
        """A JSON record of a kind that `SCHEMAS` describes."""
        self.small(path)
        name = self.name(path)
        try:
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_int=_integer)
        except OSError as error:
            raise Unfit(f"{name} cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:
            raise Unfit(f"{name} is not valid JSON ({str(error)[:80]})") from None
        if not isinstance(loaded, dict):
            raise Unfit(f"{name} holds a {type(loaded).__name__} where a record is expected")
        quick, thorough = _validators(kind)
        with suppress(ValueError):
            quick(loaded)
            return loaded
        for fault in thorough.iter_errors(loaded):
            message = fault.message if len(fault.message) < 120 else f"not {fault.validator}"
            raise Unfit(f"{name} at {fault.json_path}: {message}")
        return loaded

    def table(
        self, path: Path, rows: int, numbers: Iterable[str], record: Mapping[str, Any] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Columns of numbers of a Parquet file that has one row an image, and its name, and takes no more memory than such tables do."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        self.unchanged(path, record)
        name, wanted = self.name(path), list(numbers)
        number = pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean
        with self.reading(path, "table"), pq.ParquetFile(path, read_dictionary=["name"]) as file:
            told = file.metadata
            if told.num_rows != rows or not rows:
                raise Unfit(f"{name} has {told.num_rows:,} rows, its record says {rows:,}")
            unpacked = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
            if rows * len(wanted) > MOST or unpacked > 2 * NAMES:
                raise Unfit(f"{name} is larger than a table of any split of ImageNet")
            kinds = {field.name: field.type for field in file.schema_arrow}
            if missing := [column for column in ("name", *wanted) if column not in kinds]:
                raise Unfit(f"{name} lacks the column {missing[0]}")
            if odd := [column for column in wanted if not any(fits(kinds[column]) for fits in number)]:
                raise Unfit(f"{name}: column {odd[0]} holds no numbers")
            text = getattr(kinds["name"], "value_type", kinds["name"])
            if not (pa.types.is_string(text) or pa.types.is_large_string(text)):
                raise Unfit(f"{name}: column name holds no text")
            table = file.read(columns=["name", *wanted])
            if table["name"].null_count:
                raise Unfit(f"{name} has an image without a name")
            parts = [part.dictionary_encode() for part in table["name"].chunks]  # a name that repeats stands there once
            lengths = (pc.binary_length(part.dictionary).take(part.indices) for part in parts)
            if sum(pc.sum(of).as_py() or 0 for of in lengths) > NAMES:
                raise Unfit(f"{name} has names that are longer than names of images are")
            return {column: table[column].to_numpy().astype(float) for column in wanted}

    def array(self, path: Path, shape: tuple[int | None, ...], record: Mapping[str, Any] | None = None) -> NDArray[Any]:
        """The finite floats of a .npy file of this shape; None stands for any size."""
        self.unchanged(path, record)
        with self.reading(path, "array"):
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = isinstance(found, np.ndarray) and found.ndim == len(shape) and found.dtype.kind == "f"
        if not fits or any(b not in (None, a) for a, b in zip(found.shape, shape, strict=True)):
            raise Unfit(f"{self.name(path)} is no array of floats of the shape that its record says")
        if found.nbytes > LARGEST:
            raise Unfit(f"{self.name(path)} is larger than {LARGEST >> 20} MB, which no such array is")
        if not np.isfinite(found).all():
            raise Unfit(f"{self.name(path)} holds numbers that are not finite")
        return found

    def tiles(self, path: Path, count: int, record: Mapping[str, Any] | None = None) -> NDArray[np.uint8]:
        """The first `count` images (side, side, RGB) of a JPEG that has `ACROSS` in a row."""
        from PIL import Image

        self.unchanged(path, record)
        with self.reading(path, "picture"), Image.open(path, formats=["JPEG"]) as sheet:
            side, rows = sheet.width // ACROSS, -(-count // ACROSS)
            if not 0 < side <= TILE or sheet.size != (ACROSS * side, rows * side):
                raise Unfit(f"{self.name(path)} is no sheet of the {count} images of its record")
            pixels = np.asarray(sheet.convert("RGB"))
        tiles = pixels.reshape(rows, side, ACROSS, side, 3).swapaxes(1, 2)
        return tiles.reshape(-1, side, side, 3)[:count]


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Columns of a Parquet file that the guard let pass, all if None; what it says of itself to pandas is not looked at.

    Raises:
        KeyError: it lacks a column.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        found: pd.DataFrame = file.read(columns=columns and list(columns)).replace_schema_metadata().to_pandas()
    return found[list(columns)] if columns else found


def apart(names: pd.Series) -> pd.Index:
    """Names of images as an index; those of several images, which CIFAR-10 has, are told apart by their order."""
    if not names.is_unique:
        times = names.groupby(names).cumcount()
        names = names.where(times == 0, names + "\n" + times.astype(str))
    return pd.Index(names)


def same(found: float, told: float | None) -> bool:
    """Whether a number computed again is the recorded one, to rounding; None stands for one that is not measured."""
    if told is None or math.isnan(told):
        return math.isnan(found)
    return math.isclose(found, told, rel_tol=1e-9, abs_tol=1e-12)


@cache
def _validators(kind: str) -> tuple[Any, Any]:
    """One twenty times as fast, and one whose sentences say what is wrong."""
    import fastjsonschema
    import yaml
    from jsonschema import Draft7Validator

    schema = yaml.safe_load(SCHEMAS.read_text(encoding="utf-8"))["$defs"][kind]
    return fastjsonschema.compile(schema, detailed_exceptions=False), Draft7Validator(schema)


# The manifest -----------------------------------------------------------------------------------------------------


def open_guard(folder: Path) -> Guard:
    """The guard of a folder, with its manifest if it has one.

    Raises:
        UserError: the manifest cannot be read, or a line of it is no hash and path below the folder.
    """
    path = folder / MANIFEST
    kept: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; fetch it again") from None
    for number, line in enumerate(lines, 1):
        found = LINE.match(line)
        if not found or Path(found[2]).is_absolute() or ".." in Path(found[2]).parts:
            raise UserError(f"{path}, line {number}: no sha256 and path of a file below the folder; fetch it again")
        kept[found[2]] = found[1]
    return Guard(folder, kept)


def files_below(folder: Path) -> list[str]:
    """Paths below the folder of all files but its manifest, sorted."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != MANIFEST)


def write_manifest(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the manifest of a folder; with `names`, only the lines of these files anew."""
    kept = {} if names is None else dict(open_guard(folder).kept)
    kept |= {name: sha256(folder / name) for name in (files_below(folder) if names is None else names)}
    write_text(folder / MANIFEST, "".join(f"{kept[name]}  {name}\n" for name in sorted(kept)))
