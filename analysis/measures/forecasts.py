"""What the effects of small nets predict for larger ones that are trained longer, on the same classes and images.

An effect, averaged over pairs of seeds, is a linear function of log2 width and log2 epochs (`stats.metaregression`). Its
sampling variance is that between pairs, pooled over the settings, divided by the pairs of the setting: three pairs alone
would not tell it. The images are the same in all settings, so their choice is no part of it. The widest nets are
predicted from the others first, then all are used.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from analysis.measures.estimates import Asked, NoEstimate, awaited
from analysis.measures.registry import measure
from analysis.results.evidence import Results, Study
from analysis.stats import metaregression
from analysis.stats.intervals import Noise, half_width

FULL = (1.0, 90)  # width and epochs of the paper's net


@dataclass(frozen=True)
class Setting:
    """The effect in nets of one width that were trained for one length; of each pair of seeds, in percentage points."""

    width: float
    epochs: int
    pairs: np.ndarray

    @property
    def size(self) -> str:
        """Its width against the paper's, as `3/16`."""
        return str(Fraction(self.width).limit_denominator(64))

    @property
    def x(self) -> np.ndarray:
        """Its row of the regression, in which the intercept is the effect of the paper's net."""
        return np.array([1, math.log2(self.width / FULL[0]), math.log2(self.epochs / FULL[1])])


@dataclass(frozen=True)
class Forecast:
    """An effect in the settings in which it was measured, the widest last; nothing is predicted before all planned ones are."""

    settings: list[Setting]
    planned: int

    @cached_property
    def df(self) -> int:
        """Degrees of freedom of the pooled variance."""
        return sum(len(s.pairs) - 1 for s in self.settings)

    @cached_property
    def variance(self) -> float:
        """Of one pair within its setting, pooled."""
        return float(sum(len(s.pairs) * s.pairs.var() for s in self.settings) / self.df)

    def measured(self, setting: Setting) -> tuple[float, float]:
        """Mean of a setting's pairs, and half the width of its 95 % interval by the pooled variance."""
        noise = Noise("pairs of seeds", self.variance, len(setting.pairs), self.df)
        return float(setting.pairs.mean()), half_width([noise])

    @cached_property
    def held_out(self) -> tuple[float, float] | None:
        """What the other settings predict of the widest one's mean, and half the width of the 95 % interval; None: they are too few."""
        others, last = self.settings[:-1], self.settings[-1:]
        if len(self.settings) < self.planned or not others or others[-1].width == last[0].width:
            return None
        return self._predicted(others, last[0].x, self.variance / len(last[0].pairs))

    @cached_property
    def full(self) -> tuple[float, float] | None:
        """The true effect at the paper's size that all settings predict, and half the width of the 95 % interval; `held_out` first."""
        return self._predicted(self.settings, np.array([1.0, 0.0, 0.0])) if self.held_out else None

    def _predicted(self, settings: list[Setting], x: np.ndarray, noise: float = 0.0) -> tuple[float, float] | None:
        y, n = (np.array([of(s.pairs) for s in settings]) for of in (np.mean, len))
        try:
            return metaregression.fit(y, np.stack([s.x for s in settings]), self.variance / n).predict(x, noise)
        except ValueError:
            return None


def asked_of(results: Results) -> list[Study]:
    """The studies that a forecast is made of: proxies that are not judged, and what they repeat in another size, the widest last."""
    repeated = [study for study in results.studies.values() if not study.judged and study.tier == "proxy"]
    origins = {(study.plan, study.training_set) for study in repeated}
    found = [s for s in results.studies.values() if s.plan and (s.plan, s.training_set) in origins]
    return sorted(found, key=lambda study: (study.record.get("width", 1), study.record.get("epochs", 0)))


def forecast(how: str, asked: Asked) -> Forecast:
    """The effect measured by `how`, in every setting of which all planned pairs are finished; `asked` names no study and no images."""
    settings, studies = [], asked_of(asked.results)
    for study in studies:
        try:
            estimate = measure(how, replace(asked, study=study.name, dataset=study.training_set, split="val"))
        except NoEstimate:
            continue
        if estimate.paired and estimate.seeds > 1 and not awaited(study, estimate):
            pairs = 100 * np.array(estimate.values[0])
            settings.append(Setting(float(study.record["width"]), int(study.record["epochs"]), pairs))
    return Forecast(settings, len(studies))
