"""How many seeds, images and GPU-hours a claim takes, by the rule that judges it.

Power is the share of fabricated campaigns (`simulation`) in which the verdict says so if the paper is exactly right. It
assumes the spread between seeds of the lab's logs and images of the difficulty described in `worlds`.
"""

from collections.abc import Iterator

import pandas as pd

from analysis.calibration.simulation import LAST, Setting, verdicts_in
from analysis.measures.inference import LAB_GAINS, LAB_SPREADS, fewest
from analysis.paper.claims import Claim, load_claims
from analysis.stats import axes
from analysis.verdicts.labels import REPLICATED, label

WANTED = 0.8
REPEATS = 400  # campaigns for one power: its standard error is 2 points at 80 %
SEEDS = (3, 5, 10)
MOST_SEEDS = 30
TEST_IMAGES = {"ilsvrc2010": 150_000, "ilsvrc2012": 50_000, "cifar10": 10_000}
IMAGES_TRIED = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 150_000)
LOG_SD = 0.1  # of epochs to a mark between seeds: an assumption, nobody logged it
DAYS, GPUS = 5.5, 2  # "five to six days on two GTX 580 3GB GPUs" for 90 cycles (sections 1 and 5)
RUN_HOURS = DAYS * 24 * GPUS  # GPU-hours (GTX 580) of one run
NETS = {"ensemble": 5}  # runs that one seed of an average of nets takes
SHOWN = {
    "replicated": lambda said: label(said[0], said[1], "paper scale") == REPLICATED,
    "direction": lambda said: said[0] == axes.AGREES,
}


def setting(claim: Claim, seeds: int, images: int) -> Setting:
    """The campaign at paper scale in which the paper is exactly right (bounds: half of "at most", twice "at least")."""
    truth = claim.number
    assert truth is not None
    if claim.relation in ("at_most", "at_least"):  # well inside: on the edge nothing can be shown
        truth *= 0.5 if claim.relation == "at_most" else 2.0
    sd = LOG_SD
    if claim.how == "view_gain":
        sd = 100 * LAB_GAINS[claim.metric].sd
    elif claim.how != "ratio" and (spread := LAB_SPREADS.get(claim.metric)):
        sd = 100 * spread.sd
    base = seeds if claim.baseline else 0
    return Setting(*("power", claim.id, "paper scale", images, seeds, base, sd, sd, truth), slowest=0.6 * LAST)


def powers(claim: Claim, seeds: int, images: int, repeats: int, seed: int) -> dict[str, float]:
    """Share of campaigns that say "replicated", and that show the direction at least."""
    counts = verdicts_in(setting(claim, seeds, images), {claim.id: claim}, repeats, seed)
    return {name: sum(n for said, n in counts.items() if shows(said)) / repeats for name, shows in SHOWN.items()}


def sized(claims: list[Claim]) -> Iterator[Claim]:
    """Claims that are measured by training and to which the paper gives a size; one of each measurement."""
    seen = set()
    for claim in claims:
        if not claim.testable or claim.kind not in ("training", "cifar") or claim.confounded:
            continue
        if claim.how not in ("difference", "value", "view_gain", "split_gap", "ratio") or not claim.number:
            continue
        if (claim.how, claim.number) == ("ratio", 1):
            continue
        measured = (claim.how, claim.experiment, claim.baseline, claim.metric, claim.views, claim.dataset)
        if (*measured, claim.paper) not in seen:
            seen.add((*measured, claim.paper))
            yield claim


def table(repeats: int = REPEATS, seed: int = 2012, claims: list[Claim] | None = None) -> pd.DataFrame:
    """One row a claim: power with 3, 5 and 10 seeds of each net, seeds and images for 80 %, GPU-hours.

    `seeds_80`: fewest seeds of each net with which "replicated" has 80 % power on the paper's test images, up to 30;
    `direction_80`: the same for showing the direction; `images_80`: fewest test images with ten seeds of each net; empty: not
    reached. `gpu_hours` of GTX 580.
    """
    rows = []
    for claim in sized(claims if claims is not None else load_claims()):
        images = TEST_IMAGES[claim.dataset]
        by_seeds = {n: powers(claim, n, images, repeats, seed) for n in SEEDS}
        plans = {n: (n, images) for n in range(fewest("paper", claim.how == "ratio"), MOST_SEEDS + 1)}
        needed = {name: _least(claim, name, plans, repeats, seed) for name in SHOWN}
        sizes = {n: (10, n) for n in IMAGES_TRIED}
        some_null = claim.how not in ("value", "split_gap")
        runs = (needed["replicated"] or 0) * (2 if claim.baseline else 1) * NETS.get(claim.experiment, 1)
        choice = setting(claim, 3, images)
        paper_cost = claim.kind == "training"
        row = {
            "claim": claim.id,
            "how": claim.how,
            "truth": choice.truth,
            "unit": claim.unit,
            "tolerance": claim.tolerance,
            "sd": choice.sd if claim.how != "split_gap" else None,
            "images": images if claim.how != "ratio" else None,
            **{f"replicated_{n}": by_seeds[n]["replicated"] for n in SEEDS},
            **{f"direction_{n}": by_seeds[n]["direction"] if some_null else None for n in SEEDS},
            "seeds_80": needed["replicated"],
            "direction_80": needed["direction"] if some_null else None,
            "images_80": _least(claim, "replicated", sizes, repeats, seed) if claim.how != "ratio" else None,
            "runs": runs or None,
            "gpu_hours": runs * RUN_HOURS if runs and paper_cost else None,
            "repeats": repeats,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _least(claim: Claim, name: str, plans: dict[int, tuple[int, int]], repeats: int, seed: int) -> int | None:
    """The first of `plans` (seeds, images) that has the power that is wanted, by its key; None: none has."""
    return next((n for n, plan in plans.items() if powers(claim, *plan, repeats, seed)[name] >= WANTED), None)
