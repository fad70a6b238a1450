"""Errors on recompressed images, extrapolated to lossless ones."""

import io
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from analysis.measures.estimates import Asked
from analysis.measures.lossless import extrapolated, step
from analysis.paper.claims import load_claims
from analysis.report.context import Context
from analysis.report.pages.forecasts import lossless
from analysis.results.evidence import Results

IMAGES, SEEDS = 2000, 3
NETS = {"cifar_no_lrn": 12.0, "cifar_lrn": 10.0}  # errors without loss, %
CLAIMS = {claim.id: claim for claim in load_claims()}


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 90])
def test_the_step_is_that_of_the_tables_in_files(quality):
    """Of a coefficient that neither end of the range of a byte cuts off."""
    tables = {}
    for q in (50, quality):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=q)
        tables[q] = np.array(Image.open(io.BytesIO(buffer.getvalue())).quantization[0])
    inside = tables[quality] < 255
    assert np.abs(tables[quality] - step(quality) * tables[50])[inside].max() <= 1


def results(slope=0.8, luck=0.0, qualities=(None, 50, 30), variant="cifar10-jpeg75"):
    """Errors that rise by `slope` points for each unit of noise, with the luck of each seed."""
    found = Results(folder=Path(), evals=pd.DataFrame())
    for quality in qualities:
        name = f"cifar10_quality{quality}" if quality else "cifar10"
        noise = step(75) ** 2 + (step(quality) ** 2 if quality else 0)
        errors = {}
        for net, base in NETS.items():
            table = np.zeros((IMAGES, SEEDS))
            for seed in range(SEEDS):
                points = base + slope * noise * (1 + (net == "cifar_no_lrn")) + luck * (seed - 1)
                table[: round(points * IMAGES / 100), seed] = 1
            errors[net, "cifar10", "test", "ten"] = table
        one = fabricate.in_memory(errors, tier="paper", training_set="cifar10", classes=10)
        record = {"classes": 10, "judged": not quality}
        found.studies[name] = replace(one.studies["s"], name=name, record=record)
        found.manifests[name, "cifar10"] = {"variant": variant, "splits": {}} | (
            {"jpeg": {"quality": quality}} if quality else {}
        )
        evals = pd.concat([found.evals, one.evals.assign(study=name)], ignore_index=True)
        found = replace(found, evals=evals)
        found._read.update({(name, *key[1:]): frame for key, frame in one._read.items()})
    return found


def of(found, claim):
    return extrapolated(
        claim.how,
        Asked(found, "cifar10", claim.experiment, claim.baseline, "cifar10", "test", claim.views, claim.metric),
    )


@pytest.mark.parametrize(("claim", "truth"), [("lrn-cifar-without", 12.0), ("lrn-cifar-delta", 2.0)])
def test_it_is_where_a_straight_line_meets_no_noise(claim, truth):
    value, half, qualities = of(results(), CLAIMS[claim])
    assert 100 * value == pytest.approx(truth, abs=0.05) and 100 * half < 0.1
    assert qualities == [75, 50, 30]


def test_its_interval_is_that_of_the_intercept():
    found, claim = results(luck=0.6), CLAIMS["lrn-cifar-without"]
    noise = [step(75) ** 2 + extra for extra in (0, step(50) ** 2, step(30) ** 2) for _ in range(SEEDS)]
    evals = found.evals[found.evals["experiment"] == "cifar_no_lrn"]
    line = stats.linregress(noise, evals["top1_error"].astype(float))
    value, half, _ = of(found, claim)
    assert value == pytest.approx(line.intercept)
    assert half == pytest.approx(stats.t.ppf(0.975, 7) * line.intercept_stderr)


@pytest.mark.parametrize("less", [{"qualities": (None, 50)}, {"qualities": (50, 30)}, {"variant": ""}])
def test_without_two_further_qualities_or_of_official_images_there_is_none(less):
    found = results(**less)
    found.studies.setdefault("cifar10", found.studies.get("cifar10_quality50"))
    assert of(found, CLAIMS["lrn-cifar-without"]) is None


def test_the_page_says_it_beside_the_paper():
    found = results()
    table = pd.DataFrame({"id": list(CLAIMS)})
    said = str(lossless(Context(found, table))).replace("\xa0", " ")
    assert "12.0 ± 0.0 %" in said and "the paper says 13" in said and "2.0 ± 0.0 points" in said
    assert lossless(Context(results(qualities=(None,)), table)) is None
