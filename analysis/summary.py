"""Turns the verdict table into the report's first page: a paragraph, counts, and every claim in a row."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.cells import MARKS, badge, plural, value
from analysis.context import Context
from analysis.evidence import Study
from analysis.outcomes import interval
from analysis.page import Html, escape, framed, say, table

TRAINED = ["demo", "proxy", "reduced scale", "paper scale"]


def study_line(ctx: Context, study: Study) -> str:
    """Study, data and how much was run, in one sentence."""
    runs = [key for key in ctx.results.runs if key[0] == study.name]
    seeds = len({seed for _, _, seed in runs})
    nets = plural(len({name for _, name, _ in runs}), "experiment")
    kind = {
        "demo": "generated data, proves the machinery only",
        "proxy": "other data than the paper's",
        "reduced": "the paper's data at reduced scale",
        "paper": "the paper's data",
    }
    return f"{study.title} ({kind[study.tier]}): {study.data.rstrip('.')}; {nets}, {plural(len(runs), 'finished run')}, {plural(seeds, 'seed')}."


def verdict_paragraph(ctx: Context) -> Html:
    """The first paragraph of the report, all of it computed."""
    t = ctx.table
    counted = t[t["evidence"] == "arithmetic"]["verdict"].value_counts()
    settled = counted.drop("not testable", errors="ignore").sum()
    measured = t[t["evidence"].isin(TRAINED) & (t["verdict"] != "pending")]
    left = t["verdict"].value_counts()
    first = (
        f"{plural(len(t), 'statement')} of the paper are listed here. {settled} need no training and were counted on "
        f"the full-size network: {counted.get('reproduced', 0)} hold, {counted.get('paper inconsistent', 0)} contradict "
        "the paper's own sizes or its authors' configuration"
    )
    wrong = counted.get("not reproduced", 0)
    first += f", {wrong} do not hold for the network built here." if wrong else "."
    rest = (
        f"{left.get('pending', 0)} are pending, {left.get('not testable', 0)} cannot be tested and "
        f"{left.get('cited', 0)} are quoted from others."
    )
    return say(first, _tested(ctx, measured), rest)


def _tested(ctx: Context, measured: pd.DataFrame) -> str:
    """What training and counting images showed, in a sentence or two."""
    if measured.empty:
        return "None was tested by training yet."
    said = {
        "reproduced": ("is reproduced", "are reproduced"),
        "direction only": ("agrees in direction, not in size", "agree in direction, not in size"),
        "direction agrees": ("agrees in direction", "agree in direction"),
        "direction disagrees": ("disagrees in direction", "disagree in direction"),
        "not reproduced": ("is not reproduced", "are not reproduced"),
        "inconclusive": ("is inconclusive", "are inconclusive"),
    }
    words: dict[str, int] = measured["verdict"].value_counts().to_dict()
    counts = ", ".join(
        f"{words[word]} {text[words[word] > 1]}" for word, text in said.items() if word in words
    )
    titles = " and ".join(study.title for study in ctx.studies if (measured["study"] == study.name).any())
    text = f"{len(measured)} were tested by training on {titles}: {counts}."
    if (measured["evidence"] == "paper scale").any():
        return text
    return (
        text
        + " None of these runs has the paper's data and size: they say whether an effect points the same way, no more."
    )


def verdict_counts(ctx: Context) -> Html:
    """Verdicts by strength of evidence."""
    t = ctx.table
    names = {
        "paper scale": "Paper scale",
        "arithmetic": "Arithmetic",
        "reduced scale": "Paper's data, reduced",
        "proxy": "Proxy data",
        "demo": "Demo data",
        "": "No evidence",
    }
    columns = [evidence for evidence in names if (t["evidence"] == evidence).any()]
    rows = []
    for word in MARKS:
        found = t[t["verdict"] == word]["evidence"].value_counts()
        if len(found):
            rows.append(
                [badge(word, ""), *(str(found.get(column, "–")) for column in columns), str(found.sum())]
            )
    heads = ["Verdict", *(names[column] for column in columns), "All"]
    return table(heads, rows, "Verdicts by strength of evidence")


def claims_tables(ctx: Context) -> list[Html]:
    """The claims in four tables: measured, counted, pending, and the rest."""
    t = ctx.table
    trained = t["evidence"].isin(TRAINED) & (t["verdict"] != "pending")
    counted = t["evidence"] == "arithmetic"
    pending = (t["verdict"] == "pending") & (t["command"] != "")
    parts = [
        ("Tested by training or counting images", t[trained]),
        ("Counted from the architecture, full size, untrained", t[counted & ~trained]),
        ("Pending: one command away", t[pending & ~trained & ~counted]),
        (
            "Pending without an experiment, not testable, or quoted from others",
            t[~trained & ~counted & ~pending],
        ),
    ]
    return [claims_table(part, title) for title, part in parts if len(part)]


def claims_table(t: pd.DataFrame, caption: str) -> Html:
    """One row a claim; each row is an anchor and opens to say how it is known."""
    heads = ["Claim", "What the paper says", "Paper", "Lab log", "Ours", "Evidence", "Verdict"]
    right = {"Paper", "Lab log", "Ours"}
    kinds = (' class="number"' if name in right else "" for name in heads)
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(heads, kinds, strict=True))
    rows = []
    for row in t.to_dict("records"):
        where = f'<a href="#claim-{row["id"]}">{escape(row["id"])}</a><br><span class="where">{_place(row["section"])}</span>'
        cells = [
            f"<td>{escape(row['statement'])}{_details(row)}</td>",
            f'<td class="number" data-label="Paper">{value(row, "paper")}</td>',
            f'<td class="number" data-label="Lab log">{value(row, "lab_value")}</td>',
            f'<td class="number" data-label="Ours">{_ours(row)}</td>',
            f'<td data-label="Evidence">{escape(row["evidence"] or "–")}{_size(row)}</td>',
            f'<td data-label="Verdict">{badge(row["verdict"], row["evidence"]).text}</td>',
        ]
        rows.append(f'<tr id="claim-{row["id"]}"><th scope="row">{where}</th>{"".join(cells)}</tr>')
    return framed(f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>", caption, "claims")


def _place(section: str) -> str:
    return (
        f"section {escape(section)}"
        if section[0].isdigit()
        else escape(section.replace("Abs", "abstract").replace("fn ", "footnote "))
    )


def _ours(row: dict[str, Any]) -> str:
    text = f"{row['bound'].replace('>=', '≥').replace('<=', '≤')} {value(row, 'ours')}".strip()
    span = interval(row["low"], row["high"], row["unit"])
    return escape(text) + (f'<br><span class="interval">{escape(span)}</span>' if span else "")


def _size(row: dict[str, Any]) -> str:
    parts = [row["study"], f"{row['n']:,.0f} images" if row["n"] > 0 else ""]
    if row["seeds"] > 0:
        many = f"{row['seeds']:.0f}" + (
            f" vs {row['baseline_seeds']:.0f}" if row["baseline_seeds"] > 0 else ""
        )
        parts.append(f"{many} seeds" if many != "1" else "1 seed")
    text = ", ".join(filter(None, parts))
    return f'<br><span class="size">{escape(text)}</span>' if text else ""


def _details(row: dict[str, Any]) -> str:
    """What opens below a claim: reason, data, test, note, command."""
    why = row["why"][:1].upper() + row["why"][1:]
    items = [f"<li>{escape(why)}.</li>" if why else ""]
    if row["study"]:
        views = {"center": "centre view", "ten": "ten views", "center-ten": "one against ten views"}.get(
            row["views"], ""
        )
        data = ", ".join(filter(None, [f"{row['dataset']} {row['split']}".strip(), views]))
        compared = f"{row['experiment']} against {row['baseline']}" if row["baseline"] else row["experiment"]
        items.append(
            f"<li>Read from study <b>{escape(row['study'])}</b>: {escape(compared)}, {escape(data)}.</li>"
        )
    if row["p"] == row["p"]:
        items.append(
            f"<li>p = {row['p']:.2g} for no effect; adjusted over all tests here {row['p_holm']:.2g} (Holm) and {row['p_bh']:.2g} (Benjamini and Hochberg).</li>"
        )
    if row["lab_source"]:
        items.append(f"<li>Lab log: {escape(row['lab_source'])}.</li>")
    items.append(f"<li>{escape(row['note'])}</li>" if row["note"] else "")
    if row["command"]:
        items.append(f"<li>To run it: <code>{escape(row['command'])}</code></li>")
    inner = "".join(items)
    return f"<details><summary>how do we know</summary><ul>{inner}</ul></details>" if inner else ""
