"""Rebuilds the report from a results folder without the workflow; trains nothing."""

import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analysis.errors import UserError
from analysis.files import write_text
from analysis.paper.claims import CLAIMS, load_claims
from analysis.report import markdown
from analysis.report.build import build
from analysis.report.context import Context
from analysis.report.notebooks import execute
from analysis.report.pages import headline
from analysis.results.evidence import load_results
from analysis.verdicts.judge import judge_all
from analysis.verdicts.table import read_table, write_table

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def rebuild(
    folder: Path, out: Path, jobs: int = 2, notebooks: Iterable[Path] = (), executed: Path | None = None
) -> Path:
    """Judge what `folder` holds, and write the HTML file `out` with claims.csv, the figures of the README and the rest beside it.

    Args:
        jobs: pages that are executed at once.
        notebooks: the pages; those of this bench if there are none.
        executed: where their executed copies go; if None, to a folder that stays only if one fails.

    Returns:
        The verdict table.

    Raises:
        UserError: the results cannot be read, a page fails, or a file cannot be written.
    """
    if jobs < 1:
        raise UserError(f"{jobs} pages at once make no report; ask for 1 at least")
    pages = sorted(notebooks or NOTEBOOKS.glob("*.ipynb"))
    table = out.with_name("claims.csv")
    write_table(judge_all(load_claims(CLAIMS), load_results(folder)), table)
    room = executed or Path(tempfile.mkdtemp(prefix="pages-"))
    copies = [room / page.name for page in pages]
    with ThreadPoolExecutor(jobs) as pool:
        made = [pool.submit(execute, page, folder, table, copy) for page, copy in zip(pages, copies, strict=True)]
        for page in made:
            page.result()
    build(copies, table, out, folder)
    ctx = Context(load_results(folder), read_table(table))
    write_text(out.with_name("headline.svg"), headline.svg(ctx, alone=True))
    findings = out.read_text(encoding="utf-8").partition('<section id="findings">')[2].partition("</section>")[0]
    for number, (_, drawing) in enumerate(markdown.thumbnails(findings), 1):
        write_text(out.with_name(f"finding-{number}.svg"), drawing)
    if not executed:
        shutil.rmtree(room)
    return table
