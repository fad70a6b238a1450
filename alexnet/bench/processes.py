"""Programs in processes of their own, which wait until they are asked for a measurement."""

from __future__ import annotations

import multiprocessing
import resource
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from alexnet.errors import UserError
from alexnet.training.towers import Link
from alexnet.training.two_processes import run_both

Make = Callable[..., Callable[[], Any]]


class Program:
    """A program in a process of its own, which works once at each call, and its result.

    Args:
        make: a function of a module that sets it up and returns what works.
    """

    processes = 1

    def __init__(self, make: Make, *arguments: Any) -> None:
        pairs = [multiprocessing.Pipe() for _ in range(self.processes)]
        self.connections = [ours for ours, _ in pairs]
        self._start([theirs for _, theirs in pairs], make, arguments)
        self.end()
        for _, theirs in pairs:
            theirs.close()

    def _start(self, connections: list[Connection], make: Make, arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_serve, args=(connections[0], make, arguments), daemon=True)
        process.start()
        connections[0].close()  # the other process has it alone, so that its end is heard
        self.join: Callable[[], object] = process.join

    def begin(self, order: str = "work") -> None:
        for connection in self.connections:
            connection.send(order)

    def end(self) -> Any:
        """What the first process answers, once all have."""
        try:
            answers = [connection.recv() for connection in self.connections]
        except EOFError:
            raise UserError("a program of the benchmark ended; its message stands above") from None
        return answers[0]

    def __call__(self) -> Any:
        self.begin()
        return self.end()

    def peak_mb(self) -> float:
        """Its largest memory so far."""
        self.begin("memory")
        return float(self.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()
        self.join()


class TwoTowers(Program):
    """Our program as two processes with a device each, called as one: `make(*arguments, link)`."""

    processes = 2

    def _start(self, connections: list[Connection], make: Make, arguments: tuple[Any, ...]) -> None:
        thread = threading.Thread(target=run_both, args=(_serve_tower, (connections, make, arguments), "gloo", 600.0))
        thread.start()
        self.join = thread.join


def _serve(connection: Connection, make: Make, arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    connection.send("ready")
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        connection.send(work() if order == "work" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _serve_tower(link: Link, connections: list[Connection], make: Make, arguments: tuple[Any, ...]) -> None:
    connections[1 - link.rank].close()
    _serve(connections[link.rank], make, (*arguments, link))
