"""Builds the offline HTML report from executed notebooks: no request, one style sheet, one small script, anchors everywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import write_text
from analysis.report.deposit import write_beside
from analysis.report.page import Html, joined
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

TEMPLATE = Path(__file__).resolve().parent / "template"
TITLE = "AlexNet, checked: which claims of the 2012 paper hold, and how we know"


def build(notebooks: list[Path], claims: Path, out: Path, results: Path | None = None) -> None:
    """Merge executed `notebooks`, in order, into the HTML file `out`; write what describes it beside it (`deposit`).

    Args:
        results: the folder that the verdicts stand on, for the runs and data that are named beside the report.

    Raises:
        UserError: a notebook, the verdict table or the results cannot be read, or a notebook has not been executed.
    """
    table = read_table(claims)
    chapters = [_chapter(path) for path in notebooks]
    if not chapters:
        raise UserError("no notebook given; name at least one executed notebook")
    found = load_results(results) if results else None
    html = _distinct(_page(chapters))
    missing = [name for name in table["id"] if f'id="claim-{name}"' not in html]
    anchors = joined(Html('<span id="claim-{}"></span>').format(name) for name in missing)
    write_text(out, html.replace("</main>", f"{anchors}</main>"))
    write_beside(out, TITLE, claims, table, found)


def _chapter(path: Path) -> dict[str, Any]:
    """Title, anchor, sections and HTML body of one executed notebook."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from analysis.report.notebooks import _read

    book = _read(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if code and not any(cell.get("execution_count") for cell in code):
        raise UserError(f"{path} has not been executed; run `python -m analysis notebook` on it first")
    exporter = HTMLExporter(
        config=Config({"HTMLExporter": {"extra_template_basedirs": [str(TEMPLATE)], "anchor_link_text": ""}}),
        template_name="chapter",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(book)
    slug = re.sub(r"[^a-z0-9]+", "-", path.stem.lower().lstrip("0123456789_")).strip("-") or "page"
    return {"slug": slug, **_anchored(body, slug, path)}


def _anchored(body: str, slug: str, path: Path) -> dict[str, Any]:
    """Give headings ids that are unique in the merged page; the first heading is the chapter's title."""
    title = ""
    sections: list[tuple[str, str]] = []

    def heading(match: re.Match[str]) -> str:
        nonlocal title
        level, text = int(match[1]), re.sub(r"<[^>]+>", "", match[3]).replace("¶", "").strip()
        if level == 1:
            title = title or text
            return f"<h2>{text}</h2>"
        anchor = f"{slug}-{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}"
        taken = sum(known == anchor or known.startswith(f"{anchor}.") for known, _ in sections)
        anchor = f"{anchor}.{taken + 1}" if taken else anchor
        sections.append((anchor, text))
        return f'<h3 id="{anchor}">{text}</h3>'

    body = re.sub(r"<h([1-3])([^>]*)>(.*?)</h\1>", heading, body, flags=re.S)
    if not title:
        raise UserError(f"{path} has no title; its first cell must begin with a line `# Title`")
    return {"title": title, "sections": sections, "body": body}


def _distinct(html: str) -> str:
    """Regions (scrolling frames) of the same name get a number, and ids within figures are made unique."""
    seen: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        found = re.search(r'aria-label="([^"]*)"', match[0])
        if not found:
            return match[0]
        label = found[1]
        seen[label] = seen.get(label, 0) + 1
        return match[0] if seen[label] == 1 else match[0].replace(label, f"{label} ({seen[label]})")

    def own(match: re.Match[str]) -> str:
        """Figures that are described alike would share the ids inside of them."""
        found = re.search(r' id="(f[0-9a-f]{10})-', match[0])
        if not found:
            return match[0]
        prefix = found[1]
        seen[prefix] = seen.get(prefix, 0) + 1
        return match[0] if seen[prefix] == 1 else match[0].replace(f"{prefix}-", f"{prefix}.{seen[prefix]}-")

    html = re.sub(r'<div [^>]*role="region"[^>]*>', numbered, html)
    return re.sub(r"<svg .*?</svg>", own, html, flags=re.S)


def _page(chapters: list[dict[str, Any]]) -> str:
    """The merged page; chapters are what nbconvert made, all else is escaped by the template."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True)
    style = (TEMPLATE / "style.css").read_text(encoding="utf-8")
    script = (TEMPLATE / "filter.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.j2")
    text = page.render(title=TITLE, style=style, script=script, digest=digest, chapters=chapters)
    return f"{text}\n"
