"""The page on departures: what the text says, what the program did, and what it matters."""

from __future__ import annotations

import math
from typing import Any

from analysis.measures.estimates import DEAD, untrained
from analysis.paper.quotes import load_quotes
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line, shared_axis
from analysis.report.page import Html, note, render, table
from analysis.report.program import linked
from analysis.results.evidence import Study
from analysis.text import plural, series, tally
from analysis.verdicts import effects
from analysis.verdicts.effects import TIER_WORDS, Effect
from analysis.verdicts.table import interval, number

NO_DEPARTURES = "The list of departures has not been made yet; `snakemake --cores all draft` makes it."
PARTS = {"model", "layers", "optimizer", "augmentation", "schedule"}  # steps of a key that say nothing new


# Does the printed text train? ----------------------------------------------------------------------------------


def recipes(ctx: Context, study: Study) -> Html | None:
    """Which complete recipes leave chance in one study, with the error at which each ended; None: two were not trained."""
    names = [name for name in ctx.trained(study) if study.kind(name) in ("base", "recipe")]
    if "alexnet" not in study.experiments or "alexnet" not in names or len(names) < 2:
        return None
    dead = untrained(ctx.results, study.name) | _stuck(ctx, study, names)
    alive = [f"{name} ({_mean(ctx, study, name, 'validation_error')} %)" for name in names if name not in dead]
    caption = (
        f"{study.title}: mean over seeds of the last epoch (lowest – highest), {plural(_epochs(ctx, study), 'epoch')}; "
        f"chance {number(100 * study.chance, '%', 1)} % ({TIER_WORDS[study.tier]})"
    )
    return render(
        "recipes.html.j2",
        study=study,
        alive=series(alive),
        dead=series([name for name in names if name in dead]),
        chance=number(100 * study.chance, "%", 1),
        table=table(RECIPE_HEADS, _recipe_rows(ctx, study, names, dead), caption),
    )


def compares(ctx: Context, study: Study) -> bool:
    """Whether a study has trained the base network and another recipe or a departure."""
    names = ctx.trained(study)
    return "alexnet" in names and any(study.kind(name) in ("recipe", "departure") for name in names)


RECIPE_HEADS = ["Recipe", "What it is", "Training loss", "Training error, %", "Validation error, %", "Seeds", "Reading"]


def _recipe_rows(ctx: Context, study: Study, names: list[str], dead: set[str]) -> list[list[str]]:
    return [
        [
            name,
            study.experiments[name]["about"],
            _range(ctx, study, name, "train_loss", 1),
            _range(ctx, study, name, "train_error", 100),
            _range(ctx, study, name, "validation_error", 100),
            str(len(ctx.results.curves(study.name, name))),
            "stays at chance" if name in dead else "trains",
        ]
        for name in names
    ]


def _epochs(ctx: Context, study: Study) -> int:
    return int(ctx.results.metrics.loc[ctx.results.metrics["study"] == study.name, "epoch"].max())


def markdown(ctx: Context, study: Study) -> str:
    """Recipes and, where it ran any, departures of one study as Markdown tables under its title."""
    names = [name for name in ctx.trained(study) if study.kind(name) in ("base", "recipe")]
    dead = untrained(ctx.results, study.name) | _stuck(ctx, study, names)
    rows = [RECIPE_HEADS, ["---"] * len(RECIPE_HEADS)]
    rows += _recipe_rows(ctx, study, names, dead) if names else []
    listed = ctx.results.departures.get("departures", [])
    known = {row["name"]: row for row in listed if row.get("base") != "text"}
    found = [e for e in effects.effects(ctx.results, study, list(known)) if e.estimate is not None]
    heads = ["One point on the text's side", "Text", "Program", "Points, 95 % interval", "Seeds", "Reading"]
    rows += [[], heads, ["---"] * 6] if found else []
    for effect in found:
        row = known[effect.experiment]
        topic = f"{row['topic']} (`{effect.experiment}`)"
        rows.append([topic, row["text"], row["code"], effect.shown, effect.seeds, effect.words])
    epochs = f", {plural(_epochs(ctx, study), 'epoch')}" if names else ""
    title = f"{study.title}{epochs}, chance {number(100 * study.chance, '%', 1)} %:\n\n"
    return title + "\n".join(f"| {' | '.join(row)} |" if row else "" for row in rows)


def _stuck(ctx: Context, study: Study, names: list[str]) -> set[str]:
    """Experiments with a run whose last validation error is near chance; evaluated or not."""
    if math.isnan(study.chance):
        return set()
    return {name for name in names if min(_ends(ctx, study, name, "validation_error")) > DEAD * study.chance}


def _ends(ctx: Context, study: Study, name: str, column: str) -> list[float]:
    return [float(curve[column].iloc[-1]) for curve in ctx.results.curves(study.name, name).values()]


def _mean(ctx: Context, study: Study, name: str, column: str) -> str:
    ends = _ends(ctx, study, name, column)
    return f"{100 * sum(ends) / len(ends):.1f}"


def _range(ctx: Context, study: Study, name: str, column: str, scale: float) -> str:
    ends = [scale * end for end in _ends(ctx, study, name, column)]
    digits = 3 if scale == 1 else 1
    shown = f"{sum(ends) / len(ends):.{digits}f}"
    return shown if len(ends) == 1 else f"{shown} ({min(ends):.{digits}f} \u2013 {max(ends):.{digits}f})"


# Text against program --------------------------------------------------------------------------------------------


def departures(ctx: Context) -> Html:
    """Each point on which text and program differ: the paper's words, the program's lines, and what the point does."""
    known = ctx.results.departures.get("departures", [])
    if not known:
        return note(NO_DEPARTURES)
    drawn = [(study, effects_drawn(ctx, study, [row["name"] for row in known])) for study in ctx.studies]
    points = [
        {
            "row": row,
            "quote": load_quotes().get(row["name"]),
            "code": linked(row["code"]),
            "changes": _changes(row["changes"]),
            "studies": [(effects.titled(study), of[row["name"]]) for study, of in drawn if row["name"] in of],
        }
        for row in known
    ]
    for point in points:
        point["telling"] = any(_telling(of["effect"]) for _, of in point["studies"])
    points.sort(key=lambda point: -max((abs(of["effect"].points[0]) for _, of in point["studies"]), default=0))
    found = [
        (effects.titled(study), _counted([drawing["effect"] for drawing in of.values()])) for study, of in drawn if of
    ]
    return render("departures.html.j2", points=points, counted=found)


def effects_of(ctx: Context, study: Study, kind: str) -> Html | None:
    """The effects of all experiments of a kind in one study as number lines; None: none was run."""
    names = [name for name, about in study.experiments.items() if about["kind"] == kind]
    drawn = effects_drawn(ctx, study, names)
    return render("effects.html.j2", study=study, title=effects.titled(study), drawn=drawn) if drawn else None


def effects_drawn(ctx: Context, study: Study, names: list[str]) -> dict[str, dict[str, Any]]:
    """The measured effects of experiments, largest first, each with its number line; the lines of a study share an axis."""
    found = [effect for effect in effects.effects(ctx.results, study, names) if effect.estimate is not None]
    found.sort(key=lambda effect: -abs(effect.points[0]))
    marks = {effect.experiment: _marks(effect) for effect in found}
    axis = shared_axis(marks.values()) if marks else None
    lines = {
        name: number_line(one, _spoken(e), "points", axis) for e, (name, one) in zip(found, marks.items(), strict=True)
    }
    return {effect.experiment: {"effect": effect, "line": lines[effect.experiment]} for effect in found}


def _telling(effect: Effect) -> bool:
    """Whether the interval leaves out zero, or one of the nets stays at chance."""
    _, low, high = effect.points
    return low > 0 or high < 0 or effect.words.startswith(("stays at chance", "trains,"))


def _marks(effect: Effect) -> Marks:
    value, low, high = effect.points
    return Marks(ours=value, span=None if math.isnan(low) else (low, high), zero=0.0)


def _counted(found: list[Effect]) -> str:
    """How many effects read how, as one sentence."""
    heads = [effect.words.partition(" ")[0] for effect in found]
    said = {
        "stays": ("leaves the net at chance", "leave the net at chance"),
        "worse": ("makes the error larger", "make the error larger"),
        "better": ("makes the error smaller", "make the error smaller"),
        "no": ("shows no difference", "show no difference"),
        "too": ("has too few seeds for a verdict", "have too few seeds for a verdict"),
        "trains,": ("trains where its baseline stays at chance", "train where their baseline stays at chance"),
    }
    parts = tally((heads.count(head), *words) for head, words in said.items())
    return f"Of {plural(len(found), 'point')} of the text, each put into the program alone, {parts}."


def _spoken(effect: Effect) -> str:
    value, low, high = effect.points
    span = "" if math.isnan(low) else f", from {low:.2f} to {high:.2f}"
    return f"{effect.experiment} {value:.2f} points{span}, {effect.words}"


def _changes(changes: dict[str, list[Any]]) -> list[str]:
    """`key: program -> text` of the changed values, short."""
    lines = [f"{_short(key)}: {_brief(old)} \u2192 {_brief(new)}" for key, (old, new) in changes.items()]
    return lines if len(lines) <= 4 else [*lines[:3], f"and {len(lines) - 3} more"]


def _short(key: str) -> str:
    return ".".join(step for step in key.split(".") if step not in PARTS) or key


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} stages" if value and isinstance(value[0], dict) else " ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def effects_table(study: Study, found: list[Effect]) -> Html:
    """The numbers of some effects, with what each experiment is."""
    where = f"{found[0].dataset} {found[0].split}"
    return render("effects_table.html.j2", study=study, where=where, effects=found, interval=interval)


def recipes_side_by_side(ctx: Context) -> Html:
    """All values in which the recipes differ, folded."""
    known = ctx.results.departures.get("recipes", {})
    if not known:
        return note(NO_DEPARTURES)
    keys = dict.fromkeys(key for recipe in known.values() for key in recipe)
    values = {key: [recipe.get(key) for recipe in known.values()] for key in keys}
    differ = {key: of for key, of in values.items() if any(value != of[0] for value in of)}
    rows = [(key, ["" if value is None else _brief(value) for value in of]) for key, of in differ.items()]
    return render("recipes_side_by_side.html.j2", names=list(known), rows=rows)
