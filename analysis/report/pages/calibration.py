"""How far the verdicts can be trusted, from the published calibration and power table: in short, and in detail."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.calibration import power
from analysis.calibration.record import behaviour
from analysis.calibration.simulation import NOMINAL
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line
from analysis.report.page import Html, note, render

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
    return render(
        "calibration.html.j2",
        repeats=repeats,
        error=error,
        above=int((counted["low"] > NOMINAL).sum()),
        kinds=[(name, line) for kind, name in KINDS.items() if (line := _of_kind(counted, kind, error, axis))],
        broken=len(broken),
        broken_worst=100 * broken["rate"].max() if len(broken) else 0.0,
        about=about,
        changed=about.get("behaviour") != behaviour(),
        **_rates(counted),
    )


def _rates(settings: pd.DataFrame) -> dict[str, Any]:
    """How many settings there are, and the highest and the mean rate of them, %."""
    return {"settings": len(settings), "worst": 100 * settings["rate"].max(), "mean": 100 * settings["rate"].mean()}


def _of_kind(counted: pd.DataFrame, kind: str, error: float, axis: tuple[float, float]) -> dict[str, Any]:
    """The line of a kind of claim: a dot for each rate, to a tenth of a percent; empty without settings."""
    own = counted[counted["kind"] == kind]
    if own.empty:
        return {}
    rates, seeds = _rates(own), tuple(sorted(set((100 * own["rate"]).round(1))))
    marks = Marks(rates["worst"], seeds=seeds, band=(0.0, 100 * NOMINAL + 3 * error), zero=100 * NOMINAL)
    alt = f"{KINDS[kind]}: at most {rates['worst']:.1f} % of the verdicts were wrong, {rates['mean']:.1f} % on average; 5 % are allowed"
    return {"line": number_line(marks, alt, axis=axis), **rates}


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
        by_kind=[_summary(key, group) for key, group in counted.groupby(["kind", "evidence"], sort=False)],
        highest=counted.sort_values("rate", ascending=False).head(15).to_dict("records"),
        broken=worst.to_dict("records"),
        words=WORDS,
        tested=len(tested),
        below=[int((tested[name] < NOMINAL).sum()) for name in ("p", "p_holm", "p_bh")],
        power=_power(REFERENCE / "power.csv"),
    )


def _summary(key: tuple[str, str], group: pd.DataFrame) -> dict[str, Any]:
    """The settings of a kind of claim with one kind of evidence: their ranges and rates."""
    ranges = {
        "seeds": sorted(set(group["seeds"]) | set(group["baseline_seeds"]) - {0}),
        "images": sorted(set(group["images"]) - {0}),
    }
    return {"kind": KINDS[key[0]], "evidence": key[1], **ranges, **_rates(group)}


def _power(path: Path) -> Html | None:
    """What each claim takes; None: no table is published."""
    if not path.is_file():
        return None
    found = pd.read_csv(path)
    return render("power.html.j2", rows=found.to_dict("records"), repeats=int(found["repeats"].min()), assumed=power)
