"""Text from results never becomes markup: by type in the code, in a report of hostile results, and by the page's own policy."""

from __future__ import annotations

import ast
import base64
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fabricate
import pytest
from conftest import NOTEBOOKS, ROOT
from test_browser import browser  # noqa: F401 - a fixture

from analysis.report.page import Html, joined, templates
from analysis.results.evidence import load_results

NAME = 'x"><img src=x onerror=fetch(1)>'
MARKUP = "</script><script>document.title='harm'</script><img src=x onerror=alert(1)>\"' onload='x"
LOGIC = {
    "training_set",
    "tier",
    "kind",
    "baseline",
    "name",
    "set",
    "split",
    "wnid",
    "finished",
    "started",
    "git_dirty",
    "study",
}


def literal(value: ast.expr) -> bool:
    """Whether an expression is text that stands in the code, or one of two such texts."""
    if isinstance(value, ast.IfExp):
        return literal(value.body) and literal(value.orelse)
    return isinstance(value, ast.Constant)


def made_of_values(source: str) -> list[str]:
    """Where code makes HTML of anything but its own text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Html", "Markup", "page.Html"):
            if not literal(node.args[0]):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.JoinedStr):
            text = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
            if re.search(r"</?[a-z]\w*[ >/]", text):
                found.append(ast.unparse(node))
    return found


def test_html_is_made_of_text_in_the_code_alone():
    """But of what templates, matplotlib and nbconvert wrote, which escape, and what the report merges."""
    for path in sorted((ROOT / "analysis").rglob("*.py")):
        found = made_of_values(path.read_text())
        if path.name == "page.py":
            rendered = "Html(_tight(templates().get_template(template).render(**values)))"
            labelled = "Html(re.sub('<tr.*?</tr>', named, rows, flags=re.DOTALL))"  # rows of a template, with labels that are escaped
            assert sorted(found) == sorted([rendered, labelled])
        elif path.name == "plots.py":
            assert found == ["Html(text.strip())"]
        elif path.name == "build.py":
            heads = [
                """f'<h3 id="{anchor}"><a href="#{anchor}">{text}</a></h3>'""",
                "f'{anchors}</main>'",
                """f'<h2><a href="#{slug}">{text}</a></h2>'""",
            ]
            assert sorted(found) == sorted(heads)
        else:
            assert not found, path
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                assert not made_of_values("".join(cell["source"])), path
    page = (ROOT / "analysis/report/template/page.html.j2").read_text()
    trusted = ["style", "chapter.title", "chapter.body", "script"]
    assert re.findall(r"{{ (\S+) \| safe }}", page) == trusted
    assert made_of_values('Html(f"<b>{x}</b>"); Html("a" if b else c); f"<a href={x}>"') != []


def test_text_is_escaped_unless_it_is_html():
    text = "<b>&\"'"
    escaped = "&lt;b&gt;&amp;&#34;&#39;"
    assert Html("<i>{}</i>").format(text) == f"<i>{escaped}</i>"
    assert Html("<i>{}</i>").format(Html("<br>")) == "<i><br></i>"
    assert Html("<br>") + text == f"<br>{escaped}"
    assert joined([text, Html("<br>")], "<") == f"{escaped}&lt;<br>"
    table = '{% from "tables.html.j2" import frame, cells %}{% call frame(x, [x, y, x]) %}{{ cells(x, [y, x]) }}{% endcall %}'
    shown = templates().from_string(table).render(x=text, y=Html("<i>a</i>"))
    assert shown.count(escaped) == 7 and "<b>" not in shown and shown.count("<i>a</i>") == 2


class Tags(HTMLParser):
    """Elements of a page, and what in it could run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.count: Counter[str] = Counter()
        self.harm: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        for name, value in attrs:
            loads = name in ("src", "srcset", "action", "formaction", "data", "poster")
            if name.startswith("on") or (loads and not str(value).startswith("data:image/")):
                self.harm.append(f"{tag} {name}={value}")
            saved = name == "href" and "download" in dict(attrs) and self.is_harmless_file(str(value))
            if name.endswith("href") and not saved and re.match(r"\s*(javascript|data|vbscript):", str(value), re.I):
                self.harm.append(f"{tag} {name}={value}")

    handle_startendtag = handle_starttag

    def is_harmless_file(self, address: str) -> bool:
        """A drawing without scripts and requests, or a table: what a click saves."""
        kind, _, body = address.partition(",")
        drawing = base64.b64decode(body).decode() if kind.endswith(";base64") else unquote(body)
        inside = Tags(drawing) if kind.startswith("data:image/svg+xml") else None
        picture = re.compile(r"image xlink:href=data:image/png;base64,")
        if inside is not None:
            return not inside.count["script"] and all(picture.match(harm) for harm in inside.harm)
        return kind.startswith("data:text/csv")


def poisoned(record: Any, key: str = "") -> Any:
    """The record with markup behind every text that no code compares with anything."""
    if isinstance(record, dict):
        if key == "packages":
            return {f"{k}{MARKUP}": f"{v}{MARKUP}" for k, v in record.items()}
        return {k: poisoned(v, k) for k, v in record.items()}
    if isinstance(record, list):
        return [poisoned(value, key) for value in record]
    compared = key in LOGIC or "fingerprint" in key or "weights" in key
    return f"{record}{MARKUP}" if isinstance(record, str) and not compared else record


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with markup in every text, and with a study and an experiment that are named so; and their report."""
    folder = tmp_path_factory.mktemp("hostile")
    results = folder / "results"
    fabricate.campaign(results, images=60)
    fabricate.describes(results)
    fabricate.departures(results)
    fabricate.log(results, "demo", "tanh", 77, MARKUP)
    (study, *_) = sorted(path.parent for path in results.glob("*/study.json"))
    shutil.copytree(study, results / NAME)
    other = results / "second"
    shutil.copytree(study, other)
    record = json.loads((other / "study.json").read_text())
    record["experiments"][0]["name"] = NAME
    (other / "study.json").write_text(json.dumps(record))
    for path in results.rglob("*.json"):
        if path.parts[-2] != "describe" and "second" not in path.parts:
            path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    words = ["rebuild", "--results", str(results), "--out", str(folder / "alexnet.html")]
    done = subprocess.run([sys.executable, "-m", "analysis", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_report_of_hostile_results_has_no_element_more(hostile, report):
    text = (hostile / "alexnet.html").read_text()
    ours, clean = Tags(text), Tags(report.read_text())
    assert ours.count["script"] == clean.count["script"] == 1
    assert not ours.harm and not clean.harm
    assert set(ours.count) <= set(clean.count)
    assert text.count("document.title=") > 20  # it is all there, as text
    assert "<script>document" not in text


def test_a_study_or_an_experiment_with_another_name_is_set_aside(hostile):
    results = load_results(hostile / "results")
    assert NAME not in results.studies and "second" not in results.studies and results.studies
    said = [sentence for sentence in results.set_aside if "is no name" in sentence]
    assert said == [
        f"study 'second': {NAME!r} is no name (letters, digits and _)",
        f"study {NAME!r}: {NAME!r} is no name (letters, digits and _)",
    ]
    assert not any(NAME in key for key in [*results.runs, *results.manifests, *results.configs])


def test_the_policy_allows_the_one_script_and_no_request(report):
    text = report.read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")


@pytest.mark.browser
def test_the_page_itself_forbids_other_scripts_and_requests(browser, report, tmp_path):  # noqa: F811
    """What would get past the escaping is still not run: the policy in the page, in a real browser."""
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    harm = "document.title='harm'"
    attack = f'<img src={address}/x onerror="{harm}"><script>{harm}</script><iframe src={address}/y></iframe>'
    path = tmp_path / "alexnet.html"
    text = report.read_text()
    path.write_text(text.replace('<main id="main">', f'<main id="main">{attack}', 1))
    tab = browser.new_context(offline=False).new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(path.as_uri())
    tab.wait_for_timeout(500)
    assert tab.title() != "harm" and asked == []
    assert sum("Content Security Policy" in line for line in said) >= 2
    assert tab.locator("form.filter").is_visible()  # its own script runs
    tab.context.close()
    server.shutdown()
