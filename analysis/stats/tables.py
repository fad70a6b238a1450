"""Reads and checks two CSV files, claims and measurements; an error names file, row and column."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from analysis.errors import UserError
from analysis.files import number_in, read_rows
from analysis.stats.axes import RELATIONS, SIDES

CLAIMS = ("id", "statement", "how", "arm", "baseline", "relation", "paper", "tolerance", "unit")
OPTIONAL = ("limit", "spread")
MEASUREMENTS = ("arm", "seed", "value", "n")
HOWS = ("value", "difference", "ratio")


@dataclass(frozen=True)
class Claim:
    """One row of the claims; `paper` None: a side without a size."""

    id: str
    statement: str
    how: str
    arm: str
    baseline: str
    relation: str
    paper: float | None
    tolerance: float
    unit: str
    limit: str = ""
    spread: str = ""


class Run(NamedTuple):
    """One row of the measurements."""

    value: float | None  # None: it died
    images: float | None
    row: int  # of the file


Arm = dict[str, Run]  # by seed


def read_measurements(path: Path) -> dict[str, Arm]:
    """All arms of the file."""
    arms: dict[str, Arm] = {}
    for number, row in read_rows(path, MEASUREMENTS, others=True):
        where = f"{path}, row {number}"
        for name in ("arm", "seed"):
            if not row[name]:
                raise UserError(f"{where}, column `{name}`: the cell is empty; name the {name} of the run")
        arm, seed = arms.setdefault(row["arm"], {}), _seed(row["seed"])
        if seed in arm:
            there = f"arm {row['arm']!r} has seed {seed} already in row {arm[seed].row}"
            raise UserError(f"{where}, column `seed`: {there}; keep one")
        value, n = (number_in(where, name, row[name]) for name in ("value", "n"))
        if n is not None and (n < 1 or n != int(n)):
            raise UserError(f"{where}, column `n`: {row['n']} is no number of images; write 1 or more, or nothing")
        arm[seed] = Run(value, n, number)
    return arms


def read_claims(path: Path, arms: dict[str, Arm], measurements: Path) -> list[Claim]:
    """All claims of the file, each about `arms`, which `measurements` holds.

    Raises:
        UserError: the file cannot be read, breaks a rule of its columns, or asks of an arm what it does not hold.
    """
    claims: list[Claim] = []
    seen: dict[str, int] = {}
    for number, row in read_rows(path, CLAIMS, OPTIONAL, others=True):
        where = f"{path}, row {number}"
        if not row["id"]:
            raise UserError(f"{where}, column `id`: the cell is empty; every claim needs an id")
        if row["id"] in seen:
            raise UserError(f"{where}, column `id`: {row['id']!r} stands already in row {seen[row['id']]}")
        seen[row["id"]] = number
        for name, words in (("how", HOWS), ("relation", RELATIONS), ("spread", ("", "images"))):
            if row[name] not in words:
                known = ", ".join(word or "nothing" for word in words)
                raise UserError(f"{where}, column `{name}`: {row[name]!r} is unknown; write {known}")
        paper, tolerance = (number_in(where, name, row.pop(name)) for name in ("paper", "tolerance"))
        claim = Claim(**row, paper=paper, tolerance=tolerance or 0.0)
        _check(where, claim, arms, measurements)
        claims.append(claim)
    return claims


def _check(where: str, claim: Claim, arms: dict[str, Arm], measurements: Path) -> None:
    """Rules that span cells."""
    if claim.paper is None and (claim.how == "value" or claim.relation not in SIDES):
        raise UserError(
            f"{where}, column `paper`: the cell is empty; only a difference or ratio that is greater or less needs no number"
        )
    if claim.tolerance < 0:
        raise UserError(f"{where}, column `tolerance`: {claim.tolerance:g} is below zero")
    if claim.how == "value" and claim.baseline:
        raise UserError(f"{where}, column `baseline`: a value has none; clear the cell or write difference")
    if claim.how == "ratio" and claim.paper is not None and claim.paper <= 0:
        raise UserError(f"{where}, column `paper`: a ratio of {claim.paper:g} is impossible; it must be above zero")
    for column in ("arm",) if claim.how == "value" else ("arm", "baseline"):
        name = getattr(claim, column)
        if name not in arms:
            said = f"arm {name!r} is not in {measurements}" if name else "the cell is empty; name an arm"
            raise UserError(f"{where}, column `{column}`: {said}")
        for value, images, row in arms[name].values():
            if value is not None:
                _check_run(f"{measurements}, row {row}", claim, value, images)


def _check_run(there: str, claim: Claim, value: float, images: float | None) -> None:
    """Rules for the numbers of a claim's arms."""
    if claim.how == "ratio" and (value < 0 or (value == 0 and not claim.spread)):
        said = f"{value:g} in the ratio {claim.id!r}, which needs numbers above zero"
        raise UserError(f"{there}, column `value`: {said}")
    if claim.spread and not 0 <= value <= 1:
        said = f"{value:g} is no fraction, which the spread of claim {claim.id!r} needs"
        raise UserError(f"{there}, column `value`: {said}")
    if claim.spread and images is None:
        raise UserError(f"{there}, column `n`: the cell is empty; the spread of claim {claim.id!r} is that of n images")


def _seed(text: str) -> str:
    """A seed as written; 1, 01 and 1.0 are the same."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if math.isfinite(number) and number == int(number) else text
