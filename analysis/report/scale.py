"""The scale of an axis: its ends, its ticks, and where a value stands."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`; equal factors are equal lengths if `log`."""

    low: float
    high: float
    ticks: list[float]
    log: bool = False

    @classmethod
    def of(cls, low: float, high: float, most: int = 6) -> Self:
        """A scale with at most so many steps between round ticks."""
        from matplotlib.ticker import MaxNLocator

        return cls(low, high, [float(tick) for tick in MaxNLocator(most).tick_values(low, high) if low <= tick <= high])

    @classmethod
    def doubling(cls, low: float, high: float) -> Self:
        """A scale between powers of two."""
        ticks = [2.0**k for k in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
        return cls(ticks[0], ticks[-1], ticks, True)

    def outside(self, value: float) -> bool:
        """Whether a value lies beyond the scale."""
        return not self.low <= value <= self.high

    def within(self, start: float, end: float, digits: int = 1) -> Callable[[float], float]:
        """The function that places a value between `start` and `end`; what is outside stands at the edge."""
        scale = math.log2 if self.log else float
        first, last = scale(self.low), scale(self.high)

        def at(value: float) -> float:
            share = (scale(min(max(value, self.low), self.high)) - first) / ((last - first) or 1.0)
            return round(start + (end - start) * share, digits)

        return at
