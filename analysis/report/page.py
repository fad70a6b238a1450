"""Accessible HTML pieces from text, tables and figures, for notebooks to display and the report to merge."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from analysis.text import plural, series

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL.Image import Image

TEMPLATE = Path(__file__).resolve().parent / "template"


class Html(Markup):
    """A piece of HTML that Jupyter shows as such.

    It is made of text in this code alone, `Html("<b>{}</b>").format(value)`: whatever is filled in, joined or added is
    escaped, unless it is Html itself.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return " ".join(re.sub(r"<[^>]+>", " ", str(self)).split())[:200]


@cache
def templates() -> Environment:
    """The templates of the report: they escape whatever is no Html, and a name without a value is an error.

    `plural(n, "run")`, `interval`, `badge`, `linked`, `paper_value`, the charts (`chart`, `forest_chart`, `curves_chart`, `rates_chart`,
    `chroma_chart`) and the filters `base64`, `commas` (`commas(1)`: a decimal), `number`, `with_unit`, `series` and `wrapped` (lines of so
    many characters) are there for all.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from analysis.report.badges import badge
    from analysis.report.chart import chart
    from analysis.report.figures import curves_chart
    from analysis.report.forest import forest_chart
    from analysis.report.plots import chroma_chart, rates_chart
    from analysis.report.program import linked
    from analysis.verdicts.table import interval, number, paper_value, with_unit

    loader = FileSystemLoader(TEMPLATE)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shared = (
        badge,
        chart,
        chroma_chart,
        curves_chart,
        forest_chart,
        interval,
        linked,
        paper_value,
        plural,
        rates_chart,
    )
    made.globals.update({function.__name__: function for function in shared})
    made.filters.update(
        base64=lambda text: base64.b64encode(text.encode()).decode(),
        commas=_commas,
        labelled=_labelled,
        number=number,
        with_unit=with_unit,
        series=series,
        wrapped=textwrap.wrap,
    )
    return made


def render(template: str, **values: object) -> Html:
    """A template of `template/` filled with `values`; text among them is escaped, Html is not."""
    return Html(_tight(templates().get_template(template).render(**values)))


def _commas(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated; nothing for None and NaN."""
    return "" if value is None or value != value else f"{value:,.{digits}f}".replace("-", "−")


def _labelled(rows: str, heads: Sequence[str]) -> Html:
    """Rows of a table whose cells say which column they are of; `heads` are those of all but the first."""

    def named(row: re.Match[str]) -> str:
        names = (head.striptags() if isinstance(head, Markup) else head for head in heads)
        return re.sub(r"<td(?=[ >])", lambda _: Html('<td data-label="{}"').format(next(names, "")), row[0])

    return Html(re.sub(r"<tr.*?</tr>", named, rows, flags=re.DOTALL))


def joined(pieces: Iterable[str], between: str = "") -> Html:
    """Pieces in a row; text is escaped."""
    return Html.escape(between).join(pieces)


def say(*sentences: str) -> Html:
    """A paragraph of plain sentences; empty ones are left out."""
    return Html("<p>{}</p>").format(_tight(" ".join(filter(None, sentences))))


def note(sentence: str) -> Html:
    """A paragraph that says what is missing."""
    return Html('<p class="note">{}</p>').format(sentence)


def stack(*pieces: Html | None) -> Html:
    """Pieces one below the other."""
    return joined((piece for piece in pieces if piece is not None), "\n")


def _tight(text: str) -> str:
    """No line ends before a unit; the escapes of an address, such as %0A, are none."""
    return re.sub(r" (?=%(?![0-9A-F]{2})|×)", "\u00a0", text)


def picture(image: Image, alt: str, width: int, kind: str = "png", **how: int) -> Html:
    """An embedded image, `width` CSS pixels wide; `alt` is empty where the text beside it says the same; `how`: for its file."""
    file = io.BytesIO()
    image.save(file, format=kind, optimize=True, **how)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return Html('<img alt="{}" width="{}" src="data:image/{};base64,{}">').format(alt, width, kind, text)
