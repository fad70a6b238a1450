"""The fastest learning rate of each net in a race, and the ratio of two nets' epochs at their fastest.

A race trains a net until its running training error reaches a mark (Fig. 1). Its rate is chosen on one seed, and judged on
the others, which had no part in the choice; a single rate is given, not chosen, and all seeds judge it. A run that never
reaches the mark, or diverges, is censored at the last epoch that it was given.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.errors import UserError
from analysis.measures.convergence import Reached, at_middles, epochs_to, ratio_of
from analysis.measures.estimates import Asked, NoEstimate, settled
from analysis.measures.inference import Estimate, bounded, inconclusive, with_interval
from analysis.results.evidence import Results, Study
from analysis.stats.axes import Interval
from analysis.stats.intervals import CONFIDENCE, student
from analysis.stats.samples import around


@dataclass(frozen=True)
class Choice:
    """The fastest rate of a race on its first seed, and what else there was."""

    race: str
    experiment: str
    rate: float
    swept: dict[float, Reached]  # by rate, in rising order
    missing: int  # rates that have no finished run on that seed
    given: bool = False  # the race has this one rate: nothing was chosen

    @property
    def edge(self) -> str:
        """ "smallest" or "largest" if no rate beyond the chosen one was tried; nothing else, or if the rate was given."""
        rates = list(self.swept)
        return "" if self.given else {rates[-1]: "largest", rates[0]: "smallest"}.get(self.rate, "")


def reached(curve: pd.DataFrame, mark: float, cap: int) -> Reached:
    """When a run of a race reached its mark, in epochs between two of which is interpolated; censored at `cap` if it did not."""
    found = epochs_to(curve, mark)
    return Reached(float(cap), True) if found.censored else found


def choose(results: Results, study: Study, race: str) -> Choice:
    """The rate with the fewest epochs on the first seed; if none reached the mark, that with the lowest error at its end."""
    about = study.races[race]
    first, names = about["seeds"][0], {rate: name for name, rate in about["rates"].items()}
    tried = {rate: results.curves(study.name, names[rate]) for rate in sorted(names)}
    curves = {rate: found[first] for rate, found in tried.items() if first in found}
    if not curves:
        raise NoEstimate(f"{race} has no finished run with seed {first} yet")
    swept = {rate: reached(curve, about["train_error"], about["epochs"]) for rate, curve in curves.items()}
    ends = {rate: curve["train_error"].fillna(2.0).iloc[-1] for rate, curve in curves.items()}  # diverged: the last
    best = min(swept, key=lambda rate: (swept[rate].censored, swept[rate].epoch, ends[rate]))
    return Choice(race, names[best], best, swept, len(names) - len(swept), not study.sweeps(race))


def chosen(results: Results, study: str, race: str) -> dict[str, object]:
    """The choice as a record: race, experiment, rate, edge, epochs by rate (None: never there)."""
    try:
        choice = choose(results, find(results, study, race), race)
    except NoEstimate as reason:
        raise UserError(str(reason)) from None
    epochs = {f"{rate:g}": None if r.censored else r.epoch for rate, r in choice.swept.items()}
    return {name: getattr(choice, name) for name in ("race", "experiment", "rate", "edge")} | {"epochs": epochs}


def judges(study: Study, race: str) -> list[int]:
    """The seeds that had no part in the choice of the rate."""
    seeds = study.races[race]["seeds"]
    return list(seeds[1:] if study.sweeps(race) else seeds)


def judged(results: Results, study: Study, race: str) -> dict[int, Reached]:
    """When each of the `judges` reached the mark, at the rate of `choose`."""
    about = study.races[race]
    curves = judged_curves(results, study, race).items()
    return {seed: reached(curve, about["train_error"], about["epochs"]) for seed, curve in curves}


def judged_curves(results: Results, study: Study, race: str) -> dict[int, pd.DataFrame]:
    """The epochs of each of the `judges`, at the rate of `choose`."""
    curves = results.curves(study.name, choose(results, study, race).experiment)
    return {seed: curves[seed] for seed in judges(study, race) if seed in curves}


def ratio(results: Results, study: Study, race: str, baseline: str) -> Estimate:
    """Epochs of one net over those of another, each at its own rate, with the interval of `convergence.ratio_of`.

    Not conclusive if the chosen rate of one is the smallest or largest tried: it may not be the net's fastest.
    """
    sides, said, open_ = [], [study.races[race]["condition"]], False
    for name in (race, baseline):
        if name not in study.races:
            raise NoEstimate(f"the study has no race {name}")
        choice = choose(results, study, name)
        sides.append(judged(results, study, name))
        if not sides[-1]:
            raise NoEstimate(f"{choice.experiment}, the fastest rate of {name}, has no run with another seed yet")
        said.append(f"{name} at rate {choice.rate:g}")
        said.append(f"{choice.missing} of its rates are not finished" if choice.missing else "")
        said.append(f"the {choice.edge} tried, so that it may not be the fastest" if choice.edge else "")
        open_ = open_ or bool(choice.missing or choice.edge)
    goal = f"a training error of {100 * study.races[race]['train_error']:g} %"
    estimate = ratio_of(sides[0], sides[1], race, baseline, goal)
    remark = "; ".join(filter(None, [*said, estimate.remark, at_middles(*sides)]))
    estimate = replace(estimate, remark=remark, conclusive=estimate.conclusive and not open_)
    return settled(Asked(results, study.name, ""), estimate, race=True)


def finer(choice: Choice) -> float | None:
    """The fewest epochs on a finer grid of rates over those at the chosen one, at most 1, as a parabola puts it.

    It goes through the logarithms of rate and epochs of the chosen rate and its neighbours on both sides; None if one of these
    is missing or was never there.
    """
    rates = list(choice.swept)
    at = rates.index(choice.rate)
    near = rates[max(at - 1, 0) : at + 2]
    if len(near) < 3 or any(choice.swept[rate].censored for rate in near):
        return None
    a, b, c = np.polyfit(np.log(near), np.log([choice.swept[rate].epoch for rate in near]), 2)
    if a < 1e-9:  # all three are equal
        return 1.0
    return float(math.exp(c - b * b / (4 * a)) / choice.swept[choice.rate].epoch)


def contrast(ours: Estimate, reference: Estimate) -> Estimate:
    """How many times as large one ratio of epochs is as another of other nets, with the noise of all four.

    A ratio that is a bound makes a bound; two that bound it from both sides say nothing.
    """
    other_way = {">=": "<=", "<=": ">="}.get(reference.bound, "")
    bounds = {ours.bound, other_way} - {""}
    value = ours.value / reference.value
    seeds = ours.fewest, reference.fewest
    plain = Estimate(value, math.nan, math.nan, *seeds, null=1.0, log=True)
    if any(not ratio.conclusive and not ratio.few for ratio in (ours, reference)):
        return inconclusive(plain, "one of the two ratios carries no verdict")
    if len(bounds) == 2:
        return inconclusive(plain, "both ratios are bounds, to the same side")
    few = max(ours.few, reference.few)
    estimate = with_interval(replace(plain, conclusive=not few), (*ours.noises, *reference.noises))
    said = f"too few pairs of seeds for a verdict: {min(seeds)}, where {few} are the fewest" if few else ""
    return replace(bounded(estimate, next(iter(bounds), "")), inner=None, few=few, remark=said)


def pairs(study: Study) -> list[tuple[str, str]]:
    """Races that are compared with another one, each with that one."""
    return [(name, about["baseline"]) for name, about in study.races.items() if about["baseline"] != name]


def by_implementation(results: Results, study: Study) -> dict[str, float]:
    """Ratio of epochs of each pair of races by its first name; bounds, and pairs that have not been run, are left out.

    A race at a rate that was given, not chosen, repeats the net of another one and is left out too.
    """
    found = {}
    for race, baseline in pairs(study):
        if not (study.sweeps(race) and study.sweeps(baseline)):
            continue
        try:
            estimate = ratio(results, study, race, baseline)
        except NoEstimate:
            continue
        if not estimate.bound and math.isfinite(estimate.value):
            found[race] = estimate.value
    return found


def over_implementations(ratios: Collection[float]) -> tuple[float, Interval, Interval]:
    """Geometric mean of ratios with its 95 % interval, and the interval in which one of another implementation would lie.

    The implementations stand for all that a description allows: normal logarithms, their spread from these few.
    """
    logs, n = np.log(list(ratios)), len(ratios)
    spread = student(n - 1, CONFIDENCE) * float(logs.std(ddof=1))
    value = math.exp(float(logs.mean()))
    return value, around(value, spread / math.sqrt(n), log=True), around(value, spread * math.sqrt(1 + 1 / n), log=True)


def find(results: Results, study: str, race: str) -> Study:
    """The study, if it has that race."""
    found = results.studies.get(study)
    if found is None or race not in found.races:
        known = ", ".join(found.races) if found else ", ".join(results.studies)
        raise UserError(f"no race {race!r} in study {study!r}; there are: {known or 'none'}")
    return found


def lines(results: Results, race: str) -> list[str]:
    """What each study says about a race: epochs by rate, then the ratio to its baseline; a line each."""
    out = []
    for study in results.studies.values():
        if race not in study.races:
            continue
        about = study.races[race]
        try:
            choice = choose(results, study, race)
        except NoEstimate as reason:
            out.append(f"{study.name}: {reason}")
            continue
        swept = ", ".join(f"{rate:g}: {shown(r)}" for rate, r in choice.swept.items())
        seeds = ", ".join(shown(r) for r in judged(results, study, race).values())
        goal, base = f"{100 * about['train_error']:g} % training error", about["baseline"]
        out.append(f"{study.name}, {study.data}: {race}: epochs to {goal} by rate: {swept}")
        out.append(f"    fastest rate {choice.rate:g}; other seeds: {seeds or 'none yet'}")
        if base == race:
            continue
        try:
            e = ratio(results, study, race, base)
            out.append(f"    {e.bound}{e.value:.2f} times the epochs of {base} [{e.low:.2f}, {e.high:.2f}]: {e.remark}")
        except NoEstimate as reason:
            out.append(f"    {reason}")
    return out or [f"no study here has a race {race}"]


def shown(reached: Reached) -> str:
    """Epochs in words."""
    return f"not within {reached.epoch:g}" if reached.censored else f"{reached.epoch:.1f}"
