"""What a notebook works on: results, claims and verdict table, from the environment variables that it is run with."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis.errors import UserError
from analysis.measures.estimates import DEAD
from analysis.paper.claims import Claim, load_claims
from analysis.report.notebooks import CLAIMS, RESULTS
from analysis.results.evidence import TIERS, Results, Study, load_results
from analysis.verdicts.judge import judge
from analysis.verdicts.labels import PENDING
from analysis.verdicts.rules import Outcome
from analysis.verdicts.table import read_table


@dataclass(frozen=True)
class Context:
    """What every page starts from."""

    results: Results
    table: pd.DataFrame  # the verdict table that `check` wrote

    @cached_property
    def claims(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in load_claims() if claim.id in set(self.table["id"])}

    @property
    def studies(self) -> list[Study]:
        """Studies on which claims are judged, with the strongest evidence first."""
        judged = (study for study in self.results.studies.values() if study.judged)
        return sorted(judged, key=lambda study: (-TIERS.index(study.tier), study.name))

    def trained(self, study: Study) -> list[str]:
        """Experiments of a study that have a finished run, the base first."""
        names = {experiment for of, experiment, _ in self.results.runs if of == study.name}
        return sorted(names, key=lambda name: (name != "alexnet", name))

    def last(self, study: Study, name: str, column: str = "validation_error", scale: float = 100) -> list[float]:
        """What each seed ended its training with: a column of its metrics, errors in %."""
        return [scale * float(curve[column].iloc[-1]) for curve in self.results.curves(study.name, name).values()]

    def stuck(self, study: Study, names: Iterable[str]) -> set[str]:
        """Experiments whose runs all ended near chance; evaluated or not."""
        limit = 100 * DEAD * study.chance  # NaN where a study does not say how many classes it has
        return {name for name in names if min(self.last(study, name), default=limit) > limit}

    def outcomes(self, study: Study, hows: set[str]) -> list[Outcome]:
        """What this study says about the claims that are measured in one of the ways `hows`, but for numbers not looked at yet."""
        chosen = [claim for claim in self.claims.values() if claim.how in hows and claim.kind != "arithmetic"]
        found = [outcome for claim in chosen for outcome in judge(claim, self.results)]
        seen = [outcome for outcome in found if outcome.verdict != PENDING or outcome.ours is not None]
        return [outcome for outcome in seen if outcome.study == study.name]


def load() -> Context:
    """Read what ALEXNET_RESULTS and ALEXNET_CLAIMS name.

    Raises:
        UserError: one of the two is not set or cannot be read.
    """
    for name in (RESULTS, CLAIMS):
        if name not in os.environ:
            raise UserError(f"{name} is not set in the environment; run the page through `python -m analysis notebook`")
    return Context(load_results(Path(os.environ[RESULTS])), read_table(Path(os.environ[CLAIMS])))
