"""The page on the lab's logs of 2012: paper, log and ours side by side, and the ablations judged by the logs.

The noise of a difference of two logged errors p1 and p2 on n images has two parts. The images: each net was logged as one
error without the answers to single images, so they cannot be paired, and the variance p1(1-p1)/n + p2(1-p2)/n is larger than that of a paired
comparison. The runs: twice the variance between nets 169, 170, 171, 175 and 170-256-double, which differ in
little but their learning rates (four degrees of freedom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.paper.claims import Claim
from analysis.paper.lab_logs import LabLog, load_lab_logs, logged, rows_of, view_gains
from analysis.report import figures
from analysis.report.context import Context
from analysis.report.page import Html, figure, folded, note, say, stack, table
from analysis.stats.intervals import Noise, half_width
from analysis.verdicts.table import number, paper_value, with_unit

IMAGES = {("ilsvrc2010", "test"): 150_000, ("ilsvrc2010", "val"): 50_000, ("ilsvrc2012", "val"): 50_000}
TWINS = ("169", "170", "171", "175", "170-256-double")
NAMES = {"ilsvrc2010": "ILSVRC-2010", "ilsvrc2012": "ILSVRC-2012", "fall2009": "Fall 2009", "cifar10": "CIFAR-10"}
VIEWS = {"center": "centre view", "ten": "ten views"}
# Comparisons that the logs allow: the paper's own (with their claims), and others that bear on what it says.
ABLATIONS = [
    ("145-half-2010-test-ten", "145-2010-test-ten", "One GPU, half the kernels", "gpu-delta-top1", "gpu-delta-top5"),
    ("148-2012-val-ten", "145-2012-val-ten", "No normalisation", "lrn-delta-lab", "lrn-delta-top5"),
    ("147-2012-val-ten", "145-2012-val-ten", "Pooling without overlap", "pool-delta-top1", "pool-delta-top5"),
    ("150-2012-val-ten", "145-2012-val-ten", "Towers that never exchange anything (wider conv2)", "", ""),
    ("166-2012-val-ten", "145-2012-val-ten", "Second normalisation before the ReLU (other schedule)", "", ""),
    ("167-2012-val-ten", "145-2012-val-ten", "No normalisation after conv2 (other schedule)", "", ""),
    ("145-2012-val-ten", "145-continued-2012-val-ten", "Stopping at epoch 91 instead of 135", "", ""),
]  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A difference of two logged errors, points: its standard error over images, and the half of its 95 % interval."""

    words: str
    metric: str
    claim: str
    value: float
    image_error: float
    run_error: float
    half: float
    rows: tuple[LabLog, LabLog]

    @property
    def image_errors(self) -> float:
        """The difference in unpaired standard errors over images alone."""
        return self.value / self.image_error


def twins_sd(logs: list[LabLog], metric: str) -> tuple[float, int]:
    """Standard deviation between near-identical nets, points, and its degrees of freedom."""
    errors = [getattr(log, metric) for log in logs if log.net in TWINS and (log.split, log.views) == ("val", "center")]
    return float(np.std(errors, ddof=1)), len(errors) - 1


def unpaired_variance(percent: float, images: int) -> float:
    """Binomial variance of an error in %, in points squared."""
    return percent * (100 - percent) / images


def differences(logs: list[LabLog], metric: str) -> list[Difference]:
    """Every comparison of `ABLATIONS` in one metric."""
    by_id = {log.id: log for log in logs}
    sd, df = twins_sd(logs, metric)
    found = []
    for ours, base, words, *claims in ABLATIONS:
        rows = by_id[ours], by_id[base]
        errors = [float(getattr(row, metric)) for row in rows]
        n = IMAGES[rows[0].dataset, rows[0].split]
        images = sum(unpaired_variance(error, n) for error in errors)
        half = half_width([Noise("images", images, 1, math.inf), Noise("seeds", 2 * sd**2, 1, df)])
        claim = claims[metric == "top5_error"]
        found.append(
            Difference(words, metric, claim, errors[0] - errors[1], math.sqrt(images), math.sqrt(2) * sd, half, rows)
        )
    return found


def judged(ctx: Context) -> Html:
    """The paper's ablations judged by its own logs: sentences, figure, table."""
    logs = load_lab_logs()
    top1, top5 = differences(logs, "top1_error"), differences(logs, "top5_error")
    pooling = next(d for d in top1 if d.claim == "pool-delta-top1")
    sd, _ = twins_sd(logs, "top1_error")
    shown = [d for d in [*top1, *top5] if d.claim and d.value - d.half > 0]
    open_ = [d for d in [*top1, *top5] if d.claim and d.value - d.half <= 0]
    first = (
        f"Each ablation of the paper is one run against one run. Of its {len(shown) + len(open_)} printed differences the logs themselves show "
        f"{len(shown)}, with an interval that excludes zero"
    )
    first += f"; {_listed(open_)} {'is' if len(open_) == 1 else 'are'} within the noise." if open_ else "."
    second = (
        f"The {pooling.value:.2f} points of overlapping pooling are {pooling.image_errors:.1f} unpaired standard errors over "
        f"images ({pooling.image_error:.2f} points); nets that differ in little but their rates vary by another {sd:.2f} points."
    )
    printed = [float(ctx.claims[d.claim].paper) if d.claim in ctx.claims else math.nan for d in top1]
    alt = "Forest plot of differences of the top-1 error: " + "; ".join(
        f"{d.words} {d.value:.2f} points, from {d.value - d.half:.2f} to {d.value + d.half:.2f}" for d in top1
    )
    caption = "The lab's own runs: differences with 95 % intervals (blue: above zero), diamonds: what the paper prints. One run each."
    drawn = figures.lab_differences(
        [d.words for d in top1], np.array([d.value for d in top1]), np.array([d.half for d in top1]), printed
    )
    return stack(say(first, second), figure(drawn, alt, caption), _differences_table([*top1, *top5], ctx))


def _listed(found: list[Difference]) -> str:
    names = [f"{d.words[:1].lower() + d.words[1:]} ({d.metric[:4].replace('p', 'p-')})" for d in found]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _differences_table(found: list[Difference], ctx: Context) -> Html:
    rows = []
    for d in found:
        claim = ctx.claims.get(d.claim)
        link = Html(' (<a href="#claim-{0}">{0}</a>)').format(d.claim) if claim else ""
        nets = f"{d.rows[0].net} − {d.rows[1].net}"
        reading = "shown" if d.value - d.half > 0 else "reversed" if d.value + d.half < 0 else "within the noise"
        rows.append(
            [
                Html("{}{}").format(d.words, link),
                d.metric[:4].replace("p", "p-"),
                nets,
                _where(d.rows[0]),
                number(claim.paper, "points") if claim else "–",
                number(d.value, "points", 2),
                f"{d.image_error:.2f}",
                number(d.image_errors, "points", 1),
                f"[{d.value - d.half:.2f}, {d.value + d.half:.2f}]".replace("-", "−"),
                reading,
            ]
        )
    heads = [
        *("Without or changed", "Error", "Nets", "Data", "Paper", "Log", "SE of images", "In such SE"),
        *("95 % interval, with runs", "Reading"),
    ]
    return table(heads, rows, "Differences between the lab's own runs, points")


def _where(log: LabLog) -> str:
    return " ".join(filter(None, [NAMES.get(log.dataset, "not said"), log.split, VIEWS.get(log.views, "")]))


def side_by_side(ctx: Context) -> Html:
    """Paper, lab log and ours for every claim with a logged number, and on which data each was logged."""
    logs = load_lab_logs()
    rows, data, singles, rounded = [], set(), 0, 0
    t = ctx.table.set_index("id")
    for claim in ctx.claims.values():
        value = logged(claim, logs)
        if value is None:
            continue
        of = rows_of(claim, logs)
        singles += 1
        agrees = rounds_to(value, claim)
        rounded += agrees
        data.add(_where(of[0]))
        row = t.loc[claim.id]
        digits = 2 if row["study"] else None
        # an error among ten classes is not comparable
        comparable = claim.how != "value" or row["evidence"] == "paper scale"
        ours = with_unit(row["ours"], claim.unit, digits) + (f" ({row['study']})" if row["study"] else "")
        rows.append(
            [
                Html('<a href="#claim-{0}">{0}</a>').format(claim.id),
                paper_value(claim.paper, claim.unit, claim.relation),
                with_unit(value, claim.unit, 3 if claim.unit in ("%", "points") else None),
                "yes" if agrees else "no",
                _where(of[0]),
                " and ".join(dict.fromkeys(log.net for log in of)),
                ", ".join(log.source for log in of),
                ours if row["ours"] != "" and comparable else "–",
            ]
        )
    words = (
        f"{singles} printed numbers stand in the lab's logs; {rounded} of them are what the log rounds to. Each is a single run, or the "
        f"difference of two single runs, and they are not all of one data set: {', '.join(sorted(data))}."
    )
    heads = ["Claim", "Paper", "Lab log", "Rounds to it", "Logged on", "Nets", "File and line", "Ours"]
    caption = "Paper, the lab's log, and the strongest evidence here; an absolute error stands here at paper scale only"
    return stack(say(words), table(heads, rows, caption))


def rounds_to(value: float, claim: Claim) -> bool:
    """Whether a logged number, rounded as the paper prints it, is the paper's."""
    if claim.number is None:
        return False
    decimals = len(claim.paper.partition(".")[2])
    if claim.relation == "about" and not decimals and claim.unit not in ("%", "points"):
        return abs(value - claim.number) <= (claim.tolerance or 0.5)
    return abs(round(value, decimals) - claim.number) < 1e-9


def all_logs(ctx: Context) -> Html:
    """Every logged run, folded by period, with what ten views win."""
    logs = load_lab_logs()
    gains = np.array(list(view_gains(logs).values()))
    mean, sd = gains.mean(axis=0), gains.std(axis=0, ddof=1)
    words = (
        f"The table behind this page holds {len(logs)} notes. In {len(gains)} nets logged both ways on ILSVRC-2012 validation ten views win "
        f"{mean[0]:.2f} ± {sd[0]:.2f} points top-1 and {mean[1]:.2f} ± {sd[1]:.2f} points top-5 (mean and standard deviation over nets)."
    )
    titles = {
        "contest": "Before and around the contest, June to November 2012",
        "after": "After the paper, December 2012 to February 2013",
        "cifar10": "The public CIFAR-10 files",
    }
    folds = [
        folded(f"{title} ({len(chosen)})", _logs_table(chosen, title))
        for period, title in titles.items()
        if (chosen := [log for log in logs if log.period == period])
    ]
    return stack(say(words), *folds)


def _logs_table(logs: list[LabLog], title: str) -> Html:
    rows = [
        [
            log.net,
            log.variant,
            _where(log),
            *(number(v, "%") if v is not None else "–" for v in (log.top1_error, log.top5_error)),
            f"{log.loss:.6f}" if log.loss else "–",
            log.drops,
            f"{log.epochs:g}" if log.epochs else "–",
            log.outcome,
            log.source,
        ]
        for log in logs
    ]
    heads = [
        "Net",
        "What it is",
        "Data",
        "Top-1, %",
        "Top-5, %",
        "Loss",
        "Rate divided at",
        "Epochs",
        "In words",
        "File",
    ]
    return table(heads, rows, title) if rows else note("No log.")
