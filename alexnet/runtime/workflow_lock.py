"""Keeps a results folder to one workflow at a time, from whatever checkout, and clears what a power cut tore.

The lock is one of the operating system: it ends with its process, killed or not.
"""

import json
import sys
from pathlib import Path

from filelock import BaseFileLock, Timeout

from alexnet.errors import UserError
from alexnet.runtime.files import locked

NAME = ".workflow.lock"
SECONDS = 2.0  # longer than another Snakemake looks for torn files when it starts
KINDS = (".json", ".csv", ".pt", ".npy", ".parquet", ".jpegs", ".ipynb", ".tar", ".gz")  # of outputs
PLACES = (
    *("departures.json", "describe/*", "notebooks/*", "bench/*"),
    *(f"*/{place}" for place in ("study.json", "baselines.json", "races/*", "pilot/*", "archives/*", "data/*/*")),
    *(f"*/{kind}/*/*/*" for kind in ("runs", "evals", "examined")),
)


def take(results: Path) -> BaseFileLock:
    """Hold the results folder, which is made, as long as the lock is kept; UserError if another does, or it cannot be written."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        return locked(results / NAME, SECONDS).lock
    except Timeout:
        raise UserError(
            f"another workflow is at work on {results}; wait for it or end it (a report in the meantime: "
            "snakemake --cores 1 draft)"
        ) from None
    except OSError as error:
        raise UserError(
            f"{results} cannot be written ({error.strerror}), and results belong there; make it writable, or name "
            "another folder (--config results=...)"
        ) from None


def remove_torn(results: Path) -> None:
    """Remove outputs that are empty, or JSON without its end, so that they are made again; says which.

    What the bench writes is flushed before it gets its name; what older versions and other programs wrote is not. Nothing
    is removed where no workflow ever worked, as a configuration may name any folder, where outputs do not go, while a
    workflow is at work, or where the folder cannot be written.
    """
    try:
        if not (results / NAME).is_file():  # an error itself where the name is too long
            return
        with locked(results / NAME):
            found = [path for place in PLACES for path in results.glob(place)]
            for path in sorted(path for path in found if _torn(path, results)):
                path.unlink()
                print(f"{path} was cut off, as by a power failure; it is made again", file=sys.stderr)
    except (Timeout, OSError):
        return


def _torn(path: Path, results: Path) -> bool:
    if path.suffix not in KINDS or path.name.startswith(".") or path.is_symlink() or not path.is_file():
        return False
    if not path.resolve().is_relative_to(results.resolve()):
        return False
    size = path.stat().st_size
    if not size or path.suffix != ".json":
        return not size
    with open(path, "rb") as source:
        source.seek(max(0, size - 4))
        if source.read().rstrip().endswith(b"\n}"):  # the end of an indented record
            return False
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return True
    return False
