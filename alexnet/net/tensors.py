"""Files of tensors and plain values, written whole and read without running code."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from alexnet.runtime.files import write_atomically


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


def write_hashed(path: Path, record: Mapping[str, Any], mark: bytes = b"") -> None:
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
    write_atomically(path, lambda target: write_hashed(target, record))


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
