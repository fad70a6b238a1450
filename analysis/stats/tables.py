"""Reads and checks two CSV files, claims and measurements; an error names file, row and column."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass
class Arm:
    """The runs of one arm by seed; a value of None: the run died."""

    values: dict[str, float | None] = field(default_factory=dict)
    images: dict[str, int | None] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # of the file


def read_measurements(path: Path) -> dict[str, Arm]:
    """All arms of the file.

    Raises:
        UserError: the file cannot be read, or breaks a rule of its columns.
    """
    arms: dict[str, Arm] = {}
    for number, row in read_rows(path, MEASUREMENTS, others=True):
        where = f"{path}, row {number}"
        for name in ("arm", "seed"):
            if not row[name]:
                raise UserError(f"{where}, column `{name}`: the cell is empty; name the {name} of the run")
        arm, seed = arms.setdefault(row["arm"], Arm()), _seed(row["seed"])
        if seed in arm.values:
            raise UserError(
                f"{where}, column `seed`: arm {row['arm']!r} has seed {seed} already in row {arm.rows[seed]}; keep one"
            )
        arm.values[seed] = number_in(where, "value", row["value"])
        n = number_in(where, "n", row["n"])
        if n is not None and (n < 1 or n != int(n)):
            raise UserError(f"{where}, column `n`: {row['n']} is no number of images; write 1 or more, or nothing")
        arm.images[seed] = None if n is None else int(n)
        arm.rows[seed] = number
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
    names = [("arm", claim.arm)] + ([("baseline", claim.baseline)] if claim.how != "value" else [])
    for column, name in names:
        if name not in arms:
            said = f"arm {name!r} is not in {measurements}" if name else "the cell is empty; name an arm"
            raise UserError(f"{where}, column `{column}`: {said}")
        for seed, value in arms[name].values.items():
            if value is None:
                continue
            there = f"{measurements}, row {arms[name].rows[seed]}"
            if claim.how == "ratio" and (value < 0 or (value == 0 and not claim.spread)):
                raise UserError(
                    f"{there}, column `value`: {value:g} in the ratio {claim.id!r}, which needs numbers above zero"
                )
            if claim.spread and not 0 <= value <= 1:
                raise UserError(
                    f"{there}, column `value`: {value:g} is no fraction, which the spread of claim {claim.id!r} needs"
                )
            if claim.spread and arms[name].images[seed] is None:
                raise UserError(
                    f"{there}, column `n`: the cell is empty; the spread of claim {claim.id!r} is that of n images"
                )


def _seed(text: str) -> str:
    """A seed as written; 1, 01 and 1.0 are the same."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if math.isfinite(number) and number == int(number) else text
