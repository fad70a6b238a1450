"""The report: one offline file, every claim an anchor, every picture described, looked at with a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.paper.claims import load_claims

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))
VOID = {"meta", "link", "img", "br", "hr", "input", "use", "path"}


class Page(HTMLParser):
    """Tags with attributes, ids and a check that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag


@pytest.fixture(scope="session")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_a_rounded_value_stands_with_what_counts_as_it(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for claim in load_claims(ROOT / "analysis" / "claims.csv"):
        card = text.partition(f'id="claim-{claim.id}"')[2].partition("</article>")[0]
        numbers = card.partition('<p class="numbers">')[2].partition("</p>")[0]
        assert ("± " in numbers) == bool(claim.tolerance and claim.relation == "about"), claim.id
    assert "± 65,000" in text.partition('id="claim-abs-neurons"')[2].partition("</article>")[0]


def test_html_is_well_formed_with_unique_ids(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in page.tags
    assert sum(tag == "title" for tag, _ in page.tags) == 1
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_every_link_inside_leads_somewhere(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for tag, attributes in page.tags:
        href = attributes.get("href") or attributes.get("xlink:href") or ""
        if tag in ("a", "use") and href.startswith("#"):
            assert href[1:] in ids, href


LINKS = ("https://", "data:image/svg+xml", "data:text/csv;")  # followed by a click alone
BESIDE = ("claims.csv", "claims.json", "ro-crate-metadata.json")


def test_nothing_is_loaded(report: Path, page: Page) -> None:
    assert all(tag not in ("link", "iframe", "object", "embed") for tag, _ in page.tags)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            value = attributes.get(name) or ""
            allowed = value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
            allowed = allowed or value in ("", *BESIDE) or (tag == "a" and value.startswith(LINKS))
            assert allowed, (tag, name, value)
        assert not [name for name in attributes if name.startswith("on")]
    text = report.read_text(encoding="utf-8")
    assert "@import" not in text
    shown = re.sub(r'href="data:[^"]*"', "", text)  # what a click saves is no part of the page
    assert re.findall(r"url\((?!#)", shown) == []
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert not re.search(r"fetch|XMLHttpRequest|import\b|https?:|eval|innerHTML|WebSocket", script)
    assert len(text.encode()) < 8_000_000


def test_it_is_valid_html(report: Path) -> None:
    """The parser of browsers (html5lib, as bleach brings it along) finds nothing to repair."""
    from bleach._vendor import html5lib

    parser = html5lib.HTMLParser()
    parser.parse(report.read_text(encoding="utf-8"))
    assert parser.errors == []


def test_every_claim_is_an_anchor(page: Page) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {f"claim-{claim.id}" for claim in load_claims()} <= ids


def test_pictures_and_tables_are_described(page: Page) -> None:
    pictures = [(tag, attributes) for tag, attributes in page.tags if tag in ("svg", "img")]
    assert sum(tag == "svg" for tag, _ in pictures) >= 5
    for tag, attributes in pictures:
        if attributes.get("aria-hidden") == "true" or (tag == "svg" and "x" in attributes):
            continue  # a mark beside its own words, or inside a described drawing
        assert attributes.get("aria-label" if tag == "svg" else "alt"), tag
        assert tag == "img" or attributes.get("role") == "img"
    for tag, attributes in page.tags:
        if tag == "th":
            assert attributes.get("scope") in ("row", "col", "rowgroup")
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) >= 10


def test_the_findings_are_on_the_page(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for words in (
        "253,440",
        "290,400",
        "no more than 1\u00a0%",
        "direction agrees",
        "snakemake --cores all",
        "paper miscounts",
        "text differs from program",
    ):
        assert words in text
    assert "(demo)" in text
    assert "A &lt;fast&gt; &amp; cheap processor" in text
    assert "<fast>" not in text


def test_the_verdict_table_lies_beside_it(report: Path) -> None:
    beside = pd.read_csv(report.with_name("claims.csv"), keep_default_na=False)
    assert {"id", "section", "paper", "ours", "low", "high", "n", "evidence", "verdict"} <= set(beside.columns)
    assert list(beside["id"]) == [claim.id for claim in load_claims()]


def test_help_loads_no_numerics_and_nothing_loads_torch() -> None:
    code = "import sys, analysis.__main__; print([m for m in ('numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
    code = (
        "import sys, analysis.report.context, analysis.verdicts.judge, analysis.report.pages.answer, analysis.report.pages.training, analysis.report.build, analysis.measures.baselines;"
        "print([m for m in ('torch', 'alexnet', 'snakemake', 'scipy.stats') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_errors_are_one_sentence(report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = report.with_name("claims.csv")
    out = str(tmp_path / "o.html")
    for arguments, says in (
        (["report", str(NOTEBOOKS[0]), "--claims", str(claims), "--out", out], "has not been executed"),
        (["report", str(tmp_path / "none.ipynb"), "--claims", str(claims), "--out", out], "cannot read"),
        (
            ["report", str(NOTEBOOKS[0]), "--claims", str(tmp_path / "none.csv"), "--out", out],
            "cannot read the verdict table",
        ),
        (["verdicts", "--results", str(tmp_path), "--group", "nolrn"], "unknown group 'nolrn'"),
        (["check", "--results", str(tmp_path / "none"), "--out", out], "does not exist"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert says in said
        assert len(said.splitlines()) == 1
    assert not Path(out).exists()


def test_verdict_lines_for_a_terminal(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = report.parent.parent / "results"
    assert main(["verdicts", "--results", str(results), "--group", "no_lrn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6  # the clean pair, top-1 and top-5, and the lab's
    assert re.match(r"lrn-delta-top1: .+ \(demo\)   paper 1\.4 points  ours -?−?\d+\.\d\d points", lines[0])
    assert lines[1].startswith("    the 95 % interval ")


def test_no_line_ends_before_a_unit_and_addresses_stay_as_they_are() -> None:
    from analysis.report.page import say

    assert say("5 % and 6 ×") == "<p>5\u00a0% and 6\u00a0×</p>"
    assert say("data:image/svg+xml,%3Cpath d='M 0 1 %0AL 2 3'/%3E").count("\u00a0") == 0


def test_the_figures_of_the_readme_are_drawings_of_the_findings(report: Path) -> None:
    from xml.dom import minidom

    from analysis.report.markdown import thumbnails

    found = thumbnails(report.read_text().partition('<section id="findings">')[2].partition("</section>")[0])
    assert found and len(found) <= 3
    for title, drawing in found:
        assert title and "<" not in title
        assert (
            minidom.parseString(drawing).documentElement.tagName == "svg" and "\u00a0" not in drawing.partition(">")[2]
        )
