"""A plugin of pytest for `mutants.py`: which lines each test runs, and first those tests that run certain lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Set
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

Place = tuple[str, int]  # module, line


def processors() -> float:
    """Seconds of processors that this process and its children took."""
    return sum(os.times()[:4])


class ByCoverage:
    """With `first`, tests that run one of these places come first, and quick ones before slow ones; without, `tests` is filled.

    Args:
        folder: where the modules lie.
        modules: whose lines count, as paths from there.
        tests: of each test, by its name for pytest: seconds of processors, and the places that it runs in this process.
    """

    def __init__(
        self,
        folder: Path,
        modules: list[str],
        tests: dict[str, tuple[float, list[Place]]],
        first: Set[Place] = frozenset(),
    ) -> None:
        self.modules = {str(folder / module): module for module in modules}
        self.tests, self.first = tests, first
        self.now: set[Place] = set()  # of the test that runs

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The order of the tests; one that is not known comes last."""
        if self.first:
            known = {item: self.tests.get(item.nodeid, (0.0, [])) for item in items}
            items.sort(key=lambda item: (self.first.isdisjoint(map(tuple, known[item][1])), known[item][0]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around a test and its fixtures."""
        self.now, started = set(), processors()
        trace = None if self.first else self.trace
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            if not self.first:
                self.tests[item.nodeid] = processors() - started, sorted(self.now)

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """A trace function for all frames and, of the modules', for their lines."""
        if module := self.modules.get(frame.f_code.co_filename):
            self.now.add((module, frame.f_lineno))
        return self.trace if module else None
