"""Errors on lossless images, extrapolated from copies that were compressed again (SIMEX: Cook and Stefanski, JASA 1994).

A JPEG file's noise grows with the square of its quantisation step, which the quality sets (Annex K's tables times
`step(quality)`, as libjpeg scales them); that of two compressions adds up. Each run's error is a straight line in that
square, fitted by least squares over all runs; lossless images lie at zero. The line is an assumption, and with three
qualities little can speak against it.
"""

import math
from dataclasses import replace

import numpy as np

from analysis.measures.estimates import Asked, NoEstimate, awaited
from analysis.measures.registry import measure
from analysis.results.evidence import COPIES, Results
from analysis.stats.intervals import CONFIDENCE, student

FIRST = 75  # quality of the copy that stands for the official images, as its name says


def step(quality: int) -> float:
    """Factor on the tables of quantisation at a quality from 1 to 100, libjpeg's."""
    return 50 / quality if quality < 50 else 2 - quality / 50


def copies(results: Results, study: str) -> dict[int, str]:
    """By quality the study itself, if its images are a lossy copy, and those that are not judged and compress them again."""
    images = results.studies[study].training_set
    if results.form(study, images) not in COPIES:
        return {}
    others = [s.name for s in results.studies.values() if not s.judged and s.training_set == images]
    jpeg = {name: results.manifests.get((name, images), {}).get("jpeg") for name in others}
    return {FIRST: study} | {about["quality"]: name for name, about in jpeg.items() if about}


def extrapolated(how: str, asked: Asked) -> tuple[float, float, list[int]] | None:
    """The number of `how` without compression, half the width of its 95 % interval, and the qualities it was measured at.

    None where the study's images are no lossy copy, or fewer than two further qualities are finished.
    """
    found: dict[int, list[float]] = {}
    for quality, study in copies(asked.results, asked.study).items():
        try:
            estimate = measure(how, replace(asked, study=study))
        except NoEstimate:
            continue
        if len(estimate.values) == 1 and not awaited(asked.results.studies[study], estimate):
            found[quality] = list(estimate.values[0])
    if len(found) < 3 or FIRST not in found:
        return None
    noise = {quality: step(FIRST) ** 2 + (step(quality) ** 2 if quality != FIRST else 0) for quality in found}
    x = np.array([[1, noise[quality]] for quality, values in found.items() for _ in values])
    y = np.concatenate(list(found.values()))
    b, (square,), *_ = np.linalg.lstsq(x, y, rcond=None)
    df = len(y) - 2
    half = student(df, CONFIDENCE) * math.sqrt(square / df * np.linalg.inv(x.T @ x)[0, 0])
    return float(b[0]), half, sorted(found, reverse=True)
