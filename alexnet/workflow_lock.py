"""Turns a folder into one in which one workflow is at work: a second one gets a sentence, a killed one leaves no trace.

Snakemake's own locks are files that stay behind when it is killed and ask for `--unlock`. This one is a lock of the
operating system and ends with its process; who holds it knows that Snakemake's files are left over, and removes them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from alexnet.errors import UserError
from alexnet.files import held, into_the_present

# Calls of Snakemake that make nothing, or want no lock.
LOOKING = {
    *(
        "--dry-run",
        "--dryrun",
        "--lint",
        "--list-rules",
        "--list",
        "--list-target-rules",
        "--lt",
        "--summary",
    ),
    *(
        "--detailed-summary",
        "--dag",
        "--rulegraph",
        "--filegraph",
        "--d3dag",
        "--report",
        "--unlock",
        "--nolock",
    ),
    *("--list-changes", "--list-input-changes", "--list-params-changes", "--print-compilation", "--archive"),
}
SHORT = re.compile(r"-[A-Za-z]*[nlSD][A-Za-z]*")  # -n, -l, -S, -D, also among others


def works(arguments: Sequence[str]) -> bool:
    """Whether a call of Snakemake with these arguments makes files."""
    return not any(word.split("=")[0] in LOOKING or SHORT.fullmatch(word) for word in arguments)


def take(folder: Path, arguments: Sequence[str]) -> AbstractContextManager[bool] | None:
    """Hold the folder for the rest of this process, and remove what a killed workflow left locked.

    Args:
        folder: where Snakemake works.
        arguments: of this call of Snakemake; None is returned if it only looks.

    Returns:
        The lock, to be kept: it is given back when it is forgotten.

    Raises:
        UserError: another workflow is at work in the folder.
    """
    if not works(arguments):
        return None
    state = folder / ".snakemake"
    try:
        state.mkdir(exist_ok=True)
        lock = held(state / "alexnet.lock")
        ours = lock.__enter__()
    except OSError:  # a folder that cannot be written, of which Snakemake will say more
        return None
    if not ours:
        raise UserError(
            f"another workflow is at work in {folder}; wait for it or end it (a report in the meantime: snakemake "
            "--cores 1 --nolock draft)"
        )
    for left_over in (state / "locks").glob("*.lock"):
        left_over.unlink(missing_ok=True)
    return lock


def prepare(results: Path) -> None:
    """See that results can be written, and that none is dated later than now (`into_the_present`).

    Raises:
        UserError: they cannot.
    """
    there = next(path for path in (results, *results.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise UserError(
            f"{there} cannot be written, and results belong there; make it writable, or name another folder "
            "(--config results=...)"
        )
    try:
        moved = into_the_present(results)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be dated anew ({error.strerror}); make it writable"
        ) from None
    if moved:
        print(
            f"note: {moved} files in {results} were dated later than now, as the clock was set back; they are now "
            "dated earlier, in the same order",
            file=sys.stderr,
        )
