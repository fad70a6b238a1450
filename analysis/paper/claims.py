"""Reads claims.csv: one checked record for each number or statement of the paper."""

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from analysis.errors import UserError
from analysis.measures.registry import MEASURES, Measure
from analysis.paper.tables import records

CLAIMS = Path(__file__).resolve().parents[1] / "claims.csv"
EXPERIMENTS = CLAIMS.parents[1] / "config" / "experiments.yaml"


@dataclass(frozen=True)
class Claim:
    """One row of claims.csv; the schema describes each field. Empty cells are "" or None."""

    id: str
    section: str
    statement: str
    kind: str
    group: str
    experiment: str
    baseline: str
    dataset: str
    split: str
    views: str
    metric: str
    how: str
    relation: str
    paper: str
    unit: str
    tolerance: float | None
    tolerance_reason: str
    implied: str
    implied_reason: str
    setting: bool
    confounded: str
    base_gap: float | None
    testable: bool
    reason: str
    document: str
    lab_value: float | None
    lab_source: str
    note: str

    @property
    def number(self) -> float | None:
        """The paper's value as a number, where it is one."""
        try:
            return float(self.paper)
        except ValueError:
            return None

    @property
    def slack(self) -> str:
        """What the tolerance says, in words, as `axes.Question` takes it; nothing without one."""
        if not self.tolerance:
            return ""
        size = f"{self.tolerance:g} {self.unit}"
        if self.relation in ("about", "equal"):
            return f"within {size} counts as the paper's value"
        no_effect = self.measure is not None and self.number == self.measure.null
        return f"{size} is the smallest effect of interest" if no_effect else f"{size} beyond the mark do not count"

    @property
    def measure(self) -> Measure | None:
        """How it is measured on runs; None: on layer tables or manifests, or not at all."""
        return None if self.kind in ("arithmetic", "dataset") else MEASURES.get(self.how)

    @property
    def measured(self) -> str:
        """The same in words; nothing if it is not measured on runs."""
        names = {"metric": self.metric, "experiment": self.experiment, "baseline": self.baseline}
        return self.measure.about.format(**names) if self.measure else ""

    @property
    def core(self) -> bool:
        """Whether it is one of the registered family of tests: an effect that training shows, told by the top-1 error or by epochs."""
        tested = self.measure is not None and self.measure.effect
        return tested and self.testable and self.kind in ("training", "cifar") and "top5" not in self.metric


@cache
def experiments() -> set[str]:
    """Names of experiments, nets of races among them, in config/experiments.yaml; and `data`, of which images are counted."""
    import yaml

    known = yaml.load(EXPERIMENTS.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    races = [(race, name) for race, about in known.get("races", {}).items() for name in about["conditions"]]
    return {"data", *known["experiments"]} | {
        f"{race}_{unit}_{name}" for race, name in races for unit in ("relu", "tanh")
    }


def load_claims(path: Path | None = None) -> list[Claim]:
    """All rows of `path` (analysis/claims.csv if None), in file order, checked by `paper.tables` and by what their kind needs."""
    columns = [field.name for field in fields(Claim)]
    claims = []
    for where, record in records(path or CLAIMS, "claims", columns, ("tolerance", "base_gap", "lab_value")):
        claim = Claim(**record | {name: record[name] == "yes" for name in ("testable", "setting")})
        _check_sense(where, claim)
        claims.append(claim)
    return claims


def _check_sense(where: str, claim: Claim) -> None:
    """Rules that span columns."""
    if not claim.testable and claim.kind != "cited" and not claim.reason:
        raise UserError(f"{where}, column `reason`: a row that is not testable must say why")
    if claim.document and (claim.how or not claim.testable):
        raise UserError(
            f"{where}, column `document`: the row is measured or not testable; it holds by reading or not at all"
        )
    if claim.how and not (claim.metric and claim.experiment and claim.relation and claim.paper):
        raise UserError(f"{where}, column `how`: a measured row needs experiment, metric, relation and paper")
    if claim.measure and claim.measure.compared and not claim.baseline:
        raise UserError(f"{where}, column `baseline`: {claim.how!r} compares two experiments; name the second")
    if claim.measure and claim.metric.partition(" ")[0] not in claim.measure.reads:
        reads = " or ".join(claim.measure.reads)
        raise UserError(f"{where}, column `metric`: {claim.how!r} reads {reads}, not {claim.metric!r}")
    for column, names in (("experiment", claim.experiment), ("baseline", claim.baseline)):
        if unknown := [name for name in names.split() if name not in experiments()]:
            raise UserError(f"{where}, column `{column}`: config/experiments.yaml has no {unknown[0]!r}")
    if claim.how and claim.kind == "training" and not (claim.dataset and claim.split):
        raise UserError(f"{where}, column `dataset`: a training row must name the paper's data set and split")
    if claim.tolerance is not None and not claim.tolerance_reason:
        raise UserError(f"{where}, column `tolerance_reason`: say why the tolerance is {claim.tolerance:g}")
    if claim.implied and not claim.implied_reason:
        raise UserError(f"{where}, column `implied_reason`: say where {claim.implied} comes from")
