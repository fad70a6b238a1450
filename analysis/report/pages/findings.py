"""The findings: a few stories with one large figure each, true for whatever has been run; a story without its runs is left out."""

from __future__ import annotations

from statistics import mean
from typing import Any

import pandas as pd

from analysis.measures.estimates import DEAD
from analysis.paper.lab_logs import load_lab_logs
from analysis.report import figures
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.figures import Row
from analysis.report.names import plain_name, point_name
from analysis.report.page import Html, render, stack
from analysis.report.pages import fig1_sentences, imagenet_run, lab_logs
from analysis.report.pages.campaign_state import progress
from analysis.report.pages.training import differences_frame, part_name, row_of, spoken
from analysis.results.evidence import Study
from analysis.verdicts.labels import AGAINST, CANNOT_TELL, FOR, NOT_SHOWN
from analysis.verdicts.rules import Outcome

NAN = float("nan")


def stories(ctx: Context) -> Html:
    """All stories that the results can tell."""
    told = (printed_text, fig1_sentences.story, authors_logs, parts_of_the_net, imagenet_run.story)
    return stack(*(tell(ctx) for tell in told))


def lucky(row: dict[str, Any]) -> bool:
    """Whether a direction is no longer shown once all tests of the core claims are counted."""
    return row["verdict"] in (*FOR, *AGAINST) and row["p_holm"] >= 0.05


# The printed text -------------------------------------------------------------------------------------------------


def last_errors(ctx: Context, study: Study, name: str) -> list[float]:
    """Validation error of each seed at the end of its training, in %."""
    return [100 * float(curve["validation_error"].iloc[-1]) for curve in ctx.results.curves(study.name, name).values()]


def printed_text(ctx: Context) -> Html | None:
    """Whether the text trains where its authors' program does, and which of its points keeps it from that."""
    study = next((study for study in ctx.studies if {"alexnet", "paper"} <= set(ctx.trained(study))), None)
    if study is None:
        return None
    listed = {row["name"]: row for row in ctx.results.departures.get("departures", []) if row.get("base") != "text"}
    trained = ctx.trained(study)
    recipes = [name for name in trained if study.kind(name) in ("base", "recipe")]
    points = [name for name in listed if name in trained]
    errors = {name: last_errors(ctx, study, name) for name in [*recipes, *points]}
    dead = {name for name, found in errors.items() if min(found) > 100 * DEAD * study.chance}
    blamed = [listed[name] for name in points if name in dead] if "alexnet" not in dead else []
    changes = {key for row in blamed for key in row["changes"]}
    mended = [
        name
        for name in recipes
        if study.experiments[name]["baseline"] == "paper"
        and name not in dead
        and set(study.experiments[name]["difference"] or {}) <= changes
    ]
    values: dict[str, Any] = {
        "study": study,
        "seeds": len(errors["paper"]),
        "chance": 100 * study.chance,
        "errors": {name: mean(found) for name, found in errors.items()},
        "dead": dead,
        "blamed": blamed,
        "mended": mended,
        "others": [name for name in points if name not in dead],
    }
    known = study.chance == study.chance  # a study may not say how many classes it has
    rows = [Row("Whole recipes"), *(_seeds(plain_name(name), errors[name], name in dead) for name in recipes)]
    if points:
        rows.append(Row("The program with one point of the text"))
        rows += [_seeds(point_name(study, list(listed.values()), name), errors[name], name in dead) for name in points]
    data = pd.DataFrame(
        [(name, seed, error) for name, found in errors.items() for seed, error in enumerate(found, 1)],
        columns=["experiment", "run", "validation_error"],
    )
    drawn = chart(
        lambda narrow: figures.forest(
            rows,
            "validation error, %",
            narrow,
            100 * study.chance if known else 100,
            "guessing" if known else "",
            "mean; small dots: single seeds",
            cut=False,
        ),
        _title_of_text(values),
        "Validation error at the end: " + "; ".join(f"{name} {mean(found):.1f} %" for name, found in errors.items()),
        f"{study.title}: validation error after the last epoch, centre view. Grey: stays at chance. Unscaled: initial weights not adapted to the smaller net.",
        data,
    )
    return render("findings/printed_text.html.j2", figure=drawn, **values)


def _title_of_text(values: dict[str, Any]) -> str:
    if "paper" not in values["dead"]:
        return "The printed text trains"
    if "alexnet" in values["dead"]:
        return "Neither text nor program has left chance"
    topics = [row["topic"].lower() for row in values["blamed"]]
    blame = f": {' and '.join(topics)}" if topics else ""
    return (
        f"One point of the printed text keeps it at chance{blame}"
        if len(topics) == 1
        else f"The printed text stays at chance{blame}"
    )


def _seeds(label: str, errors: list[float], dead: bool) -> Row:
    return Row(
        label,
        (mean(errors), NAN, NAN),
        spread=tuple(errors),
        open=dead,
        note="stays at chance" if dead else f"{mean(errors):.1f} %",
    )


# The authors' logs ------------------------------------------------------------------------------------------------


def authors_logs(ctx: Context) -> Html:
    """Which differences of the paper the authors' own runs show, and which are within their noise."""
    logs = load_lab_logs()
    found = [d for d in lab_logs.differences(logs, "top1_error") if d.claim in ctx.claims]
    shown = [d for d in found if d.value - d.half > 0]
    noise = [d for d in found if d not in shown]
    spread, _ = lab_logs.twins_sd(logs, "top1_error")
    printed = {d.claim: float(ctx.claims[d.claim].paper) for d in found}
    title = f"{len(shown)} of {len(found)} printed gains stand out from the noise of the authors’ own runs"
    rows = [
        Row(
            d.words,
            lab=(d.value, d.value - d.half, d.value + d.half),
            paper=printed[d.claim],
            note="shown" if d in shown else "within the noise",
        )
        for d in found
    ]
    drawn = chart(
        lambda narrow: figures.forest(rows, "rise of the top-1 error, percentage points", narrow),
        title,
        "; ".join(
            f"{d.words}: {d.value:.2f} points, from {d.value - d.half:.2f} to {d.value + d.half:.2f}" for d in found
        ),
        "One logged run against one. Intervals hold 95 %: choice of images and spread between near-identical nets.",
        pd.DataFrame(
            [(d.words, printed[d.claim], d.value, d.value - d.half, d.value + d.half) for d in found],
            columns=["change", "paper", "log", "low", "high"],
        ),
    )
    return render(
        "findings/authors_logs.html.j2", figure=drawn, shown=shown, noise=noise, spread=spread, count=len(found)
    )


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
    above = [o for o in found if o.low is not None and o.low > 0]
    elsewhere = [
        part_name(o)
        for o in found
        if o.low is not None and o.high is not None and o.claim.number and not o.low <= o.claim.number <= o.high
    ]
    limits = pd.Series([o.limit for o in found if o.verdict == CANNOT_TELL and o.limit]).value_counts()
    rows = [row_of(o) for o in found]
    if words["open"] and len(words["open"]) == len(found):
        title = f"On {study.title}, no part carries a verdict yet"
    else:
        title = (
            f"On {study.title}, {len(words['agrees'])} of {len(found)} parts are shown to help"
            if len(words["agrees"]) != 1
            else f"On {study.title}, 1 of {len(found)} parts is shown to help"
        )
    drawn = chart(
        lambda narrow: figures.forest(rows, "rise of the top-1 error without it, percentage points", narrow),
        title,
        "; ".join(spoken(o) for o in found),
        f"{study.title}. Blue: carries a verdict; grey: none.",
        differences_frame(found),
    )
    return render(
        "findings/parts_of_the_net.html.j2",
        figure=drawn,
        study=study,
        count=len(found),
        rises=sum(float(o.ours or 0) > 0 for o in found),
        above=len(above),
        words=words,
        elsewhere=elsewhere,
        limit=limits.index[0] if len(limits) else "",
        limited=int(limits.iloc[0]) if len(limits) else 0,
        progress=progress(ctx, study),
        campaign=any(s.plan for s in ctx.studies),
    )


WORDS = {"agrees": FOR, "contradicts": AGAINST, "not_shown": (NOT_SHOWN,), "open": (CANNOT_TELL,)}


def _top1(ctx: Context, study: Study) -> list[Outcome]:
    found = ctx.outcomes(study, {"difference", "view_gain"})
    return [o for o in found if o.claim.metric == "top1_error" and isinstance(o.ours, float)]
