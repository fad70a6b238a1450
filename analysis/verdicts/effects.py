"""The effect of each experiment against its baseline, claimed or not."""

from dataclasses import dataclass, replace

from analysis.measures import estimates
from analysis.measures.estimates import Asked, NoEstimate
from analysis.measures.inference import Estimate
from analysis.results.evidence import Results, Study
from analysis.stats.intervals import holm
from analysis.text import plural
from analysis.verdicts.table import VIEWS, copied, interval, number

TIER_WORDS = {"demo": "demo", "proxy": "proxy", "reduced": "paper's data, reduced", "paper": "paper scale"}
UNCORRECTED = "no difference shown once all are counted"  # the interval leaves out zero, Holm's p does not
READINGS = ("worse", "better", "no difference shown", UNCORRECTED)  # of effects whose interval says something


def titled(results: Results, study: Study) -> str:
    """A study's title with its tier, if it does not say it itself, or with what its data are a copy of.

    Nets trained for less than their recipe lower the tier.
    """
    tier = TIER_WORDS[study.tier_of(name for of, name, _ in results.runs if of == study.name)]
    words = copied(results.form(study.name, study.training_set)) or tier
    return study.title if words in study.title else f"{study.title} ({words})"


@dataclass(frozen=True)
class Effect:
    """Top-1 error of an experiment minus that of its baseline, same images; `estimate` None: nothing to compare yet."""

    study: Study
    experiment: str
    baseline: str
    view: str
    dataset: str
    split: str
    words: str  # how it reads: worse, better, no difference shown, or why there is no such reading
    estimate: Estimate | None = None
    p_holm: float | None = None  # adjusted over the effects that were asked for together

    @property
    def points(self) -> tuple[float, float, float]:
        """Value and interval in percentage points; NaN where there is none."""
        if self.estimate is None:
            return (float("nan"),) * 3
        return 100 * self.estimate.value, 100 * self.estimate.low, 100 * self.estimate.high

    @property
    def shown(self) -> str:
        """The value in points, with its interval where one can be read."""
        value, low, high = self.points
        readable = self.words in READINGS or (self.estimate is not None and self.estimate.few)
        span = interval(low, high, "points") if readable else ""
        return f"{number(value, 'points', 2)} {span}".strip()

    @property
    def seeds(self) -> str:
        """How many there are: pairs, or of each net."""
        if self.estimate is None:
            return "\u2013"
        one = self.estimate
        return plural(one.seeds, "pair") if one.paired else f"{one.seeds} vs {one.baseline_seeds}"

    @property
    def counted(self) -> str:
        """The same in a sentence."""
        return f"{self.seeds} {'of ' * self.estimate.paired if self.estimate else ''}seeds"


def effects(results: Results, study: Study, names: list[str], view: str = "ten") -> list[Effect]:
    """The effect of each of `names` that belongs to the study, with p-values adjusted over them (Holm)."""
    found = [_effect(results, study, name, view) for name in names if name in study.experiments]
    adjusted = holm([effect.estimate.p if effect.estimate else None for effect in found])
    late = [p is not None and p >= 0.05 and e.words in READINGS[:2] for e, p in zip(found, adjusted, strict=True)]
    words = [UNCORRECTED if lost else e.words for e, lost in zip(found, late, strict=True)]
    return [replace(e, p_holm=p, words=word) for e, p, word in zip(found, adjusted, words, strict=True)]


def _effect(results: Results, study: Study, name: str, view: str) -> Effect:
    about = study.experiments[name]
    baseline = about["baseline"]
    place = compared_on(study)
    words, estimate = "", None
    if name == baseline:
        words = "the baseline itself"
    elif "data" in about:
        words = "trained on other data, so not compared"
    elif about["difference"] == {} and "members" not in about:
        words = "the same net in this study"
    else:
        try:
            estimate = estimates.difference(Asked(results, study.name, name, baseline, *place, view, "top1_error"))
            words = _reading(results, study, name, baseline, estimate)
            if waiting := estimates.awaited(study, estimate):
                words, estimate = "{} of {} planned pairs; no number is looked at before".format(*waiting), None
        except NoEstimate as reason:
            words = str(reason) if _begun(results, study, name) else "not run yet"
    return Effect(study, name, baseline, view, *place, words, estimate)


def _begun(results: Results, study: Study, name: str) -> bool:
    """Whether there is a finished run of an experiment, or an evaluation, which an average of nets has alone."""
    evaluated = results.evals.loc[results.evals["study"] == study.name, "experiment"]
    return name in set(evaluated) or any(key[:2] == (study.name, name) for key in results.runs)


def compared_on(study: Study) -> tuple[str, str]:
    """Set and split on which all experiments of a study are compared: the first that it evaluates on."""
    places = study.record.get("evaluate") or [{"set": study.training_set, "split": "val"}]
    return places[0]["set"], places[0]["split"]


def _reading(results: Results, study: Study, name: str, baseline: str, estimate: Estimate) -> str:
    dead = estimates.untrained(results, study.name)
    if name in dead:
        return "stays at chance, as its baseline does" if baseline in dead else "stays at chance"
    if baseline in dead:
        return "trains, its baseline stays at chance"
    if estimate.few:
        return f"too few {'pairs' if estimate.paired else 'seeds'} for a verdict"
    if not estimate.conclusive:
        return f"no reading: {estimate.remark.partition(';')[0]}"
    if estimate.low > 0:
        return "worse"
    return "better" if estimate.high < 0 else "no difference shown"


def line(effect: Effect) -> str:
    """One line for a terminal."""
    where = f"{effect.study.name} ({TIER_WORDS[effect.study.tier]})"
    if effect.estimate is None:
        return f"{where}: {effect.experiment} against {effect.baseline}: {effect.words}"
    value, low, high = effect.points
    numbers = f"{number(value, 'points', 2)} points {interval(low, high, 'points')}".strip()
    return (
        f"{where}: {effect.experiment} against {effect.baseline}: top-1 error {numbers}, {VIEWS[effect.view]}, "
        f"{effect.dataset} {effect.split}, {effect.estimate.images:,} images, {effect.counted}: {effect.words}"
    )


def lines(results: Results, experiment: str) -> list[str]:
    """What each study says about an experiment, with ten views and with one; at least one line."""
    if not results.studies:
        return [f"{experiment}: nothing has been run yet"]
    if not any(experiment in study.experiments for study in results.studies.values()):
        return [f"no study here has an experiment {experiment}"]
    out = [
        line(effect)
        for study in results.studies.values()
        for view in ("ten", "center")
        for effect in effects(results, study, [experiment], view)
        if effect.experiment != effect.baseline
    ]
    return list(dict.fromkeys(out)) or [f"{experiment} is the baseline of the others: no effect to show"]
