"""Builds the offline HTML report from executed notebooks: no request, one style sheet, one small script, anchors everywhere."""

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import write_text
from analysis.report.deposit import write_beside
from analysis.report.page import TEMPLATE, Html, joined, templates
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

TITLE = "AlexNet, checked: which claims of the 2012 paper hold, and how we know"
# Parts of the report, in order; a notebook names its part in `metadata.report.part`.
PARTS = {
    "answer": "Answer",
    "findings": "Findings",
    "claims": "Claims",
    "evidence": "Evidence and methods",
    "appendix": "Appendix",
}


@dataclass(frozen=True)
class Chapter:
    """One page of the report; `body` is HTML, empty where nothing was shown."""

    part: str
    slug: str
    title: str
    body: str


def build(notebooks: list[Path], claims: Path, out: Path, results: Path | None = None) -> None:
    """Merge executed `notebooks` by part, each part in the given order, into the HTML file `out`; write what describes it beside it.

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
    empty = {chapter.slug for chapter in chapters if not chapter.body}
    html = _unlinked(_distinct(_page([chapter for chapter in chapters if chapter.body])), empty)
    missing = [name for name in table["id"] if f'id="claim-{name}"' not in html]
    anchors = joined(Html('<span id="claim-{}"></span>').format(name) for name in missing)
    write_text(out, html.replace("</main>", f"{anchors}</main>"))
    write_beside(out, TITLE, claims, table, found)


def _chapter(path: Path) -> Chapter:
    """One executed notebook as a chapter, without the sections in which code ran and showed nothing."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from analysis.report.notebooks import _read

    book = _read(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if code and not any(cell.get("execution_count") for cell in code):
        raise UserError(f"{path} has not been executed; run `python -m analysis notebook` on it first")
    part = book.metadata.get("report", {}).get("part", "appendix")
    if part not in PARTS:
        raise UserError(f"{path} belongs to part {part!r} (metadata.report.part); the parts are {', '.join(PARTS)}")
    exporter = HTMLExporter(
        config=Config({"HTMLExporter": {"extra_template_basedirs": [str(TEMPLATE)], "anchor_link_text": ""}}),
        template_name="chapter",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    shown = [cell for cell in code if _shows(cell)]
    book.cells = _without_empty_sections(book.cells)
    body, _ = exporter.from_notebook_node(book)
    slug = re.sub(r"[^a-z0-9]+", "-", path.stem.lower().lstrip("0123456789_")).strip("-") or "page"
    title, body = _anchored(body, slug, path)
    return Chapter(part, slug, title, body if shown or not code else "")


def _shows(cell: Any) -> bool:
    """Whether a cell has output that a reader sees."""
    return any(
        output.get("text") or output.output_type == "error" or any(map(str.strip, output.get("data", {}).values()))
        for output in cell.outputs
    )


def _without_empty_sections(cells: list[Any]) -> list[Any]:
    """The cells without those headings, and the prose below them, under which code ran and showed nothing; the title stays."""
    sections: list[list[Any]] = []
    for cell in cells:
        if not sections or (cell.cell_type == "markdown" and cell.source.startswith("#")):
            sections.append([])
        sections[-1].append(cell)
    code = [[cell for cell in section if cell.cell_type == "code"] for section in sections]
    kept = [not ran or any(map(_shows, ran)) for ran in code]
    return sum((section for section, keep in zip(sections[1:], kept[1:], strict=True) if keep), sections[0])


def _anchored(body: str, slug: str, path: Path) -> tuple[str, str]:
    """The first heading, which is the title, and the body with headings that link to themselves by ids unique in the report."""
    title = ""
    taken = Counter[str]()

    def heading(match: re.Match[str]) -> str:
        nonlocal title
        level, text = int(match[1]), re.sub(r"<[^>]+>", "", match[3]).replace("¶", "").strip()
        if level == 1:
            title = title or text
            return f'<h2><a href="#{slug}">{text}</a></h2>'
        anchor = f"{slug}-{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}"
        taken[anchor] += 1
        anchor = f"{anchor}.{taken[anchor]}" if taken[anchor] > 1 else anchor
        return f'<h3 id="{anchor}"><a href="#{anchor}">{text}</a></h3>'

    body = re.sub(r"<h([1-3])([^>]*)>(.*?)</h\1>", heading, body, flags=re.S)
    if not title:
        raise UserError(f"{path} has no title; its first cell must begin with a line `# Title`")
    return title, body


def _unlinked(html: str, gone: set[str]) -> str:
    """Links to chapters that are left out become their text."""
    links = re.compile(r'<a [^>]*?href="#([^"]+)"[^>]*>(.*?)</a>', re.S)
    return links.sub(lambda link: link[2] if link[1] in gone else link[0], html)


def _distinct(html: str) -> str:
    """Regions (scrolling frames) of the same name get a number."""
    seen = Counter[str]()

    def numbered(match: re.Match[str]) -> str:
        before, label, after = match.groups()
        seen[label] += 1
        return f"{before}{label} ({seen[label]}){after}" if seen[label] > 1 else match[0]

    return re.sub(r'(<div (?=[^>]*role="region")[^>]*aria-label=")([^"]*)("[^>]*>)', numbered, html)


def _page(chapters: list[Chapter]) -> str:
    """The merged page; chapters are what nbconvert made, all else is escaped by the template."""
    style = (TEMPLATE / "style.css").read_text(encoding="utf-8")
    script = (TEMPLATE / "filter.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    order = sorted(chapters, key=lambda chapter: list(PARTS).index(chapter.part))
    parts = [(part, PARTS[part], list(found)) for part, found in groupby(order, key=lambda chapter: chapter.part)]
    page = templates().get_template("page.html.j2")
    return page.render(title=TITLE, style=style, script=script, digest=digest, parts=parts) + "\n"
