"""Claims as text for a terminal: a table of many, or everything that is known about one."""

import difflib
import textwrap
from typing import Any

from analysis.errors import UserError
from analysis.paper.claims import Claim
from analysis.paper.lab_logs import load_lab_logs, rows_of
from analysis.paper.numerals import load_numerals, places
from analysis.paper.quotes import place
from analysis.text import fill, plural
from analysis.verdicts.labels import LABELS
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import VIEWS, interval, number, ours, paper_value, verdict_words, with_unit

WIDTH = 110
LABEL = 15


def find(claims: list[Claim], id_: str) -> Claim:
    """The claim with this id."""
    found = {claim.id: claim for claim in claims}
    if id_ not in found:
        raise UserError(f"unknown claim {id_!r}{did_you_mean(id_, list(found))}")
    return found[id_]


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean ...?` with up to three similar words, or a hint where there are none."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    close = close or [name for name in known if word and (word in name or name in word)][:3]
    return f"; did you mean {', '.join(close)}?" if close else "; `python -m analysis claims` lists them"


def with_status(outcomes: list[Outcome], status: str) -> list[Outcome]:
    """Outcomes with one verdict."""
    known = sorted(LABELS)
    if status not in known:
        close = difflib.get_close_matches(status, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown status {status!r}; {hint}There are: {', '.join(known)}")
    return [outcome for outcome in outcomes if outcome.verdict == status]


def claims_lines(outcomes: list[Outcome]) -> list[str]:
    """A line an outcome, columns aligned: claim, section, paper, ours, verdict; the number of lines last."""
    rows = [("claim", "section", "paper", "ours", "verdict")]
    for outcome in outcomes:
        claim, verdict = outcome.claim, verdict_words(outcome.verdict, outcome.evidence, outcome.dataset)
        paper = paper_value(claim.paper, claim.unit, claim.relation)
        rows.append((claim.id, claim.section, paper, ours(outcome) or "–", verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*lines, plural(len(outcomes), "claim")]


def explain(claim: Claim, outcomes: list[Outcome], p_holm: float | None = None) -> list[str]:
    """Everything about one claim: what the paper says, how it is measured, what was found where, and how to run it.

    Args:
        outcomes: what every body of evidence says, strongest first (`judge.judge`).
        p_holm: p-value of the first, adjusted over the core claims.
    """
    more: dict[str, Any] = {
        "printed": places(load_numerals()).get(claim.id, []),
        "logs": rows_of(claim, load_lab_logs()),
        "data": ", ".join(filter(None, [f"{claim.dataset} {claim.split}".strip(), VIEWS.get(claim.views)])),
        **{f.__name__: f for f in (interval, number, ours, paper_value, place, verdict_words, with_unit)},
    }
    text = fill("analysis.verdicts", "explain.txt.j2", claim=claim, outcomes=outcomes, p_holm=p_holm, **more)
    out, wrapper = [], textwrap.TextWrapper(WIDTH, subsequent_indent=" " * LABEL, break_on_hyphens=False)
    for line in text.rstrip("\n").split("\n"):
        label, labelled, words = line.partition("\t")
        wrapper.initial_indent = label.ljust(LABEL)
        out += wrapper.wrap(words) if labelled else textwrap.wrap(line, WIDTH, break_on_hyphens=False) or [""]
    return out
