"""Measures the ratio of two programs' speeds by running them in turn, A B A B, after a warm-up.

Figures are medians, the ratio is the median of the ratios pair by pair with the smallest and the largest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MEASURED = ("subject", "subject_value", "peer", "peer_value", "unit")
COLUMNS = ("benchmark", *MEASURED, "ratio", "ratio_low", "ratio_high", "n")
Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Two ways to do some work, `count` units of it a call of ours, `peer_count` (if not the same) of theirs.

    A ratio above 1: ours does more units a second.
    """

    benchmark: str
    subject: str
    peer: str
    unit: str
    count: float
    ours: Work
    theirs: Work
    peer_count: float | None = None


def seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(benchmark: str, subject: str, ours: list[float], peer: str, theirs: list[float], unit: str) -> dict[str, Any]:
    """One row of the table from values measured in turn; the ratio is ours / theirs."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    middle = statistics.median
    values = (benchmark, subject, middle(ours), peer, middle(theirs), unit)
    return dict(zip(COLUMNS, (*values, middle(ratios), min(ratios), max(ratios), len(ratios)), strict=True))


def compare(pair: Pair, rounds: int) -> dict[str, Any]:
    """One row of the table, from `rounds` alternations after one warm-up of each."""
    pair.theirs(), pair.ours()  # ours last: processes that a peer forks would slow our first measured round
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(pair.count / seconds(pair.ours))
        theirs.append((pair.peer_count or pair.count) / seconds(pair.theirs))
    return row(pair.benchmark, pair.subject, ours, pair.peer, theirs, pair.unit)
