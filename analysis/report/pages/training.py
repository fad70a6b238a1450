"""The page on ablations and training: what each part is worth, how the nets ended, their learning rates and test errors."""

import math
from typing import Any

import pandas as pd

from analysis.report import figures
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.figures import as_curve
from analysis.report.forest import Row, drawing, panel
from analysis.report.names import plain_name
from analysis.report.page import Html, render
from analysis.report.pages.lab_logs import logged_number
from analysis.results.evidence import Results, Study
from analysis.text import mean_range
from analysis.verdicts.effects import Effect, compared_on, effects
from analysis.verdicts.labels import CANNOT_TELL
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import number

FEWEST = 3  # rows of a forest: fewer say no more than their table
NAN = math.nan


# Ablations --------------------------------------------------------------------------------------------------------


def ablations(ctx: Context) -> Html:
    """A forest for each study that measures several differences, and the numbers of all."""
    found = [(study, *_measured(ctx, study)) for study in ctx.studies]
    hows = {"difference", "view_gain", "gap", "generalization_gap", "sample_difference"}
    return render(
        "ablations.html.j2",
        forests=[(study, _rows(claimed, others)) for study, claimed, others in found],
        outcomes=[o for study in ctx.studies for o in ctx.outcomes(study, hows)],
        others=[(study, others) for study, _, others in found],
    )


def _measured(ctx: Context, study: Study) -> tuple[list[Outcome], list[Effect]]:
    """The top-1 differences that claims of the paper ask for, and those of the other parts that were taken away."""
    claimed = [o for o in ctx.outcomes(study, {"difference", "view_gain"}) if o.claim.metric == "top1_error"]
    nets = {(o.claim.experiment, o.claim.baseline) for o in claimed}
    names = [name for name, about in study.experiments.items() if about["kind"] == "ablation"]
    found = effects(ctx.results, study, names)
    return claimed, [e for e in found if e.estimate is not None and (e.experiment, e.baseline) not in nets]


def _rows(claimed: list[Outcome], others: list[Effect]) -> list[Row]:
    """Differences as the rows of a forest; none if they are too few for one."""
    rows = [row_of(o) for o in claimed]
    rows += [
        Row(plain_name(e.experiment), e.points, open=e.words not in ("worse", "better"), note=e.words) for e in others
    ]
    return rows if len(rows) >= FEWEST else []


def part_name(outcome: Outcome) -> str:
    """What the net of a difference lacks; the number of views is no part of a net."""
    if outcome.claim.how == "view_gain":
        return "One view in place of ten"
    name = plain_name(outcome.claim.experiment)
    return f"{name}, base as printed" if outcome.claim.baseline.startswith("text_") else name


def row_of(outcome: Outcome) -> Row:
    """A difference as a row of a forest, with the paper's value and the log's."""
    claim = outcome.claim
    span = [NAN if end is None else end for end in (outcome.low, outcome.high)]
    ours, log = (float(outcome.ours or 0), span[0], span[1]), logged_number(claim)
    undecided = outcome.verdict == CANNOT_TELL
    return Row(part_name(outcome), ours, claim.number or NAN, log, open=undecided, note=outcome.verdict)


# Training ---------------------------------------------------------------------------------------------------------

ENDS, SHAPES = ["training", "one view", "ten views"], ["triangle", "hollow", "ours"]


def training(ctx: Context) -> Html:
    """How the nets of the paper's comparisons ended, normalisation over the epochs, learning rates and test errors."""
    ran = [study for study in ctx.studies if ctx.trained(study)]
    studies = [(study, *rate_changes(ctx.results, study), final_errors(ctx, study)) for study in ran]
    ends = [_ends(ctx, study) for study in ran]
    return render("training.html.j2", ends=ends, normalised=_normalisation(ctx, ran), studies=studies)


def _ends(ctx: Context, study: Study) -> Html | None:
    """Errors at the end of training, with one view and with ten, a row a net."""
    set_, split = compared_on(study)
    rows = {}
    for name in [name for name in ctx.trained(study) if study.kind(name) in ("base", "ablation")]:
        last = [curve["train_error"].iloc[-1] for curve in ctx.results.curves(study.name, name).values()]
        tests = [ctx.results.chosen(study.name, name, set_, split, view)["top1_error"] for view in ("center", "ten")]
        rows[plain_name(name)] = [100 * pd.Series(errors, dtype=float).mean() for errors in (last, *tests)]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=ENDS).dropna()
    if len(frame) < FEWEST:
        return None
    gain = frame["one view"] - frame["ten views"]
    means = [number(value, "%", 2) for value in (gain.mean(), gain.min(), gain.max())]
    drawn = [
        Row(net, (ten, NAN, NAN), marks=(("triangle", train), ("hollow", one)))
        for net, train, one, ten in frame.itertuples()
    ]
    shown = [panel("top-1 error, %", drawn, float(frame.min().min()), cut=False)]
    legend = list(zip(SHAPES, ENDS, strict=True))
    said = (f"{row.Index} {row[1]:.1f}, {row[2]:.1f} and {row[3]:.1f} %" for row in frame.itertuples())
    alt = f"Top-1 error in training, with one view and with ten: {'; '.join(said)}"
    return chart(
        lambda narrow: drawing(shown, alt, narrow, legend),
        f"Ten views lower the error of the nets on {study.title} by {means[0]} points on average, from {means[1]} to {means[2]}",
        f"Means over seeds, on {set_} {split}. Training error is the running one, with dropout and augmentation on, so it can lie above the others.",
        frame.reset_index(names="net"),
    )


def _normalisation(ctx: Context, ran: list[Study]) -> dict[str, dict[str, list[figures.Curve]]]:
    """The curves of nets with and without response normalisation, by study."""
    nets: dict[str, dict[str, list[figures.Curve]]] = {}
    for study in ran:
        for pair in ({"with": "alexnet", "without": "no_lrn"}, {"with": "cifar_lrn", "without": "cifar_no_lrn"}):
            runs = {k: ctx.results.curves(study.name, name).values() for k, name in pair.items()}
            if all(runs.values()):
                nets[study.title] = {k: [as_curve(c, "validation_error") for c in of] for k, of in runs.items()}
    return nets


def rate_changes(results: Results, study: Study) -> tuple[int, list[dict[str, Any]]]:
    """The first seed of the base network, and each change of its learning rates with the reason."""
    runs = sorted(key for key in results.runs if key[:2] == (study.name, "alexnet"))
    return (runs[0][2], results.runs[runs[0]].get("rate_changes", [])) if runs else (0, [])


def final_errors(ctx: Context, study: Study) -> list[list[str]]:
    """Of every evaluation of a study: name, data, images, seeds, and mean and range over seeds with one and ten views."""
    e = ctx.results.evals
    rows = []
    for (name, set_, split), group in e[e["study"] == study.name].groupby(["experiment", "set", "split"], sort=True):
        views = [group[group["view"] == view] for view in ("center", "ten")]
        errors = [mean_range(100 * of[metric]) for of in views for metric in ("top1_error", "top5_error")]
        images, seeds = f"{group['images'].iloc[0]:,}", str(group["seed"].nunique())
        rows.append([name, f"{set_} {split}", images, seeds, *errors])
    return sorted(rows, key=lambda cells: (cells[1], cells[0] != "alexnet", cells[0]))


def pilot(study: Study) -> Html | None:
    """Validation error in % of each net of a pilot by the factor on its rates, the chosen one marked; None without a pilot."""
    about = study.record.get("pilot")
    if not about:
        return None
    tried = {name: {float(f): e for f, e in rate["tried"].items()} for name, rate in about["rates"].items()}
    factors = sorted({factor for errors in tried.values() for factor in errors})
    heads = ["Net", *(f"× {factor:g}" for factor in factors), "Chosen"]
    return render("pilot.html.j2", study=study, about=about, tried=tried, factors=factors, heads=heads)
