"""The page on Fig. 1: ratio by condition, curves, epochs by learning rate, and the same of the full net at equal rates."""

from statistics import geometric_mean
from typing import Any

import pandas as pd

from analysis.measures import races
from analysis.measures.convergence import Reached, earlier, ratio_of, shown_ratio
from analysis.report.context import Context
from analysis.report.figures import as_curve
from analysis.report.page import Html, render
from analysis.report.pages.fig1_sentences import NETS, Condition, claims_of, conditions, contrasts_of, curves_of, plain
from analysis.results.campaign import several
from analysis.results.evidence import Study
from analysis.text import markdown_table
from analysis.verdicts.table import interval

# Training errors at which the ratio is also looked at, above the one of the race.
MARKS = (0.50, 0.45, 0.40, 0.35, 0.30)
HEADS = [
    *("Condition", "Computed in", "Rate, ReLU", "Epochs, ReLU", "Rate, tanh", "Epochs, tanh"),
    *("tanh ÷ ReLU", "95 % interval", "Seeds"),
]


def fig1(ctx: Context, study: Study) -> Html | None:
    """All races of a study: what holds under which condition, and on what that rests; None before the first race."""
    run = conditions(ctx, study)
    if not run:
        return None
    about = study.races[run[0].pair[0]]
    mark, marks = 100 * about["train_error"], [mark for mark in MARKS if mark > about["train_error"]]
    return render(
        "fig1.html.j2",
        study=study,
        about=about,
        mark=mark,
        outcomes=claims_of(ctx, study),
        waits=len(races.pairs(study)) - len(run),
        curves={of.name: curves_of(ctx, study, of) for of in run},
        heads=HEADS,
        rows=[_row(ctx, study, condition) for condition in run],
        caption=_caption(ctx, study, run),
        plain=plain,
        contrasts=contrasts_of(ctx, study, run),
        rates=_rates(run),
        marks=[f"At {100 * mark:g} %" for mark in marks],
        others=[found for condition in run if (found := _counted_otherwise(ctx, study, condition, marks))],
        **_setting(ctx, study, run),
    )


def at_equal_rates(ctx: Context, study: Study) -> Html | None:
    """ReLU against tanh in the full net of a study without races: its curves, and the ratio of epochs in words."""
    runs = {net: ctx.results.curves(study.name, name) for net, name in (("ReLU", "zero_biases"), ("tanh", "tanh"))}
    if study.races or not all(runs.values()):
        return None
    curves = {net: [as_curve(curve) for curve in seeds.values()] for net, seeds in runs.items()}
    ratios = [o for o in ctx.outcomes(study, {"ratio"}) if o.claim.experiment == "tanh"]
    return render("fig1_equal_rates.html.j2", study=study, ratios=ratios, curves=curves)


def markdown(ctx: Context, study: Study) -> str:
    """Rates, epochs and ratio of each condition as a Markdown table below its caption; nothing if no race was run."""
    run = conditions(ctx, study)
    rows = (_row(ctx, study, condition) for condition in run)
    return f"{_caption(ctx, study, run)}:\n\n{markdown_table(HEADS, rows)}" if run else ""


def _caption(ctx: Context, study: Study, run: list[Condition]) -> str:
    mark = 100 * study.races[run[0].pair[0]]["train_error"]
    data = ctx.results.form(study.name, study.training_set)
    return f"Epochs to {mark:g} % running training error on {data}, by condition"


def _row(ctx: Context, study: Study, of: Condition) -> list[str]:
    """A condition under `HEADS`: rates, mean epochs of both nets, their ratio with its interval."""
    tanh, relu = (list(races.judged(ctx.results, study, name).values()) for name in of.pair)
    rates = [f"{choice.rate:g}" + (f" ({choice.edge} tried)" if choice.edge else "") for choice in of.choices]
    e = of.ratio
    ratio = [plain(e), interval(e.low, e.high, "x") or "–"] if e else ["–", "–"]
    seeds = f"{e.seeds} pairs" if e and e.paired else f"{len(relu)} vs {len(tanh)}"
    return [of.words, _precision(ctx, study, of), rates[1], _epochs(relu), rates[0], _epochs(tanh), *ratio, seeds]


def _rates(run: list[Condition]) -> list[tuple[str, str, float, float, bool, bool]]:
    """The rows of `rates_chart` for the seed that chose the rates; none where all rates were given."""
    return [
        (of.name, net, rate, reached.epoch, not reached.censored, rate == choice.rate)
        for of in run
        for net, choice in zip(NETS, reversed(of.choices), strict=True)
        if not choice.given
        for rate, reached in choice.swept.items()
    ]


def _precision(ctx: Context, study: Study, of: Condition) -> str:
    """The number format in which the runs of both nets were computed."""
    names = {name for race in of.pair for name in study.races[race]["rates"]}
    runs = ctx.results.runs.items()
    return several(run.get("precision") for key, run in runs if key[0] == study.name and key[1] in names)


def _epochs(side: list[Reached]) -> str:
    """Geometric mean of the epochs, and how many runs never reached the mark."""
    if not side:
        return "–"
    mean = geometric_mean([r.epoch for r in side])
    late = sum(r.censored for r in side)
    return f"≥ {mean:.1f} ({late} of {len(side)} never)" if late else f"{mean:.1f}"


def _counted_otherwise(ctx: Context, study: Study, of: Condition, marks: list[float]) -> dict[str, Any]:
    """The ratio if epochs, rates or marks were counted in other ways, and how well both nets do on validation images."""
    judged = [races.judged(ctx.results, study, name) for name in of.pair]
    if of.ratio is None or not all(judged):
        return {}
    about = study.races[of.pair[0]]
    nets = [list(races.judged_curves(ctx.results, study, name).values()) for name in of.pair]
    slow, fast = map(races.finer, of.choices)
    return {
        "name": of.name,
        "ratio": of.ratio,
        "middle": ratio_of(earlier(judged[0]), earlier(judged[1]), *of.pair, "the mark"),
        "finer": None if slow is None or fast is None else slow / fast,
        "at": [
            shown_ratio(*([races.reached(c, mark, about["epochs"]) for c in net] for net in nets)) for mark in marks
        ],
        "errors": [_validation_at(net, about["train_error"]) for net in nets[::-1]],
    }


def _validation_at(side: list[pd.DataFrame], mark: float) -> str:
    """Mean validation error of the first epoch at or below the mark, over the runs that got there."""
    found = [curve.loc[curve["train_error"] <= mark, "validation_error"] for curve in side]
    there = [float(errors.iloc[0]) for errors in found if len(errors)]
    return f"{100 * sum(there) / len(there):.1f} %" if there else "–"


def _setting(ctx: Context, study: Study, run: list[Condition]) -> dict[str, Any]:
    """How the nets of the first condition are built and trained, from the configuration of one of their runs."""
    rates = study.races[run[0].pair[0]]["rates"]
    key = min((key for key in ctx.results.configs if key[0] == study.name and key[1] in rates), default=None)
    config = ctx.results.configs[key] if key else {}
    if key is None or not config.get("model", {}).get("layers") or not config.get("optimizer"):
        return {"config": {}}
    return {"config": config, "parameters": ctx.results.runs.get(key, {}).get("parameters")}
