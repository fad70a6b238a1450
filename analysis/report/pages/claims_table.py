"""The table of claims: a row a claim, which opens to say how it is known."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis.measures import races
from analysis.measures.estimates import NoEstimate
from analysis.report.badges import badge, value
from analysis.report.context import Context
from analysis.report.page import Html, folded, framed, joined, listed
from analysis.report.pages.campaign_state import outdated
from analysis.report.pages.fig1_sentences import judged_under
from analysis.report.pages.provenance import anchor
from analysis.results.campaign import machine, several
from analysis.text import plural
from analysis.verdicts.explain import HOW
from analysis.verdicts.labels import COUNTED
from analysis.verdicts.table import interval, number, verdict_words

TRAINED = ["demo", "proxy", "reduced scale", "paper scale"]
LESSER = TRAINED[:-1]  # other classes or sizes: an absolute number says nothing about the paper's
HEADS = ["Claim", "What the paper says", "Paper, or mark", "Lab log", "Ours", "Evidence", "Verdict"]
RIGHT = set(HEADS[2:5])  # columns of numbers
VIEWS = {"center": "centre view", "ten": "ten views", "center-ten": "one against ten views"}
# Page of the report on which a claim's numbers stand: by how it is measured, else by its kind.
CHAPTERS = {
    "difference": ("ablations", "Ablations and training"),
    "gap": ("ablations", "Ablations and training"),
    "rank": ("ablations", "Ablations and training"),
    "ratio": ("relu-vs-tanh", "ReLU against tanh"),
    "view_gain": ("ablations", "Ablations and training"),
    "value": ("tables-1-and-2", "Tables 1 and 2"),
    "split_gap": ("ablations", "Ablations and training"),
    "generalization_gap": ("inside-the-net", "Inside the net"),
    "sample_difference": ("inside-the-net", "Inside the net"),
    "tower_chroma": ("inside-the-net", "Inside the net"),
    "tower_chroma_runs": ("inside-the-net", "Inside the net"),
    "orientation_selectivity": ("inside-the-net", "Inside the net"),
    "retrieval_precision": ("inside-the-net", "Inside the net"),
    "code_precision": ("inside-the-net", "Inside the net"),
    "pixel_distance": ("inside-the-net", "Inside the net"),
    "geometric_mean": ("inside-the-net", "Inside the net"),
    "arithmetic": ("architecture", "Architecture"),
    "dataset": ("data", "Data"),
    "timing": ("speed", "Speed and cost"),
}


def groups(t: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The claims under the headings of the table: tested, counted, pending, and the rest."""
    trained = t["evidence"].isin(TRAINED) & (t["verdict"] != "pending")
    settled = t["verdict"].isin(COUNTED)
    pending = t["verdict"] == "pending"
    parts = [
        ("Tested by training or counting images", t[trained]),
        ("Untrained: counted on the full-size network, or read in its authors' program", t[settled & ~trained]),
        ("Not tested yet", t[pending & ~trained & ~settled]),
        ("Cannot be tested, or quoted from others", t[~trained & ~settled & ~pending]),
    ]
    return [(title, part) for title, part in parts if len(part)]


def claims(ctx: Context) -> Html:
    """Filter (shown where scripts run) and the table of all claims."""
    head = joined(Html('<th scope="col"{}>{}</th>').format(_kind(name), name) for name in HEADS)
    bodies = []
    for title, part in groups(ctx.table):
        rows = joined(_row(ctx, row) for row in part.to_dict("records"))
        top = Html('<tr class="group"><th scope="rowgroup" colspan="{}">{} ({})</th></tr>')
        bodies.append(Html("<tbody>{}{}</tbody>").format(top.format(len(HEADS), title, len(part)), rows))
    inner = Html("<thead><tr>{}</tr></thead>{}").format(head, joined(bodies))
    shown = framed(inner, "Claims of the paper", "claims")
    return _filter(ctx.table) + shown


def _kind(head: str) -> Html:
    """The class of a column's cells as an attribute."""
    return Html(' class="number"' if head in RIGHT else "")


def _filter(t: pd.DataFrame) -> Html:
    """The form that the page's script shows; without it the table is simply whole."""
    choices = [
        ("verdict", "Verdict", t["verdict"].value_counts()),
        ("evidence", "Evidence", t["evidence"].replace("", "none").value_counts()),
        ("section", "Section", t["section"].value_counts(sort=False)),
    ]
    selects = []
    for name, label, counts in choices:
        options = joined(Html('<option value="{0}">{0} ({1})</option>').format(*item) for item in counts.items())
        made = Html('<label>{} <select name="{}"><option value="">all</option>{}</select></label>')
        selects.append(made.format(label, name, options))
    return Html(
        '<form class="filter" role="search" aria-label="Claims" hidden>'
        '<label>Search <input type="search" name="words" autocomplete="off"></label>'
        '{}<button type="reset">Show all</button><output aria-live="polite">{}</output></form>'
    ).format(joined(selects), plural(len(t), "claim"))


def _row(ctx: Context, row: dict[str, Any]) -> Html:
    where = Html('<a href="#claim-{0}">{0}</a><br><span class="where">{1}</span>')
    said = Html("<td>{}{}{}</td>").format(row["statement"], _condition(ctx, row), _details(ctx, row))
    shown = [
        Html("{}{}").format(value(row, "paper"), _slack(ctx, row)),
        value(row, "lab_value"),
        _ours(row),
        Html("{}{}").format(row["evidence"] or "–", _size(row)),
        badge(row["verdict"], row["evidence"], row["dataset"]),
    ]
    cells = joined(
        Html('<td{} data-label="{}">{}</td>').format(_kind(head), head, cell)
        for head, cell in zip(HEADS[2:], shown, strict=True)
    )
    keys = ("verdict", "evidence", "section")
    data = joined((Html('data-{}="{}"').format(name, row[name] or "none") for name in keys), " ")
    return Html('<tr id="claim-{}" {}><th scope="row">{}</th>{}{}</tr>').format(
        row["id"], data, where.format(row["id"], place(row["section"])), said, cells
    )


def _condition(ctx: Context, row: dict[str, Any]) -> Html:
    """What a verdict on Fig. 1 depends on, beside the claim itself: a factor that holds in one setting only must say so."""
    words = judged_under(ctx, row)
    return Html('<br><span class="where">here: {}</span>' if words else "").format(words)


def place(section: str) -> str:
    """Where in the paper, in words."""
    if section[0].isdigit():
        return f"section {section}"
    return section.replace("Abs", "abstract").replace("fn ", "footnote ")


def _slack(ctx: Context, row: dict[str, Any]) -> Html:
    """How far from the paper's value still counts as it, for values that are printed rounded."""
    claim = ctx.claims.get(row["id"])
    if not claim or not claim.tolerance or claim.relation != "about":
        return Html("")
    return Html('<br><span class="where">± {}</span>').format(number(claim.tolerance, claim.unit))


def _ours(row: dict[str, Any]) -> Html:
    text = f"{row['bound'].replace('>=', '≥').replace('<=', '≤')} {value(row, 'ours')}".strip()
    low = max(row["low"], 0.0) if row["how"] == "value" else row["low"]  # an error is not negative
    span = interval(low, row["high"], row["unit"])
    shown = Html('{}<br><span class="interval">{}</span>' if span else "{}").format(text, span)
    if row["verdict"] == "pending" and row["evidence"] in LESSER and value(row, "ours"):
        shown += Html('<br><span class="where">not comparable</span>')
    return shown


def _size(row: dict[str, Any]) -> Html:
    study = row["study"] if row["study"] != row["evidence"] else ""
    parts = [study, f"{row['n']:,.0f} images" if row["n"] > 0 else ""]
    if row["seeds"] > 0:
        many = f"{row['seeds']:.0f}" + (f" vs {row['baseline_seeds']:.0f}" if row["baseline_seeds"] > 0 else "")
        parts.append(f"{many} seeds" if many != "1" else "1 seed")
    text = ", ".join(filter(None, parts))
    return Html('<br><span class="size">{}</span>' if text else "").format(text)


# How do you know? -------------------------------------------------------------------------------------------------


def _details(ctx: Context, row: dict[str, Any]) -> Html:
    """What opens below a claim: reason, measure, runs, data, test, note, commands, section."""
    items = [
        _sentence(row["why"]),
        _measure(ctx, row),
        f"What differs: {row['differs']}." if row["differs"] else "",
        *_runs(ctx, row),
        _data(ctx, row),
        _test(row),
        f"Lab log: {row['lab_source']}." if row["lab_source"] else "",
        row["note"],
        *_elsewhere(ctx, row),
        *_commands(ctx, row),
        _chapter(ctx, row),
    ]
    return folded("how do you know", listed(item for item in items if item))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _measure(ctx: Context, row: dict[str, Any]) -> str:
    """What was compared with what, and what counts as the paper's value."""
    if row["how"] not in HOW:
        return ""
    claim = ctx.claims.get(row["id"])
    words = HOW[row["how"]].format(
        how=row["how"], metric=claim.metric if claim else "", experiment=row["experiment"], baseline=row["baseline"]
    )
    within = ""
    if claim and claim.tolerance:
        within = (
            f"; within {number(claim.tolerance, claim.unit)} counts as the paper's value ({claim.tolerance_reason})"
        )
    return f"Measured as: {words}{within}."


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


def _runs(ctx: Context, row: dict[str, Any]) -> list[Html]:
    """Runs that the number was read from, each a link to where it came from."""
    if not row["study"] or row["kind"] == "dataset":
        return []
    results, study = ctx.results, row["study"]
    said, old = [], outdated(results)
    for name in _trained(ctx, row):
        keys = sorted(key for key in results.runs if key[:2] == (study, name))
        if not keys:
            continue
        links = joined((Html('<a href="#{}">{}</a>').format(anchor(*key), key[2]) for key in keys), ", ")
        made = [results.runs[key] for key in keys]
        commits = sorted({str(run.get("provenance", {}).get("git_commit") or "unknown")[:7] for run in made})
        minutes = sum(run.get("wall_seconds") or 0 for run in made) / 60
        on = several(map(machine, made))
        made_in = several(run.get("precision") for run in made)
        changed = old & set(keys)
        stale = Html(' <span class="stale">code has changed since</span>' if changed else "")
        word = "seed" if len(keys) == 1 else "seeds"
        text = Html("Runs: {}, {} {}; {:,.1f} minutes in all on {}, in {}, commit <code>{}</code>{}.")
        said.append(text.format(name, word, links, minutes, on, made_in, ", ".join(commits), stale))
    return said


def _data(ctx: Context, row: dict[str, Any]) -> str | Html:
    """Data set, split and the fingerprint of its manifest."""
    if not row["study"]:
        return ""
    manifest = ctx.results.manifests.get((row["study"], row["dataset"]), {})
    where = ", ".join(filter(None, [f"{row['dataset']} {row['split']}".strip(), VIEWS.get(row["views"], "")]))
    mark = str(manifest.get("fingerprint", ""))[:12]
    shown = Html(", manifest <code>{}</code>" if mark else "").format(mark)
    text = Html('Data: study <b>{}</b>, {}{} (<a href="#data">what it holds</a>){}.')
    study = ctx.results.studies.get(row["study"])
    plan = Html("; registered plan <code>{}</code>" if study and study.plan else "")
    return text.format(row["study"], where, shown, plan.format(study.plan if study else ""))


def _test(row: dict[str, Any]) -> str:
    if row["p"] != row["p"]:
        return ""
    alone = f"p = {row['p']:.2g} for no effect"
    if row["p_holm"] != row["p_holm"]:
        return f"{alone}, not among the core claims, so adjusted for no others."
    return f"{alone}; adjusted over the core claims {row['p_holm']:.2g} (Holm) and {row['p_bh']:.2g} (Benjamini and Hochberg)."


def _elsewhere(ctx: Context, row: dict[str, Any]) -> list[Html]:
    """What other studies say about the claim, where there are several."""
    claim = ctx.claims.get(row["id"])
    if not claim or not row["study"] or len(ctx.results.studies) < 2:
        return []
    from analysis.verdicts.judge import judge

    said = []
    for o in judge(claim, ctx.results):
        if o.study and o.study != row["study"]:
            if o.ours is None and o.verdict == "pending":
                said.append(Html("Also in study <b>{}</b>: pending, {}.").format(o.study, o.why))
                continue
            span = interval(o.low, o.high, claim.unit) if o.low is not None and o.high is not None else ""
            ours = f"{o.bound} {number(o.ours, claim.unit, 2)} {span}".strip()
            judged = verdict_words(o.verdict, o.evidence, o.dataset)
            said.append(Html("Also in study <b>{}</b>: {}, {}.").format(o.study, ours, judged))
    return said


def _commands(ctx: Context, row: dict[str, Any]) -> list[Html]:
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
        words = f"To train {first[0]} again, and what is missing" if files else "To run it"
        said.append(Html("{}: <code>{}</code>").format(words, again))
    explained = f"python -m analysis explain {row['id']}{_elsewhere_than_results(ctx)}"
    said.append(Html("In a terminal: <code>{}</code>").format(explained))
    return said


def _elsewhere_than_results(ctx: Context) -> str:
    """The option that names the results folder, where it is not the usual one; a full path says nothing on another machine."""
    folder = ctx.results.folder
    return "" if folder.is_absolute() or str(folder) == "results" else f" --results {folder}"


def _chapter(ctx: Context, row: dict[str, Any]) -> str | Html:
    claim = ctx.claims.get(row["id"])
    cifar = claim and claim.how == "value" and claim.dataset == "cifar10"  # Tables 1 and 2 are about ImageNet
    if claim and (claim.metric.startswith("validation_loss") or cifar):  # epochs to its lowest: no race
        return Html('More on the page <a href="#ablations">Ablations and training</a>.')
    found = CHAPTERS.get(row["how"] if row["kind"] not in ("arithmetic", "dataset") else "", ())
    found = found or CHAPTERS.get(row["kind"], ())
    return Html('More on the page <a href="#{}">{}</a>.').format(*found) if found else ""


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
