"""The page on departures: what the text says, what the program did, and what it matters."""

import math
from typing import Any

from analysis.measures.estimates import untrained
from analysis.paper.quotes import load_quotes
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line, shared_axis
from analysis.report.page import Html, note, render
from analysis.results.evidence import Study
from analysis.text import brief, markdown_table, mean_range, plural, series, tally
from analysis.verdicts import effects
from analysis.verdicts.effects import TIER_WORDS, Effect
from analysis.verdicts.table import number

NO_DEPARTURES = "The list of departures has not been made yet; `snakemake --cores all draft` makes it."
PARTS = {"model", "layers", "optimizer", "augmentation", "schedule"}  # steps of a key that say nothing new
HEADS = ["Recipe", "What it is", "Training loss", "Training error, %", "Validation error, %", "Seeds", "Reading"]
POINT_HEADS = ["One point on the text's side", "Text", "Program", "Points, 95 % interval", "Seeds", "Reading"]
READINGS = {  # first word of an effect's reading -> predicate for one point, and for several
    "stays": ("leaves the net at chance", "leave the net at chance"),
    "worse": ("makes the error larger", "make the error larger"),
    "better": ("makes the error smaller", "make the error smaller"),
    "no": ("shows no difference", "show no difference"),
    "too": ("has too few seeds for a verdict", "have too few seeds for a verdict"),
    "trains,": ("trains where its baseline stays at chance", "train where their baseline stays at chance"),
}


# Does the printed text train? ----------------------------------------------------------------------------------


def _recipes(ctx: Context, study: Study) -> tuple[list[list[str]], set[str]]:
    """The complete recipes that a study trained, under `HEADS`, and those that stayed at chance."""
    names = [name for name in ctx.trained(study) if study.kind(name) in ("base", "recipe")]
    dead = untrained(ctx.results, study.name) | ctx.stuck(study, names)
    rows = []
    for name in names:
        loss, errors = ctx.last(study, name, "train_loss", 1), ctx.last(study, name, "train_error")
        cells = [mean_range(loss, 3), mean_range(errors), mean_range(ctx.last(study, name)), str(len(loss))]
        reading = "stays at chance" if name in dead else "trains"
        rows.append([name, study.experiments[name]["about"], *cells, reading])
    return rows, dead


def recipes(ctx: Context, study: Study) -> Html | None:
    """Which complete recipes leave chance in one study, with the error at which each ended; None: two were not trained."""
    if "alexnet" not in study.experiments:
        return None
    rows, dead = _recipes(ctx, study)
    names = [row[0] for row in rows]
    if "alexnet" not in names or len(names) < 2:
        return None
    return render(
        "recipes.html.j2",
        study=study,
        alive=series([f"{row[0]} ({row[4].partition(' ')[0]} %)" for row in rows if row[0] not in dead]),
        dead=series([name for name in names if name in dead]),
        epochs=_epochs(ctx, study),
        tier=TIER_WORDS[study.tier],
        heads=HEADS,
        rows=rows,
    )


def compares(ctx: Context, study: Study) -> bool:
    """Whether a study has trained the base network and another recipe or a departure."""
    names = ctx.trained(study)
    return "alexnet" in names and any(study.kind(name) in ("recipe", "departure") for name in names)


def _epochs(ctx: Context, study: Study) -> int:
    return int(ctx.results.metrics.loc[ctx.results.metrics["study"] == study.name, "epoch"].max())


def markdown(ctx: Context, study: Study) -> str:
    """Recipes and, where it ran any, departures of one study as Markdown tables under its title."""
    rows, _ = _recipes(ctx, study)
    listed = ctx.results.departures.get("departures", [])
    known = {row["name"]: row for row in listed if row.get("base") != "text"}
    points = []
    for effect in effects.effects(ctx.results, study, list(known)):
        if effect.estimate is not None:
            row = known[effect.experiment]
            topic = f"{row['topic']} (`{effect.experiment}`)"
            points.append([topic, row["text"], row["code"], effect.shown, effect.seeds, effect.words])
    epochs = f", {plural(_epochs(ctx, study), 'epoch')}" if rows else ""
    parts = [f"{study.title}{epochs}, chance {number(100 * study.chance, '%', 1)} %:", markdown_table(HEADS, rows)]
    return "\n\n".join([*parts, *([markdown_table(POINT_HEADS, points)] if points else [])])


# Text against program --------------------------------------------------------------------------------------------


def departures(ctx: Context) -> Html:
    """Each point on which text and program differ: the paper's words, the program's lines, and what the point does."""
    known = ctx.results.departures.get("departures", [])
    if not known:
        return note(NO_DEPARTURES)
    drawn = [(study, effects_drawn(ctx, study, [row["name"] for row in known])) for study in ctx.studies]
    points = []
    for row in known:
        found = [(effects.titled(ctx.results, study), of[row["name"]]) for study, of in drawn if row["name"] in of]
        points.append(
            {
                "row": row,
                "quote": load_quotes().get(row["name"]),
                "changes": _changes(row["changes"]),
                "studies": found,
                "telling": any(_telling(of["effect"]) for _, of in found),
                "size": max((abs(of["effect"].points[0]) for _, of in found), default=0),
            }
        )
    counted = [
        (effects.titled(ctx.results, study), _counted([shown["effect"] for shown in of.values()]))
        for study, of in drawn
        if of
    ]
    return render("departures.html.j2", points=sorted(points, key=lambda point: -point["size"]), counted=counted)


def effects_of(ctx: Context, study: Study, kind: str) -> Html | None:
    """The effects of all experiments of a kind in one study as number lines; None: none was run."""
    names = [name for name, about in study.experiments.items() if about["kind"] == kind]
    drawn = effects_drawn(ctx, study, names)
    return (
        render("effects.html.j2", study=study, title=effects.titled(ctx.results, study), drawn=drawn) if drawn else None
    )


def effects_drawn(ctx: Context, study: Study, names: list[str]) -> dict[str, dict[str, Any]]:
    """The measured effects of experiments, largest first, each with its number line; the lines of a study share an axis."""
    found = [effect for effect in effects.effects(ctx.results, study, names) if effect.estimate is not None]
    found.sort(key=lambda effect: -abs(effect.points[0]))
    marks = [_marks(effect) for effect in found]
    axis = shared_axis(marks) if marks else None
    return {
        effect.experiment: {"effect": effect, "line": number_line(one, _spoken(effect), "points", axis)}
        for effect, one in zip(found, marks, strict=True)
    }


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
    parts = tally((heads.count(head), *words) for head, words in READINGS.items())
    return f"{plural(len(found), 'point')} of the text, each put into the program alone: {parts}."


def _spoken(effect: Effect) -> str:
    value, low, high = effect.points
    span = "" if math.isnan(low) else f", from {low:.2f} to {high:.2f}"
    return f"{effect.experiment} {value:.2f} points{span}, {effect.words}"


def _changes(changes: dict[str, list[Any]]) -> list[str]:
    """`key: program -> text` of the changed values, short."""
    lines = []
    for key, (old, new) in changes.items():
        short = ".".join(step for step in key.split(".") if step not in PARTS) or key
        lines.append(f"{short}: {_brief(old)} → {_brief(new)}")
    return lines if len(lines) <= 4 else [*lines[:3], f"and {len(lines) - 3} more"]


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} stages" if value and isinstance(value[0], dict) else " ".join(map(str, value))
    return brief(value)


# What the errors that others published stand beside.
PRINTED = {"ten_2010": "abs-top1-2010", "one_2010": "fn5-center", "ten_2012": "tab2-1cnn"}


def recipes_side_by_side(ctx: Context) -> Html:
    """The errors that others published, with their recipes; all values in which the recipes differ, folded."""
    known = ctx.results.departures.get("recipes", {})
    if not known:
        return note(NO_DEPARTURES)
    values = {key: [recipe.get(key) for recipe in known.values()] for recipe in known.values() for key in recipe}
    rows = [
        (key, ["" if value is None else _brief(value) for value in of])
        for key, of in values.items()
        if any(value != of[0] for value in of)
    ]
    printed = {name: ctx.claims[id_].paper for name, id_ in PRINTED.items() if id_ in ctx.claims}
    whole = [study for study in ctx.studies if study.training_set == "ilsvrc2012" and not study.shrunk]
    published = [
        row | {"name": name, "ours": [error for study in whole for error in ctx.last(study, name)]}
        for name, row in ctx.results.departures.get("published", {}).items()
    ]
    return render("recipes_side_by_side.html.j2", names=list(known), rows=rows, published=published, printed=printed)
