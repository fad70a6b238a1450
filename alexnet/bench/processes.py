"""Programs in processes of their own, which wait until they are asked for a measurement."""

from __future__ import annotations

import multiprocessing
import resource
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from alexnet.bench.programs import our_step
from alexnet.errors import UserError
from alexnet.training.towers import Link
from alexnet.training.two_processes import run_both

Make = Callable[..., Callable[[], Any]]


class Program:
    """A program in a process of its own, which works once at each call, and its result.

    Args:
        make: a function of this module that sets it up and returns what works.
    """

    def __init__(self, make: Make, *arguments: Any) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.connection: Connection = ours
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self.process.start()
        theirs.close()
        self._hear()

    def _hear(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise UserError("a program of the benchmark ended; its message stands above") from None

    def begin(self) -> None:
        self.connection.send("work")

    def end(self) -> Any:
        return self._hear()

    def __call__(self) -> Any:
        self.begin()
        return self.end()

    def peak_mb(self) -> float:
        """Its largest memory so far."""
        self.connection.send("memory")
        return float(self._hear())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.join()


def _serve(connection: Connection, make: Make, arguments: tuple[Any, ...]) -> None:
    _obey(connection, make(*arguments))


def _obey(connection: Connection, work: Callable[[], Any]) -> None:
    connection.send("ready")
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        if order == "work":
            connection.send(work())
        else:
            connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class TwoTowers:
    """Our program as two processes with a device each, called as one."""

    def __init__(self, config: dict[str, Any], batch: int, threads: int) -> None:
        pairs = [multiprocessing.Pipe() for _ in range(2)]
        self.connections = [ours for ours, _ in pairs]
        arguments = ([theirs for _, theirs in pairs], config, batch, threads)
        self.thread = threading.Thread(target=run_both, args=(_serve_tower, arguments, "gloo", 600.0))
        self.thread.start()
        self.answers()
        for _, theirs in pairs:
            theirs.close()

    def answers(self) -> list[Any]:
        try:
            return [connection.recv() for connection in self.connections]
        except EOFError:
            raise UserError("a tower of the benchmark ended; its message stands above") from None

    def __call__(self) -> list[Any]:
        for connection in self.connections:
            connection.send("work")
        return self.answers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()
        self.thread.join()


def _serve_tower(link: Link, connections: list[Connection], config: dict[str, Any], batch: int, threads: int) -> None:
    connections[1 - link.rank].close()
    _obey(connections[link.rank], our_step(config, batch, threads, link))
