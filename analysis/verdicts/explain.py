"""Claims as text for a terminal: a table of many, or everything that is known about one."""

from __future__ import annotations

import difflib
import textwrap

from analysis.errors import UserError
from analysis.paper.claims import Claim
from analysis.paper.lab_logs import load_lab_logs, rows_of
from analysis.paper.numerals import load_numerals, places
from analysis.verdicts.labels import LABELS
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import interval, number, paper_value, verdict_words, with_unit

WIDTH = 110
LABEL = 15


def find(claims: list[Claim], id_: str) -> Claim:
    """The claim with this id.

    Raises:
        UserError: there is none; the message names similar ids.
    """
    for claim in claims:
        if claim.id == id_:
            return claim
    raise UserError(f"unknown claim {id_!r}{did_you_mean(id_, [claim.id for claim in claims])}")


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean ...?` with up to three similar words, or a hint where there are none."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    close = close or [name for name in known if word and (word in name or name in word)][:3]
    return f"; did you mean {', '.join(close)}?" if close else "; `python -m analysis claims` lists them"


def with_status(outcomes: list[Outcome], status: str) -> list[Outcome]:
    """Outcomes with one verdict.

    Raises:
        UserError: no outcome can have that verdict.
    """
    known = sorted(LABELS)
    if status not in known:
        close = difflib.get_close_matches(status, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown status {status!r}; {hint}There are: {', '.join(known)}")
    return [outcome for outcome in outcomes if outcome.verdict == status]


def claims_lines(outcomes: list[Outcome]) -> list[str]:
    """A line an outcome, columns aligned: claim, section, paper, ours, verdict; the number of lines last."""
    rows = [["claim", "section", "paper", "ours", "verdict"]]
    for outcome in outcomes:
        claim = outcome.claim
        rows.append(
            [
                claim.id,
                claim.section,
                paper_value(claim.paper, claim.unit, claim.relation),
                _ours(outcome),
                verdict_words(outcome.verdict, outcome.evidence, outcome.dataset),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
    count = len(outcomes)
    return [*lines, f"{count} claim{'' if count == 1 else 's'}"]


def _ours(outcome: Outcome) -> str:
    if outcome.ours is None:
        return "–"
    unit, digits = outcome.claim.unit, 2 if outcome.study else None
    return f"{outcome.bound} {with_unit(outcome.ours, unit, digits)}".strip()


def explain(claim: Claim, outcomes: list[Outcome], p_holm: float | None = None) -> list[str]:
    """Everything about one claim: what the paper says, how it is measured, what was found where, and how to run it.

    Args:
        outcomes: what every body of evidence says, strongest first (`judging.judge`).
        p_holm: p-value of the first, adjusted over the core claims.
    """
    out = [f"{claim.id}   section {claim.section}, {claim.kind}", *_wrapped(claim.statement), ""]
    out += _said(claim)
    out += _measured(claim)
    for i, outcome in enumerate(outcomes):
        out += ["", *_found(outcome, p_holm if i == 0 else None, i)]
    if claim.note:
        out += ["", *_field("Note", claim.note)]
    if outcomes[0].command:
        out += ["", *_field("To run it", outcomes[0].command)]
    return out


def _wrapped(text: str, indent: int = 0) -> list[str]:
    pad = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)


def _field(label: str, text: str) -> list[str]:
    """`label` in its column, the text beside it."""
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent=" " * LABEL, initial_indent=label.ljust(LABEL), break_on_hyphens=False
    )
    return lines or [label]


def _said(claim: Claim) -> list[str]:
    """What the paper prints, and what the lab logged."""
    out = []
    shown = [
        f"{n.printed or 'a statement'} ({_place(n.section)}: {n.context})"
        for n in places(load_numerals()).get(claim.id, [])
    ]
    out += _field("Printed", "; ".join(shown)) if shown else []
    if claim.paper:
        value = paper_value(claim.paper, claim.unit, claim.relation)
        extra = f" {claim.unit}" if claim.unit and claim.unit not in value else ""
        slack = f"; {claim.slack}" if claim.slack else ""
        reason = f" ({claim.tolerance_reason})" if claim.tolerance_reason else ""
        out += _field("Paper", f"{value}{extra}{slack}{reason}")
    if claim.implied:
        out += _field("Implied", f"{number(claim.implied)}: {claim.implied_reason}")
    if claim.lab_value is not None:
        out += _field("Lab log", f"{with_unit(claim.lab_value, claim.unit)} ({claim.lab_source})")
        for log in rows_of(claim, load_lab_logs()):
            out += _field(
                "", f"net {log.net}: {log.variant}; top-1 {log.top1_error} %, top-5 {log.top5_error} % ({log.source})"
            )
    return out


def _place(section: str) -> str:
    return f"s. {section}" if section[0].isdigit() else section.replace("Abs", "abstract").replace("fn ", "footnote ")


def _measured(claim: Claim) -> list[str]:
    if not claim.how:
        return []
    words = claim.measured or f"{claim.how} of {claim.metric}, {claim.experiment}"
    views = {"center": "centre view", "ten": "ten views", "center-ten": "one against ten views"}.get(claim.views, "")
    data = ", ".join(filter(None, [f"{claim.dataset} {claim.split}".strip(), views]))
    return _field("Measured as", "; ".join(filter(None, [words, data and f"the paper's data: {data}"])))


def _found(outcome: Outcome, p_holm: float | None, rank: int) -> list[str]:
    """One body of evidence: verdict, why, numbers."""
    claim = outcome.claim
    out = _field("Verdict" if rank == 0 else "Also", verdict_words(outcome.verdict, outcome.evidence, outcome.dataset))
    out += _field("Why", outcome.why) if outcome.why else []
    if outcome.ours is not None:
        span = interval(outcome.low, outcome.high, claim.unit)
        out += _field("Ours", " ".join(filter(None, [_ours(outcome), span and f"95 % interval {span}"])))
    if outcome.study:
        parts = [
            f"study {outcome.study}",
            f"{outcome.dataset} {outcome.split}".strip(),
            f"{outcome.n:,} images" if outcome.n else "",
            outcome.counted if outcome.seeds else "",
        ]
        out += _field("Evidence", f"{outcome.evidence}: {', '.join(filter(None, parts))}")
    elif outcome.evidence:
        out += _field("Evidence", outcome.evidence)
    out += _field("Plan", outcome.plan) if outcome.plan else []
    out += _field("Differs", outcome.differs) if outcome.differs else []
    if outcome.p is not None:
        holm = f"; {p_holm:.2g} adjusted over the core claims (Holm)" if p_holm is not None else ""
        out += _field("p", f"{outcome.p:.2g} for no effect{holm}")
    return out
