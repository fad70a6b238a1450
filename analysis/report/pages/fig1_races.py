"""The page on Fig. 1: ratio by condition, curves, epochs by learning rate."""

from __future__ import annotations

import math
from statistics import geometric_mean

import pandas as pd

from analysis.measures import races
from analysis.measures.convergence import Reached, earlier, ratio_of, shown_ratio
from analysis.measures.races import Choice
from analysis.report import figures
from analysis.report.badges import badge
from analysis.report.context import Context
from analysis.report.figures import Lane
from analysis.report.page import Html, figure, folded, heading, note, say, stack, table
from analysis.report.pages.fig1_sentences import (
    chosen_rates,
    claims_of,
    contrasts_of,
    pairs_of,
    plain,
    ratio_of_pair,
    reading,
)
from analysis.results.campaign import several
from analysis.results.evidence import Study
from analysis.text import plural
from analysis.verdicts.table import interval, number

# Training errors at which the ratio is also looked at, above the one of the race.
MARKS = (0.50, 0.45, 0.40, 0.35, 0.30)


def fig1(ctx: Context, study: Study) -> Html:
    """All races of a study: what holds under which condition, and on what that rests."""
    run = pairs_of(ctx, study)
    if not run:
        return stack(heading(study.title), note("No race of this study has finished a run of both nets yet."))
    mark = 100 * study.races[run[0][0]]["train_error"]
    verdicts = (
        Html("<p>{}: {} {}</p>").format(o.claim.statement, badge(o.verdict, o.evidence, o.dataset), o.why)
        for o in claims_of(ctx, study)
    )
    waits = len(races.pairs(study)) - len(run)
    return stack(
        heading(study.title),
        say(f"{study.data.rstrip('.')}.", *reading(ctx, study)),
        *verdicts,
        conditions(ctx, study, run),
        choices(ctx, study, run),
        say(*_setting(ctx, study, run)),
        note(f"{plural(waits, 'condition')} not run yet.") if waits else None,
        _curves(ctx, study, run, mark),
        _rates(ctx, study, run, mark),
        by_mark(ctx, study, run),
        folded("What counting at the middle of an epoch would change", middles(ctx, study, run)),
        folded("What a finer grid of rates could change", finer_rates(ctx, study, run)),
        folded("Epochs of every run", every_run(ctx, study)),
    )


CONDITION_HEADS = [
    *("Condition", "Computed in", "Rate, ReLU", "Epochs, ReLU", "Rate, tanh", "Epochs, tanh"),
    *("tanh ÷ ReLU", "95 % interval", "Seeds"),
]


def conditions(ctx: Context, study: Study, run: list[tuple[str, str]]) -> Html:
    """One line a condition: rates, mean epochs of both nets, their ratio with its interval."""
    return table(CONDITION_HEADS, _condition_rows(ctx, study, run), _condition_caption(ctx, study, run))


def markdown(ctx: Context, study: Study) -> str:
    """The same lines as a Markdown table below its caption; nothing if no race was run."""
    run = pairs_of(ctx, study)
    if not run:
        return ""
    rows = [CONDITION_HEADS, ["---"] * len(CONDITION_HEADS), *_condition_rows(ctx, study, run)]
    return f"{_condition_caption(ctx, study, run)}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _condition_caption(ctx: Context, study: Study, run: list[tuple[str, str]]) -> str:
    mark = 100 * study.races[run[0][0]]["train_error"]
    data = ctx.results.form(study.name, study.training_set)
    return f"Epochs to {mark:g} % running training error on {data}, by condition"


def _condition_rows(ctx: Context, study: Study, run: list[tuple[str, str]]) -> list[list[str]]:
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


def choices(ctx: Context, study: Study, run: list[tuple[str, str]]) -> Html | None:
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


def _curves(ctx: Context, study: Study, run: list[tuple[str, str]], mark: float) -> Html:
    """A panel a condition with the running training error of both nets, at the chosen rates."""
    lanes: dict[str, list[Lane]] = {}
    said = []
    for pair in run:
        words = study.races[pair[0]]["condition"]
        for label, name, choice in zip(("ReLU", "tanh"), pair[::-1], chosen_rates(ctx, study, pair[::-1]), strict=True):
            curves = ctx.results.curves(study.name, choice.experiment)
            others = [curves[seed] for seed in races.judges(study, name) if seed in curves]
            drawn = others or list(curves.values())
            points = [(curve["epoch"].to_numpy(float), 100 * curve["train_error"].to_numpy(float)) for curve in drawn]
            lanes.setdefault(words, []).append(Lane(label, points))
            side = list(races.judged(ctx.results, study, name).values())
            said.append(f"{words}, {label} at rate {choice.rate:g}: {_epochs(side)} epochs")
    caption = f"{study.title}: running training error over epochs, a line a seed, each net at the rate in the table; the line is at {mark:g} %. A run ends an epoch after it crossed; the panels differ in their epochs."
    return figure(figures.lanes(lanes, mark), f"A panel a condition: {'; '.join(said)}", caption)


def _rates(ctx: Context, study: Study, run: list[tuple[str, str]], mark: float) -> Html | None:
    """A panel a condition with the epochs of the first seed over learning rates."""
    sweeps: dict[str, dict[str, Choice]] = {}
    said = []
    for pair in run:
        words = study.races[pair[0]]["condition"]
        for label, choice in zip(("ReLU", "tanh"), chosen_rates(ctx, study, pair[::-1]), strict=True):
            if choice.given:
                continue
            sweeps.setdefault(words, {})[label] = choice
            swept = ", ".join(f"{rate:g}: {races.shown(r)}" for rate, r in choice.swept.items())
            said.append(f"{words}, {label}: {swept}")
    if not sweeps:
        return None
    seed = study.races[run[0][0]]["seeds"][0]
    caption = f"{study.title}: epochs to {mark:g} % over the learning rate, seed {seed} alone, which chose the rates (filled) and is not judged. Triangles: not reached within the epochs given; a run whose error falls ever slower is given up when at its last pace it would not get there."
    swept_only = {
        words: {label: (choice.swept, choice.rate) for label, choice in nets.items()} for words, nets in sweeps.items()
    }
    return figure(figures.sweeps(swept_only), f"Epochs by rate: {'; '.join(said)}", caption)


def by_mark(ctx: Context, study: Study, run: list[tuple[str, str]]) -> Html:
    """The ratio at other training errors than that of the race, and how well both nets do on test images when they get there."""
    last = study.races[run[0][0]]["train_error"]
    marks = [*(mark for mark in MARKS if mark > last), last]
    rows = []
    for pair in run:
        nets = [list(races.judged_curves(ctx.results, study, name).values()) for name in pair]
        if not all(nets):
            continue
        cap = study.races[pair[0]]["epochs"]
        ratios = [shown_ratio(*([races.reached(curve, mark, cap) for curve in net] for net in nets)) for mark in marks]
        errors = [_validation_at(net, last) for net in nets[::-1]]
        rows.append([study.races[pair[0]]["condition"], *ratios, *errors])
    heads = [
        *("Condition", *(f"{100 * mark:g} %" for mark in marks)),
        *("Validation error, ReLU", "Validation error, tanh"),
    ]
    caption = (
        f"{study.title}: tanh ÷ ReLU at other marks of the running training error (same runs, so these are no further evidence), and mean "
        f"validation error at the end of the epoch in which {100 * last:g} % was reached"
    )
    return table(heads, rows, caption)


def _validation_at(side: list[pd.DataFrame], mark: float) -> str:
    """Mean validation error of the first epoch at or below the mark, over the runs that got there."""
    found = [curve.loc[curve["train_error"] <= mark, "validation_error"] for curve in side]
    there = [float(errors.iloc[0]) for errors in found if len(errors)]
    return f"{100 * sum(there) / len(there):.1f} %" if there else "–"


def _setting(ctx: Context, study: Study, run: list[tuple[str, str]]) -> list[str]:
    """How the nets of the first condition are built and trained, from the configuration of one of their runs."""
    about = study.races[run[0][0]]
    keys = [key for key in ctx.results.configs if key[0] == study.name and key[1] in about["rates"]]
    if not keys:
        return []
    config = ctx.results.configs[min(keys)]
    layers = config.get("model", {}).get("layers", {})
    optimizer = config.get("optimizer", {})
    if not layers or not optimizer:
        return []
    convs = [layer for layer in layers.values() if "maps" in layer]
    size = ctx.results.runs.get(min(keys), {}).get("parameters")
    shapes = ", ".join(f"{layer['maps']} maps of {layer['kernel']} x {layer['kernel']}" for layer in convs)
    stages, augmentation = optimizer["schedule"]["stages"], config["augmentation"]
    constant = ", which stays as it is to the end" if len(stages) == 1 else ""
    augmented = any(augmentation[key] for key in ("random_crop", "horizontal_flip", "color_noise"))
    dropped = any("dropout" in layer["after"] for layer in layers.values())
    order = "in a new order each epoch" if augmentation["reshuffle"] else "in the same order each epoch"
    return [
        f"Each net: {shapes}, then {plural(len(layers) - len(convs), 'fully connected layer')}"
        + (f"; {size:,} parameters" if size else "")
        + f". Minibatches of {optimizer['batch_size']}, {order}; momentum "
        f"{optimizer['momentum']:g}, weight decay {optimizer['weight_decay']:g}, rate of the biases "
        f"{stages[0]['biases'] / stages[0]['weights']:g} times that of the weights{constant}; {'' if augmented else 'no '}augmentation, "
        f"{'' if dropped else 'no '}dropout. A hidden layer more where the condition says so."
    ]


def middles(ctx: Context, study: Study, run: list[tuple[str, str]]) -> Html:
    """The ratio of each condition with crossings counted at the end and at the middle of epochs, a line a condition."""
    rows = []
    for pair in run:
        nets = [races.judged(ctx.results, study, name) for name in pair]
        ends = ratio_of_pair(ctx, study, pair)
        if ends is None or not all(nets):
            continue
        middle = ratio_of(earlier(nets[0]), earlier(nets[1]), *pair, "the mark")
        cells = [cell for e in (ends, middle) for cell in (plain(e), interval(e.low, e.high, "x") or "–")]
        rows.append([study.races[pair[0]]["condition"], *cells])
    heads = ["Condition", "At the end, as judged", "95 % interval", "At the middle", "95 % interval"]
    caption = (
        f"{study.title}: tanh ÷ ReLU. The running error of an epoch is a mean over it; it is counted at the epoch's end, and taken "
        "as that of the middle both nets cross half an epoch earlier"
    )
    return table(heads, rows, caption)


def finer_rates(ctx: Context, study: Study, run: list[tuple[str, str]]) -> Html:
    """How much the ratio of each condition could move if the rates stood closer, a line a condition."""
    rows = []
    for pair in run:
        slow, fast = (races.finer(choice) for choice in chosen_rates(ctx, study, pair))
        ratio = None if slow is None or fast is None else slow / fast
        rows.append([study.races[pair[0]]["condition"], *map(_change, (fast, slow, ratio))])
    heads = ["Condition", "Epochs, ReLU", "Epochs, tanh", "tanh ÷ ReLU"]
    caption = (
        f"{study.title}: change if each net had the rate at which a parabola through its fastest rate and that one's neighbours (seed "
        f"{study.races[run[0][0]]['seeds'][0]}, logarithms) has its lowest point; – where a neighbour is missing or never got there"
    )
    return table(heads, rows, caption)


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
