"""The page on how far the verdicts can be trusted, from the published calibration and power table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.calibration.power import DAYS, GPUS, LOG_SD, RUN_HOURS, SEEDS, WANTED
from analysis.calibration.record import behaviour
from analysis.calibration.simulation import NOMINAL
from analysis.report import figures
from analysis.report.context import Context
from analysis.report.page import Html, figure, folded, heading, note, say, stack, table
from analysis.text import plural
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


def page(ctx: Context) -> Html:
    """The whole page."""
    path = REFERENCE / "calibration.csv"
    if not path.is_file():
        return note("No calibration is published: python -m analysis calibrate --out reports/reference/calibration.csv")
    found = pd.read_csv(path, keep_default_na=False, na_values=[""])
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    counted, broken = found[found["broken"].isna()], found[found["broken"].notna()]
    return stack(
        _sentences(counted, broken, about),
        _figure(counted),
        _by_kind(counted),
        folded("The settings with the highest rates", _highest(counted)),
        heading("Where the rule stands on an assumption"),
        _broken(broken),
        heading("Many tests at once"),
        _many(ctx),
        heading("What each claim takes"),
        _power(REFERENCE / "power.csv"),
    )


def _sentences(counted: pd.DataFrame, broken: pd.DataFrame, about: dict[str, Any]) -> Html:
    worst, repeats = counted["rate"].max(), int(counted["repeats"].min())
    error = 100 * (NOMINAL * (1 - NOMINAL) / repeats) ** 0.5
    above = int((counted["low"] > NOMINAL).sum())
    verdict = (
        "in none of them more often than 5 % beyond what the repeats can show"
        if not above
        else f"in {above} of them more often than 5 %"
    )
    same = about.get("behaviour") == behaviour()
    now = "" if same else "The rule behaves differently now; run the command to count again."
    return say(
        f"Fabricated campaigns of which the truth is known were judged by the code that judges the real ones, in {len(counted):,} settings with {repeats:,} campaigns each.",
        f"It was wrong {verdict}: at most in {100 * worst:.1f} %, where the standard error of a rate of 5 % is {error:.1f} points, and in {100 * counted['rate'].mean():.1f} % on average.",
        f"Many settings stand on an edge (no effect, or just outside of the range), where as many errors as allowed are to be expected. Counted by: {about['command']} ({about['seconds'] / 60:.0f} minutes on one core).",
        _assumed(broken),
        now,
    )


def _assumed(broken: pd.DataFrame) -> str:
    """The exception, in the same breath."""
    if broken.empty:
        return ""
    return (
        f"Not among these: {len(broken)} settings in which no rule on so few runs can keep 5 %, or in which the plan is broken (runs added until "
        f"something is shown, a rate chosen on the runs that judge it); there it was wrong in up to {100 * broken['rate'].max():.0f} %."
    )


def _figure(counted: pd.DataFrame) -> Html:
    fig = figures.error_rates(counted, KINDS, NOMINAL)
    tops = (
        f"{name} {100 * counted.loc[counted['kind'] == kind, 'rate'].max():.1f} %"
        for kind, name in KINDS.items()
        if (counted["kind"] == kind).any()
    )
    return figure(
        fig,
        f"Rate of wrong verdicts by kind of claim, a dot a setting; highest: {'; '.join(tops)}; line at 5 %",
        "Wrong verdicts by kind of claim and seeds of the net with fewer; a dot stands for all settings with the same tenth of a percent. Line: the 5 % that are allowed; band: three standard errors of a rate of 5 %.",
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
        unit = " (log)" if row["kind"] == "ratio" else ""
        base = f" vs {row['baseline_seeds']}" if row["baseline_seeds"] else ""
        spread = number(row["sd"], "points", 2) + (
            f" vs {number(row['baseline_sd'], 'points', 2)}" if row["baseline_seeds"] else ""
        )
        said = ", ".join(
            f"{100 * row[word] / row['repeats']:.1f} % {word.replace('_', ' ')}" for word in WORDS if row[word]
        )
        rows.append(
            [
                row["world"] if isinstance(row["world"], str) else row["claim"],
                row["evidence"],
                f"{row['seeds']}{base}",
                spread + unit,
                f"{row['images']:,}" if row["images"] else "",
                number(row["truth"], "points", 2),
                f"{100 * row['rate']:.1f} %",
                said,
            ]
        )
    heads = ["Claim", "Evidence", "Seeds", "Spread of seeds", "Images", "Truth", "Wrong", "Said"]
    return table(heads, rows, "Settings, in the unit of the claim")


def _highest(counted: pd.DataFrame) -> Html:
    return _settings(counted.sort_values("rate", ascending=False).head(15))


def _broken(broken: pd.DataFrame) -> Html:
    words = (
        "Where an arm has two peaks or a far tail, few runs may all come from one side of it, and nothing in their numbers tells: "
        "with five pairs and two runs in five on the higher peak that happens in 8.8 % of all measurements. Adding runs until "
        "something is shown, and choosing a rate on the runs that judge it, spoil any interval; so the number of pairs is fixed "
        "before, and rates are chosen on a pilot seed."
    )
    worst = broken.loc[broken.groupby(["evidence", "seeds", "broken"])["rate"].idxmax()]
    return stack(say(words), _settings(worst))


def _many(ctx: Context) -> Html:
    tested = ctx.table[ctx.table["p"].notna()]
    if tested.empty:
        return say("No claim has a p-value yet.")
    raw, strict, loose = (int((tested[name] < NOMINAL).sum()) for name in ("p", "p_holm", "p_bh"))
    return say(
        f"The core claims are one family; {plural(len(tested), 'claim')} here have a p-value for \u201cno effect\u201d.",
        f"Below 0.05: {raw} as they are, {strict} after Holm's correction (no false one among all, with 95 %), {loose} after that of Benjamini and Hochberg (5 % false ones among those found).",
        "Both stand below each claim on the first page.",
    )


def _power(path: Path) -> Html:
    if not path.is_file():
        return note("No power table is published; add --power to the command.")
    found = pd.read_csv(path)
    rows = []
    for row in found.to_dict("records"):
        shown = [f"{100 * row[f'replicated_{n}']:.0f}" for n in SEEDS]
        rows.append(
            [
                row["claim"],
                with_unit(row["truth"], row["unit"]),
                number(row["sd"], "points", 2),
                f"{row['images']:,.0f}" if row["images"] == row["images"] else "",
                " / ".join(shown),
                _whole(row["direction_80"]),
                _whole(row["seeds_80"]) if row["seeds_80"] == row["seeds_80"] else "> 30",
                _whole(row["images_80"]),
                _whole(row["runs"]),
                _whole(row["gpu_hours"]),
            ]
        )
    heads = ["Claim", "If true", "Spread of seeds", "Images", "Power with 3 / 5 / 10 seeds, %"]
    heads += ["Seeds to show the direction", "Seeds to replicate", "Images to replicate"]
    heads += ["Runs", "GPU-hours of 2012"]
    words = (
        f"Power: how often the verdict is \u201creplicated\u201d if the paper is exactly right (bounds: half of \u201cat most\u201d, twice \u201cat least\u201d), from {int(found['repeats'].min()):,} fabricated campaigns each. "
        f"Seeds (of each net) and images (with ten seeds) are the fewest with {100 * WANTED:.0f} % power. The spread of seeds is that of the lab's logs; for ratios of epochs nobody logged it, and {LOG_SD:g} of the logarithm is assumed. "
        f"A run is taken as the paper's {DAYS:g} days on {GPUS} GTX 580, {RUN_HOURS:,.0f} GPU-hours; claims share the runs of the base network, and a card of today needs a small part of that."
    )
    return stack(say(words), table(heads, rows, "Seeds, images and GPU-hours that each claim takes"))


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value == value else ""
