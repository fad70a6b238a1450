"""Writes text that is complete or absent, and reads JSON records and CSV tables."""

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from analysis.errors import UserError

LARGEST = 1e100  # beyond which no number of a table makes sense


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically; missing folders are made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{token_hex(4)}")
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_json(path: Path, record: object, indent: int = 2) -> None:
    """Write a record as JSON, as `write_text` writes."""
    write_text(path, json.dumps(record, indent=indent) + "\n")


def write_between(path: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between two marks in a file by `text`."""
    try:
        before, found, rest = path.read_text(encoding="utf-8").partition(start)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{path} lacks the marks {start} and {end}; put them where the text shall stand")
    write_text(path, f"{before}{start}\n\n{text.strip()}\n\n{end}{after}")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        UserError: the file cannot be read, is not JSON, or is not an object.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run the workflow again") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__} where a record is expected; delete it and run again")
    return loaded


def read_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), others: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their number (the header is row 1); cells are stripped, absent `optional` ones are empty.

    Args:
        others: whether the file may have columns that are not asked for; they are left out.

    Raises:
        UserError: the file cannot be read, a column is missing, unknown or there twice, or a row has more or fewer cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            names = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            if missing := [name for name in columns if name not in names]:
                must = "must name" if others else "must read"
                raise UserError(
                    f"{path}, row 1: column `{missing[0]}` is missing; the header {must} {','.join(columns)}"
                )
            known = [*columns, *optional]
            for name in names:
                if name not in known and not others:
                    raise UserError(f"{path}, row 1: unknown column `{name}`; there are {', '.join(known)}")
                if name in known and names.count(name) > 1:
                    raise UserError(f"{path}, row 1: column `{name}` stands there twice")
            for number, row in enumerate(reader, start=2):
                if None in row or None in row.values():
                    many = "more" if None in row else "fewer"
                    said = f"the row has {many} cells than the header; quote cells with commas"
                    raise UserError(f"{path}, row {number}: {said}")
                yield number, {name: (row.get(name) or "").strip() for name in known}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file in UTF-8: {error}") from None


def number_in(where: str, column: str, text: str) -> float | None:
    """The number in a cell; None if it is empty.

    Raises:
        UserError: it is no finite number, or one beyond `LARGEST`.
    """
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise UserError(f"{where}, column `{column}`: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise UserError(f"{where}, column `{column}`: {text!r} is not a number; leave the cell empty if there is none")
    if abs(number) > LARGEST:
        raise UserError(f"{where}, column `{column}`: {text!r} is beyond {LARGEST:g}; use another unit")
    return number
