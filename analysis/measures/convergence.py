"""Epochs until a training curve reaches a mark, and the ratio of two nets' epochs, censored runs included.

The error of an epoch is the mean over its steps, and counts at the epoch's end, when it is known. Taken as that of the epoch's
middle, every crossing would come half an epoch earlier and a ratio lie further from 1: `at_middles` says how far.

A run that never reaches the mark is censored at its last epoch. If only runs above the fraction line are
censored, the ratio is a lower bound; if only runs below it, an upper bound; if both, nothing can be said.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import geometric_mean

import numpy as np
import pandas as pd

from analysis.measures.estimates import Asked, curves, settled
from analysis.measures.inference import Estimate, bounded, of_sample, with_interval, with_remark
from analysis.stats.intervals import Noise, noise_of
from analysis.stats.samples import Runs, Sample, over_seeds

ONE_EPOCH_SD = 1 / math.sqrt(12)  # epochs; of a mark that may lie anywhere within one
TIE = 1e-20  # variance of logarithms up to which they are equal


@dataclass(frozen=True)
class Reached:
    """Epoch (possibly between two) at which a run got to the mark; `censored`: it had not by that epoch."""

    epoch: float
    censored: bool


def epochs_to(curve: pd.DataFrame, threshold: float, column: str = "train_error") -> Reached:
    """First epoch at which `column` is at or below `threshold`, interpolated linearly between epochs.

    A curve that is below it from its first epoch on gives that epoch.
    """
    epochs, values = curve["epoch"].to_numpy(float), curve[column].to_numpy(float)
    below = np.flatnonzero(values <= threshold)
    if not below.size:
        return Reached(float(epochs[-1]), True)
    i = int(below[0])
    if i == 0:
        return Reached(float(epochs[0]), False)
    share = (values[i - 1] - threshold) / (values[i - 1] - values[i])
    return Reached(float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1])), False)


def at_first_rate(curve: pd.DataFrame) -> pd.DataFrame:
    """The epochs before the first change of the learning rate; all of a curve that does not tell its rate."""
    if "learning_rate" not in curve:
        return curve
    rate = curve["learning_rate"]
    return curve[(rate == rate.iloc[0]).cummin()]


def ratio(asked: Asked) -> Estimate:
    """Epochs of the experiment over epochs of the baseline to the marks that the metric names after its column.

    Column `train_error` without marks has the study's threshold; epochs to a `validation_loss` count at the first learning
    rate. Of several marks those count that all runs of both nets reach, or the first if there is none: both intervals are the
    widest ends of theirs, so that a word needs every one of them, and the number is that of the mark with the largest p-value.
    """
    column, *named = asked.metric.split()
    marks = [float(mark) for mark in named] or [asked.record.threshold]
    nets = [curves(asked.results, asked.study, name) for name in asked.nets]
    if column == "validation_loss":
        nets = [{seed: at_first_rate(curve) for seed, curve in net.items()} for net in nets]
    found: dict[float, Estimate] = {}
    for mark in marks:
        above, below = ({s: epochs_to(curve, mark, column) for s, curve in net.items()} for net in nets)
        found[mark] = ratio_of(above, below, asked.experiment, asked.baseline, _goal(column, mark))
        if column == "train_error" and len(marks) == 1:
            found[mark] = with_remark(found[mark], at_middles(above, below))
    return settled(asked, _every(found))


def _goal(column: str, mark: float) -> str:
    """A mark in words."""
    if column == "train_error":
        return f"a training error of {100 * mark:g} %"
    return f"a validation loss of {mark:g} at the first learning rate"


def _every(found: dict[float, Estimate]) -> Estimate:
    """What holds at every mark that all runs reach; at the first if there is none. Keys are training errors if there are several."""
    reached = {mark: one for mark, one in found.items() if not one.bound and not math.isnan(one.value)}
    if not reached or len(found) == 1:
        return next(iter(found.values()))
    least = max(reached.values(), key=lambda one: 1.0 if one.p is None else one.p)
    by_mark = ", ".join(f"{one.value:.2f} at {100 * mark:g} %" for mark, one in reached.items())
    lows, highs = ([getattr(one, end) for one in reached.values()] for end in ("low", "high"))
    insides = [one.inside for one in reached.values()]
    return replace(
        least,
        low=min(lows),
        high=max(highs),
        inner=(min(low for low, _ in insides), max(high for _, high in insides)),
        conclusive=all(one.conclusive for one in reached.values()),
        remark="; ".join(filter(None, [f"by mark of the training error: {by_mark}", least.remark])),
    )


def earlier(side: Mapping[int, Reached]) -> dict[int, Reached]:
    """The same runs with the error of an epoch taken as that of its middle; a crossing within the first epoch stays half of one."""
    return {seed: replace(r, epoch=max(r.epoch - 0.5, 0.5)) for seed, r in side.items()}


def at_middles(above: Mapping[int, Reached], below: Mapping[int, Reached]) -> str:
    """The ratio with its interval if crossings are counted at the epochs' middles, in words; nothing where it is a bound."""
    found = ratio_of(earlier(above), earlier(below), "", "", "")
    if found.bound or not found.conclusive:
        return ""
    return f"counted at the middle of the epochs instead of their end it is {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def shown_ratio(above: list[Reached], below: list[Reached]) -> str:
    """Ratio of two geometric means of epochs, in words: a bound, or a dash, where runs never got there."""
    late = [any(r.censored for r in side) for side in (above, below)]
    if all(late) or not above or not below:
        return "–"
    means = [geometric_mean([r.epoch for r in side]) for side in (above, below)]
    return f"{'≥' if late[0] else '≤' if late[1] else ''} {means[0] / means[1]:.2f}".strip()


def ratio_of(
    above: Mapping[int, Reached], below: Mapping[int, Reached], experiment: str, baseline: str, goal: str
) -> Estimate:
    """Geometric mean ratio of two sets of epochs by seed, in pairs where seeds are shared, with what censoring leaves of it.

    On logarithms. A censored run counts with its last epoch, which is too early, so the ratio is a bound and its interval is
    open on one side. Such runs crowd at that epoch and hide their spread: it is taken to be at least that of the other net.
    """
    late = [sum(reached.censored for reached in side.values()) for side in (above, below)]
    n = len(above), len(below)
    missed = [f"{count} of {of}" for count, of in zip(late, n, strict=True)]
    epochs: list[Runs] = [{str(seed): reached.epoch for seed, reached in side.items()} for side in (above, below)]
    found = over_seeds(epochs[0], epochs[1], log=True)
    plain = of_sample(found, n)
    if all(late):
        remark = f"{missed[0]} runs of {experiment} and {missed[1]} of {baseline} did not reach {goal}; train longer"
        return replace(plain, value=math.nan, conclusive=False, remark=remark)
    bound = ">=" if late[0] else "<=" if late[1] else ""
    runs = f"{missed[0]} runs of {experiment}" if late[0] else f"{missed[1]} runs of {baseline}"
    remarks = [f"{runs} never reached {goal}, so the ratio is a bound"] if bound else []
    if plain.fewest < 2:
        remarks.append("one seed cannot show how far the ratio varies; add seeds")
        return replace(plain, bound=bound, conclusive=False, remark="; ".join(remarks))
    logs = [np.log([reached.epoch for reached in side.values()]) for side in (above, below)]
    least = [(ONE_EPOCH_SD / math.exp(float(values.mean()))) ** 2 for values in logs]
    if bound:
        seen = float(logs[1 if late[0] else 0].var(ddof=1))
        least = [seen if seen > TIE else rounding for rounding in least]
    noises, tie = _at_least(found, least, logs, bool(bound))
    remarks += ["seeds tie, so the spread of rounding to an epoch is taken"] if tie else []
    estimate = with_interval(plain, noises)
    remark = "; ".join(dict.fromkeys(filter(None, [*remarks, estimate.remark])))
    return replace(bounded(estimate, bound), remark=remark)


def _at_least(
    found: Sample, least: list[float], logs: list[np.ndarray], hidden: bool
) -> tuple[tuple[Noise, ...], bool]:
    """The noise of two nets' logarithms, where seeds tie or runs `hidden` by censoring vary too little that of `least`."""
    if found.paired:
        variance, least = sum(noise.variance for noise in found.noises), [sum(least)]
        seen = [Noise("pairs of seeds", variance, found.seeds, found.seeds - 1)]
    else:
        seen = [noise_of(kind, values) for kind, values in zip(("seeds", "baseline seeds"), logs, strict=True)]
    df = min(noise.n for noise in seen) - 1 if hidden else math.inf
    noises = [
        replace(noise, variance=floor, df=min(noise.df, df))
        if noise.variance < TIE or (hidden and noise.variance < floor)
        else noise
        for noise, floor in zip(seen, least, strict=True)
    ]
    return tuple(noises), any(noise.variance < TIE for noise in seen) and not hidden
