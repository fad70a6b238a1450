"""The report's first screen: what was tested, the answer in a few sentences and a figure, and what each verdict would still take."""

import re
from collections.abc import Iterable
from statistics import mean
from typing import Any

import pandas as pd

from analysis.calibration import power
from analysis.paper.lab_logs import load_lab_logs
from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.report.pages import fig1_sentences, headline, imagenet_run
from analysis.report.pages.campaign_state import progress, warnings
from analysis.report.pages.claims import reasons
from analysis.report.pages.findings import lucky
from analysis.report.pages.lab_logs import differences
from analysis.results.campaign import day
from analysis.results.evidence import COPIES, Study
from analysis.text import plural
from analysis.verdicts import labels
from analysis.verdicts.effects import titled
from analysis.verdicts.table import interval, number, verdict_words

# The recipes that are compared: the printed text, its authors' program, and the text with the program's colour noise, its initial weights
# rescaled to a smaller net or not.
RECIPES = ("paper", "alexnet", "paper_color_deviations", "paper_color_deviations_unscaled")
SHORT = {id_: f"{label[:1].lower()}{label[1:]}" for id_, label in headline.SHOWN.items()}


def facts(ctx: Context) -> dict[str, Any]:
    """What the sentences of the answer are made of."""
    t = ctx.table
    return {
        "runs": len(ctx.results.runs),
        "claims": len(t),
        "real": len(_real(ctx)),
        "errors": [row for row in headline.rows(ctx) if row.unit == "%"],
        "waiting": int((t["verdict"].eq(labels.PENDING) & t["command"].str.contains("ilsvrc")).sum()),
        "waits": _waits(t),
        "first": imagenet_run.first_step(ctx),
        "counted": [(count, words) for count, words, verdict in _tiles(t) if verdict in labels.COUNTED],
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
        nets=len(
            {(study, ctx.results.studies[study].net(name)) for study, name, _ in runs if study in ctx.results.studies}
        ),
        data=_named(study for study in ctx.studies if any(key[0] == study.name for key in _real(ctx))),
        tiles=_tiles(ctx.table),
        takeaway=headline.takeaway(headline.rows(ctx)),
        figures=headline.svg(ctx) + headline.svg(ctx, narrow=True),
        download=headline.svg(ctx, alone=True),
    )


def _real(ctx: Context) -> list[tuple[str, str, int]]:
    """Runs on images that the bench did not generate."""
    studies = ctx.results.studies
    return [key for key in ctx.results.runs if key[0] not in studies or studies[key[0]].tier != "demo"]


def _named(studies: Iterable[Study]) -> list[str]:
    """What studies are about, each once: their titles without what sets one apart from another."""
    return list(dict.fromkeys(re.split(r", | \(", study.title)[0] for study in studies))


def _waits(t: pd.DataFrame) -> list[str]:
    """For what the pending claims about ILSVRC wait, with counts, in words."""
    waiting = t[t["verdict"].eq(labels.PENDING) & t["command"].str.contains("ilsvrc")]
    needs = waiting["experiment"].map({"data": "for the archives alone", "alexnet": "for AlexNet trained on them"})
    needs = needs.where(waiting["baseline"].eq("")).fillna("for several nets")
    return [f"{count} {words}" for words, count in sorted(needs.value_counts().items())]


def _effects(ctx: Context, full: bool) -> dict[str, Any] | None:
    """What training showed, at the paper's scale or below it but on real images; None if nothing was tried there."""
    t = ctx.table[ctx.table["verdict"].ne(labels.PENDING)]
    t = t[t["evidence"].eq("paper scale") if full else t["evidence"].isin(["proxy", "reduced scale"])]
    if t.empty:
        return None
    groups = []
    for count, words, verdict in _tiles(t):
        rows = t[t["verdict"].eq(verdict)][["id", "statement"]].itertuples(index=False)
        named = [(id_, SHORT.get(id_, statement.partition(" (")[0])) for id_, statement in rows]
        groups.append((count, words, named if count < 4 else []))
    return {
        "full": full,
        "count": len(t),
        "groups": groups,
        "shared": int((t["verdict"].eq(labels.CANNOT_TELL) & t["limit"].str.startswith("rate not tuned")).sum()),
        "directions": int((t["verdict"].isin([*labels.FOR, *labels.AGAINST]) & t["p_holm"].notna()).sum()),
        "lucky": sum(lucky(row) for row in t.to_dict("records")),
        "studies": _named(study for study in ctx.studies if t["study"].eq(study.name).any()),
        "copy": bool(t["dataset"].isin(list(COPIES)).any()),
    }


def _race(ctx: Context) -> dict[str, Any] | None:
    """The factor between tanh and ReLU in the condition in which the claim is judged, and the least of all conditions."""
    row = next((r for r in ctx.table.to_dict("records") if r["id"] == "relu-speedup-cifar10"), None)
    if row is None or row["evidence"] == "demo" or row["ours"] == "" or row["study"] not in ctx.results.studies:
        return None
    study = ctx.results.studies[row["study"]]
    ratios = [e for *_, e in fig1_sentences.searched(ctx)]
    if not ratios:
        return None
    least = ratios[-1]
    return {
        "paper": row["paper"],
        "ours": f"{row['bound']} {number(row['ours'], 'x', 2)} times {interval(row['low'], row['high'], 'x')}".strip(),
        "own": study.races.get(row["experiment"], {}).get("condition", "").partition(" (")[0].partition(", ")[0],
        "least": f"{fig1_sentences.plain(least)} times",
        "depends": float(row["ours"]) / least.value >= 2,
        "conditions": len(ratios),
        "verdict": verdict_words(row["verdict"], row["evidence"], row["dataset"]),
        "why": row["why"].partition(":")[0] if row["verdict"] in labels.OPEN else "",
    }


def _recipes(ctx: Context) -> dict[str, Any] | None:
    """Final validation errors of the recipes, %, mean over seeds, where a study of real images trained text and program."""
    for study in ctx.studies:
        ends = {name: found for name in RECIPES if (found := ctx.last(study, name))}
        if study.tier != "demo" and {"paper", "alexnet"} <= set(ends):
            about = {"study": _named([study])[0], "shrunk": bool(study.shrunk), "chance": 100 * study.chance}
            about |= {"runs": len(ends["paper"]), "stuck": ctx.stuck(study, ends)}
            return about | {name: mean(found) for name, found in ends.items()}
    return None


def _logs() -> dict[str, Any]:
    """Which of the paper's printed differences the authors' own logs show, and which are within their noise."""
    logs = load_lab_logs()
    printed = [d for d in differences(logs, "top1_error") if d.claim]
    noise = [d.words[:1].lower() + d.words[1:] for d in printed if abs(d.value) <= d.half]
    return {"printed": len(printed), "shown": len(printed) - len(noise), "noise": list(dict.fromkeys(noise))}


def _tiles(t: pd.DataFrame) -> list[tuple[int, str, str]]:
    """How many claims have each verdict, what they do in words, and the verdict; those without a claim left out."""
    found = {word: t.loc[t["verdict"].eq(word), "evidence"] for word in labels.LABELS}
    where = {word: " on generated images" * bool(of.eq("demo").all()) for word, of in found.items()}
    return [
        (len(of), labels.LABELS[word].said[len(of) > 1] + where[word], word) for word, of in found.items() if len(of)
    ]


def study_line(ctx: Context, study: Study) -> str:
    """Study, data and how much was run, in one sentence."""
    runs = [key for key in ctx.results.runs if key[0] == study.name]
    seeds = plural(len({seed for _, _, seed in runs}), "different seed")
    nets = plural(len({study.net(name) for _, name, _ in runs}), "network")
    size = f"; the paper's net and training shrunk to {study.shrunk}" if study.shrunk else ""
    return f"{titled(ctx.results, study)}: {study.data.rstrip('.')}{size}; {nets}, {seeds}; {progress(ctx, study)}"


# What each verdict rests on, and what it would take ---------------------------------------------------------------


def verdicts(ctx: Context) -> Html:
    """One row a verdict: how many claims by strength of evidence, each number a link to them, why, and what would settle them."""
    rows = []
    for word in labels.LABELS:
        found = ctx.table[ctx.table["verdict"] == word]
        if len(found):
            counts = found["evidence"].value_counts()
            parts = {evidence: int(counts[evidence]) for evidence in reversed(labels.STRENGTH) if evidence in counts}
            rows.append({"word": word, "count": len(found), "parts": parts, "why": _why(found)} | _needs(found, word))
    return render(
        "verdicts.html.j2",
        rows=rows,
        evidence=labels.EVIDENCE,
        assumed=power,
        hours=imagenet_run.range_of_hours(ctx),
        warnings=warnings(ctx),
    )


def _why(found: pd.DataFrame) -> str:
    """The most common reasons, with counts."""
    if found["verdict"].isin([*labels.COUNTED, labels.REPLICATED, labels.NOT_REPLICATED]).all():
        by = found["why"].str.replace(r"[:;].*", "", regex=True).value_counts()
        return "; ".join(f"{text} ({n})" for text, n in by.head(3).items())
    return "; ".join(f"{text} ({count})" for text, count in reasons(found, 2))


def _needs(found: pd.DataFrame, word: str) -> dict[str, Any]:
    """What would settle claims of one verdict: what their rows say, and studies on the paper's own data that some of them wait for."""
    common = found.loc[found["needed"].ne(""), "needed"].value_counts().head(2)
    said = " ".join(f"{text[:1].upper()}{text[1:]} ({count})." for text, count in common.items())
    if word in (labels.AGREES, labels.NOT_SHOWN, labels.CONTRADICTS):
        return {"needed": "The paper's own data at full size.", "studies": [], "own": 0}
    wanted = re.findall(r"studies=\[(\w+)\]", " ".join(found["command"])) if word == labels.PENDING else []
    studies = sorted(set(wanted) - set(found["study"]))
    return {"needed": said, "studies": studies, "own": sum(name in studies for name in wanted)}
