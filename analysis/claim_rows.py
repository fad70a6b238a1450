"""Turns the verdict table into the claims table of the report: a row a claim, which opens to say how it is known."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis import races
from analysis.cells import badge, plural, value
from analysis.context import Context
from analysis.estimates import NoEstimate
from analysis.explain import HOW
from analysis.origin import machine, several
from analysis.outcomes import interval, number, verdict_words
from analysis.page import Html, escape, framed
from analysis.provenance_tables import anchor
from analysis.race_tables import judged_under
from analysis.state import outdated

TRAINED = ["demo", "proxy", "reduced scale", "paper scale"]
LESSER = TRAINED[:-1]  # other classes or sizes: an absolute number says nothing about the paper's
HEADS = ["Claim", "What the paper says", "Paper, or mark", "Lab log", "Ours", "Evidence", "Verdict"]
RIGHT = set(HEADS[2:5])  # columns of numbers
VIEWS = {"center": "centre view", "ten": "ten views", "center-ten": "one against ten views"}
# Page of the report on which a claim's numbers stand: by how it is measured, else by its kind.
CHAPTERS = {
    "difference": ("ablations", "Ablations"),
    "gap": ("ablations", "Ablations"),
    "rank": ("ablations", "Ablations"),
    "ratio": ("relu-vs-tanh", "ReLU against tanh"),
    "view_gain": ("ablations", "Ablations"),
    "value": ("tables-1-and-2", "Tables 1 and 2"),
    "split_gap": ("training", "Training and testing"),
    "generalization_gap": ("inside-the-net", "Inside the finished net"),
    "sample_difference": ("inside-the-net", "Inside the finished net"),
    "tower_chroma": ("inside-the-net", "Inside the finished net"),
    "tower_chroma_runs": ("inside-the-net", "Inside the finished net"),
    "orientation_selectivity": ("inside-the-net", "Inside the finished net"),
    "retrieval_precision": ("inside-the-net", "Inside the finished net"),
    "code_precision": ("inside-the-net", "Inside the finished net"),
    "pixel_distance": ("inside-the-net", "Inside the finished net"),
    "geometric_mean": ("inside-the-net", "Inside the finished net"),
    "arithmetic": ("architecture", "Architecture"),
    "dataset": ("data", "Data"),
    "timing": ("speed", "Speed and cost"),
}


def groups(t: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The claims under the headings of the table: tested, counted, pending, and the rest."""
    trained = t["evidence"].isin(TRAINED) & (t["verdict"] != "pending")
    settled = (t["evidence"] == "arithmetic") & (t["verdict"] != "not testable")
    pending = t["verdict"] == "pending"
    parts = [
        ("Tested by training or counting images", t[trained]),
        (
            "Untrained: counted on the full-size network, or read in its authors' program",
            t[settled & ~trained],
        ),
        ("Not tested yet", t[pending & ~trained & ~settled]),
        ("Cannot be tested, or quoted from others", t[~trained & ~settled & ~pending]),
    ]
    return [(title, part) for title, part in parts if len(part)]


def claims(ctx: Context) -> Html:
    """Filter (shown where scripts run) and the table of all claims."""
    head = "".join(f'<th scope="col"{_kind(name)}>{name}</th>' for name in HEADS)
    bodies = []
    for title, part in groups(ctx.table):
        rows = "".join(_row(ctx, row) for row in part.to_dict("records"))
        top = f'<tr class="group"><th scope="rowgroup" colspan="{len(HEADS)}">{escape(title)} ({len(part)})</th></tr>'
        bodies.append(f"<tbody>{top}{rows}</tbody>")
    shown = framed(f"<thead><tr>{head}</tr></thead>{''.join(bodies)}", "Claims of the paper", "claims")
    return Html(f'<div id="claims">{_filter(ctx.table)}{shown.text}</div>')


def _kind(head: str) -> str:
    """The class of a column's cells as an attribute; safe HTML."""
    return ' class="number"' if head in RIGHT else ""


def _filter(t: pd.DataFrame) -> str:
    """The form that the page's script shows; without it the table is simply whole."""
    choices = [
        ("verdict", "Verdict", t["verdict"].value_counts()),
        ("evidence", "Evidence", t["evidence"].replace("", "none").value_counts()),
        ("section", "Section", t["section"].value_counts(sort=False)),
    ]
    selects = []
    for name, label, counts in choices:
        options = "".join(
            f'<option value="{escape(key)}">{escape(key)} ({count})</option>' for key, count in counts.items()
        )
        selects.append(
            f'<label>{label} <select name="{name}"><option value="">all</option>{options}</select></label>'
        )
    return (
        '<form class="filter" role="search" aria-label="Claims" hidden>'
        '<label>Search <input type="search" name="words" autocomplete="off"></label>'
        f'{"".join(selects)}<button type="reset">Show all</button>'
        f'<output aria-live="polite">{plural(len(t), "claim")}</output></form>'
    )


def _row(ctx: Context, row: dict[str, Any]) -> str:
    id_ = escape(row["id"])
    where = f'<a href="#claim-{id_}">{id_}</a><br><span class="where">{place(row["section"])}</span>'
    said = f"<td>{escape(row['statement'])}{_condition(ctx, row)}{_details(ctx, row)}</td>"
    shown = [
        value(row, "paper") + _slack(ctx, row),
        value(row, "lab_value"),
        _ours(row),
        escape(row["evidence"] or "–") + _size(row),
        badge(row["verdict"], row["evidence"], row["dataset"]).text,
    ]
    cells = "".join(
        f'<td{_kind(head)} data-label="{head}">{cell}</td>'
        for head, cell in zip(HEADS[2:], shown, strict=True)
    )
    data = " ".join(
        f'data-{name}="{escape(row[name] or "none")}"' for name in ("verdict", "evidence", "section")
    )
    return f'<tr id="claim-{id_}" {data}><th scope="row">{where}</th>{said}{cells}</tr>'


def _condition(ctx: Context, row: dict[str, Any]) -> str:
    """What a verdict on Fig. 1 depends on, beside the claim itself: a factor that holds in one setting only must say so."""
    words = judged_under(ctx, row)
    return f'<br><span class="where">here: {escape(words)}</span>' if words else ""


def place(section: str) -> str:
    """Where in the paper, in words; safe HTML."""
    return (
        f"section {escape(section)}"
        if section[0].isdigit()
        else escape(section.replace("Abs", "abstract").replace("fn ", "footnote "))
    )


def _slack(ctx: Context, row: dict[str, Any]) -> str:
    """How far from the paper's value still counts as it, for values that are printed rounded."""
    claim = ctx.claims.get(row["id"])
    if not claim or not claim.tolerance or claim.relation != "about":
        return ""
    return f'<br><span class="where">± {escape(number(claim.tolerance, claim.unit))}</span>'


def _ours(row: dict[str, Any]) -> str:
    text = f"{row['bound'].replace('>=', '≥').replace('<=', '≤')} {value(row, 'ours')}".strip()
    low = max(row["low"], 0.0) if row["how"] == "value" else row["low"]  # an error is not negative
    span = interval(low, row["high"], row["unit"])
    text += f'<br><span class="interval">{escape(span)}</span>' if span else ""
    if row["verdict"] == "pending" and row["evidence"] in LESSER and value(row, "ours"):
        text += '<br><span class="where">not comparable</span>'
    return text


def _size(row: dict[str, Any]) -> str:
    study = row["study"] if row["study"] != row["evidence"] else ""
    parts = [study, f"{row['n']:,.0f} images" if row["n"] > 0 else ""]
    if row["seeds"] > 0:
        many = f"{row['seeds']:.0f}" + (
            f" vs {row['baseline_seeds']:.0f}" if row["baseline_seeds"] > 0 else ""
        )
        parts.append(f"{many} seeds" if many != "1" else "1 seed")
    text = ", ".join(filter(None, parts))
    return f'<br><span class="size">{escape(text)}</span>' if text else ""


# How do you know? -------------------------------------------------------------------------------------------------


def _details(ctx: Context, row: dict[str, Any]) -> str:
    """What opens below a claim: reason, measure, runs, data, test, note, commands, section."""
    items = [
        _sentence(row["why"]),
        _measure(ctx, row),
        *_runs(ctx, row),
        _data(ctx, row),
        _test(row),
        f"Lab log: {escape(row['lab_source'])}." if row["lab_source"] else "",
        escape(row["note"]),
        *_elsewhere(ctx, row),
        *_commands(ctx, row),
        _chapter(ctx, row),
    ]
    inner = "".join(f"<li>{item}</li>" for item in items if item)
    return f"<details><summary>how do you know</summary><ul>{inner}</ul></details>"


def _sentence(text: str) -> str:
    return escape(f"{text[:1].upper()}{text[1:]}.") if text else ""


def _measure(ctx: Context, row: dict[str, Any]) -> str:
    """What was compared with what, and what counts as the paper's value."""
    if row["how"] not in HOW:
        return ""
    claim = ctx.claims.get(row["id"])
    words = HOW[row["how"]].format(
        how=row["how"],
        metric=claim.metric if claim else "",
        experiment=row["experiment"],
        baseline=row["baseline"],
    )
    within = ""
    if claim and claim.tolerance:
        within = f"; within {number(claim.tolerance, claim.unit)} counts as the paper's value ({claim.tolerance_reason})"
    return f"Measured as: {escape(words)}{escape(within)}."


def _names(row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*row["experiment"].split(), *row["baseline"].split()]))


def _trained(ctx: Context, row: dict[str, Any]) -> list[str]:
    """Experiments of which the runs were read; of a race, that at the rate in which it is judged."""
    study = ctx.results.studies.get(row["study"])
    found = []
    for name in _names(row):
        if study and name in study.races:
            try:
                name = races.choose(ctx.results, study, name).experiment
            except NoEstimate:
                continue
        found.append(name)
    return found


def _runs(ctx: Context, row: dict[str, Any]) -> list[str]:
    """Runs that the number was read from, each a link to where it came from."""
    if not row["study"] or row["kind"] == "dataset":
        return []
    results, study = ctx.results, row["study"]
    said, old = [], outdated(results)
    for name in _trained(ctx, row):
        keys = sorted(key for key in results.runs if key[:2] == (study, name))
        if not keys:
            continue
        links = ", ".join(f'<a href="#{anchor(*key)}">{key[2]}</a>' for key in keys)
        made = [results.runs[key] for key in keys]
        commits = sorted({str(run.get("provenance", {}).get("git_commit") or "unknown")[:7] for run in made})
        minutes = sum(run.get("wall_seconds") or 0 for run in made) / 60
        on = escape(several(map(machine, made)))
        made_in = escape(several(run.get("precision") for run in made))
        stale = ' <span class="stale">code has changed since</span>' if old & set(keys) else ""
        word = "seed" if len(keys) == 1 else "seeds"
        said.append(
            f"Runs: {escape(name)}, {word} {links}; {minutes:,.1f} minutes in all on {on}, in {made_in}, commit <code>{escape(', '.join(commits))}</code>{stale}."
        )
    return said


def _data(ctx: Context, row: dict[str, Any]) -> str:
    """Data set, split and the fingerprint of its manifest."""
    if not row["study"]:
        return ""
    manifest = ctx.results.manifests.get((row["study"], row["dataset"]), {})
    where = ", ".join(filter(None, [f"{row['dataset']} {row['split']}".strip(), VIEWS.get(row["views"], "")]))
    mark = str(manifest.get("fingerprint", ""))[:12]
    shown = f", manifest <code>{escape(mark)}</code>" if mark else ""
    return f'Data: study <b>{escape(row["study"])}</b>, {escape(where)}{shown} (<a href="#data">what it holds</a>).'


def _test(row: dict[str, Any]) -> str:
    if row["p"] != row["p"]:
        return ""
    return (
        f"p = {row['p']:.2g} for no effect; adjusted over all claims of this table that have a test {row['p_holm']:.2g} (Holm) "
        f"and {row['p_bh']:.2g} (Benjamini and Hochberg)."
    )


def _elsewhere(ctx: Context, row: dict[str, Any]) -> list[str]:
    """What other studies say about the claim, where there are several."""
    claim = ctx.claims.get(row["id"])
    if not claim or not row["study"] or len(ctx.results.studies) < 2:
        return []
    from analysis.judging import judge

    said = []
    for o in judge(claim, ctx.results):
        if o.study and o.study != row["study"]:
            span = interval(o.low, o.high, claim.unit) if o.low is not None and o.high is not None else ""
            ours = f"{o.bound} {number(o.ours, claim.unit, 2)} {span}".strip()
            said.append(
                f"Also in study <b>{escape(o.study)}</b>: {escape(ours)}, {escape(verdict_words(o.verdict, o.evidence, o.dataset))}."
            )
    return said


def _commands(ctx: Context, row: dict[str, Any]) -> list[str]:
    """How to run it, to run it again from scratch, and to read all about it."""
    said = []
    if row["command"]:
        begun = row["study"] and row["verdict"] != "pending" and row["kind"] != "dataset"
        first = _trained(ctx, row)[:1]
        files = [
            f"{ctx.results.folder.name}/{study}/runs/{name}/{seed}/model.pt"
            for study, name, seed in sorted(ctx.results.runs)
            if begun and study == row["study"] and name in first
        ]
        again = f"{row['command']} --forcerun {' '.join(files)}" if files else row["command"]
        words = f"To train {escape(first[0])} again, and what is missing" if files else "To run it"
        said.append(f"{words}: <code>{escape(again)}</code>")
    said.append(
        f"In a terminal: <code>python -m analysis explain {escape(row['id'] + _elsewhere_than_results(ctx))}</code>"
    )
    return said


def _elsewhere_than_results(ctx: Context) -> str:
    """The option that names the results folder, where it is not the usual one; a full path says nothing on another machine."""
    folder = ctx.results.folder
    return "" if folder.is_absolute() or str(folder) == "results" else f" --results {folder}"


def _chapter(ctx: Context, row: dict[str, Any]) -> str:
    claim = ctx.claims.get(row["id"])
    cifar = claim and claim.how == "value" and claim.dataset == "cifar10"  # Tables 1 and 2 are about ImageNet
    if claim and (claim.metric == "validation_loss" or cifar):  # epochs to its lowest: no race
        return 'More on the page <a href="#training">Training and testing</a>.'
    found = CHAPTERS.get(row["how"] if row["kind"] not in ("arithmetic", "dataset") else "", ())
    found = found or CHAPTERS.get(row["kind"], ())
    return f'More on the page <a href="#{found[0]}">{escape(found[1])}</a>.' if found else ""


def reasons(t: pd.DataFrame, most: int = 3) -> list[tuple[str, int]]:
    """The commonest reasons of some rows with their counts, names of studies and nets left out."""
    count: dict[str, int] = {}
    for row in t.to_dict("records"):
        text = re.sub(r"^\w+: ", "", row["why"].partition(";")[0])
        names = [] if row["kind"] == "dataset" else _names(row)
        words = ["a net" if word in names else word for word in text.split()]
        text = re.sub(r"^\d+ of \d+ runs", "a run", " ".join(words))
        text = re.sub(r" ?\([^()]*\)", "", text)
        count[text] = count.get(text, 0) + 1
    return sorted(count.items(), key=lambda item: -item[1])[:most]
