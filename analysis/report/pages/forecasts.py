"""Extrapolations: effects of small nets to the paper's size, and errors on a lossy copy to lossless images."""

from dataclasses import replace

from analysis.measures import lossless as recompressed
from analysis.measures.estimates import Asked
from analysis.measures.forecasts import FULL, Forecast, Setting, asked_of, forecast
from analysis.paper.claims import Claim
from analysis.report.context import Context
from analysis.report.forest import NAN, Row
from analysis.report.names import plain_name
from analysis.report.page import Html, render
from analysis.verdicts.rules import scaled

CLAIMS = ("gpu-delta-top1", "lrn-delta-top1", "pool-delta-top1", "drop-overfit")  # whose effects the plan forecasts
TOO_WIDE = 3  # times the paper's effect: an interval that reaches further either way is of no use


def forecasts(ctx: Context) -> Html | None:
    """A forest with the effects in all settings and the predicted ones, and a sentence for each; None: no study is made for forecasts."""
    studies = asked_of(ctx.results)
    if not studies:
        return None
    claims = [ctx.claims[name] for name in CLAIMS if name in ctx.claims]
    found = [(claim, forecast(claim.how, asked(ctx, claim))) for claim in claims]
    rows = [row for claim, made in found if made.settings for row in _rows(claim, made)]
    count = {"settings": len(studies), "epochs": FULL[1], "times": TOO_WIDE}
    return render("forecasts.html.j2", rows=rows, found=found, named=plain_name, **count)


def asked(ctx: Context, claim: Claim) -> Asked:
    """What a claim asks of a study that is not named yet."""
    return Asked(ctx.results, "", claim.experiment, claim.baseline, view=claim.views, metric=claim.metric)


def _rows(claim: Claim, made: Forecast) -> list[Row]:
    """A heading, the settings from the narrowest on, and the predicted effects below."""

    def label(setting: Setting) -> str:
        return f"{setting.size} of the width, {setting.epochs} epochs"

    rows = [Row(plain_name(claim.experiment))]
    for setting in made.settings:
        mean, half = made.measured(setting)
        rows.append(Row(label(setting), (mean, mean - half, mean + half), spread=tuple(setting.pairs)))
    held, full = f"{label(made.settings[-1])}, from the others", f"full width, {FULL[1]} epochs"
    for words, found, paper in ((held, made.held_out, NAN), (full, made.full, claim.number or NAN)):
        if found:
            span = found[0], found[0] - found[1], found[0] + found[1]
            rows.append(Row(words, span, paper=paper, open=True, note="predicted"))
    return rows


def lossless(ctx: Context) -> Html | None:
    """What the errors on a lossy copy would be without its loss; None: they were not measured at further qualities."""
    rows = []
    for study in (study for study in ctx.studies if len(recompressed.copies(ctx.results, study.name)) > 1):
        for o in ctx.outcomes(study, {"value", "difference"}):
            place = replace(asked(ctx, o.claim), study=study.name, dataset=o.claim.dataset, split=o.claim.split)
            if found := recompressed.extrapolated(o.claim.how, place):
                rows.append((o, scaled(o.claim, 1.0), *found))
    return render("lossless.html.j2", rows=rows) if rows else None
