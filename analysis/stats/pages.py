"""A small HTML page of verdicts that needs no network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from markupsafe import Markup

from analysis.stats.judge import Verdict
from analysis.stats.tables import Claim

SIGNS = {"about": "about ", "equal": "", "greater": "> ", "less": "< ", "at_least": "≥ ", "at_most": "≤ "}
STYLE = Markup("""body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ccc;padding:.4rem .6rem;text-align:left;vertical-align:top}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}div{overflow-x:auto}
@media(prefers-color-scheme:dark){body{color:#eee;background:#151515}th,td{border-color:#444}}""")
HEADS = ("Claim", "Claimed", "Ours, 95 % interval", "90 % interval", "Seeds", "Direction", "Size", "Why")
RULES = (
    "Direction: agrees if the 95 % interval lies wholly on the claimed side of no effect, contradicts if wholly on the other; "
    "not shown if neither and the 90 % interval leaves out the claimed effect; else cannot tell. "
    "Size: about and equal match if the 90 % interval lies within the tolerance and differ if the 95 % interval lies outside; "
    "greater and less match if the 95 % interval lies beyond the mark and differ if it falls short; else unknown. "
    "Each word is wrong in at most 5 of 100 repetitions if the runs of an arm vary by chance and without far outliers; nothing is "
    "corrected for the number of claims."
)


PAGE = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>{style}</style></head><body><main><h1>{title}</h1>"
    "<div><table><caption>{many} claims</caption><tr><th scope=col>Direction</th><th scope=col>Size</th>"
    "<th scope=col class=n>Claims</th></tr>{counts}</table></div><p>{rules}</p>"
    "<div><table><tr>{heads}</tr>{rows}</table></div></main></body></html>\n"
)
COUNT = Markup("<tr><td>{}</td><td>{}</td><td class=n>{}</td></tr>")
HEAD, NUMBER, WORD = (Markup("<th scope=col>{}</th>"), Markup("<td class=n>{}</td>"), Markup("<td>{}</td>"))
ROW = Markup("<tr><th scope=row>{} <code>{}</code></th>{}{}</tr>")


def page(judged: list[tuple[Claim, Verdict]], title: str = "Verdicts on claims") -> str:
    """The whole page."""
    counts = Counter((verdict.direction or "plain value", verdict.size) for _, verdict in judged)
    return PAGE.format(
        title=title,
        style=STYLE,
        many=f"{len(judged):,}",
        counts=_joined(COUNT.format(*words, f"{n:,}") for words, n in sorted(counts.items())),
        rules=RULES,
        heads=_joined(map(HEAD.format, HEADS)),
        rows=_joined(_row(claim, verdict) for claim, verdict in judged),
    )


def _joined(parts: Iterable[str]) -> Markup:
    return Markup("").join(parts)


def _row(claim: Claim, verdict: Verdict) -> Markup:
    tolerance = f" ± {claim.tolerance:g}" if claim.tolerance and claim.relation in ("about", "equal") else ""
    paper = "" if claim.paper is None else f"{claim.paper:g}{tolerance}"
    claimed = f"{claim.how} {SIGNS[claim.relation]}{paper} {claim.unit}"
    ours = f"{_number(verdict.ours)} {_span(verdict.low, verdict.high)}"
    numbers = (claimed, ours, _span(verdict.low90, verdict.high90), str(verdict.seeds))
    words = (verdict.direction or "–", verdict.size, verdict.why)
    return ROW.format(claim.statement, claim.id, _joined(map(NUMBER.format, numbers)), _joined(map(WORD.format, words)))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5g}"


def _span(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]"
