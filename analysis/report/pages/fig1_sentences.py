"""What Fig. 1 comes to: the story of its conditions, what each of them changes, and under which the claim is judged."""

import math
from contextlib import suppress
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any, NamedTuple

from analysis.measures import races
from analysis.measures.convergence import shown_ratio
from analysis.measures.estimates import NoEstimate
from analysis.measures.inference import Estimate
from analysis.measures.races import Choice
from analysis.report import figures
from analysis.report.context import Context
from analysis.report.figures import as_curve
from analysis.report.forest import Row
from analysis.report.names import condition_name
from analysis.report.page import Html, render
from analysis.results.evidence import Study
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import number

SIX = 6  # "six times faster" (section 3.1)
NETS = ("ReLU", "tanh")


@dataclass(frozen=True)
class Condition:
    """A pair of races of which both nets have finished a run.

    Attributes:
        pair: the races of tanh and of ReLU; `choices`: the rate of each.
        ratio: epochs of tanh over those of ReLU; None: there is no such number.
    """

    pair: tuple[str, str]
    words: str
    choices: list[Choice]
    ratio: Estimate | None

    @property
    def name(self) -> str:
        """Its words without what all conditions share."""
        return condition_name(self.words)


def conditions(ctx: Context, study: Study) -> list[Condition]:
    """The conditions of a study that have finished a run of both nets."""
    found = []
    for pair in races.pairs(study):
        with suppress(NoEstimate):
            choices, ratio = [races.choose(ctx.results, study, name) for name in pair], None
            with suppress(NoEstimate):
                ratio = races.ratio(ctx.results, study, *pair)
            found.append(Condition(pair, str(study.races[pair[0]]["condition"]), choices, ratio))
    return found


def known(ctx: Context, study: Study) -> list[tuple[Condition, Estimate]]:
    """Conditions whose ratio is a number, or a bound, with it; the largest first."""
    found = [(of, of.ratio) for of in conditions(ctx, study) if of.ratio and not math.isnan(of.ratio.value)]
    return sorted(found, key=lambda item: -item[1].value)


def searched(ctx: Context) -> list[tuple[Study, Condition, Estimate]]:
    """Those of the study that has most, but for races at a rate that was given: they repeat another condition. All, if there are no others."""
    found = max(([(study, *item) for item in known(ctx, study)] for study in ctx.studies), key=len, default=[])
    return [item for item in found if all(item[0].sweeps(race) for race in item[1].pair)] or found


def claims_of(ctx: Context, study: Study) -> list[Outcome]:
    """What the races of a study say about claims."""
    return [o for o in ctx.outcomes(study, {"ratio"}) if o.claim.experiment in study.races]


def story(ctx: Context) -> Html | None:
    """The conditions of Fig. 1 beside each other with a line at six, and Fig. 1 drawn again where the claim is judged."""
    if not (found := searched(ctx)):
        return None
    study, ratios, own = found[0][0], [e for *_, e in found], set(ctx.table["experiment"])
    drawn = {of.pair: (study, of, e) for of, e in known(ctx, study)}
    same = (other for other in ctx.studies if other.training_set == study.training_set)
    drawn |= {of.pair: (other, of, e) for other in same for of, e in known(ctx, other) if e.conclusive}
    ordered = sorted(drawn.values(), key=lambda item: -item[2].value)
    where, judged, ratio = next((item for item in ordered if item[1].pair[0] in own), found[0])
    decided = [e for e in ratios if e.conclusive]
    noted = [(of, e, f"{times(e)}{', judged here' * (of.pair[0] in own)}") for _, of, e in ordered]
    contrasts = contrasts_of(ctx, study, [of for _, of, _ in found])
    return render(
        "findings/relu.html.j2",
        rows=[Row(of.name, (e.value, e.low, e.high), open=not e.conclusive, note=note) for of, e, note in noted],
        curves={judged.name: curves_of(ctx, where, judged)},
        mark=100 * where.races[judged.pair[0]]["train_error"],
        reached=_reached(ctx, where, judged),
        factor=_range([e for *_, e in ordered]),
        judged=(judged.name, times(ratio)),
        printed=SIX,
        study=study,
        count=len(found),
        fastest=(found[0][1].name, times(ratios[0])),
        slowest=(found[-1][1].name, times(ratios[-1])),
        six=sum(e.low <= SIX <= e.high for e in ratios),
        nothing=sum(e.low <= 1 for e in ratios),
        undecided=len(found) - len(decided),
        slower=sum(e.low > 1 for e in decided),
        faster=sum(e.high < 1 for e in decided),
        remark=next((e.remark.partition(";")[0] for e in ratios if not e.conclusive), "") or "too few pairs of seeds",
        changes={
            word: names
            for word in CONTRASTS
            if (names := [condition_name(c.condition) for c in contrasts if c.reading == word])
        },
    )


def _reached(ctx: Context, study: Study, of: Condition) -> str:
    """When each net of a condition reaches the mark, and at which rate, in words: geometric means of the seeds that judge."""
    said = []
    for net, race, choice in zip(NETS, of.pair[::-1], of.choices[::-1], strict=True):
        side = races.judged(ctx.results, study, race).values()
        least = "at least " * any(reached.censored for reached in side)
        after = f"after {least}{geometric_mean(r.epoch for r in side):.3g} epochs" if side else "not judged"
        said.append(f"{net} {after} (rate {choice.rate:g})")
    return ", ".join(said)


def curves_of(ctx: Context, study: Study, of: Condition) -> dict[str, list[figures.Curve]]:
    """Epochs and running training errors (%) of the seeds that judge a race, at its chosen rate; of all seeds before they ran."""
    found = {}
    for net, race, choice in zip(NETS, of.pair[::-1], of.choices[::-1], strict=True):
        curves = ctx.results.curves(study.name, choice.experiment)
        others = [curves[seed] for seed in races.judges(study, race) if seed in curves]
        found[net] = [as_curve(curve) for curve in others or curves.values()]
    return found


def judged_under(ctx: Context, row: dict[str, Any]) -> str:
    """The condition in which a row of the verdict table was judged, if it rests on races, and what all conditions gave."""
    study = ctx.results.studies.get(row["study"])
    if study is None or row["experiment"] not in study.races:
        return ""
    words, ratios = str(study.races[row["experiment"]]["condition"]), [e for *_, e in searched(ctx)]
    return words if len(ratios) < 2 else f"{words}; {len(ratios)} conditions gave {_range(ratios)}"


def plain(e: Estimate) -> str:
    """The ratio with two decimals, and its bound."""
    return f"{e.bound} {number(e.value, 'x', 2)}".strip()


def times(e: Estimate) -> str:
    """The same in words."""
    bound = {">=": "at least ", "<=": "at most "}.get(e.bound, "")
    return f"{bound}{number(e.value, 'x', 2)} times"


def _range(ratios: list[Estimate]) -> str:
    """The least and the largest of ratios that fall, in words."""
    least = f"{times(ratios[-1]).removesuffix(' times')} to " if len(ratios) > 1 else ""
    return f"{least}{times(ratios[0])}"


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


def contrasts_of(ctx: Context, study: Study, run: list[Condition]) -> list[Contrast]:
    """Each condition but the one in which the claim is judged, against that one; none if that one has not been run."""
    judged = {(o.claim.experiment, o.claim.baseline) for o in claims_of(ctx, study)}
    published = next((of for of in run if of.pair in judged), None)
    if published is None or published.ratio is None:
        return []
    found = []
    for of in run:
        if of is published or of.ratio is None:
            continue
        tanh, relu = (
            shown_ratio(*(list(races.judged(ctx.results, study, name).values()) for name in names))
            for names in zip(of.pair, published.pair, strict=True)
        )
        ratio = races.contrast(of.ratio, published.ratio)
        smaller, larger, none = CONTRASTS
        reading = smaller if ratio.high < 1 else larger if ratio.low > 1 else none
        found.append(Contrast(of.words, relu, tanh, ratio, reading if ratio.conclusive else ""))
    return found
