"""What runs on ImageNet would settle, and what they take: hours, disk, command, claims for each GPU-hour."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.calibration.power import NETS, RUN_HOURS
from analysis.measures.inference import fewest
from analysis.report.context import Context
from analysis.report.forest import Row, drawing, panel
from analysis.report.names import plain_name
from analysis.report.page import Html, render
from analysis.report.pages.calibration import REFERENCE
from analysis.report.pages.cost import hours_of_a_run, speeds
from analysis.report.pages.speed import IMAGES, RAW_BYTES
from analysis.text import plural
from analysis.verdicts.labels import PENDING

Runs = Counter[tuple[str, str]]  # runs of a net (data set, experiment)
TYPICAL = ("NVIDIA H100", "fp32")  # the GPU of the figure, in the precision that the studies have
SHOWN = 9  # steps of the plan that have a row of their own
TITLES = {"ilsvrc2010": "ILSVRC-2010", "ilsvrc2012": "ILSVRC-2012"}


def wanted(ctx: Context) -> dict[str, Runs]:
    """Runs that give each claim not tested at full size a verdict with 80 % power, if the paper is right; none if nothing does."""
    path = REFERENCE / "power.csv"
    if not path.exists():
        return {}
    seeds = pd.read_csv(path).set_index("claim")["seeds_80"].dropna().astype(int)
    left = ctx.table[ctx.table["evidence"].ne("paper scale")]["id"]
    found = {}
    for id_ in left[left.isin(seeds.index)]:
        claim = ctx.claims[id_]
        if claim.dataset in TITLES:
            needed = Counter[tuple[str, str]]()
            for name in filter(None, (claim.experiment, claim.baseline)):
                net = "alexnet" if name in NETS else name
                needed[claim.dataset, net] = int(seeds[id_]) * NETS.get(name, 1)
            found[id_] = needed
    return found


def plan(claims: dict[str, Runs]) -> list[tuple[Runs, list[str]]]:
    """Which runs to add at each step, and the claims that they settle, so that each step settles most claims for each run."""
    left, have, steps = dict(claims), Runs(), []
    while left:
        gains = {id_: _gain(have, needed, left) for id_, needed in left.items()}
        best = max(gains, key=gains.__getitem__)
        added = (have | left[best]) - have
        have = have | left[best]
        settled = [id_ for id_, needed in left.items() if needed <= have]
        steps.append((added, settled))
        left = {id_: needed for id_, needed in left.items() if id_ not in settled}
    return steps


def _gain(have: Runs, more: Runs, left: dict[str, Runs]) -> float:
    """Claims that become settled, for each further run."""
    after = have | more
    return sum(needed <= after for needed in left.values()) / max((after - have).total(), 1)


def range_of_hours(ctx: Context) -> tuple[float, float]:
    """GPU-hours of a run of the paper's network on ILSVRC, on the fastest and on the slowest GPU of today that the table of speeds has."""
    found = speeds(ctx.results.folder)
    today = found.loc[found["on"].str.contains("NVIDIA|GPU"), "images_per_second"]
    fastest, slowest = (sum(hours_of_a_run(speed).values()) for speed in (today.max(), today.min()))
    return fastest, slowest


def first_step(ctx: Context) -> dict[str, Any] | None:
    """Runs of the plan's first step, how many claims they settle, and the hours of a run; None if there is no plan."""
    steps = plan(wanted(ctx))
    return {"runs": steps[0][0].total(), "claims": len(steps[0][1]), "hours": range_of_hours(ctx)} if steps else None


def story(ctx: Context) -> Html | None:
    """The first steps of the plan as a staircase, and what the very first takes."""
    claims = wanted(ctx)
    if not claims:
        return None
    known = speeds(ctx.results.folder).set_index(["on", "precision"])["images_per_second"]
    hours = sum(hours_of_a_run(known[TYPICAL]).values())
    pending = int(ctx.table.loc[ctx.table["id"].isin(list(claims)), "verdict"].eq(PENDING).sum())
    steps = plan(claims)
    runs = pd.Series([added.total() for added, _ in steps]).cumsum()
    settled = pd.Series([len(ids) for _, ids in steps]).cumsum()
    labels = [_added(added) for added, _ in steps]
    columns = {"added": labels, "runs": runs, "gpu_hours": runs * hours, "claims": settled}
    data = pd.DataFrame(columns | {"settled": [" ".join(ids) for _, ids in steps]})
    first, shown = steps[0], min(len(steps), SHOWN)
    rows = [
        (label, added.total() * hours, f"+ {len(ids)}: {total} of {len(claims)} claims")
        for label, (added, ids), total in zip(labels, steps[:shown], settled, strict=False)
    ]
    if rest := len(steps) - shown:
        left = int(runs.iloc[-1] - runs.iloc[shown - 1])
        rows.append((f"{left} more runs, in {plural(rest, 'step')}", left * hours, f"all {len(claims)} claims"))
    ends = pd.Series([0.0, *(amount for _, amount, _ in rows)]).cumsum()
    bars = [Row(label, note=said, bar=bar) for (label, _, said), bar in zip(rows, pairwise(ends), strict=True)]
    staircase = [panel(f"GPU-hours in total, on an {' in '.join(TYPICAL)} (estimate)", bars, cut=False)]
    alt = "; ".join(f"{row.runs} runs, {row.gpu_hours:.0f} GPU-hours: {row.claims} claims" for row in data.itertuples())
    study = first[0].most_common(1)[0][0][0]
    return render(
        "findings/imagenet_run.html.j2",
        draw=lambda narrow: drawing(staircase, alt, narrow),
        data=data,
        pending=pending,
        hours=range_of_hours(ctx),
        typical=hours,
        paper_hours=RUN_HOURS,
        gigabytes=IMAGES[TITLES[study]] * RAW_BYTES / 1e9,
        title=TITLES[study],
        command=ctx.table.set_index("id")["command"].get(first[1][0], ""),
        first=first,
        fewest=fewest("paper", False),
        last=data.iloc[-1],
    )


def _added(added: Runs) -> str:
    said = [
        f"{n} × {plain_name(net).partition(',')[0].partition(' (')[0]} ({TITLES[dataset][-4:]})"
        for (dataset, net), n in added.items()
    ]
    return " + ".join(said)
