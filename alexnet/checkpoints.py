"""Turns the state of a training into one file, and such a file back into the state: whole, of the same run, or refused.

    <checkpoint>.pt    what torch.save writes, of tensors, numbers and text alone; then a line with its sha256

The hash tells a whole file from a torn one, and from one in which a bit has changed, which torch reads without a word. It is
no signature: who can write a checkpoint can write its hash, so a checkpoint is only as good as whoever had the folder. What a
forged one cannot do is run code, or leave a run whose record names other weights than those that it ended with.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from alexnet.files import write_atomically

FORMAT = 2
MARK = b"\nalexnet checkpoint, sha256 "
TAIL = len(MARK) + 64 + 1  # bytes: the mark, a hexadecimal digest, a line's end


class Refused(Exception):
    """A file that is not a checkpoint to go on from; the text says why."""


class _Hashing:
    """A file to write to that keeps the hash of what went in, and the error of a disk that took no more."""

    def __init__(self, target: BinaryIO) -> None:
        self.target, self.digest = target, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            written = self.target.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return written

    def flush(self) -> None:
        self.target.flush()


def _write(path: Path, record: Mapping[str, Any], mark: bytes = b"") -> None:
    with open(path, "wb") as target:
        hashing = _Hashing(target)
        try:
            torch.save(dict(record), hashing)  # type: ignore[arg-type]
        except RuntimeError:  # torch's, which does not say what was wrong with the disk
            if hashing.error is None:
                raise
            raise OSError(hashing.error.errno, os.strerror(hashing.error.errno or 0), str(path)) from None
        if mark:
            target.write(mark + hashing.digest.hexdigest().encode() + b"\n")


def save_tensors(path: Path, record: Mapping[str, Any]) -> None:
    """Write a file for torch.load, whole or not at all.

    Raises:
        OSError: the disk is full, or does not take it for another reason.
    """
    write_atomically(path, lambda target: _write(target, record))


def save(path: Path, record: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that is there stays until this one is on the disk.

    Args:
        record: tensors, numbers, text, and lists and dicts of these.

    Raises:
        OSError: the disk is full, or does not take it for another reason.
    """
    write_atomically(path, lambda target: _write(target, {"format": FORMAT, **record}, MARK))


def read_tensors(source: BinaryIO) -> dict[str, Any]:
    """What `save_tensors` wrote, onto the processor, running no code of it; nothing in it unpacks to more than there is.

    Raises:
        Refused: it is something else.
    """
    try:
        with zipfile.ZipFile(source) as members:
            if any(member.compress_type != zipfile.ZIP_STORED for member in members.infolist()):
                raise Refused("is packed, which torch does not do")
        source.seek(0)
        record = torch.load(source, weights_only=True, map_location="cpu")
    except Refused:
        raise
    except Exception as error:  # whatever a torn or foreign file makes of the readers
        raise Refused(f"holds something else than tensors ({error.__class__.__name__})") from None
    if not isinstance(record, dict):
        raise Refused("holds something else than named tensors")
    return record


def load(path: Path, key: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint onto the processor, running no code of it.

    Args:
        key: entries that it must have, with these values: what run it is of.

    Raises:
        FileNotFoundError: there is none.
        Refused: torn, changed, foreign, or of another run.
    """
    try:
        whole = memoryview(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from None
    content, tail = whole[:-TAIL], bytes(whole[-TAIL:])
    if not tail.startswith(MARK):
        raise Refused("is torn or no checkpoint of this bench")
    if tail[len(MARK) : -1].decode("ascii", "replace") != hashlib.sha256(content).hexdigest():
        raise Refused("has changed since it was written")
    record = read_tensors(io.BytesIO(content))
    if record.get("format") != FORMAT:
        raise Refused("has another format")
    for name, value in key.items():
        if record.get(name) != value:
            raise Refused(f"belongs to another {name.removesuffix('_fingerprint').replace('_', ' ')}")
    return record
