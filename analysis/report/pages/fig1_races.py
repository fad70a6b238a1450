"""The page on Fig. 1: ratio by condition, curves, epochs by learning rate, and the same of the full net at equal rates."""

from __future__ import annotations

import math
from statistics import geometric_mean

import pandas as pd

from analysis.measures import races
from analysis.measures.convergence import Reached, earlier, epochs_to, ratio_of, shown_ratio
from analysis.report import figures
from analysis.report.badges import badge
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.figures import as_curve, curves_chart
from analysis.report.names import condition_name
from analysis.report.page import Html, folded, heading, note, render, say, stack, table
from analysis.report.pages.fig1_sentences import (
    chosen_rates,
    claims_of,
    contrasts_of,
    curves_of,
    pairs_of,
    plain,
    ratio_of_pair,
)
from analysis.results.campaign import several
from analysis.results.evidence import Study
from analysis.text import plural
from analysis.verdicts.table import interval, number

# Training errors at which the ratio is also looked at, above the one of the race.
MARKS = (0.50, 0.45, 0.40, 0.35, 0.30)
Pairs = list[tuple[str, str]]  # races: tanh, ReLU


def fig1(ctx: Context, study: Study) -> Html | None:
    """All races of a study: what holds under which condition, and on what that rests; None before the first race."""
    run = pairs_of(ctx, study)
    if not run:
        return None
    mark = 100 * study.races[run[0][0]]["train_error"]
    verdicts = (
        Html("<p>{}: {} {}</p>").format(o.claim.statement, badge(o.verdict, o.evidence, o.dataset), o.why)
        for o in claims_of(ctx, study)
    )
    waits = len(races.pairs(study)) - len(run)
    more = {
        "How the nets are built and trained": setting(ctx, study, run),
        "Rates, epochs and ratio in each condition": conditions(ctx, study, run),
        "How each condition differs from the judged one": choices(ctx, study, run),
        "How the learning rates were chosen": _rates(ctx, study, run, mark),
        "What other ways of counting would give": sensitivity(ctx, study, run),
        "Epochs of every run": every_run(ctx, study),
    }
    return stack(
        heading(study.title),
        say(f"{study.data.rstrip('.')}."),
        *verdicts,
        note(f"{plural(waits, 'condition')} not run yet.") if waits else None,
        _curves(ctx, study, run, mark),
        *(folded(words, part) for words, part in more.items() if part),
    )


def at_equal_rates(ctx: Context, study: Study) -> Html | None:
    """ReLU against tanh in the full net of a study without races: curves, ratio, epochs of every seed."""
    runs = {net: ctx.results.curves(study.name, name) for net, name in (("ReLU", "zero_biases"), ("tanh", "tanh"))}
    if study.races or not all(runs.values()):
        return None
    mark = 100 * study.threshold
    rows = [
        [net, str(seed), races.shown(epochs_to(curve, study.threshold)), f"{100 * curve['train_error'].iloc[-1]:.1f} %"]
        for net, seeds in runs.items()
        for seed, curve in seeds.items()
    ]
    heads = ["Net", "Seed", "Epochs", "Training error at the end"]
    said = (
        f"The tanh net needs {o.bound}{number(o.ours, 'x', 2)} times the epochs of the ReLU net {interval(o.low, o.high, 'x')}, whose biases "
        f"start at zero too, where every mark counts ({o.counted}): {o.why}."
        for o in ctx.outcomes(study, {"ratio"})
        if o.claim.experiment == "tanh"
    )
    return stack(
        heading(study.title),
        say(f"{study.data.rstrip('.')}.", *said),
        curves_chart(
            {study.title: {net: [as_curve(curve) for curve in seeds.values()] for net, seeds in runs.items()}},
            "training error (%)",
            f"ReLU against tanh in the full net, on {study.title}",
            f"Running training error, a line a seed, both nets at the same rates; dotted: {mark:g} %.",
            mark=mark,
        ),
        folded("Epochs of every run", table(heads, rows, f"Epochs until {mark:g} % training error")),
    )


CONDITION_HEADS = [
    *("Condition", "Computed in", "Rate, ReLU", "Epochs, ReLU", "Rate, tanh", "Epochs, tanh"),
    *("tanh ÷ ReLU", "95 % interval", "Seeds"),
]


def conditions(ctx: Context, study: Study, run: Pairs) -> Html:
    """One line a condition: rates, mean epochs of both nets, their ratio with its interval."""
    return table(CONDITION_HEADS, _condition_rows(ctx, study, run), _condition_caption(ctx, study, run))


def markdown(ctx: Context, study: Study) -> str:
    """The same lines as a Markdown table below its caption; nothing if no race was run."""
    run = pairs_of(ctx, study)
    if not run:
        return ""
    rows = [CONDITION_HEADS, ["---"] * len(CONDITION_HEADS), *_condition_rows(ctx, study, run)]
    return f"{_condition_caption(ctx, study, run)}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _condition_caption(ctx: Context, study: Study, run: Pairs) -> str:
    mark = 100 * study.races[run[0][0]]["train_error"]
    data = ctx.results.form(study.name, study.training_set)
    return f"Epochs to {mark:g} % running training error on {data}, by condition"


def _condition_rows(ctx: Context, study: Study, run: Pairs) -> list[list[str]]:
    rows: list[list[str]] = []
    for pair in run:
        e = ratio_of_pair(ctx, study, pair)
        sides = []
        for name, choice in zip(pair, chosen_rates(ctx, study, pair), strict=True):
            others = races.judged(ctx.results, study, name)
            edge = f" ({choice.edge} tried)" if choice.edge else ""
            sides.append((f"{choice.rate:g}{edge}", _epochs(list(others.values())), len(others)))
        (rate, epochs, seeds), (base_rate, base_epochs, base_seeds) = sides
        if e is None:
            ratio, span = "–", "–"
        else:
            ratio = plain(e)
            span = "–" if math.isnan(e.low) else interval(e.low, e.high, "x")
        words = study.races[pair[0]]["condition"]
        nets = [base_rate, base_epochs, rate, epochs]
        rows.append(
            [
                words,
                _precision(ctx, study, pair),
                *nets,
                ratio,
                span,
                f"{e.seeds} pairs" if e and e.paired else f"{base_seeds} vs {seeds}",
            ]
        )
    return rows


def choices(ctx: Context, study: Study, run: Pairs) -> Html | None:
    """How each condition differs from that in which the claim is judged: both nets' epochs, and their ratio with its interval."""
    found = contrasts_of(ctx, study, run)
    rows = [
        [c.condition, c.relu, c.tanh, plain(c.ratio), interval(c.ratio.low, c.ratio.high, "x") or "–", c.reading or c.ratio.remark]
        for c in found
    ]  # fmt: skip
    heads = ["Condition", "Epochs, ReLU", "Epochs, tanh", "tanh ÷ ReLU", "95 % interval", "Reading"]
    caption = "What the choices change: each number over that of the condition in which the claim is judged"
    return table(heads, rows, caption) if rows else None


def _precision(ctx: Context, study: Study, pair: tuple[str, str]) -> str:
    """The number format in which the runs of both nets were computed."""
    names = {name for race in pair for name in study.races[race]["rates"]}
    runs = ctx.results.runs.items()
    return several(run.get("precision") for key, run in runs if key[0] == study.name and key[1] in names)


def _epochs(side: list[Reached]) -> str:
    """Geometric mean of the epochs, and how many runs never reached the mark."""
    if not side:
        return "–"
    mean = geometric_mean([r.epoch for r in side])
    late = sum(r.censored for r in side)
    return f"≥ {mean:.1f} ({late} of {len(side)} never)" if late else f"{mean:.1f}"


def _curves(ctx: Context, study: Study, run: Pairs, mark: float) -> Html:
    """A panel a condition with the running training error of both nets, at the chosen rates."""
    lanes = {
        condition_name(study.races[pair[0]]["condition"]): {
            net: curves_of(ctx, study, race) for net, race in zip(("ReLU", "tanh"), pair[::-1], strict=True)
        }
        for pair in run
    }
    return curves_chart(
        lanes,
        "training error (%)",
        "Both nets in each condition, on the same axes",
        f"{study.title}: running training error, a line a seed, each net at its chosen rate; dotted: {mark:g} %. A run ends an epoch after it "
        "crossed. Full: ReLU; dashed: tanh.",
        mark=mark,
    )


def _rates(ctx: Context, study: Study, run: Pairs, mark: float) -> Html | None:
    """A panel a condition with the epochs of the first seed over learning rates."""
    sweeps: dict[str, dict[str, tuple[dict[float, Reached], float]]] = {}
    rows = []
    for pair in run:
        words = condition_name(study.races[pair[0]]["condition"])
        for label, choice in zip(("ReLU", "tanh"), chosen_rates(ctx, study, pair[::-1]), strict=True):
            if not choice.given:
                sweeps.setdefault(words, {})[label] = choice.swept, choice.rate
                rows += [(words, label, rate, races.shown(r), rate == choice.rate) for rate, r in choice.swept.items()]
    if not sweeps:
        return None
    seed = study.races[run[0][0]]["seeds"][0]
    return chart(
        lambda narrow: figures.sweeps(sweeps, narrow),
        f"Epochs to {mark:g} % over the learning rate",
        "Epochs by rate: "
        + "; ".join(f"{words}, {label} at {rate:g}: {shown}" for words, label, rate, shown, _ in rows),
        f"{study.title}, seed {seed} alone, which chose the rates (filled) and is not judged. Triangles: not reached within the epochs "
        "given. A run is stopped early when its pace shows that it would miss the mark.",
        pd.DataFrame(rows, columns=["condition", "net", "rate", "epochs", "chosen"]),
    )


def sensitivity(ctx: Context, study: Study, run: Pairs) -> Html:
    """The ratio of each condition if epochs, rates or marks were counted in other ways, and how well both nets do on test images."""
    about = study.races[run[0][0]]
    marks = [mark for mark in MARKS if mark > about["train_error"]]
    rows = []
    for pair in run:
        judged = [races.judged(ctx.results, study, name) for name in pair]
        ends = ratio_of_pair(ctx, study, pair)
        if ends is None or not all(judged):
            continue
        nets = [list(races.judged_curves(ctx.results, study, name).values()) for name in pair]
        slow, fast = (races.finer(choice) for choice in chosen_rates(ctx, study, pair))
        cap = study.races[pair[0]]["epochs"]
        at = [shown_ratio(*([races.reached(curve, mark, cap) for curve in net] for net in nets)) for mark in marks]
        errors = [_validation_at(net, about["train_error"]) for net in nets[::-1]]
        middle = ratio_of(earlier(judged[0]), earlier(judged[1]), *pair, "the mark")
        gain = _change(None if slow is None or fast is None else slow / fast)
        words = condition_name(study.races[pair[0]]["condition"])
        rows.append(
            [words, plain(ends), f"{plain(middle)} {interval(middle.low, middle.high, 'x')}", gain, *at, *errors]
        )
    heads = [
        *("Condition", "As judged", "At the middle of epochs", "Change by finer rates"),
        *(f"At {100 * mark:g} %" for mark in marks),
        *("Validation error, ReLU", "Validation error, tanh"),
    ]
    caption = (
        f"{study.title}: tanh ÷ ReLU. An epoch's running error is its mean; taken as that of its middle, both nets cross half an epoch earlier. "
        f"Finer rates: the lowest point of a parabola through the fastest rate and its neighbours (seed {about['seeds'][0]}, logarithms). Other "
        f"marks: the same runs, so no further evidence. Validation error: where {100 * about['train_error']:g} % was reached"
    )
    return table(heads, rows, caption)


def _validation_at(side: list[pd.DataFrame], mark: float) -> str:
    """Mean validation error of the first epoch at or below the mark, over the runs that got there."""
    found = [curve.loc[curve["train_error"] <= mark, "validation_error"] for curve in side]
    there = [float(errors.iloc[0]) for errors in found if len(errors)]
    return f"{100 * sum(there) / len(there):.1f} %" if there else "–"


def setting(ctx: Context, study: Study, run: Pairs) -> Html | None:
    """How the nets of the first condition are built and trained, from the configuration of one of their runs."""
    rates = study.races[run[0][0]]["rates"]
    keys = [key for key in ctx.results.configs if key[0] == study.name and key[1] in rates]
    config = ctx.results.configs[min(keys)] if keys else {}
    layers, optimizer = config.get("model", {}).get("layers"), config.get("optimizer")
    if not layers or not optimizer:
        return None
    size = ctx.results.runs.get(min(keys), {}).get("parameters")
    return render("race_setting.html.j2", config=config, layers=layers, optimizer=optimizer, parameters=size)


def _change(factor: float | None) -> str:
    return "–" if factor is None else f"{number(round(100 * (factor - 1), 1) + 0.0, '%', 1)} %"


def every_run(ctx: Context, study: Study) -> Html:
    """Every finished run of every race."""
    rows = []
    for race, about in study.races.items():
        for name, rate in about["rates"].items():
            for seed, curve in ctx.results.curves(study.name, name).items():
                found = races.reached(curve, about["train_error"], about["epochs"])
                last = curve["train_error"].iloc[-1]
                if found.censored and len(curve) < about["epochs"]:
                    got = f"given up at {len(curve)}"
                else:
                    got = races.shown(found)
                end = "diverged" if math.isnan(last) else f"{100 * last:.1f} %"
                rows.append([race, f"{rate:g}", str(seed), got, str(len(curve)), end])
    heads = ["Race", "Rate", "Seed", "Epochs to the mark", "Epochs trained", "Training error at the end"]
    return table(heads, rows, f"{study.title}: every run of the races")
