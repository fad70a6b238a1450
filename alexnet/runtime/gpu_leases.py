"""Leases the GPUs of this machine, so that no two runs of a user are on one card.

A lease is a lock of the operating system: it ends with the process that holds it, killed or not. Cards are told apart by
their UUIDs, which are the same in every container and allocation; a MIG instance is a card of its own.

Tested with a list of cards that a test makes up, and by tests/test_gpu.py with one real card; *untested with several*.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import Timeout

from alexnet.errors import UserError
from alexnet.runtime.files import locked

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS = 0.2  # between two looks for a card that is free
_LINE = re.compile(r"(?P<mig>\s+MIG )?.*\(UUID: (?P<uuid>[A-Za-z0-9/-]+)\)\s*")


def nvidia_smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing where it fails or is not there."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def listed() -> list[list[str]]:
    """The GPUs of this machine in nvidia-smi's order: for each its own UUID, then those of its MIG instances."""
    found: list[list[str]] = []
    for match in filter(None, map(_LINE.fullmatch, nvidia_smi("-L").splitlines())):
        if not match["mig"]:
            found.append([match["uuid"]])
        elif found:
            found[-1].append(match["uuid"])
    return found


def cards(environment: Mapping[str, str] = os.environ) -> list[str]:
    """UUIDs of what this process may use: all, or what CUDA_VISIBLE_DEVICES says, by index or UUID, as CUDA reads it.

    A GPU that is split stands for its MIG instances; by its index, or its own UUID, for the first of them.
    """
    gpus = listed()
    usable = [gpu[1:] or gpu for gpu in gpus]
    if VISIBLE not in environment:
        return [uuid for gpu in usable for uuid in gpu]
    chosen: list[str] = []
    for name in map(str.strip, environment[VISIBLE].split(",")):
        if name.isdecimal():
            fits = [gpu[0] for gpu in usable[int(name) :][:1]]
        else:  # CUDA takes the beginning of a UUID, if it is that of one alone
            fits = [u[0] for gpu, u in zip(gpus, usable, strict=True) if gpu[0].startswith(name)]
            fits += [uuid for gpu in gpus for uuid in gpu[1:] if uuid.startswith(name)]
        if not name or len(set(fits)) != 1:
            break  # CUDA stops at the first that does not exist
        chosen.append(fits[0])
    return list(dict.fromkeys(chosen))


def wanted(devices: str, there: int) -> int:
    """How many cards a run takes: `devices` as of `alexnet.net.execution.plan`, of those that are `there`."""
    return min(there, {"auto": 1, "1": 1, "2": 2}.get(devices, 0))


def _folder() -> Path:
    """Where the locks lie: of this user, on this machine."""
    folder = Path(tempfile.gettempdir()) / f"alexnet-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
    return folder


@contextmanager
def leased(devices: str) -> Iterator[list[str]]:
    """Wait for cards and hold them; within, CUDA_VISIBLE_DEVICES names them alone. No cards: nothing happens.

    Runs get their cards in the order in which they came, so that two that want two cards never wait for each other.

    Args:
        devices: as of `alexnet.net.execution.plan`.
    """
    names = [] if devices == "0" else cards()
    count = wanted(devices, len(names))
    if not count:
        yield []
        return
    with ExitStack() as stack:
        taken = _take(names, count, _folder(), stack)
        stack.callback(os.environ.update, {name: os.environ[name] for name in (VISIBLE,) if name in os.environ})
        stack.callback(os.environ.pop, VISIBLE)  # before what was there comes back
        os.environ[VISIBLE] = ",".join(taken)
        yield taken


def _take(names: list[str], count: int, folder: Path, stack: ExitStack) -> list[str]:
    say = partial(print, f"waiting for {count} of {len(names)} GPUs to be free", file=sys.stderr, flush=True)
    taken: list[str] = []
    with locked(folder / "queue", -1, say):
        for look in itertools.count():
            for name in names:
                if name not in taken and len(taken) < count:
                    with suppress(Timeout):
                        stack.enter_context(locked(folder / f"{name.replace('/', '_')}.lock"))
                        taken.append(name)
            if len(taken) == count:
                break
            if not look:
                say()
            time.sleep(SECONDS)
    return taken
