"""Files of tensors and plain values, written whole and read without running code."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from alexnet.runtime.files import write_atomically


class Refused(Exception):
    """A file that is not a checkpoint to go on from; the text says why."""


def serialized(record: Mapping[str, Any]) -> memoryview:
    """What torch.save makes of a record, in memory: when it writes to a disk itself, it hides the disk's errors."""
    made = io.BytesIO()
    torch.save(dict(record), made)
    return made.getbuffer()


def save_tensors(path: Path, record: Mapping[str, Any]) -> None:
    """Write a file for torch.load, whole or not at all.

    Raises:
        OSError: the disk is full, or does not take it for another reason.
    """
    write_atomically(path, lambda target: target.write_bytes(serialized(record)))


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
