"""The page on the lab's logs of 2012: paper, log and ours side by side, and the ablations judged by the logs.

The noise of a difference of two logged errors p1 and p2 on n images has two parts. The images: each net was logged as one
error without the answers to single images, so they cannot be paired, and the variance p1(1-p1)/n + p2(1-p2)/n is larger than that of a paired
comparison. The runs: twice the variance between nets 169, 170, 171, 175 and 170-256-double, which differ in
little but their learning rates (four degrees of freedom).
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.paper.claims import Claim
from analysis.paper.lab_logs import LabLog, load_lab_logs, logged, rows_of, view_gains
from analysis.report.context import Context
from analysis.report.number_line import Marks, number_line, shared_axis
from analysis.report.page import Html, render
from analysis.stats.intervals import Noise, half_width
from analysis.verdicts.table import VIEWS

IMAGES = {("ilsvrc2010", "test"): 150_000, ("ilsvrc2010", "val"): 50_000, ("ilsvrc2012", "val"): 50_000}
TWINS = ("169", "170", "171", "175", "170-256-double")
NAMES = {"ilsvrc2010": "ILSVRC-2010", "ilsvrc2012": "ILSVRC-2012", "fall2009": "Fall 2009", "cifar10": "CIFAR-10"}
PERIODS = {
    "contest": "Before and around the contest, June to November 2012",
    "after": "After the paper, December 2012 to February 2013",
    "cifar10": "The public CIFAR-10 files",
}
METRICS = ("top1_error", "top5_error")
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
    half: float
    rows: tuple[LabLog, LabLog]

    @property
    def number(self) -> tuple[float, float, float]:
        """The value with the ends of its interval."""
        return self.value, self.value - self.half, self.value + self.half

    @property
    def reading(self) -> str:
        """Whether the interval leaves out zero, and on which side."""
        return "shown" if self.value > self.half else "reversed" if self.value < -self.half else "within the noise"

    @property
    def image_errors(self) -> float:
        """The difference in unpaired standard errors over images alone."""
        return self.value / self.image_error


def twins_sd(logs: list[LabLog], metric: str) -> tuple[float, int]:
    """Standard deviation between near-identical nets, points, and its degrees of freedom."""
    errors = [getattr(log, metric) for log in logs if log.net in TWINS and (log.split, log.views) == ("val", "center")]
    return float(np.std(errors, ddof=1)), len(errors) - 1


def differences(logs: list[LabLog], metric: str) -> list[Difference]:
    """Every comparison of `ABLATIONS` in one metric."""
    by_id = {log.id: log for log in logs}
    sd, df = twins_sd(logs, metric)
    found = []
    for ours, base, words, *claims in ABLATIONS:
        rows = by_id[ours], by_id[base]
        errors = [float(getattr(row, metric)) for row in rows]
        n = IMAGES[rows[0].dataset, rows[0].split]
        images = sum(error * (100 - error) / n for error in errors)  # binomial variances, points squared
        half = half_width([Noise("images", images, 1, math.inf), Noise("seeds", 2 * sd**2, 1, df)])
        claim = claims[metric == "top5_error"]
        found.append(Difference(words, metric, claim, errors[0] - errors[1], math.sqrt(images), half, rows))
    return found


def logged_number(claim: Claim) -> tuple[float, float, float] | None:
    """What the logs say of a claim: a difference with its interval, or the number alone; None: nothing."""
    known = differences(load_lab_logs(), claim.metric) if claim.metric in METRICS else []
    alone = None if claim.lab_value is None else (claim.lab_value, math.nan, math.nan)
    return next((d.number for d in known if d.claim == claim.id), alone)


def judged(ctx: Context) -> Html:
    """The paper's ablations judged by its own logs: a line each for the top-1 and the top-5 error."""
    logs = load_lab_logs()
    top1, top5 = (differences(logs, metric) for metric in METRICS)
    both = [*top1, *top5]
    axis = shared_axis(_marks(d, ctx) for d in both)

    def drawn(d: Difference) -> Html:
        alt = "{}: {:.2f} points, from {:.2f} to {:.2f}".format(d.words, *d.number)
        return number_line(_marks(d, ctx), alt, "points", axis, "from-lab")

    printed = [d for d in both if d.claim]
    return render(
        "lab_logs.html.j2",
        pairs=zip(top1, top5, strict=True),
        drawn=drawn,
        where=_where,
        claims=ctx.claims,
        shown=sum(d.reading == "shown" for d in printed),
        printed=len(printed),
        within=[d for d in printed if d.reading == "within the noise"],
        pooling=next(d for d in both if d.claim == "pool-delta-top1"),
        spread=twins_sd(logs, "top1_error")[0],
    )


def _marks(d: Difference, ctx: Context) -> Marks:
    paper = ctx.claims[d.claim].number if d.claim in ctx.claims else None
    return Marks(ours=d.value, span=d.number[1:], paper=paper, zero=0.0)


def _where(log: LabLog) -> str:
    return " ".join(filter(None, [NAMES.get(log.dataset, "not said"), log.split, VIEWS.get(log.views, "")]))


def side_by_side(ctx: Context) -> Html:
    """Paper and lab log for every claim with a logged number, and on which data each was logged; the claims' cards add ours."""
    logs = load_lab_logs()
    values = {claim: value for claim in ctx.claims.values() if (value := logged(claim, logs)) is not None}
    found = [(claim, value, rounds_to(value, claim), rows_of(claim, logs)) for claim, value in values.items()]
    data = sorted({_where(of[0]) for *_, of in found})
    return render("lab_logs_and_ours.html.j2", found=found, data=data, where=_where)


def rounds_to(value: float, claim: Claim) -> bool:
    """Whether a logged number, rounded as the paper prints it, is the paper's."""
    if claim.number is None:
        return False
    decimals = len(claim.paper.partition(".")[2])
    if claim.relation == "about" and not decimals and claim.unit not in ("%", "points"):
        return abs(value - claim.number) <= (claim.tolerance or 0.5)
    return abs(round(value, decimals) - claim.number) < 1e-9


def all_logs() -> Html:
    """Every logged run, folded by period, with what ten views win."""
    logs = load_lab_logs()
    gains = view_gains(logs).to_numpy()
    periods = {title: [log for log in logs if log.period == period] for period, title in PERIODS.items()}
    means, spreads = gains.mean(axis=0), gains.std(axis=0, ddof=1)
    return render("lab_logs_all.html.j2", nets=len(gains), means=means, spreads=spreads, periods=periods, where=_where)
