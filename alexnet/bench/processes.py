"""Programs in processes of their own, which wait until they are asked for a measurement."""

import multiprocessing
import os
import resource
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import torch

from alexnet.runtime import interruption

Make = Callable[..., Callable[[], Any]]
_work: Callable[[], Any]  # of this process


class Program(ProcessPoolExecutor):
    """A program in a process of its own, which works once at each call, and its result.

    Args:
        make: a function of a module that sets it up and returns what works.
        threads: of its process.
    """

    def __init__(self, threads: int, make: Make, *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([make.__module__])  # torch is imported once, not by each
        super().__init__(1, context, _set_up, (os.getpid(), threads, make, arguments))

    def begin(self) -> Future[Any]:
        return self.submit(_once)

    def __call__(self) -> Any:
        return self.begin().result()

    def peak_mb(self) -> float:
        """Its largest memory so far."""
        return self.submit(resource.getrusage, resource.RUSAGE_SELF).result().ru_maxrss / 1024


def together(*programs: Program, times: int = 1) -> Callable[[], None]:
    """Work of programs side by side, `times` in a row; each time all wait for the slowest."""

    def work() -> None:
        for _ in range(times):
            for begun in [program.begin() for program in programs]:
                begun.result()

    return work


def _set_up(parent: int, threads: int, make: Make, arguments: tuple[Any, ...]) -> None:
    global _work
    os.environ[interruption.WORKFLOW] = str(parent)
    interruption.end_with_workflow()
    torch.set_num_threads(threads)
    _work = make(*arguments)


def _once() -> Any:
    return _work()
