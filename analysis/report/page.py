"""Accessible HTML pieces from text, tables and figures, for notebooks to display and the report to merge."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from analysis.text import plural, series

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).resolve().parent / "template"

INK = "#010203"  # drawn as the page's own text colour, light or dark


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

    `plural(n, "run")`, `interval`, `badge` and the filters `base64`, `commas` (`commas(1)`: a decimal), `number`,
    `with_unit` and `series` are there for all.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from analysis.report.badges import badge
    from analysis.verdicts.table import interval, number, with_unit

    made = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(badge=badge, interval=interval, plural=plural)
    made.filters.update(
        base64=lambda text: base64.b64encode(text.encode()).decode(),
        commas=_commas,
        number=number,
        with_unit=with_unit,
        series=series,
    )
    return made


def render(template: str, **values: object) -> Html:
    """A template of `template/` filled with `values`; text among them is escaped, Html is not."""
    return Html(_tight(templates().get_template(template).render(**values)))


def _commas(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated; nothing for None and NaN."""
    return "" if value is None or value != value else f"{value:,.{digits}f}".replace("-", "−")


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


def svg(fig: Figure, alt: str, which: str = "") -> Html:
    """The figure as matplotlib wrote it, which escapes its text; `which` tells drawings of one description apart."""
    import matplotlib as mpl

    salt = hashlib.sha256(f"{alt}{which}".encode()).hexdigest()[:10]
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(
        r"(\.\d\d)\d+|( transform=\"rotate\(-?0 [^\"]*\")", r"\1", text
    )  # a hundredth of a point is fine enough
    text = _own_ids(text, f"f{salt}")
    text = text.replace(INK, "currentColor")
    # Text of the page: one size per figure unit, the page's fonts
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    width = re.search(r'viewBox="0 0 ([\d.]+)', text)
    style = Html(' style="--w:{:.2f}in"').format(float(width.group(1)) / 72) if width else ""
    opened = Html('<svg role="img" aria-label="{}"{} ').format(alt, style)
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    return Html(text.replace("<svg ", opened, 1).strip())


def _own_ids(text: str, prefix: str) -> str:
    """Keep only ids that are referred to, and make them unique in a page of many figures."""
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)


def image(data: bytes, alt: str, caption: str, width: int, kind: str = "png") -> Html:
    """A raster image, embedded, `width` CSS pixels wide; pictures (`kind` jpeg) are smoothed, pixels of a PNG stay sharp."""
    css = "raster" if kind == "png" else "picture"
    return Html('<figure class="{}">{}<figcaption>{}</figcaption></figure>').format(
        css, picture(data, alt, width, kind), caption
    )


def picture(data: bytes, alt: str, width: int, kind: str = "png") -> Html:
    """An embedded image alone; `alt` is empty where the text beside it says the same."""
    text = base64.b64encode(data).decode("ascii")
    return Html('<img alt="{}" width="{}" src="data:image/{};base64,{}">').format(alt, width, kind, text)
