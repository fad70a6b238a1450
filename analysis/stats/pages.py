"""Turns verdicts into one small HTML page that needs no network."""

from __future__ import annotations

import math
from collections import Counter
from html import escape

from analysis.stats.judge import Verdict
from analysis.stats.tables import Claim

SIGNS = {
    "about": "about ",
    "equal": "",
    "greater": "&gt; ",
    "less": "&lt; ",
    "at_least": "≥ ",
    "at_most": "≤ ",
}
STYLE = """body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ccc;padding:.4rem .6rem;text-align:left;vertical-align:top}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}div{overflow-x:auto}
@media(prefers-color-scheme:dark){body{color:#eee;background:#151515}th,td{border-color:#444}}"""
HEADS = ("Claim", "Claimed", "Ours, 95 % interval", "90 % interval", "Seeds", "Direction", "Size", "Why")
RULES = (
    "Direction: agrees if the 95 % interval lies wholly on the claimed side of no effect, contradicts if wholly on the other; "
    "not shown if neither and the 90 % interval leaves out the claimed effect; else cannot tell. "
    "Size: about and equal match if the 90 % interval lies within the tolerance and differ if the 95 % interval lies outside; "
    "greater and less match if the 95 % interval lies beyond the mark and differ if it falls short; else unknown. "
    "Each word is wrong in at most 5 of 100 repetitions if the runs of an arm vary by chance and without far outliers; nothing is "
    "corrected for the number of claims."
)


def page(judged: list[tuple[Claim, Verdict]], title: str = "Verdicts on claims") -> str:
    """The whole page."""
    counts = Counter((verdict.direction or "plain value", verdict.size) for _, verdict in judged)
    said = "".join(
        f"<tr><td>{a}</td><td>{b}</td><td class=n>{n:,}</td></tr>" for (a, b), n in sorted(counts.items())
    )
    rows = "".join(_row(claim, verdict) for claim, verdict in judged)
    heads = "".join(f"<th scope=col>{head}</th>" for head in HEADS)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"<div><table><caption>{len(judged):,} claims</caption><tr><th scope=col>Direction</th><th scope=col>Size</th>"
        f"<th scope=col class=n>Claims</th></tr>{said}</table></div><p>{RULES}</p>"
        f"<div><table><tr>{heads}</tr>{rows}</table></div></main></body></html>\n"
    )


def _row(claim: Claim, verdict: Verdict) -> str:
    tolerance = f" ± {claim.tolerance:g}" if claim.tolerance and claim.relation in ("about", "equal") else ""
    paper = "" if claim.paper is None else f"{claim.paper:g}{tolerance}"
    claimed = f"{claim.how} {SIGNS[claim.relation]}{paper} {escape(claim.unit)}"
    ours = f"{_number(verdict.ours)} {_span(verdict.low, verdict.high)}"
    cells = (claimed, ours, _span(verdict.low90, verdict.high90), str(verdict.seeds))
    words = (verdict.direction or "–", verdict.size, escape(verdict.why))
    numbers = "".join(f"<td class=n>{cell}</td>" for cell in cells)
    return (
        f"<tr><th scope=row>{escape(claim.statement)} <code>{escape(claim.id)}</code></th>{numbers}"
        f"{''.join(f'<td>{word}</td>' for word in words)}</tr>"
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5g}"


def _span(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]"
