"""Words about a claim from two intervals around a measured number: direction and size.

The 95 % interval shows a side, or that a range is missed; inside a range must lie the 90 % interval (two one-sided tests at
5 %). So each wrong word comes up in at most 5 of 100 measurements.

    direction   agrees: the 95 % interval lies wholly on the claimed side of no effect (zero; one for ratios);
                contradicts: wholly on the other; not shown: neither, and the 90 % interval leaves out the effect that is
                claimed, on whichever side; cannot tell: else. A plain value has none. Of a claim that names no side, such as "the same",
                the claimed side is its own range: within the tolerance, or beyond the mark
    size        about, equal: matches if the 90 % interval lies within paper +- tolerance, differs if the 95 % interval lies
                wholly outside. greater, less, at_least, at_most: matches if the 95 % interval lies wholly beyond the mark,
                differs if wholly short of it. unknown: else
"""

import math
from dataclasses import dataclass

AGREES, NOT_SHOWN, CONTRADICTS, CANNOT_TELL = "agrees", "not shown", "contradicts", "cannot tell"
MATCHES, DIFFERS, UNKNOWN = "matches", "differs", "unknown"
RELATIONS = ("about", "equal", "greater", "less", "at_least", "at_most")
SIDES = {"greater": 1, "at_least": 1, "less": -1, "at_most": -1}

Interval = tuple[float, float]


@dataclass(frozen=True)
class Question:
    """What is claimed of a number, in the number's own unit.

    `paper` None: a side without a size. `null`: the value that means no effect; None: a plain value, without direction.
    `smallest`: how far from `null` an effect counts, of a claim of a side whose mark is no effect itself.
    """

    relation: str
    paper: float | None
    tolerance: float = 0.0
    null: float | None = None
    smallest: float = 0.0

    @property
    def side(self) -> int:
        """+1 or -1: the side of no effect that is claimed; 0: none is."""
        if self.null is None:
            return 0
        way = SIDES.get(self.relation, 0)
        off = 0.0 if self.paper is None else self.paper - self.null
        if not way:
            return (off > 0) - (off < 0)
        return way if off * way >= 0 else 0  # "less than 2 points" names no sign

    @property
    def accepted(self) -> Interval:
        """The range that counts as the paper's value."""
        way = SIDES.get(self.relation, 0)
        if self.paper is None:
            return -math.inf, math.inf
        if way:
            return (self.paper, math.inf) if way > 0 else (-math.inf, self.paper)
        return self.paper - self.tolerance, self.paper + self.tolerance

    @property
    def effect(self) -> float | None:
        """The claimed effect nearest to none; None: the claim names no size."""
        if self.null is None:
            return None
        if self.paper is not None and self.paper != self.null:
            return self.paper
        if not self.smallest:
            return self.paper if not self.side else None
        return self.null + self.side * self.smallest


def _holds(question: Question, span: Interval) -> bool:
    low, high = question.accepted
    if question.relation in ("greater", "less"):
        return (low < span[0] or low == -math.inf) and (span[1] < high or high == math.inf)
    return low <= span[0] and span[1] <= high


def _misses(question: Question, span: Interval) -> bool:
    low, high = question.accepted
    return span[1] < low or span[0] > high


def size(question: Question, outer: Interval, inner: Interval) -> str:
    """matches, differs or unknown; `outer` and `inner` are the 95 and the 90 % interval."""
    if question.paper is None or any(map(math.isnan, (*outer, *inner))):
        return UNKNOWN
    if _holds(question, outer if question.relation in SIDES else inner):
        return MATCHES
    return DIFFERS if _misses(question, outer) else UNKNOWN


def direction(question: Question, outer: Interval, inner: Interval) -> str:
    """agrees, contradicts, not shown or cannot tell; nothing of a plain value."""
    if question.null is None:
        return ""
    if any(map(math.isnan, (*outer, *inner))):
        return CANNOT_TELL
    if question.side:
        above, below = outer[0] > question.null, outer[1] < question.null
        agrees, contradicts = (above, below) if question.side > 0 else (below, above)
    else:
        agrees, contradicts = _holds(question, outer), _misses(question, outer)
    if agrees or contradicts:
        return AGREES if agrees else CONTRADICTS
    return NOT_SHOWN if _leaves_out(question, inner) else CANNOT_TELL


def _leaves_out(question: Question, inner: Interval) -> bool:
    """Whether the claimed effect is excluded; a claim without a size claims some effect, however small."""
    effect, way = question.effect, SIDES.get(question.relation, 0)
    if effect is None:
        effect = question.null
    assert effect is not None
    if way:  # more than the mark is claimed too
        return inner[1] < effect if way > 0 else inner[0] > effect
    return not inner[0] <= effect <= inner[1]
