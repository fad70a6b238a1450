"""The page on departures: what the text says, what the program did, and what it matters."""

from __future__ import annotations

import math
from typing import Any

from analysis.measures.estimates import DEAD, untrained
from analysis.report import figures
from analysis.report.context import Context
from analysis.report.page import Html, figure, folded, heading, note, say, stack, table
from analysis.results.evidence import Study
from analysis.text import plural
from analysis.verdicts import effects
from analysis.verdicts.effects import TIER_WORDS, Effect
from analysis.verdicts.table import interval, number

NO_DEPARTURES = "The list of departures has not been made yet; `snakemake --cores all draft` makes it."
PARTS = {"model", "layers", "optimizer", "augmentation", "schedule"}  # steps of a key that say nothing new


# Does the printed text train? ----------------------------------------------------------------------------------


def recipes(ctx: Context, study: Study) -> Html | None:
    """Which complete records leave chance in one study, with the error at which each ended; None: it is no study of the paper's net."""
    if study.experiments and "alexnet" not in study.experiments:
        return None
    names = [name for name in ctx.trained(study) if study.kind(name) in ("base", "recipe")]
    if "alexnet" not in names or len(names) < 2:
        return stack(heading(study.title, 4), note("This study has not trained two recipes yet."))
    dead = untrained(ctx.results, study.name) | _stuck(ctx, study, names)
    alive = [name for name in names if name not in dead]
    sentences = [f"{study.data.rstrip('.')}."]
    if alive:
        ends = (f"{name} ({_mean(ctx, study, name, 'validation_error')} %)" for name in alive)
        sentences.append(f"Left chance, with the validation error at the end: {', '.join(ends)}.")
    if stuck := [name for name in names if name in dead]:
        chance = number(100 * study.chance, "%", 1)
        sentences.append(f"Stayed at chance ({chance} %) with every seed: {', '.join(stuck)}.")
    caption = (
        f"{study.title}: mean over seeds of the last epoch (lowest – highest), {plural(_epochs(ctx, study), 'epoch')}; "
        f"chance {number(100 * study.chance, '%', 1)} % ({TIER_WORDS[study.tier]})"
    )
    scaled = (
        "The net is smaller than the paper's: initial standard deviations grow as the root of the inputs that a layer has lost, but "
        "where a recipe is called unscaled, and the rule of the text that lowers the rates waits fewer epochs, as there are few."
    )
    sentences += [scaled] if study.shrunk else []
    return stack(
        heading(study.title, 4), say(*sentences), table(RECIPE_HEADS, _recipe_rows(ctx, study, names, dead), caption)
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


# Text, program, ours ---------------------------------------------------------------------------------------------


def departures(ctx: Context) -> Html:
    """One row a departure: what the text says, what the program did, what the studies here do, and the effect."""
    known = ctx.results.departures.get("departures", [])
    if not known:
        return note(NO_DEPARTURES)
    names = [row["name"] for row in known]
    studies = [study for study in ctx.studies if any(name in study.experiments for name in names)]
    measured = {study.name: {e.experiment: e for e in effects.effects(ctx.results, study, names)} for study in studies}
    rows = []
    for row in known:
        target = Html("{}<br><code>{}</code>").format(row["topic"], row["name"])
        cells = [_ours(study, row, measured[study.name].get(row["name"])) for study in studies]
        rows.append([target, row["text"], row["code"], _values(row["changes"]), *cells])
    heads = ["Topic, and its target", "The text", "The program of 2012", "In the records: program → text"]
    heads += [f"Ours: {study.name} ({TIER_WORDS[study.tier]})" for study in studies]
    caption = (
        "Departures of the program from the text. Ours: whose side the base of the study is on, and the top-1 error (points, "
        "ten views) with this one point on the other side, minus that of the base; 95 % interval, seeds of both"
    )
    return table(heads, rows, caption)


def _ours(study: Study, row: dict[str, Any], effect: Effect | None) -> str:
    if effect is None:
        return "not run"
    sides = ["as the program", "as the text"]
    if row.get("base") == "text":
        sides.reverse()
    if not study.experiments[row["name"]]["difference"]:
        return f"{sides[1]}; {effect.words}"
    if effect.estimate is None:
        return f"{sides[0]}; {effect.words}"
    return f"{sides[0]}; {sides[1]} {effect.shown} ({effect.seeds} seeds): {effect.words}"


def _values(changes: dict[str, list[Any]]) -> Html:
    """`key: program -> text` of the changed values, short."""
    lines = [f"{_short(key)}: {_brief(old)} \u2192 {_brief(new)}" for key, (old, new) in changes.items()]
    shown = lines if len(lines) <= 4 else [*lines[:3], f"and {len(lines) - 3} more"]
    return Html("<br>").join(Html("<code>{}</code>").format(line) for line in shown)


def _short(key: str) -> str:
    return ".".join(step for step in key.split(".") if step not in PARTS) or key


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} stages" if value and isinstance(value[0], dict) else " ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def effects_of(ctx: Context, study: Study, kind: str, explain: bool = True) -> Html:
    """Forest plot and table of the effects of all experiments of a kind in one study."""
    names = [name for name, about in study.experiments.items() if about["kind"] == kind]
    found = [effect for effect in effects.effects(ctx.results, study, names) if effect.estimate is not None]
    if not found:
        return stack(
            heading(study.title, 4),
            note(f"No experiment of the kind \u201c{kind}\u201d has been evaluated in this study yet."),
        )
    sentence = _counted(found) if explain else ""
    alt = "Forest plot: " + "; ".join(_spoken(effect) for effect in found)
    nets = [name for effect in found for name in (effect.experiment, effect.baseline)]
    caption = (
        f"{effects.titled(study, nets)}: top-1 error minus that of the baseline, ten views, 95 % intervals. "
        "Right of zero: worse than the baseline. Orange: the interval lies right of zero; blue: left; grey: it holds zero, or "
        "a run stayed at chance."
    )
    return stack(
        heading(study.title, 4),
        say(sentence),
        figure(figures.effects(found), alt, caption),
        effects_table(study, found),
    )


def _counted(found: list[Effect]) -> str:
    worse, better = (sum(effect.words == word for effect in found) for word in ("worse", "better"))
    chance = [effect.experiment for effect in found if effect.words.startswith("stays")]
    blind = sum(math.isnan(effect.points[1]) for effect in found if effect.experiment not in chance)
    left = len(found) - worse - better - len(chance) - blind
    said = [
        f"{worse} with an interval above zero" if worse else "",
        f"{better} below" if better else "",
        f"{left} with an interval that holds zero" if left else "",
        f"{blind} without an interval, as one net has a single seed: nothing can be read from these" if blind else "",
        f"at chance: {', '.join(chance)}" if chance else "",
    ]
    sentence = f"Of {plural(len(found), 'effect')}: {'; '.join(filter(None, said))}."
    one_in = (
        " One interval in twenty excludes zero by luck; p-values adjusted for all of them (Holm) stand in the table."
    )
    return sentence + (one_in if any(effect.p_holm is not None for effect in found) else "")


def _spoken(effect: Effect) -> str:
    value, low, high = effect.points
    span = "" if math.isnan(low) else f", from {low:.2f} to {high:.2f}"
    return f"{effect.experiment} {value:.2f} points{span}, {effect.words}"


def effects_table(study: Study, found: list[Effect]) -> Html:
    """The numbers of the forest plot, with what each experiment is."""
    rows = []
    for effect in found:
        assert effect.estimate is not None
        value, low, high = effect.points
        p = effect.p_holm
        rows.append(
            [
                effect.experiment,
                study.experiments[effect.experiment]["about"],
                effect.baseline,
                number(value, "points", 2),
                interval(low, high, "points") or "\u2013",
                "\u2013" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
                f"{effect.estimate.images:,}",
                effect.seeds,
                effect.words,
            ]
        )
    heads = ["Experiment", "What it is", "Against", "Points", "95 % interval", "p (Holm)", "Images", "Seeds", "Reading"]
    where = f"{found[0].dataset} {found[0].split}"
    caption = f"Effects in {study.title}, {where}, ten views; p is adjusted over the rows of this table"
    return table(heads, rows, caption)


def recipes_side_by_side(ctx: Context) -> Html:
    """All values in which the recipes differ, folded."""
    known = ctx.results.departures.get("recipes", {})
    if not known:
        return note(NO_DEPARTURES)
    keys = list(dict.fromkeys(key for recipe in known.values() for key in recipe))
    rows = []
    for key in keys:
        values = [recipe.get(key) for recipe in known.values()]
        if any(value != values[0] for value in values):
            rows.append([Html("<code>{}</code>").format(key), *("\u2013" if v is None else _brief(v) for v in values)])
    return folded(
        f"The {len(rows)} values in which the recipes differ, at full size",
        table(["Value", *known], rows, "The recipes side by side; a dash: this recipe has no such value"),
    )
