"""The page that reads the verdicts: where the paper holds, where not, what depends on what.

Each line is made of a row of the verdict table or of an estimate, and leads to where its numbers stand.
"""

from __future__ import annotations

from typing import Any

from analysis.measures.estimates import untrained
from analysis.report.badges import badge, value
from analysis.report.context import Context
from analysis.report.page import Html, heading, listed, note, say, stack
from analysis.report.pages import fig1_sentences
from analysis.results.evidence import Study
from analysis.text import plural
from analysis.verdicts import effects
from analysis.verdicts.effects import Effect
from analysis.verdicts.labels import AGAINST, DIFFERS, FOR, MEASURED, MISCOUNTS, OPEN
from analysis.verdicts.table import interval, number, verdict_words

PLANNED = (
    "So many seeds settle a number that stays where it is. New seeds move it, so that a campaign of this size settles it about every "
    "second time."
)


def holds(ctx: Context) -> Html:
    """The claims that training bears out, a line each, with their numbers."""
    return _claims(ctx, FOR, "No run bears out a claim of the paper yet.")


def fails(ctx: Context) -> Html:
    """The claims that training contradicts, and where the paper contradicts itself."""
    elsewhere = [line for study in ctx.studies if study.races for line in fig1_sentences.fails_in(ctx, study)]
    found = _claims(
        ctx,
        AGAINST,
        "No claim gets the verdict that it does not hold." if elsewhere else "No run contradicts a claim of the paper.",
    )
    parts = [found, listed(elsewhere) if elsewhere else None]
    counts = ctx.table["verdict"].value_counts()
    itself = [f"{counts[word]} {word}" for word in (MISCOUNTS, DIFFERS) if word in counts]
    if itself:
        parts.append(Html('<p>{}: <a href="#architecture">Architecture</a>.</p>').format("; ".join(itself)))
    return stack(*parts)


def stays_open(ctx: Context) -> Html:
    """The claims that were tried and not settled, with what would settle them."""
    found = _claims(ctx, OPEN, "Nothing that was tried is open.")
    if not (ctx.table["verdict"].isin(OPEN) & ctx.table["needed"].str.contains("would settle")).any():
        return found
    return stack(found, note(PLANNED))


def _claims(ctx: Context, verdicts: tuple[str, ...], nothing: str) -> Html:
    """Rows of the verdict table that rest on training, strongest evidence first; a direction that may be luck is open."""
    t = ctx.table[ctx.table["evidence"].isin(MEASURED) & (ctx.table["verdict"].isin([*verdicts, *FOR, *AGAINST]))]
    found = [row for row in t.to_dict("records") if (OPEN[0] if lucky(row) else row["verdict"]) in verdicts]
    rows = sorted(found, key=lambda row: -MEASURED.index(row["evidence"]))
    return listed([_line(ctx, row) for row in rows]) if rows else note(nothing)


def lucky(row: dict[str, Any]) -> bool:
    """Whether a direction is no longer shown once all tests of the core claims are counted."""
    return row["verdict"] in (*FOR, *AGAINST) and row["p_holm"] >= 0.05


def _line(ctx: Context, row: dict[str, Any]) -> Html:
    """The paper's sentence, its number, ours with its interval, on what, and the verdict."""
    span = interval(row["low"], row["high"], row["unit"])
    bound = row["bound"].replace(">=", "at least ").replace("<=", "at most ")
    title = ctx.results.studies[row["study"]].title if row["study"] in ctx.results.studies else row["study"]
    whose = (
        "mark" if row["relation"] in ("greater", "at_least", "less", "at_most") else "paper"
    )  # a mark: the paper has words
    numbers = [f"{whose} {value(row, 'paper')}" if row["paper"] else "", f"here {bound}{value(row, 'ours')}"]
    words = f"{', '.join(filter(None, numbers))} {span}".strip()
    reason = row["needed"] or row["why"].partition(";")[0]
    needed = f"; {reason}" if row["verdict"] in OPEN else ""
    under = fig1_sentences.judged_under(ctx, row)
    where = f"{title}, {under}" if under else title
    holm = f"; not shown once all core claims are counted (Holm: p = {row['p_holm']:.2g})" if lucky(row) else ""
    said = f": {words} on {where}{needed}{holm}. "
    judged = badge(row["verdict"], row["evidence"], row["dataset"])
    return Html('<a href="#claim-{}">{}</a>{}{}').format(row["id"], row["statement"], said, judged)


# What depends on what ---------------------------------------------------------------------------------------------


def depends(ctx: Context) -> Html:
    """What changes a result: conditions of Fig. 1, the study, the side of a departure, a variant."""
    parts = [*_races(ctx), _studies(ctx), *(_points(ctx, study) for study in ctx.studies)]
    found = [part for part in parts if part is not None]
    return stack(*found) if found else note("Nothing has been run under two conditions yet.")


def _races(ctx: Context) -> list[Html]:
    """What the conditions of Fig. 1 say together."""
    out = []
    for study in ctx.studies:
        said = fig1_sentences.reading(ctx, study) if study.races else []
        if said:
            out.append(stack(heading(f"ReLU against tanh on {study.title}"), say(*said)))
    return out


def _studies(ctx: Context) -> Html | None:
    """Claims that several studies judge, where they do not say the same."""
    from analysis.verdicts.judge import judge

    lines = []
    for id_, claim in ctx.claims.items():
        if claim.kind in ("arithmetic", "dataset"):
            continue
        found = [o for o in judge(claim, ctx.results) if o.study and o.verdict != "pending"]
        if len({o.verdict for o in found}) < 2:
            continue
        each = (
            f"{ctx.results.studies[o.study].title}: {f'{o.bound} {number(o.ours, claim.unit, 2)}'.strip()} "
            f"{interval(o.low, o.high, claim.unit)} {verdict_words(o.verdict, o.evidence, o.dataset)}"
            for o in found
        )
        lines.append(Html('<a href="#claim-{}">{}</a>: {}.').format(id_, claim.statement, "; ".join(each)))
    if not lines:
        return None
    return stack(heading("Claims on which studies differ"), listed(lines))


def _points(ctx: Context, study: Study) -> Html | None:
    """Departures and variants that change the error of a study, and how many show nothing."""
    names = [name for name, about in study.experiments.items() if about["kind"] in ("departure", "variant")]
    found = [e for e in effects.effects(ctx.results, study, names) if e.estimate is not None]
    dead = untrained(ctx.results, study.name) & set(names)
    lines = [_effect(study, e) for e in found if e.words in ("worse", "better") or e.words.startswith("stays")]
    blind = [e for e in found if e.words == "no difference shown"]
    unread = len(found) - len(lines) - len(blind)
    if not found:
        return None
    rest = []
    if blind:
        width = sorted((e.points[2] - e.points[1]) / 2 for e in blind)[len(blind) // 2]
        rest.append(
            f"{plural(len(blind), 'other point')} show{'s' if len(blind) == 1 else ''} no difference: the interval of half of them "
            f"reaches {number(width, 'points', 1)} points to either side or further."
        )
    if unread:
        rest.append(f"{unread} cannot be read, as there are too few seeds.")
    if dead:
        rest.append("A net that stays at chance has learned nothing, so its distance is no size of an effect.")
    return stack(
        heading(f"Text, program and other readings on {effects.titled(study)}"),
        listed(lines) if lines else None,
        say(*rest),
    )


def _effect(study: Study, effect: Effect) -> Html:
    about = study.experiments[effect.experiment]["about"]
    return Html("{} (<code>{}</code>): {} points of top-1 error against <code>{}</code>, {}: {}.").format(
        about, effect.experiment, effect.shown, effect.baseline, effect.counted, effect.words
    )
