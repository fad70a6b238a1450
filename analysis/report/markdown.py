"""What READMEs hold of results: the answer, the verdict table with the races of Fig. 1, and recipes with departures."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.errors import UserError
from analysis.report.context import Context
from analysis.report.page import render
from analysis.report.pages import answer as first_page
from analysis.report.pages import departure_tables, fig1_races, fig1_sentences, headline
from analysis.results.campaign import sentences
from analysis.results.evidence import load_results
from analysis.verdicts.table import markdown, read_table


def verdicts(table: Path, folder: Path | None) -> list[str]:
    """The verdict table that `check` wrote, in paragraphs; with a results folder also which runs they are, and the races."""
    found = read_table(table)
    if folder is None:
        return [markdown(found)]
    ctx = Context(load_results(folder), found)
    conditions = {row["id"]: fig1_sentences.judged_under(ctx, row) for row in found.to_dict("records")}
    raced = (fig1_races.markdown(ctx, study) for study in ctx.studies if study.races)
    return ["\n".join(sentences(ctx.results)), markdown(found, conditions), *filter(None, raced)]


def answer(table: Path, folder: Path, figures: str) -> list[str]:
    """The headline figure, as the file in the folder `figures`, and a line a sentence of the report's first screen."""
    ctx = Context(load_results(folder), read_table(table))
    alt = html.escape(headline.takeaway(headline.panels(ctx)))
    lines = re.findall(r"<p[^>]*>(.*?)</p>", render("answer_lead.html.j2", **first_page.facts(ctx)), re.S)
    plain = (html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</?b>", "**", line))) for line in lines)
    return [
        f'<img src="{figures}/headline.svg" alt="{alt}" width="55%" align="right">',
        "\n".join(f"- {line}" for line in plain),
    ]


def departures(folder: Path, studies: Sequence[str]) -> list[str]:
    """A paragraph a study; with none named, those that have trained two recipes or a departure.

    Raises:
        UserError: there is no study of that name.
    """
    ctx = Context(load_results(folder), pd.DataFrame())
    known = ctx.results.studies
    for name in studies:
        if name not in known:
            raise UserError(f"{folder} has no study {name!r}; it has {', '.join(known)}")
    names = studies or [study.name for study in ctx.studies if departure_tables.compares(ctx, study)]
    return [departure_tables.markdown(ctx, known[name]) for name in names]
