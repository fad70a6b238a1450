"""Links to the authors' program of 2012, as the Computer History Museum released it."""

import re

from analysis.report.page import Html, joined

RELEASE = "https://github.com/computerhistory/AlexNet-Source-Code/blob/2f8b81f76470bf873c865754ad8f4a5e0dbbeb7b"
FILE = re.compile(r"((?:layer-params|layers)-\d[\w-]*\.cfg|\w+\.(?:cu|py|sh))(?::(\d+)(?:-(\d+))?)?")
FOLDERS = {"cfg": "layers/", "cu": "src/"}
ELSEWHERE = re.compile(r"(?:layer-params|layers)-(?:1[89]pct|80sec)")  # files of other releases


def linked(text: str) -> Html:
    """`text` with each `file:line` of the release as a link to that line; other text is escaped."""
    pieces: list[str] = []
    end = 0
    for found in FILE.finditer(text):
        pieces += [text[end : found.start()], _link(*found.group(0, 1, 2, 3))]
        end = found.end()
    return joined([*pieces, text[end:]])


def _link(shown: str, file: str, first: str | None, last: str | None) -> str | Html:
    if ELSEWHERE.match(file):
        return shown
    lines = f"#L{first}" + (f"-L{last}" if last else "") if first else ""
    folder = FOLDERS.get(file.rpartition(".")[2], "")
    return Html('<a href="{}/{}{}{}">{}</a>').format(RELEASE, folder, file, lines, shown)
