"""What READMEs hold of results: the answer, the verdict table with the races of Fig. 1, and recipes with departures."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd

from analysis.errors import UserError
from analysis.files import write_between
from analysis.report.context import Context
from analysis.report.page import Html, render
from analysis.report.pages import answer as first_page
from analysis.report.pages import departure_tables, fig1_races, fig1_sentences, headline
from analysis.report.pages.findings import stories
from analysis.results.campaign import sentences
from analysis.results.evidence import load_results
from analysis.text import markdown_table
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


def answer(table: Path, folder: Path, figures: str) -> dict[str, list[str]]:
    """What a README shows, by the name of its marks; the drawings are files in the folder `figures`.

    `answer`: the headline figure, and a line a sentence of the report's first screen; `findings`: the `thumbnails` side by side.
    """
    ctx = Context(load_results(folder), read_table(table))
    image = Html('<img src="{}/headline.svg" alt="{}" width="55%" align="right">')
    lines = re.findall(r"<p[^>]*>(.*?)</p>", render("answer_lead.html.j2", **first_page.facts(ctx)), re.S)
    plain = (html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</?b>", "**", line))) for line in lines)
    small = Html('<img src="{}/finding-{}.svg" alt="{}" width="300">')
    titles = [title for title, _ in thumbnails(stories(ctx))]
    images = [small.format(figures, number, title) for number, title in enumerate(titles, 1)]
    return {
        "answer": [
            image.format(figures, headline.takeaway(headline.rows(ctx))),
            "\n".join(f"- {line}" for line in plain),
        ],
        "findings": [markdown_table(titles, [images])] if titles else [],
    }


def thumbnails(page: str) -> list[tuple[str, str]]:
    """Title and drawing (SVG, on white) of the first figure of each finding in HTML, three at most."""
    first = r'<p class="takeaway">(.*?)</p>.*?href="data:image/svg\+xml,([^"]*)"'
    found = [re.search(first, story, re.S) for story in page.split("<h3")[1:]]
    drawn = [(html.unescape(match[1]), unquote(html.unescape(match[2]))) for match in found if match][:3]
    return [
        (title, re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#fff"/>', svg, count=1))
        for title, svg in drawn
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


def put(path: Path | None, name: str, parts: Sequence[str]) -> None:
    """Write paragraphs between the marks of that name in a file, or print them if there is none.

    Raises:
        UserError: the file cannot be read or written, or lacks a mark.
    """
    text = "\n\n".join(parts)
    if path:
        write_between(path, f"<!-- {name}:start -->", f"<!-- {name}:end -->", text)
    else:
        print(text)
