"""Two processes, one a tower: started together, ended together, and why one ended."""

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

from alexnet.errors import UserError
from alexnet.runtime import interruption
from alexnet.training.towers import Link, PeerLost

SECONDS_TO_END = 5  # that a process has after SIGTERM

PR_SET_PDEATHSIG = 1  # of Linux

LOST = "lost"


def run_both(work: Callable[..., None], arguments: tuple[Any, ...], backend: str, timeout: float) -> None:
    """Call `work(link, *arguments)` in two processes, one a tower, and wait for both.

    If one fails, ends or is killed, the other is ended too; so are both if this process is. A signal that asks this
    process to end is passed on, for both to end at a place that they agree on.

    Args:
        work: a function of a module, which spawned processes can import.
        backend: gloo or nccl.
        timeout: seconds that an exchange may take before the other tower counts as lost.

    Raises:
        UserError: what one of them raised, or that one was lost.
        Interrupted: they ended because of a signal.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-towers-") as folder:
        context = mp.start_processes(
            _tower_process,
            args=(folder, os.getpid(), backend, timeout, work, arguments),
            nprocs=2,
            join=False,
            start_method="spawn",
        )
        assert context is not None
        try:
            passed_on = False
            while not context.join(timeout=0.2, grace_period=SECONDS_TO_END):
                if interruption.asked() and not passed_on:
                    passed_on = True
                    for process in context.processes:
                        process.terminate()
            notes = sorted(Path(folder).glob("stopped-*"))
            if notes:
                number, *words = notes[0].read_text(encoding="utf-8").split("\n")
                raise interruption.Interrupted(interruption.asked() or int(number), *words)
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
            if interruption.asked():  # before it could answer
                raise interruption.Interrupted(interruption.asked()) from None
            raise _reason(Path(folder), error) from None
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.terminate()
            for process in context.processes:
                process.join(SECONDS_TO_END)
                if process.is_alive():
                    process.kill()
                    process.join()


def _reason(folder: Path, error: mp.ProcessExitedException | mp.ProcessRaisedException) -> Exception:
    """The first cause: a process that was killed, else what one of them said, the loss of the other tower last."""
    again = "run the same again: it goes on from its last checkpoint"
    signal_name = getattr(error, "signal_name", None)
    if signal_name:
        return UserError(f"tower {error.error_index} was ended by {signal_name}; {again}")
    words = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("error-*"))]
    words.sort(key=lambda text: text.startswith(LOST))
    if words:
        kind, _, text = words[0].partition("\n")
        return UserError(f"{text}; {again}" if kind == LOST else text)
    return error


def _tower_process(
    rank: int,
    folder: str,
    parent: int,
    backend: str,
    timeout: float,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    _end_with(parent)
    if backend == "gloo":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # both processes are on this machine
    try:
        try:
            dist.init_process_group(
                backend,
                store=dist.FileStore(f"{folder}/rendezvous", 2),
                rank=rank,
                world_size=2,
                timeout=timedelta(seconds=timeout),
            )
        except (RuntimeError, ValueError) as error:
            raise PeerLost(f"tower {rank} found no way to the other one within {timeout:g} s ({error})") from error
        control: Any = dist.new_group(backend="gloo") if backend == "nccl" else None
        with interruption.deferred(one_of_two=True):
            try:
                work(Link(rank, timeout, control), *arguments)
            except interruption.Interrupted as stopped:  # both ended at the same place
                note = f"{stopped.number}\n{stopped.before}\n{stopped.after}"
                Path(folder, f"stopped-{rank}").write_text(note, encoding="utf-8")
        dist.destroy_process_group()
    except UserError as error:
        kind = LOST if isinstance(error, PeerLost) else "error"
        Path(folder, f"error-{rank}").write_text(f"{kind}\n{error}", encoding="utf-8")
        sys.stderr.flush()
        os._exit(2)  # without waiting for the other tower in destructors


def _end_with(parent: int) -> None:
    """Have this process killed when its parent ends, however that ends. Linux only; elsewhere it ends by timeout."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(2)
