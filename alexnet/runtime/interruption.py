"""SIGTERM, Ctrl-C and the end of the workflow ask a training to stop; it answers at its next step.

Signals are a matter of the whole process, so what was asked for is kept once a process.
"""

import os
import re
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

WORKFLOW = "ALEXNET_WORKFLOW_PID"  # variable of the environment: the process that started this one as a job
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_asked = 0


class Interrupted(KeyboardInterrupt):
    """A signal ended what was going on; the exit status is 128 + `number`, as a shell has it.

    Its words are `before`, "by" and the name of the signal, and `after`.
    """

    def __init__(self, number: int, before: str = "interrupted", after: str = "") -> None:
        super().__init__(f"{before} by {signal.Signals(number).name}{after}")
        self.number, self.before, self.after = number, before, after


def is_word_of(line: str) -> bool:
    """Whether a log's last line was written by something that a signal ended."""
    return bool(re.search(r"(?:^interrupted|: stopped|finished, and stopped) by SIG[A-Z]+\b", line))


def asked() -> int:
    """The number of the signal that asks this process to end; 0 if none does."""
    return _asked


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _note(number: int, frame: FrameType | None) -> None:
    global _asked
    if _asked and number == signal.SIGINT:  # a second Ctrl-C is impatience
        _raise(number, frame)
    _asked = _asked or int(number)


@contextmanager
def _handled(handlers: dict[signal.Signals, object]) -> Iterator[None]:
    """Within, signals are handled so; those that this process was told to ignore stay ignored."""
    global _asked
    if threading.current_thread() is not threading.main_thread():  # only the main thread may
        yield
        return
    before = {}
    try:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)  # type: ignore[arg-type]
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = 0


def raised() -> AbstractContextManager[None]:
    """Within, SIGTERM, SIGHUP and Ctrl-C raise `Interrupted`, so that temporary files go and locks are given back."""
    return _handled(dict.fromkeys(ENDING, _raise))


def deferred(one_of_two: bool = False) -> AbstractContextManager[None]:
    """Within, such a signal only makes `asked` true, until a second Ctrl-C.

    Args:
        one_of_two: this process has a parent that passes signals on; a Ctrl-C, which a terminal sends to both, is
            the parent's.
    """
    others = signal.SIG_IGN if one_of_two else _note
    return _handled({signal.SIGTERM: _note, signal.SIGINT: others, signal.SIGHUP: others})


def end_with_workflow() -> None:
    """If a workflow started this process, have it get SIGTERM when the workflow's process is gone, killed or not.

    Snakemake, killed, leaves its jobs running; the next call would find the folder of a run taken. Linux only.
    Raises `Interrupted` if it is gone already.
    """
    text = os.environ.get(WORKFLOW, "")
    if not text.isdecimal() or not hasattr(os, "pidfd_open"):
        return
    try:
        workflow = os.pidfd_open(int(text))
    except ProcessLookupError:  # gone before this process was ready
        raise Interrupted(signal.SIGTERM) from None
    except OSError:
        return

    def watch() -> None:
        select.select([workflow], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="workflow", daemon=True).start()
