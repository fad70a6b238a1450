"""Turns a results folder into tables: studies, layer tables, manifests, runs, metrics, evaluations, predictions.

Whatever is missing is simply not there: a half-finished campaign loads like a finished one. An evaluation made
from an older configuration than the run beside it is left out and listed in `Results.set_aside`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import UserError
from analysis.files import read_json

NAME = re.compile("[A-Za-z0-9_]+")  # of studies, experiments and sets, which become ids, links and commands
TIERS = ("demo", "proxy", "reduced", "paper")  # weakest first
FULL_SIZE = {"width": 1, "image_size": 256, "crop": 224, "classes": 1000}
SMALL_SIZE = {"width": 1, "image_size": 32, "classes": 10}  # of CIFAR-10; its nets have lengths of their own
FEWEST_EPOCHS = 85  # about 90, within 5 (section 5)
COPIES = {"cifar10-jpeg75": "a lossy copy"}  # forms of the paper's data that are not the official one
RUN_KEY = ["study", "experiment", "seed"]
EVAL_COLUMNS = [
    *RUN_KEY,
    "set",
    "split",
    "images",
    "view",
    "top1_error",
    "top5_error",
    "loss",
    "seconds",
    "path",
]
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
    def races(self) -> dict[str, dict[str, Any]]:
        """What study.json says of its races: about, condition, baseline, rates by experiment, epochs, train_error, seeds."""
        found: dict[str, dict[str, Any]] = self.record.get("races", {})
        return found

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
    studies: dict[str, Study]
    layers: dict[str, dict[str, Any]]  # experiment -> results/describe/<experiment>.json
    manifests: dict[tuple[str, str], dict[str, Any]]  # (study, set) -> manifest.json
    runs: dict[tuple[str, str, int], dict[str, Any]]  # (study, experiment, seed) -> run.json
    configs: dict[tuple[str, str, int], dict[str, Any]]  # same key -> config.json
    metrics: pd.DataFrame  # one row an epoch of a run
    evals: pd.DataFrame  # one row a view of an evaluation
    baselines: dict[str, dict[str, Any]]  # study -> baselines.json
    departures: dict[str, Any] = field(default_factory=dict)  # results/departures.json
    examined: dict[tuple[str, str, int], dict[str, Any]] = field(
        default_factory=dict
    )  # run -> examination.json, with `folder`
    set_aside: list[str] = field(default_factory=list)  # sentences: what was not used, and why
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
            rows = self.chosen(study, experiment, set_, split, view)
            columns = {}
            for row in rows.itertuples():
                table = pd.read_parquet(row.path, columns=["name", f"{view}_{metric}"])
                columns[row.seed] = table.set_index("name")[f"{view}_{metric}"].astype(float)
            self._read[key] = pd.DataFrame(columns).dropna()
        return self._read[key]

    def chosen(self, study: str, experiment: str, set_: str, split: str, view: str) -> pd.DataFrame:
        """Evaluations of one experiment in one view, one row a seed, by seed."""
        table = self.evals
        mask = (
            (table["study"] == study)
            & (table["experiment"] == experiment)
            & (table["set"] == set_)
            & (table["split"] == split)
            & (table["view"] == view)
        )
        return table[mask].sort_values("seed")

    def curves(self, study: str, experiment: str) -> dict[int, pd.DataFrame]:
        """Epoch table of each finished or running seed, by epoch."""
        table = self.metrics
        rows = table[(table["study"] == study) & (table["experiment"] == experiment)]
        return {int(seed): group.sort_values("epoch") for seed, group in rows.groupby("seed")}


def load_results(folder: Path) -> Results:
    """Read every record below `folder`.

    Raises:
        UserError: the folder does not exist, or a record in it is not valid JSON or lacks a key.
    """
    if not folder.is_dir():
        raise UserError(
            f"results folder {folder} does not exist; run the workflow first or name another --results"
        )
    set_aside: list[str] = []
    found = [_study(path, set_aside) for path in sorted(folder.glob("*/study.json"))]
    studies = {study.name: study for study in found if study}
    configs = {_run_key(path): read_json(path) for path in _runs(folder, studies, "config.json")}
    present = _present(studies, configs)
    manifests = {
        (path.parents[2].name, path.parent.name): read_json(path)
        for path in sorted(folder.glob("*/data/*/manifest.json"))
        if path.parents[2].name in studies and NAME.fullmatch(path.parent.name)
    }
    for (name, _), manifest in manifests.items():
        if words := COPIES.get(manifest.get("variant", "")):
            told = f"{studies[name].data}; here {manifest['variant']}, {words}"
            studies[name] = replace(studies[name], data=told)
    runs = {}
    for path in _runs(folder, studies, "run.json"):
        key, run = _run_key(path), read_json(path)
        if key not in present:
            set_aside.append(f"run {_name(key)}: not part of the study as it is now")
        elif run.get("config_fingerprint") != present[key]:
            set_aside.append(f"run {_name(key)}: trained with another configuration than the present one")
        else:
            runs[key] = run
    return Results(
        folder=folder,
        studies=studies,
        layers={
            p.stem: read_json(p) for p in sorted(folder.glob("describe/*.json")) if NAME.fullmatch(p.stem)
        },
        manifests=manifests,
        runs=runs,
        configs=configs,
        metrics=_metrics(folder, studies, runs),
        evals=_evals(folder, studies, present, runs, set_aside),
        baselines={path.parent.name: read_json(path) for path in sorted(folder.glob("*/baselines.json"))},
        departures=read_json(folder / "departures.json") if (folder / "departures.json").is_file() else {},
        examined=_examined(folder, runs, set_aside),
        set_aside=set_aside,
    )


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


def _study(path: Path, set_aside: list[str]) -> Study | None:
    record = read_json(path)
    try:
        for word in (path.parent.name, *_names(record)):
            if not NAME.fullmatch(word):
                set_aside.append(f"study {path.parent.name!r}: {word!r} is no name (letters, digits and _)")
                return None
        study = Study(
            name=path.parent.name,
            title=record.get("title", path.parent.name),
            tier=record["tier"],
            data=record.get("data", ""),
            threshold=float(record.get("convergence_threshold", 0.25)),
            training_set=record.get("training_set", ""),
            record=record,
        )
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}; delete it and run the workflow again") from None
    if study.tier not in TIERS:
        raise UserError(f"{path}: tier {study.tier!r} is none of {', '.join(TIERS)}")
    if study.tier == "paper" and (short := shrunken(record)):
        set_aside.append(
            f"study {study.name} as paper scale: it has {short}, so it is the paper's data at reduced scale"
        )
        return replace(study, tier="reduced")
    return study


def _names(record: dict[str, Any]) -> list[str]:
    """All that a study.json names: experiments, sets, races. They become parts of paths and pages."""
    listed = [about["name"] for about in record.get("experiments", [])]
    listed += [where["set"] for where in record.get("evaluate", [])]
    listed += [record["training_set"]] if "training_set" in record else []
    return [*listed, *(name for key in ("sets", "races", "fingerprints") for name in record.get(key, {}))]


def _runs(folder: Path, studies: dict[str, Study], name: str) -> list[Path]:
    paths = sorted(folder.glob(f"*/runs/*/*/{name}"))
    known = [path for path in paths if path.parents[3].name in studies and path.parent.name.isdigit()]
    return [path for path in known if NAME.fullmatch(path.parents[1].name)]


def _run_key(path: Path) -> tuple[str, str, int]:
    return path.parents[3].name, path.parents[1].name, int(path.parent.name)


def _name(key: tuple[str, str, int]) -> str:
    return f"{key[0]}/{key[1]}/seed {key[2]}"


def _present(
    studies: dict[str, Study], configs: dict[tuple[str, str, int], dict[str, Any]]
) -> dict[tuple[str, str, int], str]:
    """Fingerprint of each run that belongs to a study: as study.json says, else as its config.json does."""
    listed = {
        name: study.record["fingerprints"]
        for name, study in studies.items()
        if "fingerprints" in study.record
    }
    out = {key: config.get("fingerprint", "") for key, config in configs.items() if key[0] not in listed}
    for name, experiments in listed.items():
        for experiment, seeds in experiments.items():
            out |= {(name, experiment, int(seed)): value for seed, value in seeds.items()}
    return out


def _examined(
    folder: Path, runs: dict[tuple[str, str, int], dict[str, Any]], set_aside: list[str]
) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Examination of each finished run, with the folder of its tables under `folder`."""
    found = {}
    for path in sorted(folder.glob("*/examined/*/*/examination.json")):
        if not path.parent.name.isdigit():
            continue
        key, record = _run_key(path), read_json(path)
        run = runs.get(key)
        if run is None:
            set_aside.append(f"examination {_name(key)}: its run is not there, or not part of the study now")
        elif record.get("weights_sha256") != run["weights_sha256"]:
            set_aside.append(f"examination {_name(key)}: made with other weights than the run's present ones")
        elif not all((path.parent / f"{name}.parquet").is_file() for name in ("sample", "queries")):
            set_aside.append(f"examination {_name(key)}: one of its tables is missing")
        else:
            found[key] = {**record, "folder": str(path.parent)}
    return found


def _metrics(
    folder: Path, studies: dict[str, Study], runs: dict[tuple[str, str, int], dict[str, Any]]
) -> pd.DataFrame:
    tables = []
    for path in _runs(folder, studies, "metrics.csv"):
        key = _run_key(path)
        if key not in runs:
            continue
        table = pd.read_csv(path)
        for column, value in zip(RUN_KEY, key, strict=True):
            table.insert(0, column, value)
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=METRIC_COLUMNS)
    return pd.concat(tables, ignore_index=True)


def _evals(
    folder: Path,
    studies: dict[str, Study],
    present: dict[tuple[str, str, int], str],
    runs: dict[tuple[str, str, int], dict[str, Any]],
    set_aside: list[str],
) -> pd.DataFrame:
    rows = []
    for path in sorted(folder.glob("*/evals/*/*/*.json")):
        if path.parents[3].name not in studies or not path.parent.name.isdigit():
            continue
        key, record = _run_key(path), read_json(path)
        where = f"evaluation {_name(key)} on {path.stem}"
        if key not in present:
            set_aside.append(f"{where}: not part of the study as it is now")
            continue
        if record.get("config_fingerprint") != present[key]:
            set_aside.append(f"{where}: made with another configuration than the present one")
            continue
        weights = runs.get(key, {}).get("weights_sha256")
        if weights and record.get("weights_sha256") != weights:
            set_aside.append(f"{where}: made with other weights than the run's present ones")
            continue
        if not path.with_suffix(".parquet").is_file():
            set_aside.append(f"{where}: its table of predictions is missing")
            continue
        try:
            for view, values in record["views"].items():
                numbers = [values[name] for name in ("top1_error", "top5_error", "loss")]
                place = [record["set"], record["split"], record["images"], view]
                seconds = record.get("seconds", float("nan"))  # of all views together
                rows.append([*key, *place, *numbers, seconds, str(path.with_suffix(".parquet"))])
        except KeyError as error:
            raise UserError(f"{path} lacks the key {error}; delete it and run the workflow again") from None
    return pd.DataFrame(rows, columns=EVAL_COLUMNS)
