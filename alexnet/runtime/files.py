"""Writes files that are whole or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy

from alexnet.errors import UserError

BLOCK = 1 << 20  # bytes hashed at a time
T = TypeVar("T")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path in the same folder, flush it to disk, and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # the renaming survives a power cut too, where the file system can say so
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def from_the_future(paths: Iterable[Path]) -> list[Path]:
    """Those of these files, and of the files in these folders, that are dated later than now: the clock was set back."""
    now = time.time()
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    return [file for file in files if file.is_file() and file.stat().st_mtime > now]


def remove_leftovers(folder: Path) -> None:
    """Delete what `write_atomically` had begun in a process that was killed; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def locked(path: Path, seconds: float = 0.0, waiting: Callable[[], object] = lambda: None) -> AcquireReturnProxy:
    """Take a lock that ends with this process, however that ends; `with` gives it back.

    Timeout if another one holds it.

    Args:
        path: the lock's file, which is made; deleting it while holding it is allowed.
        seconds: how long to wait for another holder, for ever if negative; `waiting` is called if there is one.
    """
    from filelock import FileLock, Timeout  # here, so that what takes no lock does without the package

    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        if not seconds:
            raise
        waiting()
        return lock.acquire(timeout=seconds)


def write_json(path: Path, record: Any) -> None:
    """Write `record` as indented JSON."""
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(path, lambda target: target.write_text(text))


def read_record(path: Path, pick: Callable[[Any], T], advice: str = "delete it and run the same again") -> T:
    """What `pick` finds in a record that the bench wrote; UserError, with `advice`, if it is missing, torn, or lacks that."""
    try:
        return pick(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {advice}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is torn or no such record; {advice}") from None


def digests(path: Path, kinds: Iterable[str] = ("sha256",), stop: Event | None = None) -> dict[str, str]:
    """Hexadecimal hashes of a file's content, by kind, each in a thread of its own; what comes out after `stop` was set is not to be used."""
    found = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with open(path, "rb") as file, ThreadPoolExecutor(len(found)) as threads:
        under_way: list[Future[None]] = []
        while not (stop and stop.is_set()) and (block := file.read(BLOCK)):
            wait(under_way)  # while this block was read, the one before was hashed
            under_way = [threads.submit(digest.update, block) for digest in found.values()]
    return {kind: digest.hexdigest() for kind, digest in found.items()}


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    return digests(path)["sha256"]


def hashes(*paths: Path) -> dict[str, str]:
    """What a record says of the files that belong to it: sha256 by name."""
    return {path.name: sha256(path) for path in paths}
