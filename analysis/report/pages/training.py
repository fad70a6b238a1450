"""The pages on ablations, ReLU against tanh, and training."""

from __future__ import annotations

import pandas as pd

from analysis.measures.convergence import epochs_to
from analysis.report import figures
from analysis.report.badges import badge
from analysis.report.context import Context
from analysis.report.page import Html, figure, folded, heading, note, say, stack, table
from analysis.results.evidence import Results, Study
from analysis.text import plural
from analysis.verdicts.effects import compared_on
from analysis.verdicts.labels import AGAINST, FOR
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import interval, number, paper_value

NOTHING = "Nothing has been run yet: no study has finished a run."


def ablations(ctx: Context, study: Study) -> Html:
    """Forest plot and table of all differences that a study measures."""
    found = ctx.outcomes(study, {"difference", "view_gain"})
    gaps = ctx.outcomes(study, {"gap", "generalization_gap", "sample_difference"})
    if not found:
        return stack(heading(study.title), note("This study has no two experiments to compare yet."))
    agree = sum(o.verdict in FOR for o in found)
    against = sum(o.verdict in AGAINST for o in found)
    rest = len(found) - agree - against
    words = (
        f"Of {plural(len(found), 'difference')} between two nets, or of one net's views, {agree} point the paper's way with an interval that excludes zero, "
        f"{against} point the other way, and {rest} stay open."
    )
    sentence = f"{study.data.rstrip('.')}. {words}"
    alt = "Forest plot: " + "; ".join(_spoken(o) for o in found)
    caption = f"{study.title}: differences in points with 95 % intervals. Blue: the interval lies on the paper's side of zero; orange: on the other; grey: it holds zero, or there is one seed and so no interval."
    return stack(
        heading(study.title),
        say(sentence),
        figure(figures.forest(found), alt, caption),
        differences_table([*found, *gaps]),
    )


def _spoken(o: Outcome) -> str:
    span = f", from {o.low:.2f} to {o.high:.2f}" if o.low is not None and o.high is not None else ""
    paper = f", paper {o.claim.paper}" if o.claim.number else ""
    return f"{o.claim.id} {float(o.ours or 0):.2f} points{span}{paper}"


def race(ctx: Context, study: Study) -> Html:
    """ReLU against tanh in one study: curves, ratio, epochs of every seed."""
    names = [name for name in ctx.trained(study) if name in ("zero_biases", "tanh")]
    if len(names) < 2:
        return stack(heading(study.title), note("This study has not trained both nets yet."))
    found = [o for o in ctx.outcomes(study, {"ratio"}) if o.claim.experiment == "tanh"]
    sentence = f"{study.data.rstrip('.')}. "
    if found:
        o = found[0]
        bound = {">=": "at least ", "<=": "at most "}.get(o.bound, "")
        span = interval(o.low, o.high, "x") if o.low is not None and o.high is not None else ""
        sentence += f"The tanh net needs {bound}{float(o.ours or 0):.2f} times the epochs of the ReLU net {span}, whose biases start at zero too, where every mark counts ({o.counted}): {o.why}."
    ends = (f"{name} ends at {100 * _end(ctx.results, study, name, 'train_error'):.1f} %" for name in names)
    alt = f"Training error over epochs, mean and range over seeds: {'; '.join(ends)}; threshold {100 * study.threshold:g} %"
    caption = f"{study.title}: running training error; band from the lowest to the highest seed."
    return stack(
        heading(study.title),
        say(sentence),
        figure(figures.race(ctx.results, study.name, names, study.threshold), alt, caption),
        race_table(ctx, study, names),
        differences_table(found) if found else None,
    )


def _end(results: Results, study: Study, name: str, column: str) -> float:
    ends = [float(curve[column].iloc[-1]) for curve in results.curves(study.name, name).values()]
    return sum(ends) / len(ends)


def training(ctx: Context, study: Study) -> Html:
    """Curves, learning rates, errors at the end, one view against ten."""
    trained = ctx.trained(study)
    if not trained:
        return stack(heading(study.title), note("No run of this study has finished yet."))
    compared = [name for name in trained if _shown(study, name)]
    ends = (f"{name} {100 * _end(ctx.results, study, name, 'validation_error'):.1f} %" for name in compared)
    alt = f"A panel an experiment with its training and validation error over epochs; validation ends at: {'; '.join(ends)}"
    caption = f"{study.title}: mean over seeds, band from the lowest to the highest. Training error is measured with dropout and augmentation on, so it can lie above the validation error."
    parts = [heading(study.title)]
    if compared:
        parts.append(figure(figures.training(ctx.results, study.name, compared), alt, caption))
    if rates := rate_changes(ctx.results, study):
        parts.append(folded("Learning rates of the base network, and why they changed", rates))
    frame = views_frame(ctx, study)
    if not len(frame):
        return stack(*parts, note("No run of this study has been evaluated yet."))
    main = frame["experiment"].map(lambda name: _shown(study, name))
    parts.append(final_errors(ctx, study, set(frame.loc[main, "experiment"])))
    if not main.all():
        others = final_errors(ctx, study, set(frame.loc[~main, "experiment"]))
        parts.append(folded("Test errors of the other recipes, readings and departures", others))
    gain = frame["center"] - frame["ten"]
    parts.append(
        say(
            f"Ten views lower the top-1 error by {number(gain.mean(), '%', 2)} points on average over the {len(frame)} evaluations, from {number(gain.min(), '%', 2)} to {number(gain.max(), '%', 2)}."
        )
    )
    place = compared_on(study)
    compared_there = (frame["set"] == place[0]) & (frame["split"] == place[1])
    shown = frame[main & (compared_there | (frame["experiment"] == "alexnet"))]
    if len(shown):
        spoken = "; ".join(f"{r.label} {r.center:.1f} to {r.ten:.1f} %" for r in shown.itertuples())
        parts.append(
            figure(
                figures.views(shown),
                f"Top-1 error with the centre view and with ten views: {spoken}",
                f"{study.title}: what ten views bring, mean over seeds; on {' '.join(place)}, of the base network on all sets.",
            )
        )
    return stack(*parts)


def _shown(study: Study, name: str) -> bool:
    """Whether an experiment belongs to the comparisons of the paper, which the pages show unfolded."""
    return study.kind(name) in ("base", "ablation")


def rate_changes(results: Results, study: Study) -> Html | None:
    """Each change of the base network's learning rates in its first seed, with the reason."""
    runs = sorted(key for key in results.runs if key[:2] == (study.name, "alexnet"))
    changes = results.runs[runs[0]].get("rate_changes", []) if runs else []
    rows = []
    for change in changes:
        own = [f"{layer} {kind} {rate:g}" for layer, rates in change["layers"].items() for kind, rate in rates.items()]
        noise = "on" if change["color_noise"] else "off"
        numbers = [f"{change['weights']:g}", f"{change['biases']:g}"]
        rows.append([f"{change['epoch']}", *numbers, ", ".join(own) or "–", noise, change["reason"]])
    heads = ["From epoch", "Weights", "Biases", "Layers that differ", "Colour noise", "Reason"]
    return table(heads, rows, f"Learning rates of alexnet, seed {runs[0][2]}") if rows else None


def differences_table(outcomes: list[Outcome]) -> Html:
    """Each difference with its numbers in words that a screen reader can read."""
    rows = []
    for o in outcomes:
        unit = o.claim.unit
        span = interval(o.low, o.high, unit) if o.low is not None and o.high is not None else "–"
        ours = f"{o.bound} {number(o.ours, unit, 2)}".strip()
        seeds = f"{o.seeds} vs {o.baseline_seeds}" if o.baseline_seeds else str(o.seeds)
        compared = (
            f"{o.claim.experiment} − {o.claim.baseline}"
            if o.claim.baseline
            else f"{o.claim.experiment}, one − ten views"
        )
        if o.claim.how == "ratio":
            compared = f"{o.claim.experiment} ÷ {o.claim.baseline}"
        link = Html('<a href="#claim-{0}">{0}</a>').format(o.claim.id)
        rows.append(
            [
                link,
                compared,
                paper_value(o.claim.paper, "", o.claim.relation),
                number(o.claim.lab_value, unit),
                ours,
                span,
                f"{o.n:,}" if o.n else "–",
                seeds,
                f"{o.dataset} {o.split}",
                badge(o.verdict, o.evidence, o.dataset),
            ]
        )
    heads = ["Claim", "Compared", "Paper", "Lab log", "Ours", "95 % interval", "Images", "Seeds", "Data", "Verdict"]
    return table(heads, rows, "Differences in percentage points, ratios as factors")


def race_table(ctx: Context, study: Study, names: list[str]) -> Html:
    """Epochs to the threshold of every seed."""
    rows = []
    for name in names:
        for seed, curve in ctx.results.curves(study.name, name).items():
            reached = epochs_to(curve, study.threshold)
            text = f"not within {reached.epoch:.0f}" if reached.censored else f"{reached.epoch:.2f}"
            rows.append([name, str(seed), text, f"{100 * curve['train_error'].iloc[-1]:.1f} %"])
    return table(
        ["Experiment", "Seed", "Epochs", "Training error at the end"],
        rows,
        f"Epochs until {100 * study.threshold:g} % training error",
    )


def final_errors(ctx: Context, study: Study, names: set[str]) -> Html:
    """Mean and range over seeds of every evaluation of the named experiments, one and ten views."""
    e = ctx.results.evals
    e = e[(e["study"] == study.name) & e["experiment"].isin(names)]
    rows = []
    for (name, set_, split), group in e.groupby(["experiment", "set", "split"], sort=True):
        cells = [name, f"{set_} {split}", f"{group['images'].iloc[0]:,}", str(group["seed"].nunique())]
        for view in ("center", "ten"):
            for metric in ("top1_error", "top5_error"):
                cells.append(_mean_range(group.loc[group["view"] == view, metric]))
        rows.append(cells)
    heads = [
        "Experiment",
        "Data",
        "Images",
        "Seeds",
        "Top-1, centre",
        "Top-5, centre",
        "Top-1, ten views",
        "Top-5, ten views",
    ]
    rows.sort(key=lambda cells: (cells[1], cells[0] != "alexnet", cells[0]))
    return table(heads, rows, "Test errors in %: mean over seeds (lowest – highest)")


def _mean_range(values: pd.Series) -> str:
    if values.empty:
        return "–"
    shown = f"{100 * values.mean():.1f}"
    return shown if len(values) == 1 else f"{shown} ({100 * values.min():.1f} – {100 * values.max():.1f})"


def views_frame(ctx: Context, study: Study) -> pd.DataFrame:
    """Mean top-1 error (%) of every evaluation with one and with ten views."""
    e = ctx.results.evals
    e = e[e["study"] == study.name]
    mean = e.pivot_table(index=["experiment", "set", "split"], columns="view", values="top1_error") * 100
    if mean.empty or not {"center", "ten"} <= set(mean.columns):
        return pd.DataFrame(columns=["experiment", "label", "center", "ten"])
    mean = mean.dropna().reset_index()
    mean["label"] = mean["experiment"].str.replace("_", " ") + ", " + mean["set"] + " " + mean["split"]
    return mean.sort_values(["set", "split", "experiment"])
