"""The report's first screen: a paragraph, counts, and what each answer would still take."""

from __future__ import annotations

import re

import pandas as pd

from analysis.calibration.power import DAYS, GPUS
from analysis.report.badges import badge
from analysis.report.context import Context
from analysis.report.page import Html, joined, listed, say, table
from analysis.report.pages import fig1_sentences
from analysis.report.pages.campaign_state import progress, warnings
from analysis.report.pages.claims_table import TRAINED, claims, reasons
from analysis.report.pages.findings import lucky
from analysis.results.evidence import COPIES, Study
from analysis.text import plural
from analysis.verdicts.labels import (
    AGREES,
    CANNOT_TELL,
    CITED,
    CONTRADICTS,
    COUNTED,
    DIFFERS,
    HOLDS,
    HOLDS_NOT,
    LABELS,
    MISCOUNTS,
    NOT_REPLICATED,
    NOT_SHOWN,
    NOT_TESTABLE,
    PENDING,
    REPLICATED,
)

__all__ = ["answers", "claims", "first_screen", "study_line", "verdict_counts", "verdict_paragraph"]
# Answers in the reader's words, the verdicts that give them, and what they would take if nothing else is known.
ANSWERS = [
    ("Hold", (REPLICATED, HOLDS), ""),
    ("Point the paper's way", (AGREES,), "The paper's own data at full size."),
    ("Not shown: less than the paper's effect here", (NOT_SHOWN,), "The paper's own data at full size."),
    ("Point the other way, on lesser evidence", (CONTRADICTS,), "The paper's own data at full size."),
    ("Do not hold", (NOT_REPLICATED, HOLDS_NOT), "Nothing more."),
    ("Printed numbers that contradict others of the paper", (MISCOUNTS,), "Nothing more."),
    ("Text that differs from the authors' program", (DIFFERS,), "Nothing more."),
    ("Tested, and still open", (CANNOT_TELL,), ""),
    ("Not tested yet", (PENDING,), ""),
    ("Cannot be tested", (NOT_TESTABLE,), "Nothing would."),
    ("Quoted from others", (CITED,), "Not this paper's results."),
]
LISTED = 3  # claims of a verdict that are named in a row of answers
UNLISTED = (NOT_TESTABLE, CITED)


KINDS = {
    "demo": "generated data, proves the machinery only",
    "proxy": "other data than the paper's",
    "reduced": "the paper's data at reduced scale",
    "paper": "the paper's data",
}
EVIDENCE = {
    "paper scale": "Paper scale",
    "arithmetic": "Untrained",
    "document": "Documents",
    "reduced scale": "Paper's data, reduced",
    "proxy": "Proxy data",
    "demo": "Demo data",
    "": "No evidence",
}


def first_screen(ctx: Context) -> Html:
    """The answer in a paragraph, the counts beside it, and what a reader must know before the numbers."""
    warned = warnings(ctx)
    return Html('<div class="first"><div class="lead">{}{}</div><div>{}</div></div>').format(
        verdict_paragraph(ctx), warned or "", verdict_counts(ctx)
    )


def study_line(ctx: Context, study: Study) -> str:
    """Study, data and how much was run, in one sentence."""
    runs = [key for key in ctx.results.runs if key[0] == study.name]
    seeds = len({seed for _, _, seed in runs})
    size = f"; the paper's net and training shrunk to {study.shrunk}" if study.shrunk else ""
    nets = plural(len({study.net(name) for _, name, _ in runs}), "network")
    return (
        f"{study.title} ({KINDS[study.tier]}): {study.data.rstrip('.')}{size}; {nets}, {plural(seeds, 'different seed')}; "
        f"{progress(ctx, study)}"
    )


def verdict_paragraph(ctx: Context) -> Html:
    """The first paragraphs of the report, all of it computed: does the paper hold, and how do you know."""
    t = ctx.table
    counted = t[t["evidence"] == "arithmetic"]["verdict"].value_counts()
    settled = counted.drop(NOT_TESTABLE, errors="ignore").sum()
    left = t["verdict"].value_counts()
    first = f"Of {plural(len(t), 'statement')} in the paper, "
    first += (
        f"{settled} can be settled untrained, by counting on the full-size network or reading its authors' program: "
        f"{', '.join(_said(counted, COUNTED))}."
        if settled
        else "none is settled by counting yet: the layers of the network have not been listed."
    )
    rest = (
        f"{left.get(PENDING, 0)} are not tested yet, {left.get(NOT_TESTABLE, 0)} cannot be tested and "
        f"{left.get(CITED, 0)} are quoted from others."
    )
    return say(first, *_tested(ctx)) + say(rest, _how(ctx))


def _tested(ctx: Context) -> list[str]:
    """What training and counting images showed: at the paper's scale first, then on lesser evidence."""
    t = ctx.table[ctx.table["evidence"].isin(TRAINED) & (ctx.table["verdict"] != "pending")]
    full, lesser = t[t["evidence"] == "paper scale"], t[t["evidence"] != "paper scale"]
    said = (
        [
            f"{plural(len(full), 'experiment')} {'was' if len(full) == 1 else 'were'} repeated at the paper's scale: {_counted(full)}."
        ]
        if len(full)
        else ["None of its experiments has been repeated with its own data, unaltered and at full size, yet."]
    )
    said += fig1_sentences.elsewhere(ctx)
    if len(lesser):
        titles = [study.title for study in ctx.studies if (lesser["study"] == study.name).any()]
        altered = (
            ", in part on a lossy copy of the paper's images" if lesser["dataset"].isin(list(COPIES)).any() else ""
        )
        said.append(
            f"{plural(len(lesser), 'effect')} {'was' if len(lesser) == 1 else 'were'} tried on {' and '.join(titles)}{altered}: "
            f"{_counted(lesser)}. Such runs can show a direction, no more.{_after_holm(lesser)}"
        )
    return said


def _after_holm(rows: pd.DataFrame) -> str:
    """How many of the shown directions stay shown when all tests of the core claims are counted."""
    lost = sum(lucky(row) for row in rows.to_dict("records"))
    if not lost:
        return ""
    return (
        f" {lost} of the shown directions {'does' if lost == 1 else 'do'} not stay shown once all core claims are counted (Holm), and "
        f"{'is' if lost == 1 else 'are'} listed as open."
    )


def _counted(rows: pd.DataFrame) -> str:
    return ", ".join(_said(rows["verdict"].value_counts(), tuple(LABELS)))


def _said(counts: pd.Series, words: tuple[str, ...]) -> list[str]:
    return [f"{counts[word]} {LABELS[word].said[int(counts[word] > 1)]}" for word in words if word in counts]


def _how(ctx: Context) -> str:
    runs = ctx.results.runs
    studies = ctx.results.studies
    nets = len({(key[0], studies[key[0]].net(key[1]) if key[0] in studies else key[1]) for key in runs})
    many = (
        f"What was trained comes from {plural(len(runs), 'finished run')} of {plural(nets, 'network')}, what was counted from their "
        "layers at full size, what the lab had from its logs. "
        if runs
        else "Nothing is trained yet; what was counted comes from the network's layers, what the lab had from its logs. "
    )
    return f"How do you know? {many}Open a claim below to see the runs, the data and the code behind it, and the command that makes it again."


def verdict_counts(ctx: Context) -> Html:
    """Verdicts by strength of evidence; each number leads to its claims."""
    t = ctx.table
    columns = [evidence for evidence in EVIDENCE if (t["evidence"] == evidence).any()]
    rows = []
    for word in LABELS:
        found = t[t["verdict"] == word]["evidence"].value_counts()
        if len(found):
            cells = [_linked(found.get(column, 0), word, column) for column in columns]
            rows.append([badge(word, ""), _linked(int(found.sum()), word, None), *cells])
    heads = ["Verdict", "All", *(EVIDENCE[column] for column in columns)]
    return table(heads, rows, "Verdicts by strength of evidence", "counts")


def _linked(count: int, verdict: str, evidence: str | None) -> Html:
    if not count:
        return Html("–")
    of = f"{EVIDENCE[evidence].lower()}" if evidence is not None else "all"
    data = Html(' data-evidence="{}"').format(evidence or "none") if evidence is not None else ""
    return Html('<a href="#claims" data-verdict="{1}"{2} aria-label="{0} {1}, {3}">{0}</a>').format(
        count, verdict, data, of
    )


# What holds, what does not, what is missing -----------------------------------------------------------------------


def answers(ctx: Context) -> Html:
    """One row an answer: which claims, why, and what it would take to settle them."""
    t = ctx.table
    rows = []
    for title, verdicts, needs in ANSWERS:
        found = t[t["verdict"].isin(verdicts)]
        if len(found):
            rows.append([f"{title} ({len(found)})", _which(found, verdicts), _why(found), _needs(found, needs)])
    return table(["Answer", "Which", "Why", "What it would take"], rows, "The answers, and what is missing", "cards")


def _which(found: pd.DataFrame, verdicts: tuple[str, ...]) -> Html:
    """For each verdict a link to all its claims, and to the first ones in the paper's words."""
    parts = []
    for word in verdicts:
        ids = dict(found.loc[found["verdict"] == word, ["id", "statement"]].itertuples(index=False))
        if not ids:
            continue
        first = list(ids)[: 0 if word in UNLISTED else LISTED]
        links: list[str | Html] = [
            Html('<a href="#claim-{}">{}</a>').format(id_, ids[id_].partition(" (")[0]) for id_ in first
        ]
        if first and len(ids) > len(first):
            links.append(f"and {len(ids) - len(first)} more")
        all_of = Html('<a href="#claims" data-verdict="{0}">{1} {0}</a>').format(word, len(ids))
        parts.append(all_of + listed(links) if links else all_of)
    return joined(parts, " ")


def _why(found: pd.DataFrame) -> str:
    """The commonest reasons, with counts."""
    if found["verdict"].isin([*COUNTED, REPLICATED, NOT_REPLICATED]).all():
        by = found["why"].str.replace(r"[:;].*", "", regex=True).value_counts()
        return "; ".join(f"{n} × {text}" for text, n in by.head(3).items())
    listed = reasons(found, 2)
    said = [f"{count} × {text}" if count > 1 else text for text, count in listed]
    rest = len(found) - sum(count for _, count in listed)
    if rest:
        said.append("1 for another reason: see its row" if rest == 1 else f"{rest} for other reasons: see their rows")
    return "; ".join(said)


def _needs(found: pd.DataFrame, words: str) -> Html:
    """What would settle some claims: what the verdicts say they need, else the commands that run what is missing."""
    if words:
        return Html("{}").format(words)
    found = found[~found["verdict"].isin([REPLICATED, HOLDS]) | found["needed"].ne("")]
    if found.empty:
        return Html("Nothing more.")
    common = _common(found["needed"])
    said = [f"{text[:1].upper()}{text[1:]} ({count})." for text, count in common]
    told = sum(count for _, count in common)
    if common and told < len(found):
        said.append(f"The other {len(found) - told} say in their rows what they wait for.")
    wanted = found[found["verdict"] != CANNOT_TELL]["command"]
    studies = sorted({name for text in wanted for name in re.findall(r"studies=\[(\w+)\]", text)} - set(found["study"]))
    if studies:
        many = sum(any(f"[{name}]" in text for name in studies) for text in wanted)
        said.append(
            f"{many} need the paper's own data, those about errors also days on a GPU for each run (the paper: about "
            f"{DAYS:g} days on {GPUS} GTX 580)"
            + (f"; the other {len(found) - many} say in their rows what they wait for" if len(found) > many else "")
            + ". "
        )
        command = f"snakemake --cores all --config studies=[{','.join(studies)}]"
        return Html("{}<code>{}</code>").format(" ".join(said), command)
    return Html("{}").format(" ".join(said) or "–")


def _common(values: pd.Series, most: int = 2) -> list[tuple[str, int]]:
    count = values[values != ""].value_counts()
    return [(str(key), int(n)) for key, n in count.head(most).items()]
