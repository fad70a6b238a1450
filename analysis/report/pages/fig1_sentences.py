"""What Fig. 1 comes to: the story of its conditions, what each of them changes, and under which the claim is judged."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from analysis.measures import races
from analysis.measures.convergence import shown_ratio
from analysis.measures.estimates import NoEstimate
from analysis.measures.inference import Estimate
from analysis.measures.races import Choice
from analysis.report import figures
from analysis.report.context import Context
from analysis.report.figures import as_curve, curves_chart
from analysis.report.forest import Row, forest_chart
from analysis.report.names import condition_name
from analysis.report.page import Html, render
from analysis.results.evidence import Study
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import number

SIX = 6  # "six times faster" (section 3.1)


def by_reading(ctx: Context, study: Study, run: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The conditions by what they change against the one in which the claim is judged."""
    found = contrasts_of(ctx, study, run)
    names = {word: [condition_name(c.condition) for c in found if c.reading == word] for word in CONTRASTS}
    return {word: conditions for word, conditions in names.items() if conditions}


def story(ctx: Context) -> Html | None:
    """The conditions of Fig. 1 beside each other with a line at six, and Fig. 1 drawn again where the claim is judged."""
    told = [(study, found) for study in ctx.studies if study.races and (found := _known(ctx, study))]
    if not told:
        return None
    study, known = max(told, key=lambda item: (sum(e.conclusive for _, e in item[1]), len(item[1])))
    names = {pair: condition_name(study.races[pair[0]]["condition"]) for pair, _ in known}
    own = [(o.claim.experiment, o.claim.baseline) for o in claims_of(ctx, study)]
    judged = next((pair for pair in own if pair in names), known[0][0])
    known = sorted(known, key=lambda item: -item[1].value)
    rows = [
        Row(
            names[pair],
            (e.value, e.low, e.high),
            open=not e.conclusive,
            note=f"{_times(e)}{', judged here' * (pair in own)}",
        )
        for pair, e in known
    ]
    decided = [e for _, e in known if e.conclusive]
    mark = 100 * study.races[judged[0]]["train_error"]
    forest = forest_chart(
        rows,
        "epochs of the tanh net ÷ epochs of the ReLU net",
        _title(known),
        f"{study.title}: how many times longer tanh takes to {mark:g} % training error; 95 % intervals over seeds. Grey: carries no verdict.",
        line=SIX,
        named="six",
        cut=False,
        other=1,
    )
    drawn = curves_chart(
        {
            names[judged]: {
                net: curves_of(ctx, study, race) for net, race in zip(("ReLU", "tanh"), judged[::-1], strict=True)
            }
        },
        "training error (%)",
        "Fig. 1 of the paper, run again",
        f"{study.title}: running training error, a line a seed; dotted: {mark:g} %. Full: ReLU; dashed: tanh.",
        mark=mark,
        height=3.0,
    )
    return render(
        "findings/relu.html.j2",
        figures=(forest, drawn),
        study=study,
        count=len(known),
        fastest=(names[known[0][0]], _times(known[0][1])),
        slowest=(names[known[-1][0]], _times(known[-1][1])),
        six=sum(e.low <= SIX <= e.high for _, e in known),
        nothing=sum(e.low <= 1 for _, e in known),
        undecided=len(known) - len(decided),
        slower=sum(e.low > 1 for e in decided),
        faster=sum(e.high < 1 for e in decided),
        remark=dict(known)[judged].remark.partition(";")[0] or "too few pairs of seeds",
        changes=by_reading(ctx, study, [pair for pair, _ in known]),
    )


def _title(known: list[tuple[tuple[str, str], Estimate]]) -> str:
    high, low = known[0][1], known[-1][1]
    if len(known) == 1:
        return f"tanh takes {_times(high)} the epochs of ReLU"
    return f"tanh takes {_times(low).removesuffix(' times')} to {_times(high)} the epochs of ReLU, by the settings"


def curves_of(ctx: Context, study: Study, race: str) -> list[figures.Curve]:
    """Epochs and running training errors (%) of the seeds that judge a race, at its chosen rate; of all seeds before they ran."""
    choice = races.choose(ctx.results, study, race)
    curves = ctx.results.curves(study.name, choice.experiment)
    others = [curves[seed] for seed in races.judges(study, race) if seed in curves]
    return [as_curve(curve) for curve in others or curves.values()]


def judged_under(ctx: Context, row: dict[str, Any]) -> str:
    """The condition in which a row of the verdict table was judged, if it rests on races, and what all conditions gave."""
    study = ctx.results.studies.get(row["study"])
    if study is None or row["experiment"] not in study.races:
        return ""
    words = str(study.races[row["experiment"]]["condition"])
    ratios = [e for _, e in _known(ctx, study)]
    if len(ratios) < 2:
        return words
    low, high = (pick(ratios, key=lambda e: e.value) for pick in (min, max))
    return f"{words}; {len(ratios)} conditions gave {_times(low).removesuffix(' times')} to {_times(high)}"


def pairs_of(ctx: Context, study: Study) -> list[tuple[str, str]]:
    """Pairs of races that have finished a run of both nets."""
    return [pair for pair in races.pairs(study) if chosen_rates(ctx, study, pair)]


def claims_of(ctx: Context, study: Study) -> list[Outcome]:
    return [o for o in ctx.outcomes(study, {"ratio"}) if o.claim.experiment in study.races]


def chosen_rates(ctx: Context, study: Study, pair: tuple[str, str]) -> list[Choice]:
    """The choices of both nets of a pair; none if one has no finished run."""
    try:
        return [races.choose(ctx.results, study, name) for name in pair]
    except NoEstimate:
        return []


def ratio_of_pair(ctx: Context, study: Study, pair: tuple[str, str]) -> Estimate | None:
    try:
        return races.ratio(ctx.results, study, *pair)
    except NoEstimate:
        return None


def _known(ctx: Context, study: Study) -> list[tuple[tuple[str, str], Estimate]]:
    """Pairs of races whose ratio is a number, or a bound, with it."""
    found = [(pair, ratio_of_pair(ctx, study, pair)) for pair in pairs_of(ctx, study)]
    return [(pair, e) for pair, e in found if e is not None and not math.isnan(e.value)]


def plain(e: Estimate) -> str:
    return f"{e.bound} {number(e.value, 'x', 2)}".strip()


def _times(e: Estimate) -> str:
    words = {">=": "at least ", "<=": "at most "}.get(e.bound, "")
    return f"{words}{number(e.value, 'x', 2)} times"


CONTRASTS = (
    "tanh loses less than in the condition judged",
    "tanh loses more than in the condition judged",
    "no difference from the condition judged is shown",
)


class Contrast(NamedTuple):
    """What a condition changes against the one in which the claim is judged."""

    condition: str
    relu: str  # its epochs over those of the condition judged, in words
    tanh: str
    ratio: Estimate  # of the two ratios
    reading: str  # one of `CONTRASTS`; nothing if it carries no verdict


def contrasts_of(ctx: Context, study: Study, run: list[tuple[str, str]]) -> list[Contrast]:
    """Each condition but the one in which the claim is judged, against that one; none if that one has not been run."""
    judged = [(o.claim.experiment, o.claim.baseline) for o in claims_of(ctx, study)]
    published = next((pair for pair in judged if pair in run), None)
    reference = ratio_of_pair(ctx, study, published) if published else None
    if published is None or reference is None:
        return []
    found = []
    for pair in run:
        ratio = ratio_of_pair(ctx, study, pair)
        if pair == published or ratio is None:
            continue
        tanh, relu = (
            shown_ratio(*(list(races.judged(ctx.results, study, name).values()) for name in names))
            for names in zip(pair, published, strict=True)
        )
        contrast = races.contrast(ratio, reference)
        condition = study.races[pair[0]]["condition"]
        found.append(Contrast(condition, relu, tanh, contrast, _contrasted(contrast)))
    return found


def _contrasted(found: Estimate) -> str:
    """In which of `CONTRASTS` a ratio of ratios falls; nothing if it carries no verdict."""
    smaller, larger, none = CONTRASTS
    if not found.conclusive:
        return ""
    return smaller if found.high < 1 else larger if found.low > 1 else none
