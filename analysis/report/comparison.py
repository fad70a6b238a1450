"""The page of two results folders side by side: whose verdicts differ, intervals over each other, and each run that both have."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import stdev

from analysis.paper.claims import load_claims
from analysis.report import forest
from analysis.report.page import TEMPLATE, Html, render
from analysis.report.pages.headline import Row, panels
from analysis.results.evidence import Results
from analysis.results.reruns import Rerun
from analysis.stats.intervals import CONFIDENCE, student
from analysis.verdicts import table
from analysis.verdicts.judge import judge_all
from analysis.verdicts.labels import PENDING
from analysis.verdicts.rules import Outcome

ROUNDING = 0.005  # points: two errors that differ by less are printed alike
ALT = "Intervals of mine and of the published results, claim by claim; the numbers are in the table of verdicts of each report."
LEGEND = [("paper", "paper"), ("lab", "published"), ("ours", "mine, 95 %: with a verdict"), ("open", "without")]
SCALES = {"points": ("points", False), "x": ("times, or a ratio", True), "%": ("%", False)}


@dataclass(frozen=True)
class Pair:
    """One run that both folders hold, with the validation errors, %, of all published seeds of its experiment."""

    one: Rerun
    published: Sequence[float]

    @property
    def name(self) -> str:
        return " / ".join(map(str, self.one.key))

    def _moved(self, name: str) -> float:
        return 100 * (float(self.one.rerun[name]) - float(self.one.published[name]))

    @property
    def points(self) -> float:
        """Validation error minus the published one."""
        return self._moved("validation_error")

    @cached_property
    def kind(self) -> str:
        """Equal in bits, equal to rounding, different, or not the same experiment on the same images."""
        if not self.one.comparable:
            return "not compared"
        if self.one.same:
            return "bits"
        alike = all(abs(self._moved(name)) < ROUNDING for name in ("train_error", "validation_error"))
        return "rounding" if alike else "different"

    @cached_property
    def span(self) -> tuple[float, float] | None:
        """Where the difference of two seeds lies in 95 of 100 cases, points, by the spread of the published ones; None: one seed."""
        if len(self.published) < 2:
            return None
        half = student(len(self.published) - 1, CONFIDENCE) * math.sqrt(2) * stdev(self.published)
        return -half, half


def page(ours: Results, published: Results, found: Sequence[Rerun]) -> Html:
    """The comparison as one HTML page without script; `found` as `reruns.compare` gives it."""
    claims = load_claims()
    mine, theirs = ({o.claim.id: o for o in judge_all(claims, results)} for results in (ours, published))
    both = [(mine[id_], theirs[id_]) for id_ in mine]
    pairs = [Pair(one, _errors(published, one.key)) for one in found]
    drawn = panels([_row(a, b) for a, b in both if a.low is not None and b.low is not None], SCALES)
    return render(
        "comparison.html.j2",
        style=(TEMPLATE / "style.css").read_text(encoding="utf-8"),
        ours=ours,
        published=published,
        pairs=pairs,
        counts={kind: sum(pair.kind == kind for pair in pairs) for kind in ("bits", "rounding", "different", "not compared")},
        outside=sum(bool(p.kind == "different" and p.span and not p.span[0] <= p.points <= p.span[1]) for p in pairs),
        judged=sum(PENDING not in (a.verdict, b.verdict) for a, b in both),
        differing=[(a, b) for a, b in both if a.verdict != b.verdict],
        figure=forest.drawing(drawn, ALT, True, LEGEND, width=620) if drawn else None,
        number_of=table.ours,
    )  # fmt: skip


def _errors(results: Results, key: tuple[str, str, int]) -> list[float]:
    runs = [run for of, run in results.runs.items() if of[:2] == key[:2]]
    return [100 * float(run["final"]["validation_error"]) for run in runs if "validation_error" in run.get("final", {})]


def _row(mine: Outcome, theirs: Outcome) -> Row:
    """An absolute error on other data than the paper's has no number of the paper beside it."""
    claim = mine.claim
    beside = claim.number if mine.verdict != PENDING else None
    a, b = ((float(o.ours or 0), float(o.low or 0), float(o.high or 0)) for o in (mine, theirs))
    return Row(
        label=textwrap.shorten(claim.statement.partition(" (")[0], 62, placeholder=" …"), section=claim.section, unit=claim.unit, relation=claim.relation, id=claim.id, lab=b, ours=a,
        printed=table.with_unit(claim.paper, claim.unit), paper=math.nan if beside is None else beside,
        bound=mine.bound, verdict=mine.verdict, evidence=mine.evidence, limit="", why="",
    )  # fmt: skip
