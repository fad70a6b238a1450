"""The claims as cards: what the paper says, what was found, and how it is known."""

import math
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import pandas as pd

from analysis.measures import races
from analysis.measures.estimates import NoEstimate
from analysis.paper.claims import Claim
from analysis.paper.quotes import load_quotes, place
from analysis.report.badges import value
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line
from analysis.report.page import Html, render
from analysis.report.pages.campaign_state import outdated
from analysis.report.pages.fig1_sentences import judged_under
from analysis.report.pages.provenance import anchor
from analysis.results.campaign import machine, several
from analysis.results.evidence import Key
from analysis.verdicts.judge import judge
from analysis.verdicts.labels import CANNOT_TELL, COUNTED, LESSER, MEASURED, PENDING
from analysis.verdicts.rules import Outcome, accepted
from analysis.verdicts.table import VIEWS, interval, verdict_words

COUNTS = ("arithmetic", "dataset", "cited")  # kinds of claims that no training tests
NO_EFFECT = {"points": 0.0, "x": 1.0, "nats": 0.0}  # by unit: where a difference or a ratio shows nothing
FILTERS = ("verdict", "evidence", "section")
# Page of the report on which the numbers of claims stand that are not measured on runs, by their kind.
CHAPTERS = {"arithmetic": "architecture", "dataset": "data", "timing": "speed"}


def claims(ctx: Context) -> Html:
    """Cards of the claims that training tests, then, folded, those of all others; a form filters them where scripts run."""
    t = ctx.table
    main = t["id"].isin(experimental(ctx))
    choices = {name: t[name].replace("", "none").value_counts(sort=name != "section") for name in FILTERS}
    old = outdated(ctx.results)
    groups, rest = (
        [(title, [_card(ctx, row, old) for row in part.to_dict("records")]) for title, part in _groups(t[chosen])]
        for chosen in (main, ~main)
    )
    return render("claims.html.j2", choices=choices, groups=groups, rest=rest, total=len(t), others=int((~main).sum()))


def experimental(ctx: Context) -> list[str]:
    """The distinct claims that an experiment tests; a top-5 error counts with the top-1 error of the same comparison."""
    measured = [claim for claim in ctx.claims.values() if claim.how and claim.kind not in COUNTS]
    first = {_contrast(claim) for claim in measured if claim.metric != "top5_error"}
    return [claim.id for claim in measured if claim.metric != "top5_error" or _contrast(claim) not in first]


def _contrast(claim: Claim) -> tuple[str, ...]:
    return (claim.how, claim.experiment, claim.baseline, claim.dataset, claim.split, claim.views)


def _groups(t: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The claims under the headings of the page: tested, counted, waiting, and the rest; empty groups are left out."""
    trained = t["evidence"].isin(MEASURED) & (t["verdict"] != PENDING)
    settled = t["verdict"].isin(COUNTED) & ~trained
    pending = (t["verdict"] == PENDING) & ~settled
    parts = {
        "Tested by training": trained,
        "Settled without training: counted on the full-size network, or read in the authors' program or a document": settled,
        "Not tested yet": pending,
        "Beyond a test, or quoted from others": ~trained & ~settled & ~pending,
    }
    return [(title, t[chosen]) for title, chosen in parts.items() if chosen.any()]


def _card(ctx: Context, row: dict[str, Any], old: set[Key]) -> dict[str, Any]:
    """What the template shows of one claim."""
    claim = ctx.claims.get(row["id"])
    shown = {"row": row, "claim": claim, "quote": load_quotes().get(row["id"]), "place": place(row["section"])}
    return shown | {
        "condition": judged_under(ctx, row),
        "numbers": _numbers(row),
        "line": _line(row, claim),
        "against": _against(row, claim),
        "program": bool(claim and claim.setting),
        "sign_only": bool(claim and claim.relation == "greater" and claim.number == NO_EFFECT.get(claim.unit)),
        "runs": _runs(ctx, row, old),
        "data_of": _data(ctx, row),
        "elsewhere": _elsewhere(ctx, row, claim),
        "commands": _commands(ctx, row),
        "chapter": _chapter(row, claim),
    }


# Numbers ----------------------------------------------------------------------------------------------------------


def _comparable(row: dict[str, Any]) -> bool:
    """Whether ours may stand beside the paper's: an absolute error among other classes may not."""
    return bool(row["ours"] != "" and not (row["verdict"] == PENDING and row["evidence"] in LESSER))


def _numbers(row: dict[str, Any]) -> dict[str, str]:
    """The paper's value, the lab's and ours as text; ours with its interval and what it rests on."""
    ours = ""
    if _comparable(row):
        bound = row["bound"].replace(">=", "≥").replace("<=", "≤")
        low = max(row["low"], 0.0) if row["how"] == "value" else row["low"]  # an error is not negative
        ours = f"{bound} {value(row, 'ours')} {interval(low, row['high'], row['unit'])}".strip()
    return {"paper": value(row, "paper"), "lab": value(row, "lab_value"), "ours": ours}


def _line(row: dict[str, Any], claim: Claim | None) -> Html | None:
    """The number line of a measured claim; None where nothing is measured or only a count is compared."""
    if claim is None or claim.number is None or claim.kind in COUNTS or not claim.how:
        return None
    shown = _comparable(row)
    numbers = [float(part) for part in str(row["values"]).split()] if shown and claim.how != "each" else []
    finite = math.isfinite(row["low"]) and math.isfinite(row["high"])
    marks = Marks(
        ours=float(row["ours"]) if shown else None,
        span=(row["low"], row["high"]) if shown and finite else None,
        seeds=tuple(numbers) if len(numbers) > 1 else (),
        paper=claim.number if claim.relation in ("about", "equal") else None,
        band=None if claim.relation == "equal" else accepted(claim),
        lab=None if math.isnan(row["lab_value"]) else row["lab_value"],
        zero=NO_EFFECT.get(claim.unit),
    )
    if not shown and marks.lab is None:
        return None
    said = _numbers(row)
    alt = f"Number line: paper {said['paper']}; authors' log {said['lab']}; ours {said['ours'] or 'untested'}"
    return number_line(marks, alt, claim.unit, css="undecided" if row["verdict"] == CANNOT_TELL else "")


def _against(row: dict[str, Any], claim: Claim | None) -> str:
    """How the interval lies to the paper's number: `contains`, `lies above`, `lies below`; "" where there is none of both."""
    sized = claim and claim.number and claim.relation in ("about", "at_least", "at_most")
    if not claim or not sized or not _comparable(row) or math.isnan(row["low"]):
        return ""
    paper = claim.number or 0.0
    return "lies above" if row["low"] > paper else "lies below" if row["high"] < paper else "contains"


# How do we know? --------------------------------------------------------------------------------------------------


def _names(row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*row["experiment"].split(), *row["baseline"].split()]))


def _trained(ctx: Context, row: dict[str, Any]) -> list[str]:
    """Experiments of which the runs were read; of a race, that at the rate in which it is judged."""
    study = ctx.results.studies.get(row["study"])
    found = []
    for name in _names(row):
        with suppress(NoEstimate):
            found.append(races.choose(ctx.results, study, name).experiment if study and name in study.races else name)
    return found


def _runs(ctx: Context, row: dict[str, Any], old: set[Key]) -> list[dict[str, Any]]:
    """Of each net that the number was read from: its runs, where each came from, and their machines and code."""
    results, study = ctx.results, row["study"]
    found = []
    for name in _trained(ctx, row) if study and row["kind"] != "dataset" else ():
        keys = sorted(key for key in results.runs if key[:2] == (study, name))
        made = [results.runs[key] for key in keys]
        if made:
            commits = {str(run.get("provenance", {}).get("git_commit") or "unknown")[:7] for run in made}
            found.append(
                {
                    "name": name,
                    "seeds": [(key[2], anchor(*key)) for key in keys],
                    "minutes": sum(run.get("wall_seconds") or 0 for run in made) / 60,
                    "machines": several(map(machine, made)),
                    "precision": several(run.get("precision") for run in made),
                    "commits": sorted(commits),
                    "stale": bool(old & set(keys)),
                }
            )
    return found


def _data(ctx: Context, row: dict[str, Any]) -> dict[str, str]:
    """Data set, split, the fingerprint of its manifest and the registered plan; empty without a study."""
    study = ctx.results.studies.get(row["study"])
    if not row["study"]:
        return {}
    manifest = ctx.results.manifests.get((row["study"], row["dataset"]), {})
    where = ", ".join(filter(None, [f"{row['dataset']} {row['split']}".strip(), VIEWS.get(row["views"], "")]))
    mark = str(manifest.get("fingerprint", ""))[:12]
    return {"study": row["study"], "where": where, "mark": mark, "plan": (study and study.plan) or ""}


def _elsewhere(ctx: Context, row: dict[str, Any], claim: Claim | None) -> list[tuple[Outcome, str]]:
    """What other studies say about the claim, where there are several, with the verdict in words."""
    if not claim or not row["study"] or len(ctx.results.studies) < 2:
        return []
    others = [o for o in judge(claim, ctx.results) if o.study and o.study != row["study"]]
    return [(o, verdict_words(o.verdict, o.evidence, o.dataset)) for o in others]


def _commands(ctx: Context, row: dict[str, Any]) -> list[tuple[str, str]]:
    """How to run it, to run it again from scratch, and to read all about it: words and command."""
    folder = ctx.results.folder
    elsewhere = "" if folder.is_absolute() or str(folder) == "results" else f" --results {folder}"
    explain = ("All that is known, in a terminal", f"python -m analysis explain {row['id']}{elsewhere}")
    if not row["command"]:
        return [explain]
    begun = row["study"] and row["verdict"] != PENDING and row["kind"] != "dataset"
    first = _trained(ctx, row)[:1] if begun else []
    keys = [key for key in sorted(ctx.results.runs) if key[0] == row["study"] and key[1] in first]
    files = " ".join(f"{folder.name}/{study}/runs/{name}/{seed}/model.pt" for study, name, seed in keys)
    if not files:
        return [("Run it", row["command"]), explain]
    return [(f"Train {first[0]} again, and what is missing", f"{row['command']} --forcerun {files}"), explain]


def _chapter(row: dict[str, Any], claim: Claim | None) -> str:
    """The page of the report with the claim's numbers."""
    cifar = claim and claim.how == "value" and claim.dataset == "cifar10"  # Tables 1 and 2 are about ImageNet
    if claim and (claim.metric.startswith("validation_loss") or cifar):  # epochs to its lowest: no race
        return "ablations"
    return claim.measure.page[0] if claim and claim.measure else CHAPTERS.get(row["kind"], "")


def reasons(t: pd.DataFrame, most: int = 3) -> list[tuple[str, int]]:
    """The commonest reasons of some rows with their counts, names of studies and nets left out."""
    count = Counter[str]()
    for row in t.to_dict("records"):
        text = re.sub(r"^\w+: ", "", row["why"].partition(";")[0])
        names = [] if row["kind"] == "dataset" else _names(row)
        words = ["a net" if word in names else word for word in text.split()]
        text = re.sub(r"^\d+ of \d+ runs", "a run", " ".join(words))
        count[re.sub(r" ?\([^()]*\)", "", text)] += 1
    return count.most_common(most)
