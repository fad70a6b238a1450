"""Reads records of examinations (`python -m alexnet examine`) by image, with the noise of what is read.

Noise between seeds is that of a net's own seeds; where images count too, they are another source, counted as `inference`
counts it: without the luck of single answers, which stands in the seeds' noise already. Training images are those that the
claim speaks of, so a sample of them varies less the more of them it holds (s^2 / n times 1 - n / N, Cochran 1977, s. 2.6),
and not at all if it holds all. One seed gives no interval.

Records that were made before a number was measured are read for what they hold.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.measures.estimates import Asked, NoEstimate, compared, failed
from analysis.measures.inference import image_noise, moments
from analysis.results.evidence import Results
from analysis.results.integrity import apart, frame
from analysis.stats.intervals import Noise

COMMAND = "not examined yet (`python -m alexnet examine`)"


def to_show(results: Results, study: str, experiment: str) -> dict[int, dict[str, Any]]:
    """Examination of each run of an experiment that trained, by seed; of all where none did."""
    found = {key[2]: results.examined[key] for key in sorted(results.examined) if key[:2] == (study, experiment)}
    dead = failed(results, study)
    return {seed: record for seed, record in found.items() if (experiment, seed) not in dead} or found


def examined(results: Results, study: str, experiment: str) -> dict[int, dict[str, Any]]:
    """Examination of each run of an experiment that trained, by seed; at least one."""
    found = to_show(results, study, experiment)
    if not found:
        raise NoEstimate(f"{experiment} is {COMMAND}")
    if failed(results, study).issuperset((experiment, seed) for seed in found):
        raise NoEstimate(f"all examined runs of {experiment} failed to train")
    return found


def by_image(asked: Asked, table: str, column: str, needs: Sequence[str] = ()) -> pd.DataFrame:
    """A column of `sample` or `queries`: one row an image (index: name), one column a seed that has it and all of `needs`."""
    from pyarrow.parquet import read_schema

    columns, missing = {}, {column}
    for seed, record in examined(asked.results, asked.study, asked.experiment).items():
        path = Path(str(record["folder"])) / f"{table}.parquet"
        if missing := {column, *needs}.difference(read_schema(path).names):
            continue
        found = frame(path, ["name", column])
        columns[seed] = found[column].set_axis(apart(found["name"]))
    if not columns:
        raise NoEstimate(lacks(asked.experiment, min(missing)))
    return pd.DataFrame(columns).dropna()


def lacks(experiment: str, what: str) -> str:
    """Why a claim is pending: the record is older than the measure, or the net has nothing to measure."""
    return f"the examination of {experiment} does not hold {what}; train it and run `python -m alexnet examine` for it"


def of_images(ours: pd.DataFrame, base: pd.DataFrame | None = None, of: int = 0) -> tuple[Noise, float]:
    """Noise of the choice of images, and the variance that images and luck together add at least (`inference.moments`).

    `of`: how many images there are to choose from; 0: no end of them.
    """
    if base is None:
        found = moments(ours.to_numpy(float))
    elif len(ours.index.intersection(base.index)) < 2:
        raise NoEstimate("the two nets did not see the same images")
    else:
        found, _ = compared(ours, base)
    left = max(0.0, 1 - found.images / of) if of else 1.0
    noise = image_noise(found)
    return replace(noise, variance=left * noise.variance), left * found.between_images / found.images
