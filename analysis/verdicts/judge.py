"""Judges all claims on a results folder: finds the evidence for each, measures it, and applies the rules."""

import math
from dataclasses import replace
from typing import Any

from analysis.measures import arithmetic, examinations, races
from analysis.measures.estimates import Asked, NoEstimate, awaited, blocks
from analysis.measures.inference import Estimate
from analysis.measures.registry import measure
from analysis.paper.claims import Claim
from analysis.results.evidence import COPIES, Results, Study
from analysis.text import plural
from analysis.verdicts import contrasts, labels
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
        return [Outcome(claim, labels.CITED, claim.reason or "the paper quotes others")]
    if claim.document:
        return [Outcome(claim, labels.HOLDS, claim.document, "document")]
    if claim.kind == "arithmetic" and claim.how:
        return [_arithmetic(claim, results)]
    if not claim.testable:
        return [Outcome(claim, labels.NOT_TESTABLE, claim.reason)]
    if not claim.how:
        return [_pending(claim, claim.reason or "no result yet")]
    found: list[Outcome] = []
    lacking: list[str] = []
    for study in results.studies.values():
        if not study.judged or study.training_set == "cifar10" != claim.dataset:
            continue  # CIFAR-10 can stand for no other data
        experiment, baseline = (study.record.get("stand_ins", {}).get(n, n) for n in (claim.experiment, claim.baseline))
        own = replace(claim, experiment=experiment, baseline=baseline)
        if missing := [net for net in _nets(own) if study.lacks(net) and claim.kind != "dataset"]:
            are = "are" if len(missing) > 1 else "is"
            lacking.append(f"{' and '.join(missing)} {are} not trained in study {study.name}")
            continue
        try:
            found.append(_in_study(own, results, study))
        except NoEstimate as reason:
            lacking.append(f"{study.name}: {reason}")
    if not found:
        return [_pending(claim, "; ".join(lacking) or "nothing has been run yet", _home(claim, results))]
    return sorted(found, key=_strength, reverse=True)


def _strength(outcome: Outcome) -> tuple[int, bool, bool, bool, int, int]:
    settled, known = outcome.verdict != labels.PENDING, outcome.ours is not None
    return labels.STRENGTH.index(outcome.evidence), settled, known, not outcome.limit, outcome.seeds, outcome.n


def _pending(claim: Claim, why: str, study: str = "") -> Outcome:
    return Outcome(claim, labels.PENDING, why, command=command(claim, study or claim.dataset))


def _nets(claim: Claim) -> list[str]:
    """Experiments whose results a claim reads; an order has no baseline."""
    return list(filter(None, [*claim.experiment.split(), claim.baseline if claim.how != "rank" else ""]))


def _home(claim: Claim, results: Results) -> str:
    """The study in which the claim's nets are trained on its data at full size and length; nothing if none is known."""
    nets = _nets(claim)
    own = (study for study in results.studies.values() if study.training_set == claim.dataset)
    full = (study.name for study in own if study.tier_of(nets) == "paper" and study.experiments.keys() >= set(nets))
    return next(full, "") if nets else ""


# Arithmetic -----------------------------------------------------------------------------------------------------


def _arithmetic(claim: Claim, results: Results) -> Outcome:
    try:
        ours = arithmetic.measure(claim.how, claim.metric, claim.experiment, claim.baseline, results.layers)
    except arithmetic.Absent as absent:
        return _pending(claim, str(absent)) if claim.testable else Outcome(claim, labels.NOT_TESTABLE, claim.reason)
    verdict, why = (labels.NOT_TESTABLE, claim.reason) if not claim.testable else _agree(claim, ours)
    return Outcome(claim, verdict, why, "arithmetic", ours, command=command(claim, ""))


def _agree(claim: Claim, ours: float | str) -> tuple[str, str]:
    """Verdict on a computed value, and why; of a setting, whether text and authors' program agree, and by what line."""
    shown = ours if isinstance(ours, str) else f"{ours:,.6g}" if ours != int(ours) else f"{int(ours):,}"
    if matches(claim, ours, claim.paper):
        said = f"text and authors' program agree: {shown}" if claim.setting else f"counted at full size: {shown}"
        return labels.HOLDS, "; ".join(filter(None, [said, claim.reason]))
    how = "set in the authors' program" if claim.setting else "counted at full size"
    if claim.implied and _same(ours, claim.implied):
        return labels.DIFFERS if claim.setting else labels.MISCOUNTS, f"{how}: {shown}; {claim.implied_reason}"
    return labels.HOLDS_NOT, f"{how}: {shown}, where the paper has {claim.paper}"


def _same(ours: float | str, implied: str) -> bool:
    return ours == implied if isinstance(ours, str) else math.isclose(ours, float(implied), rel_tol=1e-3)


# Results of a study ---------------------------------------------------------------------------------------------


def _in_study(claim: Claim, results: Results, study: Study) -> Outcome:
    """The outcome that one study's results give; `NoEstimate` is raised where they say nothing about the claim."""
    if claim.kind == "dataset":
        return _counted(claim, results, study)
    nets = _nets(claim)
    dataset, split = _evaluated_on(claim, results, study)
    try:
        asked = Asked(results, study.name, claim.experiment, claim.baseline, dataset, split, claim.views, claim.metric)
        estimate: Estimate | None = measure(claim.how, asked)
    except NoEstimate as reason:
        registered, lost = blocks(results, study.name, nets)
        if not registered or registered != lost:
            raise NoEstimate(f"0 of {_planned(study, nets)}: {reason}" if study.plan else str(reason)) from None
        estimate = None
    form = results.form(study.name, dataset)
    copy = COPIES.get(form, "")
    evidence = _evidence(study.tier_of(nets), (dataset, split) == (claim.dataset, claim.split), bool(copy))
    place: dict[str, Any] = {"study": study.name, "dataset": form, "split": split, "plan": study.plan}
    if estimate is None:
        pairs = f"each of {plural(len(lost), 'pair')} has a run that failed to train"
        none = pairs if len(nets) > 1 else f"all {plural(len(lost), 'run')} failed to train"
        return Outcome(claim, labels.CANNOT_TELL, none, evidence, **place)
    if waiting := awaited(study, estimate):
        count = f"{waiting[0]} of {_planned(study, nets, waiting[1])}"
        count += f", {estimate.died} with a run that failed to train" if estimate.died else ""
        return Outcome(claim, labels.PENDING, count, evidence, command=command(claim, study.name), **place)
    if evidence not in ("proxy", "demo"):  # the paper's own classes are no sample
        estimate = replace(estimate, over_classes=None)
    limit, needed, said = _limit(claim, results, study, nets)
    outcome = of_estimate(claim, estimate, evidence, limit, **place)
    altered = f"on {form}, {copy} of {dataset}" if copy else ""
    if altered and outcome.needed:
        few = f"{outcome.needed}; " if estimate.few else ""
        needed = needed or f"{few}the official archive, where {copy} stood for it"
    target = replace(claim, group=claim.experiment)  # of a race its own, not that of all conditions
    beside = [_of_luck(claim, estimate), _elsewhere(claim, results, study)]
    why = [outcome.why, said, *beside, *map(study.shortened, nets), altered]
    return replace(
        outcome,
        why="; ".join(filter(None, why)),
        needed=needed or outcome.needed,
        differs=contrasts.differs(claim, results, study),
        command=command(target, study.name) if claim.experiment in study.races else outcome.command,
    )


def _planned(study: Study, nets: list[str], count: int = 0) -> str:
    """How many pairs, or runs of a single net, are planned: `count`, or all seeds that the nets share."""
    listed = {net: study.experiments.get(net, {}).get("seeds", []) for net in nets}
    seeds = [set(races.judges(study, net) if net in study.races else of) for net, of in listed.items()]
    return plural(count or len(set.intersection(*seeds)), "pair" if len(nets) > 1 else "run")


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
    own = claim.dataset, claim.split
    pairs = sorted(set(zip(table["set"], table["split"], strict=True)))
    return min(pairs, key=lambda pair: (pair != own, pair[1] != claim.split), default=own)


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
    raced = results.studies.values() if claim.experiment in study.races else ()
    ratios = max((races.by_implementation(results, other) for other in raced), key=len, default={})
    if len(ratios) < 2:
        return ""
    value, (low, high), (least, most) = races.over_implementations(ratios.values())
    reached = sum(matches(claim, ratio, claim.paper) for ratio in ratios.values())
    return (
        f"the interval is for one implementation, and the paper specifies none; over {len(ratios)} the geometric mean is {value:.2f} "
        f"[{low:.2f}, {high:.2f}], one more would lie within [{least:.2f}, {most:.2f}] in 95 of 100 cases, and {reached} of {len(ratios)} "
        f"{'reaches' if reached == 1 else 'reach'} the paper's range"
    )


# Counts of images -----------------------------------------------------------------------------------------------


def _counted(claim: Claim, results: Results, study: Study) -> Outcome:
    """A count from a manifest: the claim's own data set decides it, another one only shows its number."""
    sets = [name for of, name in results.manifests if of == study.name]
    counts = {name: _count(claim, results.manifests[study.name, name]) for name in sets}
    known = {name: count for name, count in counts.items() if count is not None}
    if not known:
        raise NoEstimate("its packed data have no such part" if sets else "the data set is not packed yet")
    name = claim.dataset if claim.dataset in known else next(iter(known))
    own = study.tier in ("paper", "reduced") and claim.dataset in sets  # a count knows no width
    ours, evidence = known[name], "paper scale" if own else _evidence(study.tier, False)
    if own:
        verdict = labels.HOLDS if matches(claim, ours, claim.paper) else labels.HOLDS_NOT
        why, target = f"counted in the packed data: {ours:,.6g}", study.name
    else:
        verdict, target = labels.PENDING, claim.dataset
        why = f"the paper's data set is not packed; this is the {evidence}'s"
    place: dict[str, Any] = {"study": study.name, "dataset": name, "split": claim.split}
    return Outcome(claim, verdict, why, evidence, ours, command=command(claim, target), **place)


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
