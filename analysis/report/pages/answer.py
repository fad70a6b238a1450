"""The report's first screen: what was tested, the answer in a few sentences and a figure, and what each verdict would still take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.calibration.power import DAYS, GPUS
from analysis.measures import races
from analysis.measures.estimates import DEAD, NoEstimate
from analysis.measures.inference import Estimate
from analysis.paper.lab_logs import load_lab_logs
from analysis.report.badges import badge
from analysis.report.context import Context
from analysis.report.page import Html, joined, render, table
from analysis.report.pages import headline
from analysis.report.pages.campaign_state import progress, warnings
from analysis.report.pages.claims_table import reasons
from analysis.report.pages.findings import lucky
from analysis.report.pages.lab_logs import differences
from analysis.results.campaign import day
from analysis.results.evidence import COPIES, Study
from analysis.text import plural
from analysis.verdicts.labels import (
    AGAINST,
    AGREES,
    CANNOT_TELL,
    CITED,
    CONTRADICTS,
    COUNTED,
    DIFFERS,
    EVIDENCE,
    FOR,
    HOLDS,
    HOLDS_NOT,
    LABELS,
    MISCOUNTS,
    NOT_REPLICATED,
    NOT_SHOWN,
    NOT_TESTABLE,
    OPEN,
    PENDING,
    REPLICATED,
    STRENGTH,
)
from analysis.verdicts.table import interval, number, verdict_words

# The counts below the answer: what one claim, or several, do, and the verdicts that say so.
TILES = (
    ("holds by counting or reading", "hold by counting or reading", (HOLDS,)),
    ("is replicated at full size", "are replicated at full size", (REPLICATED,)),
    ("points the paper's way", "point the paper's way", (AGREES,)),
    ("does not hold", "do not hold", (NOT_REPLICATED, HOLDS_NOT, CONTRADICTS)),
    ("is a miscount of the paper", "are miscounts of the paper", (MISCOUNTS,)),
    ("differs from the authors' program", "differ from the authors' program", (DIFFERS,)),
    ("was tested and is open", "were tested and are open", (CANNOT_TELL, NOT_SHOWN)),
    ("has not been run", "have not been run", (PENDING,)),
    ("cannot be tested, or quotes others", "cannot be tested, or quote others", (NOT_TESTABLE, CITED)),
)
# What a verdict would take if its rows do not say; nothing where it is final.
NEEDS = {AGREES: "The paper's own data at full size.", NOT_SHOWN: "The paper's own data at full size.", CONTRADICTS: "The paper's own data at full size."}  # fmt: skip
KINDS = {
    "demo": "generated data, proves the machinery only",
    "proxy": "other data than the paper's",
    "reduced": "the paper's data at reduced scale",
    "paper": "the paper's data",
}
# The recipes that are compared: the printed text, its authors' program, and the text with the program's colour noise.
RECIPES = ("paper", "alexnet", "paper_color_deviations")


def facts(ctx: Context) -> dict[str, Any]:
    """What the sentences of the answer are made of."""
    t = ctx.table
    return {
        "runs": len(ctx.results.runs),
        "real": len(_real(ctx)),
        "errors": [row for panel in headline.panels(ctx) if panel.unit == "%" for row in panel.rows],
        "waiting": int((t["verdict"].eq(PENDING) & t["command"].str.contains("ilsvrc")).sum()),
        "one_net": _one_net(t),
        "effects": [part for full in (True, False) if (part := _effects(ctx, full))],
        "race": _race(ctx),
        "recipes": _recipes(ctx),
        "logs": _logs(),
    }


def first_screen(ctx: Context) -> Html:
    """What this is, the answer beside the headline figure, the counts of verdicts, and what a reader must know before the numbers."""
    runs = ctx.results.runs
    return render(
        "answer.html.j2",
        **facts(ctx),
        day=max([day(run) for run in runs.values()], default=""),
        nets=len({(key[0], _net(ctx, key)) for key in runs}),
        data=_named(study for study in ctx.studies if any(key[0] == study.name for key in _real(ctx))),
        tiles=_tiles(ctx.table),
        claims=len(ctx.table),
        takeaway=headline.takeaway(headline.panels(ctx)),
        figures=headline.svg(ctx) + headline.svg(ctx, narrow=True),
        download=headline.svg(ctx, alone=True),
        warnings=warnings(ctx),
    )


def _real(ctx: Context) -> list[tuple[str, str, int]]:
    """Runs on images that the bench did not generate."""
    studies = ctx.results.studies
    return [key for key in ctx.results.runs if key[0] not in studies or studies[key[0]].tier != "demo"]


def _named(studies: Iterable[Study]) -> list[str]:
    """What studies are about, each once: their titles without what sets one apart from another."""
    return list(dict.fromkeys(re.split(r", | \(", study.title)[0] for study in studies))


def _net(ctx: Context, key: tuple[str, str, int]) -> str:
    return ctx.results.studies[key[0]].net(key[1]) if key[0] in ctx.results.studies else key[1]


def _one_net(t: pd.DataFrame) -> int:
    """How many pending claims wait for the base network on ILSVRC-2010 alone."""
    alone = t["experiment"].eq("alexnet") & t["baseline"].eq("")
    return int((alone & t["verdict"].eq(PENDING) & t["command"].str.contains("ilsvrc2010", regex=False)).sum())


def _effects(ctx: Context, full: bool) -> dict[str, Any] | None:
    """What training showed, at the paper's scale or below it but on real images; None if nothing was tried there."""
    t = ctx.table[ctx.table["verdict"].ne(PENDING)]
    t = t[t["evidence"].eq("paper scale") if full else t["evidence"].isin(["proxy", "reduced scale"])]
    if t.empty:
        return None
    groups = [
        ("points the paper's way", "point the paper's way", FOR),
        ("points the other way", "point the other way", AGAINST),
        ("falls short of it", "fall short of it", (NOT_SHOWN,)),
        ("is open", "are open", (CANNOT_TELL,)),
    ]
    short = {
        id_: f"{label[:1].lower()}{label[1:]}" for labels in headline.PANELS.values() for id_, label in labels.items()
    }
    said = []
    for one, many, verdicts in groups:
        rows = t[t["verdict"].isin(verdicts)].to_dict("records")
        if rows:
            named = [(row["id"], short.get(row["id"], row["statement"].partition(" (")[0])) for row in rows[:4]]
            said.append((len(rows), one if len(rows) == 1 else many, named if len(rows) < 4 else []))
    shared = t["verdict"].eq(CANNOT_TELL) & t["limit"].str.startswith("rate not tuned")
    return {
        "full": full,
        "count": len(t),
        "groups": said,
        "shared": int(shared.sum()),
        "lucky": sum(lucky(row) for row in t.to_dict("records")),
        "studies": _named(study for study in ctx.studies if t["study"].eq(study.name).any()),
        "copy": bool(t["dataset"].isin(list(COPIES)).any()),
    }


def _race(ctx: Context) -> dict[str, Any] | None:
    """The factor between tanh and ReLU in the condition in which the claim is judged, and the least and the most of all conditions."""
    rows = [
        r
        for r in ctx.table.to_dict("records")
        if r["id"] == "relu-speedup-cifar10" and r["study"] in ctx.results.studies
    ]
    if not rows or rows[0]["evidence"] == "demo":
        return None
    row, study = rows[0], ctx.results.studies[rows[0]["study"]]
    found: list[tuple[str, Estimate]] = []
    for pair in races.pairs(study):
        try:
            found.append((study.races[pair[0]]["condition"].partition(" (")[0], races.ratio(ctx.results, study, *pair)))
        except NoEstimate:
            continue
    found = [(words, e) for words, e in found if e.value == e.value]
    if not found or row["ours"] == "":
        return None
    own = study.races.get(row["experiment"], {}).get("condition", "").partition(" (")[0]
    least = min(found, key=lambda item: item[1].value)
    return {
        "paper": row["paper"],
        "ours": f"{row['bound']} {number(row['ours'], 'x', 2)} times {interval(row['low'], row['high'], 'x')}".strip(),
        "own": own,
        "least": (least[0], f"{least[1].bound} {number(least[1].value, 'x', 2)} times".strip()),
        "depends": float(row["ours"]) / least[1].value >= 2,
        "conditions": len(found),
        "verdict": verdict_words(row["verdict"], row["evidence"], row["dataset"]),
        "why": row["why"].partition(":")[0] if row["verdict"] in OPEN else "",
    }


def _recipes(ctx: Context) -> dict[str, Any] | None:
    """Final validation errors of the recipes, %, mean over seeds, where a study of real images trained text and program."""
    for study in ctx.studies:
        ends = {name: [100 * float(c["validation_error"].iloc[-1]) for c in ctx.results.curves(study.name, name).values()] for name in RECIPES}  # fmt: skip
        if study.tier == "demo" or not ends["paper"] or not ends["alexnet"]:
            continue
        means = {name: sum(found) / len(found) for name, found in ends.items() if found}
        return {
            "study": _named([study])[0],
            "shrunk": bool(study.shrunk),
            "chance": 100 * study.chance,
            "stuck": {name for name, found in ends.items() if found and min(found) > DEAD * 100 * study.chance},
            **means,
        }
    return None


def _logs() -> dict[str, Any]:
    """Which of the paper's printed differences the authors' own logs show, and which are within their noise."""
    logs = load_lab_logs()
    printed = [d for metric in ("top1_error", "top5_error") for d in differences(logs, metric) if d.claim]
    noise = [d for d in printed if abs(d.value) <= d.half]
    names = dict.fromkeys(f"{d.words[:1].lower()}{d.words[1:]}" for d in noise)
    return {"printed": len(printed), "shown": len(printed) - len(noise), "noise": list(names)}


def _tiles(t: pd.DataFrame) -> list[tuple[int, str, str]]:
    """Count, words, and the verdict to filter by where it is one, of each of `TILES` that has a claim."""
    found = []
    for one, many, verdicts in TILES:
        rows = t[t["verdict"].isin(verdicts)]
        if len(rows):
            words = set(rows["verdict"])
            found.append((len(rows), one if len(rows) == 1 else many, words.pop() if len(words) == 1 else ""))
    return found


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


# What each verdict rests on, and what it would take ---------------------------------------------------------------


def verdicts(ctx: Context) -> Html:
    """One row a verdict: how many claims by strength of evidence, each number a link to them, why, and what would settle them."""
    rows = []
    for word in LABELS:
        found = ctx.table[ctx.table["verdict"] == word]
        if len(found):
            counts = found["evidence"].value_counts()
            parts = [_linked(counts[evidence], word, evidence) for evidence in reversed(STRENGTH) if evidence in counts]
            claims = Html('<a href="#claims" data-verdict="{1}">{0}</a>').format(len(found), word)
            rows.append([badge(word, ""), claims, joined(parts, ", "), _why(found), _needs(found, word)])
    heads = ["Verdict", "Claims", "By evidence", "Commonest reasons", "What it would take"]
    return table(heads, rows, "Verdicts, their reasons, and what each would still take", "cards")


def _linked(count: int, verdict: str, evidence: str) -> Html:
    return Html('<a href="#claims" data-verdict="{0}" data-evidence="{1}">{2} {3}</a>').format(
        verdict, evidence or "none", count, EVIDENCE[evidence].short
    )


def _why(found: pd.DataFrame) -> str:
    """The commonest reasons, with counts."""
    if found["verdict"].isin([*COUNTED, REPLICATED, NOT_REPLICATED]).all():
        by = found["why"].str.replace(r"[:;].*", "", regex=True).value_counts()
        return "; ".join(f"{text} ({n})" for text, n in by.head(3).items())
    return "; ".join(f"{text} ({count})" for text, count in reasons(found, 2))


def _needs(found: pd.DataFrame, word: str) -> Html:
    """What would settle claims of one verdict: what their rows say, else the data and the command."""
    if word in NEEDS:
        return Html.escape(NEEDS[word])
    common = found.loc[found["needed"].ne(""), "needed"].value_counts().head(2)
    said = [f"{text[:1].upper()}{text[1:]} ({count})." for text, count in common.items()]
    if word != PENDING:
        return Html.escape(" ".join(said) or "Nothing more.")
    wanted = re.findall(r"studies=\[(\w+)\]", " ".join(found["command"]))
    studies = sorted(set(wanted) - set(found["study"]))
    if not studies:
        return Html.escape(" ".join(said) or "–")
    said.append(
        f"{sum(name in studies for name in wanted)} need the paper's own data; those about errors also take days on a GPU for each run "
        f"(the paper: about {DAYS:g} days on {GPUS} GTX 580)."
    )
    return Html("{} <code>snakemake --cores all --config 'studies=[{}]'</code>").format(
        " ".join(said), ",".join(studies)
    )
