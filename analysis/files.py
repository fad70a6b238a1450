"""Writes text that is complete or absent, and reads JSON records and CSV tables."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from analysis.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically; missing folders are made.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_between(path: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between two marks in a file by `text`.

    Raises:
        UserError: the file cannot be read or written, or lacks a mark.
    """
    try:
        before, found, rest = path.read_text(encoding="utf-8").partition(start)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{path} lacks the marks {start} and {end}; put them where the text shall stand")
    write_text(path, f"{before}{start}\n\n{text.strip()}\n\n{end}{after}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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


def read_table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Header and rows of a CSV file with a header.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            return list(reader.fieldnames or []), list(reader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
