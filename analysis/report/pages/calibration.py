"""How far the verdicts can be trusted, from the published calibration and power table: in short, and in detail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.calibration.power import DAYS, GPUS, LOG_SD, RUN_HOURS, SEEDS, WANTED
from analysis.calibration.record import behaviour
from analysis.calibration.simulation import NOMINAL
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line
from analysis.report.page import Html, folded, note, render, table
from analysis.verdicts.table import number, with_unit

REFERENCE = Path(__file__).resolve().parents[3] / "reports" / "reference"
KINDS = {
    "difference": "Difference of two nets",
    "value": "Absolute error",
    "equivalence": "About the same",
    "gap": "Gap at the end of training",
    "view gain": "Gain of ten views",
    "ratio": "Ratio of epochs",
    "world": "Arms that are no normal draws",
}
WORDS = ("agrees", "not_shown", "contradicts", "matches", "differs")
MISSING = "No calibration is published: python -m analysis calibrate --out reports/reference/calibration.csv"


def _published() -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The settings in which the rule has to keep its rate, and those in which no rule can; None: none are published."""
    path = REFERENCE / "calibration.csv"
    if not path.is_file():
        return None
    found = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return found[found["broken"].isna()], found[found["broken"].notna()]


def short() -> Html:
    """How often the rule was wrong on campaigns of which the truth is known, with a line for each kind of claim."""
    found = _published()
    if not found:
        return note(MISSING)
    counted, broken = found
    about = json.loads((REFERENCE / "calibration.json").read_text(encoding="utf-8"))
    repeats = int(counted["repeats"].min())
    error = 100 * (NOMINAL * (1 - NOMINAL) / repeats) ** 0.5
    axis = (-0.2, max(100 * NOMINAL + 3 * error, 100 * counted["rate"].max()) + 0.5)
    kinds = [(name, _of_kind(counted, kind, error, axis)) for kind, name in KINDS.items()]
    return render(
        "calibration.html.j2",
        settings=len(counted),
        repeats=repeats,
        error=error,
        above=int((counted["low"] > NOMINAL).sum()),
        worst=100 * counted["rate"].max(),
        mean=100 * counted["rate"].mean(),
        kinds=[(name, line) for name, line in kinds if line],
        broken=len(broken),
        broken_worst=100 * broken["rate"].max() if len(broken) else 0.0,
        about=about,
        changed=about.get("behaviour") != behaviour(),
    )


def _of_kind(counted: pd.DataFrame, kind: str, error: float, axis: tuple[float, float]) -> dict[str, Any]:
    """The line of a kind of claim: a dot for each rate, to a tenth of a percent; empty without settings."""
    rates = 100 * counted.loc[counted["kind"] == kind, "rate"]
    if rates.empty:
        return {}
    marks = Marks(
        ours=rates.max(),
        seeds=tuple(sorted(set(rates.round(1)))),
        band=(0.0, 100 * NOMINAL + 3 * error),
        zero=100 * NOMINAL,
    )
    alt = f"{KINDS[kind]}: at most {rates.max():.1f} % of the verdicts were wrong, {rates.mean():.1f} % on average; 5 % are allowed"
    return {
        "line": number_line(marks, alt, axis=axis),
        "settings": len(rates),
        "worst": rates.max(),
        "mean": rates.mean(),
    }


def page(ctx: Context) -> Html:
    """The detail: rates by kind and evidence, the worst settings, broken assumptions, many tests at once, and power."""
    found = _published()
    if not found:
        return note(MISSING)
    counted, broken = found
    tested = ctx.table[ctx.table["p"].notna()]
    worst = broken.loc[broken.groupby(["evidence", "seeds", "broken"])["rate"].idxmax()]
    return render(
        "calibration_detail.html.j2",
        by_kind=_by_kind(counted),
        highest=folded(
            "The settings with the highest rates", _settings(counted.sort_values("rate", ascending=False).head(15))
        ),
        broken=_settings(worst),
        tested=len(tested),
        below=[int((tested[name] < NOMINAL).sum()) for name in ("p", "p_holm", "p_bh")],
        power=_power(REFERENCE / "power.csv"),
    )


def _by_kind(counted: pd.DataFrame) -> Html:
    rows = []
    for (kind, evidence), group in counted.groupby(["kind", "evidence"], sort=False):
        seeds = sorted(set(group["seeds"]) | set(group["baseline_seeds"]) - {0})
        images = sorted(set(group["images"]) - {0})
        rows.append(
            [
                KINDS[kind],
                evidence,
                f"{len(group):,}",
                f"{seeds[0]:,} – {seeds[-1]:,}",
                f"{images[0]:,} – {images[-1]:,}" if images else "",
                f"{100 * group['rate'].max():.1f} %",
                f"{100 * group['rate'].mean():.1f} %",
            ]
        )
    heads = ["Kind", "Evidence", "Settings", "Seeds", "Images", "Highest", "Mean"]
    return table(heads, rows, "Wrong verdicts by kind of claim and evidence")


def _settings(group: pd.DataFrame) -> Html:
    rows = []
    for row in group.to_dict("records"):
        versus = f" vs {row['baseline_seeds']}" if row["baseline_seeds"] else ""
        spreads = [number(row[name], "points", 2) for name in ("sd", "baseline_sd")[: 1 + bool(row["baseline_seeds"])]]
        said = [f"{100 * row[word] / row['repeats']:.1f} % {word.replace('_', ' ')}" for word in WORDS if row[word]]
        rows.append(
            [
                row["world"] if isinstance(row["world"], str) else row["claim"],
                row["evidence"],
                f"{row['seeds']}{versus}",
                " vs ".join(spreads) + (" (log)" if row["kind"] == "ratio" else ""),
                f"{row['images']:,}" if row["images"] else "",
                number(row["truth"], "points", 2),
                f"{100 * row['rate']:.1f} %",
                ", ".join(said),
            ]
        )
    heads = ["Claim", "Evidence", "Seeds", "Spread of seeds", "Images", "Truth", "Wrong", "Said"]
    return table(heads, rows, "Settings, in the unit of the claim")


def _power(path: Path) -> Html:
    if not path.is_file():
        return note("No power table is published; add --power to the command.")
    found = pd.read_csv(path)
    rows = [
        [
            row["claim"],
            with_unit(row["truth"], row["unit"]),
            number(row["sd"], "points", 2),
            _whole(row["images"]),
            " / ".join(f"{100 * row[f'replicated_{n}']:.0f}" for n in SEEDS),
            _whole(row["direction_80"]),
            _whole(row["seeds_80"]) or "> 30",
            *(_whole(row[name]) for name in ("images_80", "runs", "gpu_hours")),
        ]
        for row in found.to_dict("records")
    ]
    heads = ["Claim", "If true", "Spread of seeds", "Images", "Power with 3 / 5 / 10 seeds, %"]
    heads += ["Seeds to show the direction", "Seeds to replicate", "Images to replicate", "Runs", "GPU-hours of 2012"]
    return render(
        "power.html.j2",
        repeats=int(found["repeats"].min()),
        wanted=100 * WANTED,
        log_sd=LOG_SD,
        days=DAYS,
        gpus=GPUS,
        hours=RUN_HOURS,
        table=table(heads, rows, "Seeds, images and GPU-hours that each claim takes"),
    )


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value == value else ""
