"""Loads a results folder: each record that is whole, belongs to its study and fits what lies beside it.

Of everything else a sentence says why it is not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis.errors import UserError
from analysis.results import fitting
from analysis.results.evidence import (
    COPIES,
    EVAL_COLUMNS,
    METRIC_COLUMNS,
    NAME,
    RUN_KEY,
    TIERS,
    Key,
    Record,
    Results,
    Study,
    shrunken,
)
from analysis.results.integrity import MANIFEST, Guard, Unfit, open_guard

SEED = re.compile(r"0|[1-9][0-9]*")
Made = TypeVar("Made")


def load(folder: Path) -> Results:
    """See `analysis.results.evidence.load_results`."""
    if not folder.is_dir():
        raise UserError(f"results folder {folder} does not exist; run the workflow first or name another --results")
    loader = _Loader(Results(folder, guard=open_guard(folder)))
    loader.read_studies()
    loader.read_runs()
    found = loader.found
    described = loader.plain("describe/*.json", "description")
    found.layers.update({path.stem: record for path, record in described if NAME.fullmatch(path.stem)})
    found.baselines.update({path.parent.name: record for path, record in loader.plain("*/baselines.json")})
    for _, record in loader.plain("departures.json"):
        found.departures.update(record)
    found.diverged.update(loader.diverged())
    found.examined.update(loader.examinations())
    return replace(found, metrics=loader.metrics, evals=loader.evaluations())


def _key(path: Path) -> Key:
    return path.parents[3].name, path.parents[1].name, int(path.parent.name)


def _by_run(studies: dict[str, dict[str, dict[str, str]]]) -> dict[Key, str]:
    """Fingerprints by study, experiment and seed, as study.json has them, by run."""
    return {
        (study, experiment, int(seed)): value
        for study, experiments in studies.items()
        for experiment, seeds in experiments.items()
        for seed, value in seeds.items()
    }


def _names(record: Record) -> list[str]:
    """All that a study.json names: experiments, sets, races. They become parts of paths and pages."""
    listed = [about["name"] for about in record.get("experiments", [])]
    listed += [where["set"] for where in record.get("evaluate", [])]
    listed += [record["training_set"]] if "training_set" in record else []
    listed += [record["plan"]["name"]] if "plan" in record else []
    listed += record["pilot"]["fingerprints"] if "pilot" in record else []
    return [*listed, *(name for key in ("sets", "races", "fingerprints") for name in record.get(key, {}))]


@dataclass
class _Loader:
    """Fills `found`, but for the two tables."""

    found: Results
    present: dict[Key, str] = field(
        default_factory=dict
    )  # fingerprints of the configurations that the studies have now
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METRIC_COLUMNS))

    @property
    def folder(self) -> Path:
        return self.found.folder

    @property
    def guard(self) -> Guard:
        return self.found.guard

    def each(self, paths: Iterable[Path], make: Callable[[Path], Made], kind: str = "") -> Iterator[tuple[Path, Made]]:
        """What `make` makes of each path; where it makes nothing, a sentence says why."""
        for path in paths:
            try:
                yield path, make(path)
            except Unfit as reason:
                study, experiment, seed = _key(path) if kind else ("", "", 0)
                on = f" on {path.stem}" if kind == "evaluation" else ""
                where = f"{kind} {study}/{experiment}/seed {seed}{on}: " if kind else ""
                self.found.set_aside.append(f"{where}{reason}")

    def plain(self, pattern: str, kind: str = "object") -> Iterator[tuple[Path, Record]]:
        """Records that nothing else is compared with."""
        return self.each(sorted(self.folder.glob(pattern)), lambda path: self.guard.record(path, kind))

    def of_runs(self, pattern: str) -> list[Path]:
        """Files <study>/<kind>/<experiment>/<seed>/<name> of the known studies; `pattern`: kind, and name."""
        kind, name = pattern.split("/")
        found = sorted(self.folder.glob(f"*/{kind}/*/*/{name}"))
        return [
            path
            for path in found
            if path.parents[3].name in self.found.studies
            and SEED.fullmatch(path.parent.name)  # not 02, which would count seed 2 twice
            and NAME.fullmatch(path.parents[1].name)
        ]

    def read_studies(self) -> None:
        """Studies and the manifests of their packed sets."""
        lost = [name for name in self.guard.kept if not (self.folder / name).is_file()]
        if lost:
            self.found.set_aside.append(
                f"{len(lost)} of the files that {MANIFEST} lists are missing, such as {lost[0]}"
            )
        for path, study in self.each(sorted(self.folder.glob("*/study.json")), self._study):
            self.found.studies[path.parent.name] = study
        for _ in self.each(sorted(self.folder.glob("*/reruns.csv")), self.guard.unchanged):
            pass
        paths = [
            path
            for path in sorted(self.folder.glob("*/data/*/manifest.json"))
            if path.parents[2].name in self.found.studies and NAME.fullmatch(path.parent.name)
        ]
        for path, manifest in self.each(paths, lambda path: fitting.manifest(self.guard, path)):
            name = path.parents[2].name
            self.found.manifests[name, path.parent.name] = manifest
            if words := COPIES.get(manifest.get("variant", "")):
                study = self.found.studies[name]
                self.found.studies[name] = replace(study, data=f"{study.data}; here {manifest['variant']}, {words}")

    def _study(self, path: Path) -> Study:
        record, name = self.guard.record(path, "study"), path.parent.name
        for word in (name, *_names(record)):
            if not NAME.fullmatch(word):
                raise Unfit(f"study {name!r}: {word!r} is no name (letters, digits and _)")
        if record["tier"] not in TIERS:
            raise Unfit(f"{self.guard.name(path)}: tier {record['tier'][:40]!r} is none of {', '.join(TIERS)}")
        study = Study(
            name=name,
            title=record.get("title", name),
            tier=record["tier"],
            data=record.get("data", ""),
            threshold=float(record.get("convergence_threshold", 0.25)),
            training_set=record.get("training_set", ""),
            record=record,
        )
        if study.tier == "paper" and (short := shrunken(record)):
            self.found.set_aside.append(
                f"study {name} as paper scale: it has {short}, so it is the paper's data at reduced scale"
            )
            return replace(study, tier="reduced")
        return study

    def read_runs(self) -> None:
        """Configurations, what belongs to the studies, and the finished runs with their epochs."""
        for path, config in self.each(self.of_runs("runs/config.json"), lambda p: fitting.config(self.guard, p)):
            self.found.configs[_key(path)] = config
        listed = {n: s.record["fingerprints"] for n, s in self.found.studies.items() if "fingerprints" in s.record}
        self.present = {key: c["fingerprint"] for key, c in self.found.configs.items() if key[0] not in listed}
        pilots = {n: s.record["pilot"]["fingerprints"] for n, s in self.found.studies.items() if "pilot" in s.record}
        tried = _by_run(pilots)
        self.present |= _by_run(listed) | tried
        tables = []
        for path, (run, table) in self.each(self.of_runs("runs/run.json"), self._run, "run"):
            if _key(path) in tried:
                self.found.pilots[_key(path)] = run
                continue
            self.found.runs[_key(path)] = run
            for column, value in zip(RUN_KEY, _key(path), strict=True):
                table.insert(0, column, value)
            tables.append(table)
        for key in self.found.configs.keys() & tried.keys():
            del self.found.configs[key]
        if tables:
            self.metrics = pd.concat(tables, ignore_index=True)

    def _run(self, path: Path) -> tuple[Record, pd.DataFrame]:
        key, run = _key(path), self.guard.record(path, "run")
        self._belongs(key, run, "trained")
        config = self.found.configs.get(key)
        if config is None or config["fingerprint"] != run["config_fingerprint"]:
            raise Unfit("its config.json is not there, not used, or of another configuration")
        table = fitting.run(self.guard, path, run)
        data = config.get("data", {}).get("set", "")
        fitting.of_data(run, self._manifest(key[0], data), {})
        return run, table

    def diverged(self) -> dict[Key, Record]:
        """Records of counted runs whose loss stopped being finite; those of pilots and of runs that were trained since are no such."""
        paths = [
            path
            for path in self.of_runs("runs/failed.json")
            if _key(path) not in {**self.found.runs, **self.found.pilots}
        ]
        return {_key(path): record for path, record in self.each(paths, self._failure, "run")}

    def _failure(self, path: Path) -> Record:
        """What a training left whose loss stopped being finite; a later training takes it away.

        Records that do not name their configuration are of the one that was there when they were written.
        """
        key, record = _key(path), self.guard.record(path, "failure")
        config = self.found.configs.get(key, {})
        if "config_fingerprint" not in record and path.stat().st_mtime >= path.with_name("config.json").stat().st_mtime:
            record["config_fingerprint"] = config.get("fingerprint")
        self._belongs(key, record, "trained")
        return record

    def _belongs(self, key: Key, record: Record, made: str) -> None:
        """Whether a record is of the study as it is now; `made`: how it came to be."""
        if key not in self.present:
            raise Unfit("not part of the study as it is now")
        if record.get("config_fingerprint") != self.present[key]:
            raise Unfit(f"{made} with another configuration than the present one")

    def _manifest(self, study: str, set_: str) -> Record | None:
        """The manifest of a packed set, if there is one that can be used."""
        path = self.folder / study / "data" / set_ / "manifest.json"
        was_there = path.is_file() or self.guard.name(path) in self.guard.kept
        if was_there and (study, set_) not in self.found.manifests:
            raise Unfit(f"the manifest of its images, {set_}, is not used")
        return self.found.manifests.get((study, set_))

    def _same_weights(self, key: Key, record: Record) -> None:
        """Whether a record is about the weights of its run."""
        run = self.found.runs.get(key)
        if run is None:
            raise Unfit("its run is not there, or is not used")
        if record.get("weights_sha256") != run["weights_sha256"]:
            raise Unfit("made with other weights than the run's present ones")

    def examinations(self) -> dict[Key, Record]:
        """Examination of each run, with the folder of its tables under `folder`."""
        paths = self.of_runs("examined/examination.json")
        found = self.each(paths, self._examination, "examination")
        return {_key(path): {**record, "folder": str(path.parent)} for path, record in found}

    def _examination(self, path: Path) -> Record:
        key, record = _key(path), self.guard.record(path, "examination")
        self._same_weights(key, record)
        if not all((path.parent / f"{name}.parquet").is_file() for name in ("sample", "queries")):
            raise Unfit("one of its tables is missing")
        fitting.examination(self.guard, path, record)
        counts = {
            record[f"{of}_split"]: record[name]["of"]
            for of, name in (("train", "sample"), ("validation", "queries"))
            if f"{of}_split" in record
        }
        fitting.of_data(record, self._manifest(key[0], record.get("set", "")), counts)
        return record

    def evaluations(self) -> pd.DataFrame:
        """One row a view of an evaluation."""
        rows = []
        for path, record in self.each(self.of_runs("evals/*.json"), self._evaluation, "evaluation"):
            place = [record["set"], record["split"], record["images"]]
            seconds = record.get("seconds", float("nan"))  # of all views together
            for view, values in record["views"].items():
                numbers = [values[name] for name in fitting.METRICS]
                rows.append([*_key(path), *place, view, *numbers, seconds, str(path.with_suffix(".parquet"))])
        return pd.DataFrame(rows, columns=EVAL_COLUMNS)

    def _evaluation(self, path: Path) -> Record:
        key, record = _key(path), self.guard.record(path, "evaluation")
        self._belongs(key, record, "made")
        if "members" in self.found.studies[key[0]].experiments.get(
            key[1], {}
        ):  # an average of nets has no run of its own
            for name, weights in record.get("members", {}).items():
                experiment, _, seed = name.partition("/")
                member = self.found.runs.get((key[0], experiment, int(seed) if seed.isdecimal() else -1), {})
                if member.get("weights_sha256") != weights:
                    raise Unfit(f"its member {name[:80]} is not used, or has other weights now")
        else:
            self._same_weights(key, record)
        if not path.with_suffix(".parquet").is_file():
            raise Unfit("its table of predictions is missing")
        fitting.evaluation(self.guard, path, record)
        manifest = self._manifest(key[0], record["set"])
        fitting.of_data(record, manifest, {record["split"]: record["images"]})
        return record
