"""A number line: the paper's value and range, the lab's log, ours with its interval and single seeds, as a small SVG.

Places are percentages of the width, so the line fills a card on any screen and its text keeps its size.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.report.page import Html, render
from analysis.report.scale import Scale

PAD = 0.07  # of the width left free at each end
REACH = 4.0  # an interval is cut where it reaches further beyond all points than this many of their widths


@dataclass(frozen=True)
class Marks:
    """What is drawn; absent marks are None, or empty. `band` may be infinite on a side."""

    ours: float | None = None
    span: tuple[float, float] | None = None
    seeds: tuple[float, ...] = ()
    paper: float | None = None
    band: tuple[float, float] | None = None
    lab: float | None = None
    zero: float | None = None

    @property
    def points(self) -> list[float]:
        """All finite values but the ends of the interval."""
        values = (self.ours, *self.seeds, self.paper, *(self.band or ()), self.lab, self.zero)
        return [value for value in values if value is not None and math.isfinite(value)]


def limits(marks: Iterable[Marks]) -> tuple[float, float]:
    """The ends of an axis that shows every point, and intervals as far as `REACH` allows."""
    found = list(marks)
    points = [value for one in found for value in one.points]
    low, high = min(points), max(points)
    room = REACH * (high - low) or 1.0
    ends = [end for one in found for end in one.span or ()]
    low, high = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    pad = PAD * (high - low) or 1.0
    return low - pad, high + pad


def shared_axis(marks: Iterable[Marks]) -> tuple[float, float]:
    """One axis for many lines, broken where a few would make it more than three times as wide as the others need."""
    found = sorted(marks, key=_reach)
    sizes = [_reach(one) for one in found]
    gaps = [i for i in range(len(found) // 2 + 1, len(found)) if sizes[i] > 3 * sizes[i - 1]]
    return limits(found[: gaps[0]] if gaps else found)


def _reach(one: Marks) -> float:
    return max(map(abs, [*one.points, *(one.span or ())]))


def number_line(marks: Marks, alt: str, unit: str = "", axis: tuple[float, float] | None = None, css: str = "") -> Html:
    """The line as SVG; whatever lies outside of `axis` (default: `limits`) stands at its end as an arrow.

    Args:
        css: `from-lab` where `ours` and `span` are the authors' numbers, `undecided` where ours have no verdict; both have colours.
    """
    scale = Scale.of(*(axis or limits([marks])), most=4)
    shown = {"marks": marks, "scale": scale, "at": scale.within(0, 100, 2), "unit": unit}
    return render("number_line.svg.j2", **shown, alt=alt, css=f" {css}" if css else "")
