"""The findings: a few stories with one large figure each, true for whatever has been run; a story without its runs is left out."""

from statistics import mean
from typing import Any

import pandas as pd

from analysis.paper.lab_logs import load_lab_logs
from analysis.report.context import Context
from analysis.report.forest import NAN, Row
from analysis.report.names import plain_name
from analysis.report.page import Html, render, stack
from analysis.report.pages import fig1_sentences, imagenet_run, lab_logs
from analysis.report.pages.campaign_state import progress
from analysis.report.pages.training import part_name, row_of
from analysis.results.evidence import Study
from analysis.verdicts.labels import AGAINST, CANNOT_TELL, FOR, NOT_SHOWN
from analysis.verdicts.rules import Outcome


def stories(ctx: Context) -> Html:
    """All stories that the results can tell."""
    told = (printed_text, fig1_sentences.story, authors_logs, parts_of_the_net, imagenet_run.story)
    return stack(*(tell(ctx) for tell in told))


def lucky(row: dict[str, Any]) -> bool:
    """Whether a direction is no longer shown once all tests of the core claims are counted."""
    return row["verdict"] in (*FOR, *AGAINST) and row["p_holm"] >= 0.05


# The printed text -------------------------------------------------------------------------------------------------


def printed_text(ctx: Context) -> Html | None:
    """Whether the text trains where its authors' program does, and which of its points keeps it from that."""
    study = next((study for study in ctx.studies if {"alexnet", "paper"} <= set(ctx.trained(study))), None)
    if study is None:
        return None
    listed = {row["name"]: row for row in ctx.results.departures.get("departures", []) if row.get("base") != "text"}
    trained = ctx.trained(study)
    recipes = [name for name in trained if study.kind(name) in ("base", "recipe")]
    points = [name for name in listed if name in trained]
    errors = {name: ctx.last(study, name) for name in [*recipes, *points]}
    dead = ctx.stuck(study, errors)
    blamed = [listed[name] for name in points if name in dead] if "alexnet" not in dead else []
    changes = {key for row in blamed for key in row["changes"]}
    alive = {name: study.experiments[name] for name in recipes if name not in dead}
    of_text = {name: about["difference"] or {} for name, about in alive.items() if about["baseline"] == "paper"}
    mended = [name for name, difference in of_text.items() if set(difference) <= changes]
    unscaled = [name for name in dead if name.removesuffix("_unscaled") in mended]
    named = {**{name: plain_name(name) for name in recipes}, **{name: listed[name]["topic"] for name in points}}
    notes = {name: "stays at chance" if name in dead else f"{mean(of):.1f} %" for name, of in errors.items()}
    rows = [Row(named[k], (mean(of), NAN, NAN), spread=tuple(of), note=notes[k]) for k, of in errors.items()]
    if points:
        rows.insert(len(recipes), Row("The program with one point of the text"))
        rows.insert(0, Row("Whole recipes"))
    return render(
        "findings/printed_text.html.j2",
        rows=rows,
        study=study,
        seeds=len(errors["paper"]),
        errors={name: mean(found) for name, found in errors.items()},
        dead=dead,
        blamed=blamed,
        mended=mended,
        unscaled=unscaled,
        others=[name for name in points if name not in dead],
    )


# The authors' logs ------------------------------------------------------------------------------------------------


def authors_logs(ctx: Context) -> Html:
    """Which differences of the paper the authors' own runs show, and which are within their noise."""
    logs = load_lab_logs()
    found = [d for d in lab_logs.differences(logs, "top1_error") if d.claim in ctx.claims]
    shown = [d for d in found if d.value - d.half > 0]
    noise = [d for d in found if d not in shown]
    spread, _ = lab_logs.twins_sd(logs, "top1_error")
    notes = ["stands out" if d in shown else "within the noise" for d in found]
    printed = [float(ctx.claims[d.claim].paper) for d in found]
    rows = [
        Row(d.words, None, paper, d.number, note=note) for d, paper, note in zip(found, printed, notes, strict=True)
    ]
    return render("findings/authors_logs.html.j2", rows=rows, shown=shown, noise=noise, spread=spread)


# What each part is worth ------------------------------------------------------------------------------------------


def parts_of_the_net(ctx: Context) -> Html | None:
    """What removing each part costs in the study that says most, beside the paper and the logs."""
    told = {study.name: _top1(ctx, study) for study in ctx.studies if "alexnet" in ctx.trained(study)}
    told = {name: found for name, found in told.items() if found}
    if not told:
        return None
    name = max(told, key=lambda name: (sum(o.verdict != CANNOT_TELL for o in told[name]), len(told[name])))
    study, found = ctx.results.studies[name], told[name]
    words = {key: [part_name(o) for o in found if o.verdict in of] for key, of in WORDS.items()}
    spans = [(o.low, o.high, o.claim.number) for o in found if o.low is not None and o.high is not None]
    limits = pd.Series([o.limit for o in found if o.verdict == CANNOT_TELL and o.limit]).value_counts()
    return render(
        "findings/parts_of_the_net.html.j2",
        rows=[row_of(o) for o in found],
        study=study,
        rises=sum(float(o.ours or 0) > 0 for o in found),
        above=sum(low > 0 for low, _, _ in spans),
        more=sum(o.verdict == CANNOT_TELL and (o.low or 0) > 0 for o in found),
        words=words,
        elsewhere=sum(not low <= printed <= high for low, high, printed in spans if printed),
        limits=limits,
        progress=progress(ctx, study),
        campaign=any(s.plan for s in ctx.studies),
    )


WORDS = {"agrees": FOR, "contradicts": AGAINST, "not_shown": (NOT_SHOWN,), "open": (CANNOT_TELL,)}


def _top1(ctx: Context, study: Study) -> list[Outcome]:
    found = ctx.outcomes(study, {"difference", "view_gain"})
    return [o for o in found if o.claim.metric == "top1_error" and isinstance(o.ours, float)]
