"""Measures the ratio of two programs' speeds by running them in turn, A B A B, after a warm-up.

Figures are medians, the ratio is the median of the ratios pair by pair with the smallest and the largest.
"""

import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

MEASURED = ("subject", "subject_value", "peer", "peer_value", "unit")
COLUMNS = ("benchmark", *MEASURED, "ratio", "ratio_low", "ratio_high", "n")
Row = dict[str, Any]


class Side(NamedTuple):
    """One of two programs that are compared: what it is, and its work, so many `units` of it a call."""

    name: str
    work: Callable[[], object]
    units: float

    def speed(self) -> float:
        """Units a second, of one call."""
        started = time.perf_counter()
        self.work()
        return self.units / (time.perf_counter() - started)


def row(benchmark: str, subject: str, ours: Iterable[float], peer: str, theirs: Iterable[float], unit: str) -> Row:
    """One row of the table from values measured in turn; the ratio is ours / theirs."""
    ours, theirs = list(ours), list(theirs)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    values = (benchmark, subject, median(ours), peer, median(theirs), unit)
    return dict(zip(COLUMNS, (*values, median(ratios), min(ratios), max(ratios), len(ratios)), strict=True))


def compare(benchmark: str, ours: Side, theirs: Side, rounds: int, unit: str = "images/s") -> Row:
    """One row of the table, from `rounds` alternations after one warm-up of each. A ratio above 1: ours is faster."""
    theirs.work(), ours.work()  # ours last: processes that a peer forks would slow our first measured round
    speeds = [(ours.speed(), theirs.speed()) for _ in range(rounds)]
    return row(benchmark, ours.name, [own for own, _ in speeds], theirs.name, [peer for _, peer in speeds], unit)
