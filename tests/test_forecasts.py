"""Forecasts from fabricated campaigns: what is predicted, scored and said."""

import re
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.measures import forecasts as measured
from analysis.measures.estimates import Asked
from analysis.measures.forecasts import asked_of
from analysis.paper.claims import load_claims
from analysis.report.context import Context
from analysis.report.pages.forecasts import forecasts
from analysis.results.evidence import Results
from analysis.verdicts.judge import judge

SETTINGS = [(0.125, 12), (0.125, 32), (0.1875, 12), (0.1875, 32), (0.25, 12), (0.25, 32), (0.5, 32)]
ORIGIN = (0.25, 32)
IMAGES = 2000
GPU = next(claim for claim in load_claims() if claim.id == "gpu-delta-top1")


def forecast(results):
    return measured.forecast(
        GPU.how, Asked(results, "", GPU.experiment, GPU.baseline, view=GPU.views, metric=GPU.metric)
    )


def law(width: float, epochs: int) -> float:
    """Points that the error of the one-GPU net is higher by: 4 at full size."""
    return 4 + np.log2(width) + 0.5 * np.log2(epochs / 90)


def results(shift=lambda width, epochs, seed: 0.0, settings=SETTINGS, finished=None):
    """A campaign of these settings with three pairs each, six in the study that the others repeat."""
    parts = []
    for number, (width, epochs) in enumerate(settings):
        seeds = 6 if (width, epochs) == ORIGIN else 3
        errors = {}
        for net in ("one_gpu", "alexnet"):
            table = np.zeros((IMAGES, seeds if finished is None else finished))
            for seed in range(table.shape[1]):
                points = 30 + seed + (law(width, epochs) + shift(width, epochs, seed)) * (net == "one_gpu")
                table[: round(points * IMAGES / 100), seed] = 1
            errors[net, "imagenette", "val", "ten"] = table
        one = fabricate.in_memory(errors, tier="proxy", training_set="imagenette", classes=10)
        listed = [{"name": net, "seeds": list(range(1, seeds + 1))} for net in ("one_gpu", "alexnet")]
        record = {"width": width, "epochs": epochs, "classes": 10, "experiments": listed}
        record |= {"plan": {"name": "trial", "sha256": "0" * 64}, "judged": (width, epochs) == ORIGIN}
        name = f"s{number}"
        study = replace(one.studies["s"], name=name, record=record)
        evals = one.evals.assign(study=name)
        parts.append((study, evals, {(name, *key[1:]): frame for key, frame in one._read.items()}, name))
    return fabricate_results(parts)


def fabricate_results(parts):
    return Results(
        folder=Path(),
        studies={study.name: study for study, *_ in parts},
        configs={(name, net, 1): {"rate": {"factor": 1.0}} for *_, name in parts for net in ("one_gpu", "alexnet")},
        evals=pd.concat([evals for _, evals, *_ in parts], ignore_index=True),
        _read={key: frame for _, _, read, _ in parts for key, frame in read.items()},
    )


def jitter(width, epochs, seed):
    return (0.4, -0.7, 0.3, 0.2, -0.3, 0.1)[seed] + 0.3 * np.sin(9 * width + epochs)


def test_it_is_the_regression_of_the_means_with_one_variance_of_pairs():
    found = forecast(results(jitter))
    assert [(s.width, s.epochs, len(s.pairs)) for s in found.settings] == [
        (*of, 6 if of == ORIGIN else 3) for of in SETTINGS
    ]
    squares = sum(((s.pairs - s.pairs.mean()) ** 2).sum() for s in found.settings)
    assert found.variance == pytest.approx(squares / (5 + 6 * 2))
    mean, half = found.measured(found.settings[0])
    assert half == pytest.approx(stats.t.ppf(0.975, 17) * np.sqrt(found.variance / 3))
    assert mean == pytest.approx(
        law(*SETTINGS[0]) + np.mean([jitter(*SETTINGS[0], seed) for seed in range(3)]), abs=0.05
    )


def test_an_effect_that_follows_the_law_is_predicted_at_full_size_and_at_the_widest_setting():
    found = forecast(results(lambda width, epochs, seed: 0.5 * (seed % 3 - 1)))
    value, half = found.full
    assert value == pytest.approx(4, abs=0.1) and 0 < half < 2
    predicted, error = found.held_out
    assert predicted == pytest.approx(law(0.5, 32), abs=0.1) and 0 < error < 2


def test_the_widest_setting_is_not_used_to_predict_itself():
    plain, moved = (
        forecast(results(lambda width, epochs, seed, by=by: jitter(width, epochs, seed) + by * (width == 0.5)))
        for by in (0.0, 5.0)
    )
    assert moved.held_out == pytest.approx(plain.held_out)
    assert moved.full[0] > plain.full[0] + 1


def page(found) -> str:
    table = pd.DataFrame({"id": ["gpu-delta-top1"]})
    return " ".join(re.sub("<[^>]+>", " ", str(forecasts(Context(found, table)))).split())


def test_the_page_says_what_was_predicted_and_whether_it_came():
    said = page(results(lambda width, epochs, seed: 0.3 * (seed % 3 - 1)))
    assert re.search(r"the other settings predict \+2\.\d ± \d\.\d points at 1/2 of the width", said)
    assert "inside the interval" in said and re.search(r"should be \+[34]\.\d ± \d\.\d points", said)
    assert "outside the interval" in page(results(lambda width, epochs, seed: 0.1 * seed + 9 * (width == 0.5)))


def test_a_wide_interval_is_no_forecast():
    said = page(results(lambda width, epochs, seed: 6 * np.sin(50 * width + 3 * epochs) + seed))
    assert "No useful forecast at full width" in said and "should be" not in said


@pytest.mark.parametrize("finished", [1, 2])
def test_nothing_is_looked_at_before_all_pairs_of_a_setting_are_there(finished):
    found = results(jitter, finished=finished)
    assert forecast(found).settings == []
    assert "pending; 0 of 7 settings are finished" in page(found)


def test_nothing_is_predicted_before_all_settings_are_finished():
    found = results(jitter)
    read = {key: table for key, table in found._read.items() if key[0] != "s0"}
    early = forecast(replace(found, evals=found.evals[found.evals["study"] != "s0"], _read=read))
    assert (len(early.settings), early.held_out, early.full) == (6, None, None)
    rest = {name: study for name, study in found.studies.items() if name != "s0"}
    assert forecast(replace(found, studies=rest)).full  # the same six, of which no more were planned


def test_nothing_is_predicted_before_the_prediction_of_the_width_that_is_held_out():
    six = results(jitter, SETTINGS[:6])
    assert (len(forecast(six).settings), forecast(six).full) == (6, None)
    assert "pending; 6 of 6 settings are finished, and the width that is held out is not among them" in page(six)


def test_five_settings_are_the_fewest():
    """One more than coefficients, and the widest, which is left out when it is predicted."""
    three = forecast(results(jitter, SETTINGS[:3]))
    assert (three.full, three.held_out) == (None, None)
    same_length = forecast(results(jitter, [of for of in SETTINGS if of[1] == 32]))
    assert len(same_length.settings) == 4 and same_length.full is None  # nothing tells what length does
    four = forecast(results(jitter, [*SETTINGS[:3], SETTINGS[-1]]))
    assert (four.full, four.held_out) == (None, None)
    five = forecast(results(jitter, [*SETTINGS[:4], SETTINGS[-1]]))
    assert five.full and five.held_out


def test_settings_of_a_forecast_are_not_judged():
    found = results(jitter)
    assert {study.name for study in asked_of(found)} == {f"s{i}" for i in range(7)}
    assert [outcome.study for outcome in judge(GPU, found)] == ["s5"]
    assert [study.name for study in Context(found, pd.DataFrame({"id": []})).studies] == ["s5"]


def test_without_such_studies_there_is_no_page():
    one = results(jitter, [ORIGIN])
    assert asked_of(one) == [] and forecasts(Context(one, pd.DataFrame({"id": ["gpu-delta-top1"]}))) is None
