"""Turns text, tables and figures into accessible HTML pieces that a notebook displays and the report merges."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBER = re.compile(r"(not within )?[≥≤<>+−–-]*\s?[\d,.]*(\s?(%|×|px))?(\s*[\[(–][\d\s.,–∞\])-]*)?|\[.*\]")
PROSE = 30  # characters from which a cell is a sentence
INK = "#010203"  # drawn as the page's own text colour, light or dark


@dataclass(frozen=True)
class Html:
    """A piece of HTML that Jupyter shows as such."""

    text: str

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return " ".join(re.sub(r"<[^>]+>", " ", self.text).split())[:200]


def escape(value: object) -> str:
    """Text made safe for HTML."""
    return html.escape(str(value), quote=True)


def say(*sentences: str) -> Html:
    """A paragraph of plain sentences; empty ones are left out."""
    text = escape(" ".join(filter(None, sentences))).replace(" %", "\u00a0%").replace(" ×", "\u00a0×")
    return Html(f"<p>{text}</p>")


def note(sentence: str) -> Html:
    """A paragraph that says what is missing."""
    return Html(f'<p class="note">{escape(sentence)}</p>')


def heading(text: str, level: int = 3) -> Html:
    """A heading below the page's own title; level 4: below a section of the page."""
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def folded(summary: str, inside: Html) -> Html:
    """A piece that opens on demand."""
    return Html(f"<details><summary>{escape(summary)}</summary>{inside.text}</details>")


def listed(lines: list[Html]) -> Html:
    """A list of safe lines."""
    return Html(f"<ul>{''.join(f'<li>{line.text}</li>' for line in lines)}</ul>")


def stack(*pieces: Html | None) -> Html:
    """Pieces one below the other."""
    return Html("\n".join(piece.text for piece in pieces if piece is not None))


def table(
    columns: Sequence[str | Html], rows: Iterable[Sequence[object]], caption: str, css: str = ""
) -> Html:
    """A table whose first column heads its rows. Cells are text, or `Html` where markup is meant.

    A column in which every cell looks like a number is right-aligned, one with sentences is kept wide enough to read.
    The table scrolls inside its own frame on narrow screens; one of the class `cards` becomes a card a row there.
    """
    listed = [list(row) for row in rows]
    kinds = [_kind([row[i] for row in listed]) for i in range(len(columns))]
    kinds[0] = ""
    head = "".join(f'<th scope="col"{k}>{_cell(name)}</th>' for name, k in zip(columns, kinds, strict=True))
    body = []
    for first, *rest in listed:
        labels = [f' data-label="{escape(name)}"' if css == "cards" else "" for name in columns[1:]]
        cells = "".join(
            f"<td{k}{label}>{_cell(x)}</td>" for x, k, label in zip(rest, kinds[1:], labels, strict=True)
        )
        body.append(f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>')
    return framed(f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>", caption, css)


def framed(inner: str, caption: str, css: str = "") -> Html:
    """A table in a frame that scrolls by itself and can be reached by keyboard."""
    label, attributes = escape(caption), f' class="{css}"' if css else ""
    return Html(
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">'
        f"<table{attributes}><caption>{label}</caption>{inner}</table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value.text
    return (
        escape("–" if value is None or value == "" else str(value))
        .replace(" %", "\u00a0%")
        .replace(" ×", "\u00a0×")
    )


def _kind(cells: list[object]) -> str:
    plain = [str(cell or "–").replace("\u00a0", " ") for cell in cells if not isinstance(cell, Html)]
    numeric = len(plain) == len(cells) and all(NUMBER.fullmatch(text) for text in plain)
    if numeric and plain:
        return ' class="number"'
    return ' class="prose"' if any(len(text) > PROSE for text in plain) else ""


def figure(fig: Figure, alt: str, caption: str) -> Html:
    """A matplotlib figure as inline SVG with its description; the same figure gives the same bytes."""
    svg = _svg(fig, alt)
    return Html(
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _svg(fig: Figure, alt: str) -> str:
    import matplotlib as mpl

    salt = hashlib.sha256(alt.encode()).hexdigest()[:10]
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = _own_ids(text, f"f{salt}")
    text = text.replace(INK, "currentColor")
    # Text of the page: one size per figure unit, the page's fonts
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    width = re.search(r'viewBox="0 0 ([\d.]+)', text)
    style = f' style="--w:{float(width.group(1)) / 72:.2f}in"' if width else ""
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}"{style} ', 1).strip()


def _own_ids(text: str, prefix: str) -> str:
    """Keep only ids that are referred to, and make them unique in a page of many figures."""
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)


def image(data: bytes, alt: str, caption: str, width: int, kind: str = "png") -> Html:
    """A raster image, embedded, `width` CSS pixels wide; pictures (`kind` jpeg) are smoothed, pixels of a PNG stay sharp."""
    css = "raster" if kind == "png" else "picture"
    return Html(
        f'<figure class="{css}">{picture(data, alt, width, kind)}<figcaption>{escape(caption)}</figcaption></figure>'
    )


def picture(data: bytes, alt: str, width: int, kind: str = "png") -> str:
    """An embedded image alone; `alt` is empty where the text beside it says the same."""
    import base64

    text = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(alt)}" width="{width}" src="data:image/{kind};base64,{text}">'
