"""A figure of the report: title, one drawing for wide and one for narrow screens, caption, SVG and CSV to download."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pandas as pd

from analysis.report.page import Html, render

# A downloaded drawing has neither the page's colours nor its fonts.
ALONE = {
    "var(--ink)": "#1b1f24",
    "var(--soft)": "#57606a",
    "var(--line)": "#d5dae0",
    "var(--paper)": "#fff",
    "var(--lab)": "#b8560f",
    "var(--ours)": "#2b7bba",
    "var(--open)": "#7a828b",
    "var(--font)": "Helvetica, Arial, 'DejaVu Sans', sans-serif",
}


def chart(draw: Callable[[bool], Html], title: str, caption: str, data: pd.DataFrame) -> Html:
    """A figure with its takeaway as title.

    Args:
        draw: makes the SVG, with its description; for a narrow screen (labels above bars, panels below each other) if it is given True.
        data: the numbers that are drawn, to download as CSV.
    """
    wide, narrow = draw(False), draw(True)
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].rstrip("-")
    files = {
        "svg": f"data:image/svg+xml,{_quoted(_alone(wide))}",
        "csv": f"data:text/csv;charset=utf-8,{_quoted(data.to_csv(index=False, float_format='%.6g'))}",
    }
    return render("chart.html.j2", title=title, caption=caption, wide=wide, narrow=narrow, name=name, files=files)


SAFE = " /:;=,()[]{}.-_~!*'@+|^`\\?&"  # needs no escape in a data address within quotes


def _quoted(text: str) -> str:
    """Text as the body of a data address; no blank stands before a percent sign, which templates would make unbreakable."""
    return quote(text, safe=SAFE).replace(" %", "%20%")


def _alone(drawing: Html) -> str:
    text = re.sub(r' style="--w:([\d.]+in)"', r' width="\1"', str(drawing).replace("\u00a0", " "), count=1)
    for ours, plain in ALONE.items():
        text = text.replace(ours, plain)
    return text
