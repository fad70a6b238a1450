"""The contents of a results folder: studies, layer tables, manifests, runs, metrics, evaluations, predictions.

Whatever is missing is simply not there: a half-finished campaign loads like a finished one. What is out of date, was
changed, or does not fit what lies beside it is left out, with a sentence in `Results.set_aside`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.integrity import Guard, apart, frame

NAME = re.compile("[A-Za-z0-9_]{1,100}")  # of studies, experiments and sets, which become ids, links and commands
TIERS = ("demo", "proxy", "reduced", "paper")  # weakest first
FULL_SIZE = {"width": 1, "image_size": 256, "crop": 224, "classes": 1000}
SMALL_SIZE = {"width": 1, "image_size": 32, "classes": 10}  # of CIFAR-10; its nets have lengths of their own
FEWEST_EPOCHS = 85  # about 90, within 5 (section 5)
COPIES = {"cifar10-jpeg75": "a lossy copy"}  # forms of the paper's data that are not the official one
RUN_KEY = ["study", "experiment", "seed"]
EVAL_COLUMNS = [*RUN_KEY, "set", "split", "images", "view", "top1_error", "top5_error", "loss", "seconds", "path"]
Key = tuple[str, str, int]  # study, experiment, seed
Record = dict[str, Any]
METRIC_COLUMNS = [*RUN_KEY, "epoch", "train_error", "train_loss", "validation_error", "validation_loss"]


@dataclass(frozen=True)
class Study:
    """What results/<study>/study.json says, as far as judging needs it."""

    name: str
    title: str
    tier: str
    data: str
    threshold: float
    training_set: str
    record: dict[str, Any]

    @property
    def experiments(self) -> dict[str, dict[str, Any]]:
        """What study.json says about each experiment: kind, about, baseline, difference from it (None: unknown), ..."""
        plain = {"kind": "ablation", "about": "", "baseline": "alexnet", "difference": None}
        return {about["name"]: plain | about for about in self.record.get("experiments", [])}

    @property
    def plan(self) -> str:
        """Name and sha256 of its registered plan, in words; nothing if it has none."""
        plan = self.record.get("plan")
        return f"{plan['name']}, sha256 {plan['sha256']}" if plan else ""

    @property
    def judged(self) -> bool:
        """Whether claims are judged on it; else its results enter forecasts alone."""
        return bool(self.record.get("judged", True))

    @property
    def races(self) -> dict[str, dict[str, Any]]:
        """What study.json says of its races: about, condition, baseline, rates by experiment, epochs, train_error, seeds."""
        return dict(self.record.get("races", {}))

    def lacks(self, experiment: str) -> bool:
        """Whether study.json, where it lists experiments, does not have this one."""
        return bool(self.experiments) and experiment not in self.experiments and experiment not in self.races

    def sweeps(self, race: str) -> bool:
        """Whether a race has several learning rates to choose from; a single one is given. False for what is no race."""
        return len(self.races.get(race, {}).get("rates", ())) > 1

    def shortened(self, experiment: str) -> str:
        """How much shorter an experiment is trained than its recipe says, in words; nothing if it is not."""
        epochs = self.experiments.get(experiment, {}).get("epochs")
        return f"{experiment} trained {epochs[0]:g} of {epochs[1]:g} epochs" if epochs else ""

    def tier_of(self, experiments: Iterable[str]) -> str:
        """The study's tier where it is about some of its nets: one shorter trained than its recipe reduces paper scale."""
        short = self.tier == "paper" and any(self.shortened(name) for name in experiments)
        return "reduced" if short else self.tier

    def kind(self, experiment: str) -> str:
        """Kind of an experiment; one that the study does not know is taken for a comparison of the paper."""
        return str(self.experiments.get(experiment, {}).get("kind", "ablation"))

    def net(self, experiment: str) -> str:
        """The net that an experiment trains: that of its race, whose experiments differ by the learning rate alone, or its own."""
        return str(self.experiments.get(experiment, {}).get("race", experiment))

    @property
    def shrunk(self) -> str:
        """To what the paper's net and training are shrunk, in words; nothing at the paper's size."""
        return "" if self.tier == "paper" else shrunken(self.record)

    @property
    def chance(self) -> float:
        """Top-1 error of guessing, a fraction; NaN where the number of classes is not known."""
        classes = self.record.get("classes")
        return 1 - 1 / classes if classes else float("nan")


@dataclass(frozen=True)
class Results:
    """Everything found below one results folder."""

    folder: Path
    studies: dict[str, Study] = field(default_factory=dict)
    layers: dict[str, Record] = field(default_factory=dict)  # experiment -> results/describe/<experiment>.json
    manifests: dict[tuple[str, str], Record] = field(default_factory=dict)  # (study, set) -> manifest.json
    runs: dict[Key, Record] = field(default_factory=dict)  # run.json
    configs: dict[Key, Record] = field(default_factory=dict)  # config.json
    # one row an epoch of a run, and one a view of an evaluation
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METRIC_COLUMNS))
    evals: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EVAL_COLUMNS))
    baselines: dict[str, Record] = field(default_factory=dict)  # study -> baselines.json
    departures: Record = field(default_factory=dict)  # results/departures.json
    pilots: dict[Key, Record] = field(default_factory=dict)  # run.json of runs that chose a rate; never judged
    examined: dict[Key, Record] = field(default_factory=dict)  # examination.json, with `folder`
    diverged: dict[Key, Record] = field(default_factory=dict)  # failed.json of runs whose loss stopped being finite
    set_aside: list[str] = field(default_factory=list)  # sentences: what was not used, and why
    guard: Guard = field(default_factory=lambda: Guard(Path(), {}), repr=False)  # of the files below `folder`
    _read: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict, repr=False)

    def form(self, study: str, set_: str) -> str:
        """Name of a packed set as it is shown: that of the copy that was packed, if it is not the official data."""
        variant = self.manifests.get((study, set_), {}).get("variant", "")
        return variant if variant in COPIES else set_

    def errors_by_image(
        self, study: str, experiment: str, set_: str, split: str, view: str, metric: str
    ) -> pd.DataFrame:
        """Errors (fractions) with one row an image (index: name) and one column a seed."""
        key = (study, experiment, set_, split, view, metric)
        if key not in self._read:
            columns, column = {}, f"{view}_{metric}"
            for row in self.chosen(study, experiment, set_, split, view).itertuples():
                table = frame(row.path, ["name", column])
                columns[row.seed] = table[column].astype(float).set_axis(apart(table["name"]))
            self._read[key] = pd.DataFrame(columns).dropna()
        return self._read[key]

    def classes_by_image(self, study: str, set_: str, split: str, names: pd.Index) -> pd.Series | None:
        """The class of each of these images, which are packed by class; None if they are not the whole split of a set that is known."""
        counts = self.manifests.get((study, set_), {}).get("splits", {}).get(split, {}).get("per_class", [])
        if not counts or sum(counts) != len(names):
            return None
        return pd.Series(np.repeat(np.arange(len(counts)), counts), names)

    def chosen(self, study: str, experiment: str, set_: str, split: str, view: str) -> pd.DataFrame:
        """Evaluations of one experiment in one view, one row a seed, by seed."""
        place = self.evals[["study", "experiment", "set", "split", "view"]]
        found = self.evals[(place == [study, experiment, set_, split, view]).all(axis=1)]
        return found.sort_values("seed")

    def curves(self, study: str, experiment: str) -> dict[int, pd.DataFrame]:
        """Epoch table of each finished or running seed, by epoch."""
        table = self.metrics
        rows = table[(table["study"] == study) & (table["experiment"] == experiment)]
        return {int(seed): group.sort_values("epoch") for seed, group in rows.groupby("seed")}


def load_results(folder: Path) -> Results:
    """Read every record below `folder` that is whole and fits what it belongs to."""
    from analysis.results.loading import load  # which makes these classes

    return load(folder)


def shrunken(record: dict[str, Any]) -> str:
    """In what a study falls short of the paper's size, in words; nothing if in nothing. Unrecorded numbers are not held against it."""
    small = record.get("training_set") == "cifar10"
    short = [
        f"{name.replace('_', ' ')} {record[name]:g}"
        for name, full in (SMALL_SIZE if small else FULL_SIZE).items()
        if name in record and record[name] != full
    ]
    if not small and record.get("epochs", FEWEST_EPOCHS) < FEWEST_EPOCHS:
        short.append(f"{record['epochs']} epochs")
    return ", ".join(short)
