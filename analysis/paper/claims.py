"""Reads claims.csv: one checked record for each number or statement of the paper."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import read_table

CLAIMS = Path(__file__).resolve().parents[1] / "claims.csv"
SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "claims.schema.yaml"
NUMBERS = ("tolerance", "lab_value")
COMPARED = {"difference", "ratio", "gap", "train_difference", "rank", "each", "generalization_gap", "sample_difference"}


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
    testable: bool
    reason: str
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
    def core(self) -> bool:
        """Whether it is one of the registered family of tests: an effect that training shows, told by the top-1 error or by epochs."""
        tested = self.how in COMPARED or self.how == "view_gain"
        return tested and self.testable and self.kind in ("training", "cifar") and "top5" not in self.metric


@cache
def _schema() -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return loaded


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    """All rows of `path`, checked against workflow/schemas/claims.schema.yaml, in file order.

    Raises:
        UserError: the file cannot be read, a column is missing or unknown, a cell breaks the schema, an id
            occurs twice, or a row lacks what its kind needs. The message names row, id and column.
    """
    names, rows = read_table(path)
    wanted = [field.name for field in fields(Claim)]
    for name in wanted:
        if name not in names:
            raise UserError(f"{path}: column `{name}` is missing; its header must read {','.join(wanted)}")
    for name in names:
        if name not in wanted:
            raise UserError(f"{path}: unknown column `{name}`; the schema knows {', '.join(wanted)}")
    claims: list[Claim] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        claim = _claim(path, number, row)
        if claim.id in seen:
            raise UserError(f"{path}, row {number}: id `{claim.id}` stands already in row {seen[claim.id]}")
        seen[claim.id] = number
        claims.append(claim)
    return claims


def _claim(path: Path, number: int, row: dict[str, Any]) -> Claim:
    import jsonschema

    where = f"{path}, row {number} ({row.get('id') or 'no id'})"
    if None in row or None in row.values():
        raise UserError(f"{where}: the row has more or fewer cells than the header; quote cells that hold commas")
    record: dict[str, Any] = dict(row)
    for name in NUMBERS:
        record[name] = _number(where, name, row[name])
    validator = jsonschema.Draft202012Validator(_schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(record))
    if error is not None:
        column = ".".join(str(step) for step in error.absolute_path) or "row"
        raise UserError(f"{where}, column `{column}`: {error.message}")
    for name in ("testable", "setting"):
        record[name] = record[name] == "yes"
    claim = Claim(**record)
    _check_sense(where, claim)
    return claim


def _number(where: str, name: str, text: str) -> float | None:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where}, column `{name}`: {text!r} is not a number") from None


def _check_sense(where: str, claim: Claim) -> None:
    """Rules that span columns."""
    if not claim.testable and claim.kind != "cited" and not claim.reason:
        raise UserError(f"{where}, column `reason`: a row that is not testable must say why")
    if claim.how and not (claim.metric and claim.experiment and claim.relation and claim.paper):
        raise UserError(f"{where}, column `how`: a measured row needs experiment, metric, relation and paper")
    if claim.how in COMPARED and not claim.baseline:
        raise UserError(f"{where}, column `baseline`: {claim.how!r} compares two experiments; name the second")
    if claim.how and claim.kind == "training" and not (claim.dataset and claim.split):
        raise UserError(f"{where}, column `dataset`: a training row must name the paper's data set and split")
    if claim.tolerance is not None and not claim.tolerance_reason:
        raise UserError(f"{where}, column `tolerance_reason`: say why the tolerance is {claim.tolerance:g}")
    if claim.implied and not claim.implied_reason:
        raise UserError(f"{where}, column `implied_reason`: say where {claim.implied} comes from")
