"""Saves the state of a training in one file, and loads it only if it is whole and of the same run.

    <checkpoint>.pt    what torch.save writes, of tensors, numbers and text alone; then a line with its sha256

The hash tells a whole file from a torn one, and from one in which a bit has changed, which torch reads without a word. It is
no signature: who can write a checkpoint can write its hash, so a checkpoint is only as good as whoever had the folder. What a
forged one cannot do is run code, or leave a run whose record names other weights than those that it ended with.
"""

import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alexnet.net.tensors import Refused, read_tensors, serialized
from alexnet.runtime.files import write_atomically

FORMAT = 2
MARK = b"\nalexnet checkpoint, sha256 "
TAIL = len(MARK) + 64 + 1  # bytes: the mark, a hexadecimal digest, a line's end


class Writer:
    """Writes checkpoints to one path while the training goes on; one that is there stays until the next is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.pool = path, ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.under_way: Future[None] | None = None

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write a checkpoint of tensors, numbers, text, and lists and dicts of these, as they are now."""
        content = serialized({"format": FORMAT, **record})
        self.under_way = self.pool.submit(write, self.path, content)

    def wait(self) -> None:
        """Return when the last one is on the disk; OSError if that is full, or does not take it for another reason."""
        last, self.under_way = self.under_way, None
        if last:
            last.result()


def write(path: Path, content: memoryview) -> None:
    """Write a checkpoint's content, and behind a mark its hash; whole or not at all."""

    def to(target: Path) -> None:
        with open(target, "wb") as file:
            file.write(content)
            file.write(MARK + hashlib.sha256(content).hexdigest().encode() + b"\n")

    write_atomically(path, to)


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
