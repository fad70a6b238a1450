"""Judges all claims on a results folder: finds the evidence for each, measures it, and applies the rules."""

from __future__ import annotations

import math
from dataclasses import replace

from analysis.measures import arithmetic, examinations, races
from analysis.measures.estimates import NoEstimate, blocks
from analysis.measures.inference import Estimate
from analysis.measures.registry import Asked, measure
from analysis.paper.claims import Claim
from analysis.results.evidence import COPIES, Results, Study
from analysis.text import plural
from analysis.verdicts import contrasts
from analysis.verdicts.labels import (
    CANNOT_TELL,
    CITED,
    DIFFERS,
    HOLDS,
    HOLDS_NOT,
    MISCOUNTS,
    NOT_TESTABLE,
    PENDING,
    STRENGTH,
)
from analysis.verdicts.rules import Outcome, adjusted, command, matches, of_estimate, scaled

BASE = "alexnet"
FEW_CLASSES = 20  # up to which five answers are right too often by chance
RATE = "rate not tuned: the nets share a learning rate that was chosen for one of them"


def judge_all(claims: list[Claim], results: Results) -> list[Outcome]:
    """The strongest outcome of every claim, in their order, with p-values adjusted over the core claims."""
    return adjusted([judge(claim, results)[0] for claim in claims])


def judge(claim: Claim, results: Results) -> list[Outcome]:
    """Every outcome of one claim, strongest evidence first; at least one."""
    if claim.kind == "cited":
        return [Outcome(claim, CITED, claim.reason or "the paper quotes others")]
    if claim.document:
        return [Outcome(claim, HOLDS, claim.document, "document")]
    if claim.kind == "arithmetic" and claim.how:
        return [_arithmetic(claim, results)]
    if not claim.testable:
        return [Outcome(claim, NOT_TESTABLE, claim.reason)]
    if not claim.how:
        return [_pending(claim, claim.reason or "no result yet")]
    found: list[Outcome] = []
    lacking: list[str] = []
    for study in results.studies.values():
        if study.training_set == "cifar10" != claim.dataset:
            continue  # it can stand for no other data
        if missing := [net for net in _nets(claim) if study.lacks(net) and claim.kind != "dataset"]:
            are = "are" if len(missing) > 1 else "is"
            lacking.append(f"{' and '.join(missing)} {are} not trained in study {study.name}")
            continue
        try:
            found.append(_in_study(claim, results, study))
        except NoEstimate as reason:
            lacking.append(f"{study.name}: {reason}")
    if not found:
        return [_pending(claim, "; ".join(lacking) or "nothing has been run yet", _home(claim, results))]
    return sorted(found, key=_strength, reverse=True)


def _strength(outcome: Outcome) -> tuple[int, bool, bool, int, int]:
    settled = outcome.verdict != PENDING
    return STRENGTH.index(outcome.evidence), settled, not outcome.limit, outcome.seeds, outcome.n


def _pending(claim: Claim, why: str, study: str = "") -> Outcome:
    return Outcome(claim, PENDING, why, command=command(claim, study or claim.dataset))


def _nets(claim: Claim) -> list[str]:
    """Experiments whose results a claim reads; an order has no baseline."""
    return list(filter(None, [*claim.experiment.split(), claim.baseline if claim.how != "rank" else ""]))


def _home(claim: Claim, results: Results) -> str:
    """The study in which the claim's nets are trained on its data at full size and length; nothing if none is known."""
    nets = _nets(claim)
    for study in results.studies.values():
        known = study.training_set == claim.dataset and all(name in study.experiments for name in nets)
        if nets and known and study.tier_of(nets) == "paper":
            return study.name
    return ""


# Arithmetic -----------------------------------------------------------------------------------------------------


def _arithmetic(claim: Claim, results: Results) -> Outcome:
    try:
        nets = claim.experiment, claim.baseline
        ours = arithmetic.measure(claim.how, claim.metric, *nets, results.layers)
    except arithmetic.Absent as absent:
        if claim.testable:
            return _pending(claim, str(absent))
        return Outcome(claim, NOT_TESTABLE, claim.reason)
    verdict, why = (NOT_TESTABLE, claim.reason) if not claim.testable else _agree(claim, ours)
    return Outcome(claim, verdict, why, "arithmetic", ours, command=command(claim, ""))


def _agree(claim: Claim, ours: float | str) -> tuple[str, str]:
    """Verdict on a computed value, and why; of a setting, whether text and authors' program agree, and by what line."""
    shown = ours if isinstance(ours, str) else f"{ours:,.6g}" if ours != int(ours) else f"{int(ours):,}"
    if matches(claim, ours, claim.paper):
        said = f"text and authors' program agree: {shown}" if claim.setting else f"counted at full size: {shown}"
        return HOLDS, "; ".join(filter(None, [said, claim.reason]))
    how = "set in the authors' program" if claim.setting else "counted at full size"
    if claim.implied and _same(ours, claim.implied):
        return DIFFERS if claim.setting else MISCOUNTS, f"{how}: {shown}; {claim.implied_reason}"
    return HOLDS_NOT, f"{how}: {shown}, where the paper has {claim.paper}"


def _same(ours: float | str, implied: str) -> bool:
    return ours == implied if isinstance(ours, str) else math.isclose(ours, float(implied), rel_tol=1e-3)


# Results of a study ---------------------------------------------------------------------------------------------


def _in_study(claim: Claim, results: Results, study: Study) -> Outcome:
    """The outcome that one study's results give.

    Raises:
        NoEstimate: they say nothing about the claim.
    """
    if claim.kind == "dataset":
        return _counted(claim, results, study)
    nets = _nets(claim)
    dataset, split = _evaluated_on(claim, results, study)
    try:
        estimate: Estimate | None = measure(claim.how, _asked(claim, results, study, dataset, split))
    except NoEstimate as reason:
        registered, lost = blocks(results, study.name, nets)
        if not registered or registered != lost:
            raise NoEstimate(f"0 of {_planned(study, nets)}: {reason}" if study.plan else str(reason)) from None
        estimate = None
    form = results.form(study.name, dataset)
    copy = COPIES.get(form, "")
    evidence = _evidence(study.tier_of(nets), (dataset, split) == (claim.dataset, claim.split), bool(copy))
    if estimate is None:
        pairs = f"each of {plural(len(lost), 'pair')} has a run that failed to train"
        none = pairs if len(nets) > 1 else f"all {plural(len(lost), 'run')} failed to train"
        return Outcome(claim, CANNOT_TELL, none, evidence, study=study.name, dataset=form, split=split, plan=study.plan)
    finished = estimate.fewest + estimate.died
    planned = estimate.registered or estimate.few
    if study.plan and finished < planned:  # nobody looks at a number before
        count = f"{finished} of {_planned(study, nets, planned)}"
        count += f", {estimate.died} with a run that failed to train" if estimate.died else ""
        waits = Outcome(claim, PENDING, count, evidence, study=study.name, dataset=form, split=split)
        return replace(waits, plan=study.plan, command=command(claim, study.name))
    if evidence not in ("proxy", "demo"):  # the paper's own classes are no sample
        estimate = replace(estimate, over_classes=None)
    limit, mended, said = _limit(claim, results, study, nets)
    outcome = of_estimate(claim, estimate, evidence, study.name, (form, split), limit)
    if claim.experiment in study.races:  # its own target, not that of all conditions
        outcome = replace(outcome, command=command(replace(claim, group=claim.experiment), study.name))
    altered = f"on {form}, {copy} of {dataset}" if copy else ""
    if altered and outcome.needed:
        few = f"{outcome.needed}; " if estimate.few else ""
        outcome = replace(outcome, needed=f"{few}the official archive, where {copy} stood for it")
    if mended:
        outcome = replace(outcome, needed=mended)
    outcome = replace(outcome, differs=contrasts.differs(claim, results, study), plan=study.plan)
    beside = [_of_luck(claim, estimate), _elsewhere(claim, results, study)]
    why = [outcome.why, said, *beside, *map(study.shortened, nets), altered]
    return replace(outcome, why="; ".join(filter(None, why)))


def _planned(study: Study, nets: list[str], count: int = 0) -> str:
    """How many pairs, or runs of a single net, are planned: `count`, or all seeds that the nets share."""
    seeds = [
        {*(races.judges(study, net) if net in study.races else study.experiments.get(net, {}).get("seeds", []))}
        for net in nets
    ]
    count = count or len(set.intersection(*seeds))
    return plural(count, "pair" if len(nets) > 1 else "run")


def _limit(claim: Claim, results: Results, study: Study, nets: list[str]) -> tuple[str, str, str]:
    """Why no word can be said whatever the number, or nothing; what would mend it; and what is to be said of the rates."""
    classes = study.record.get("classes") or math.inf
    if "top5" in claim.metric and classes <= FEW_CLASSES:
        return f"five guesses among {classes} classes are right in {500 / classes:.0f} % by chance", "", ""
    fits = _fits_too_well(claim, results, study)
    limits = [(fits, f"training until {BASE} overfits")] if fits else []
    said = ""
    if len(nets) > 1 and not any(name in study.races for name in nets):  # each race has its own rate
        if study.tier_of(nets) == "paper":
            said = f"at the rate of the {'authors’ file, which the nets share' if claim.kind == 'cifar' else 'paper'}"
        elif all(_tuned(results, study, name) for name in nets):
            said = "each net at a rate chosen for it"
        else:
            limits.append((RATE, "a learning rate chosen for each net, on a pilot seed"))
    limit, needed = ("; ".join(parts) for parts in zip(*limits, strict=True)) if limits else ("", "")
    return limit, needed, said


def _fits_too_well(claim: Claim, results: Results, study: Study) -> str:
    """Why a claim about overfitting cannot be tested here, or nothing: the base net overfits by too little, as far as is known."""
    if claim.base_gap is None:
        return ""
    asked = f"this test needs a base net that overfits by more than {claim.base_gap:g} points"
    try:
        gap = 100 * examinations.base_gap(results, study.name, BASE)
    except NoEstimate as reason:
        return f"{asked}, and whether it does is not known: {reason}"
    return "" if gap > claim.base_gap else f"{asked}; here {BASE} does by {gap:.1f}"


def _tuned(results: Results, study: Study, experiment: str) -> bool:
    """Whether the rate of an experiment was chosen for it: its configurations name the factor on a key `rate`."""
    found = [config for key, config in results.configs.items() if key[:2] == (study.name, experiment)]
    return bool(found) and all((config.get("rate") or {}).get("factor") for config in found)


def _evidence(tier: str, own_data: bool, altered: bool = False) -> str:
    """How strong a tier's numbers are; other data than the claim's are a proxy, whatever the size, altered ones no paper scale."""
    if tier == "demo":
        return "demo"
    if not own_data or tier == "proxy":
        return "proxy"
    return "paper scale" if tier == "paper" and not altered else "reduced scale"


def _evaluated_on(claim: Claim, results: Results, study: Study) -> tuple[str, str]:
    """Data set and split in this study that stand for those of the claim: the same, else the same split, else any."""
    if claim.measure and claim.measure.training_set:
        return study.training_set, claim.split
    if claim.how == "split_gap":
        return claim.dataset, claim.split
    table = results.evals
    table = table[(table["study"] == study.name) & (table["experiment"] == claim.experiment.split()[0])]
    pairs = sorted(set(zip(table["set"], table["split"], strict=True)))
    same_split = [pair for pair in pairs if pair[1] == claim.split]
    for choice in ([(claim.dataset, claim.split)], same_split, pairs):
        for pair in choice:
            if pair in pairs:
                return pair
    return claim.dataset, claim.split


def _of_luck(claim: Claim, estimate: Estimate) -> str:
    """How often a gap of two splits is as small as the paper's by luck, in words; nothing for other measures."""
    if claim.how != "split_gap" or claim.number is None or not estimate.noises:
        return ""
    sd = scaled(claim, math.sqrt(sum(noise.share for noise in estimate.noises)))
    chance = math.erf(claim.number / sd / math.sqrt(2))
    return (
        f"if both splits were equally hard, so small a gap would come up in {100 * chance:.0f} % of draws of so many images, "
        "and a larger one in the others: the sentence can be refuted and not shown"
    )


def _elsewhere(claim: Claim, results: Results, study: Study) -> str:
    """What other implementations of a race gave, in words: the paper specifies none. Nothing for other measures, or for one alone."""
    ratios = races.by_implementation(results, study) if claim.experiment in study.races else {}
    if claim.experiment not in ratios or len(ratios) < 2:
        return ""
    value, (low, high), (least, most) = races.over_implementations(ratios.values())
    reached = sum(matches(claim, ratio, claim.paper) for ratio in ratios.values())
    return (
        f"the interval is that of one implementation; over {len(ratios)}, of which the paper specifies none, the geometric mean is "
        f"{value:.2f} [{low:.2f}, {high:.2f}], one more would lie within [{least:.2f}, {most:.2f}] in 95 of 100 cases, and the "
        f"paper's range is attained in {reached} of {len(ratios)}"
    )


def _asked(claim: Claim, results: Results, study: Study, dataset: str, split: str) -> Asked:
    return Asked(results, study, claim.experiment, claim.baseline, claim.metric, dataset, split, claim.views)


# Counts of images -----------------------------------------------------------------------------------------------


def _counted(claim: Claim, results: Results, study: Study) -> Outcome:
    """A count from a manifest: the claim's own data set decides it, another one only shows its number."""
    sets = [name for of, name in results.manifests if of == study.name]
    own = study.tier in ("paper", "reduced") and claim.dataset in sets  # a count knows no width
    for name in sorted(sets, key=lambda name: name != claim.dataset):
        ours = _count(claim, results.manifests[study.name, name])
        if ours is None:
            continue
        seen = Outcome(claim, PENDING, "", "paper scale" if own else _evidence(study.tier, False), ours)
        seen = replace(seen, study=study.name, dataset=name, split=claim.split)
        if not own:
            why = f"the paper's data set is not packed; this is the {seen.evidence}'s"
            return replace(seen, why=why, command=command(claim, claim.dataset))
        verdict = HOLDS if matches(claim, ours, claim.paper) else HOLDS_NOT
        why = f"counted in the packed data: {ours:,.6g}"
        return replace(seen, verdict=verdict, why=why, command=command(claim, study.name))
    raise NoEstimate("its packed data have no such part" if sets else "the data set is not packed yet")


def _count(claim: Claim, manifest: dict[str, object]) -> float | None:
    value: object = manifest
    for step in claim.metric.split("."):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    if isinstance(value, list):
        if claim.how == "mean_count":
            return sum(value) / len(value) if value else None
        return float(len(value))
    return float(value) if isinstance(value, int | float) else None
