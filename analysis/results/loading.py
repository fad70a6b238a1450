"""Loads a results folder: each record that is whole, belongs to its study and fits what lies beside it.

Of everything else a sentence says why it is not used.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis.errors import UserError
from analysis.results import evidence, fitting
from analysis.results.evidence import Key, Record, Results, Study
from analysis.results.integrity import MANIFEST, Guard, Unfit, open_guard

SEED = re.compile(r"0|[1-9][0-9]*")
Made = TypeVar("Made")


def load(folder: Path) -> Results:
    """See `analysis.results.evidence.load_results`."""
    if not folder.is_dir():
        raise UserError(f"results folder {folder} does not exist; run the workflow first or name another --results")
    guard = open_guard(folder)
    loader = _Loader(folder, guard, Results(folder, guard=guard))
    loader.read_studies()
    metrics, found = loader.read_runs(), loader.found
    described = loader.plain("describe/*.json", "description")
    found.layers.update({path.stem: record for path, record in described if evidence.NAME.fullmatch(path.stem)})
    found.baselines.update({path.parent.name: record for path, record in loader.plain("*/baselines.json")})
    for _, record in loader.plain("departures.json"):
        found.departures.update(record)
    loader.read_failures()
    loader.read_examinations()
    return replace(found, metrics=metrics, evals=loader.evaluations())


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
    listed += [*record.get("stand_ins", {}).values(), *(record["pilot"]["fingerprints"] if "pilot" in record else [])]
    return [*listed, *(name for key in ("sets", "races", "fingerprints") for name in record.get(key, {}))]


@dataclass
class _Loader:
    """Fills `found`, but for the two tables; each method leaves a sentence on what cannot be used."""

    folder: Path
    guard: Guard
    found: Results
    present: dict[Key, str] = field(default_factory=dict)  # fingerprints that the studies' configurations have now

    def each(self, paths: Iterable[Path], make: Callable[[Path], Made], kind: str = "") -> Iterator[tuple[Path, Made]]:
        """What `make` makes of each path; where it makes nothing, a sentence says why."""
        for path in paths:
            try:
                yield path, make(path)
            except Unfit as reason:
                study, experiment, seed = fitting.key_of(path) if kind else ("", "", 0)
                on = f" on {path.stem}" if kind == "evaluation" else ""
                where = f"{kind} {study}/{experiment}/seed {seed}{on}: " if kind else ""
                self.found.set_aside.append(f"{where}{reason}")

    def plain(self, pattern: str, kind: str = "object") -> Iterator[tuple[Path, Record]]:
        """Records that nothing else is compared with."""
        return self.each(sorted(self.folder.glob(pattern)), lambda path: self.guard.record(path, kind))

    def of_runs(
        self, pattern: str, make: Callable[[Key, Path], Made], kind: str = ""
    ) -> Iterator[tuple[Key, Path, Made]]:
        """Of files <study>/<folder>/<experiment>/<seed>/<name> of the known studies, run, path and what `make` makes of them.

        `pattern`: folder and name.
        """
        parent, name = pattern.split("/")
        paths = [
            path
            for path in sorted(self.folder.glob(f"*/{parent}/*/*/{name}"))
            if path.parents[3].name in self.found.studies
            and SEED.fullmatch(path.parent.name)  # not 02, which would count seed 2 twice
            and evidence.NAME.fullmatch(path.parents[1].name)
        ]
        for path, made in self.each(paths, lambda path: make(fitting.key_of(path), path), kind):
            yield fitting.key_of(path), path, made

    def read_studies(self) -> None:
        """Studies and the manifests of their packed sets."""
        studies, aside = self.found.studies, self.found.set_aside
        if lost := [name for name in self.guard.kept if not (self.folder / name).is_file()]:
            aside.append(f"{len(lost)} of the files that {MANIFEST} lists are missing, such as {lost[0]}")
        for path, study in self.each(sorted(self.folder.glob("*/study.json")), self._study):
            studies[path.parent.name] = study
        list(self.each(sorted(self.folder.glob("*/reruns.csv")), self.guard.unchanged))
        paths = sorted(self.folder.glob("*/data/*/manifest.json"))
        named = [
            path for path in paths if path.parents[2].name in studies and evidence.NAME.fullmatch(path.parent.name)
        ]
        for path, manifest in self.each(named, lambda path: fitting.manifest(self.guard, path)):
            name = path.parents[2].name
            self.found.manifests[name, path.parent.name] = manifest
            if words := evidence.COPIES.get(manifest.get("variant", "")):
                data = f"{studies[name].data}; here {manifest['variant']}, {words}"
                studies[name] = replace(studies[name], data=data)

    def _study(self, path: Path) -> Study:
        record, name = self.guard.record(path, "study"), path.parent.name
        for word in (name, *_names(record)):
            if not evidence.NAME.fullmatch(word):
                raise Unfit(f"study {name!r}: {word!r} is no name (letters, digits and _)")
        if record["tier"] not in evidence.TIERS:
            raise Unfit(f"{self.guard.name(path)}: tier {record['tier'][:40]!r} is none of {', '.join(evidence.TIERS)}")
        study = Study(
            name=name,
            title=record.get("title", name),
            tier=record["tier"],
            data=record.get("data", ""),
            threshold=float(record.get("convergence_threshold", 0.25)),
            training_set=record.get("training_set", ""),
            record=record,
        )
        if study.tier != "paper" or not (short := evidence.shrunken(record)):
            return study
        self.found.set_aside.append(
            f"study {name} as paper scale: it has {short}, so it is the paper's data at reduced scale"
        )
        return replace(study, tier="reduced")

    def read_runs(self) -> pd.DataFrame:
        """Configurations, what belongs to the studies, and the finished runs, whose epochs are returned."""
        configs, records = self.found.configs, {name: study.record for name, study in self.found.studies.items()}
        read = self.of_runs("runs/config.json", lambda _, path: fitting.config(self.guard, path))
        configs.update({key: config for key, _, config in read})
        listed = {name: record["fingerprints"] for name, record in records.items() if "fingerprints" in record}
        tried = _by_run(
            {name: record["pilot"]["fingerprints"] for name, record in records.items() if "pilot" in record}
        )
        self.present = {key: config["fingerprint"] for key, config in configs.items() if key[0] not in listed}
        self.present |= _by_run(listed) | tried
        tables = []
        for key, _, (run, table) in self.of_runs("runs/run.json", self._run, "run"):
            if key in tried:
                self.found.pilots[key] = run
                continue
            self.found.runs[key] = run
            tables.append(table.assign(**dict(zip(evidence.RUN_KEY, key, strict=True))))
        for key in configs.keys() & tried.keys():
            del configs[key]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=evidence.METRIC_COLUMNS)

    def _run(self, key: Key, path: Path) -> tuple[Record, pd.DataFrame]:
        run = self.guard.record(path, "run")
        self._belongs(key, run, "trained")
        config = self.found.configs.get(key)
        if config is None or config["fingerprint"] != run["config_fingerprint"]:
            raise Unfit("its config.json is not there, not used, or of another configuration")
        table = fitting.run(self.guard, path, run)
        self._of_data(key[0], config.get("data", {}).get("set", ""), run, {})
        return run, table

    def read_failures(self) -> None:
        """Records of counted runs whose loss stopped being finite; those of pilots and of runs that were trained since are no such."""
        for key, _, record in self.of_runs("runs/failed.json", self._failure, "run"):
            if record:
                self.found.diverged[key] = record

    def _failure(self, key: Key, path: Path) -> Record | None:
        """What a training left whose loss stopped being finite; a later training takes it away.

        Records that do not name their configuration are of the one that was there when they were written.
        """
        if key in self.found.runs or key in self.found.pilots:
            return None
        record = self.guard.record(path, "failure")
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

    def _of_data(self, study: str, set_: str, record: Record, counts: dict[str, int]) -> None:
        """Whether a record is about the images of a packed set, if its manifest is there, which can be used then."""
        path = self.folder / study / "data" / set_ / "manifest.json"
        was_there = path.is_file() or self.guard.name(path) in self.guard.kept
        if was_there and (study, set_) not in self.found.manifests:
            raise Unfit(f"the manifest of its images, {set_}, is not used")
        fitting.of_data(record, self.found.manifests.get((study, set_)), counts)

    def _same_weights(self, key: Key, record: Record) -> None:
        """Whether a record is about the weights of its run."""
        run = self.found.runs.get(key)
        if run is None:
            raise Unfit("its run is not there, or is not used")
        if record.get("weights_sha256") != run["weights_sha256"]:
            raise Unfit("made with other weights than the run's present ones")

    def read_examinations(self) -> None:
        """Examination of each run, with the folder of its tables under `folder`."""
        for key, path, record in self.of_runs("examined/examination.json", self._examination, "examination"):
            self.found.examined[key] = {**record, "folder": str(path.parent)}

    def _examination(self, key: Key, path: Path) -> Record:
        record = self.guard.record(path, "examination")
        self._same_weights(key, record)
        if not all((path.parent / f"{name}.parquet").is_file() for name in ("sample", "queries")):
            raise Unfit("one of its tables is missing")
        fitting.examination(self.guard, path, record)
        splits = {"train_split": "sample", "validation_split": "queries"}
        counts = {record[split]: record[name]["of"] for split, name in splits.items() if split in record}
        self._of_data(key[0], record.get("set", ""), record, counts)
        return record

    def evaluations(self) -> pd.DataFrame:
        """One row a view of an evaluation."""
        rows = []
        for key, path, record in self.of_runs("evals/*.json", self._evaluation, "evaluation"):
            place = [record["set"], record["split"], record["images"]]
            seconds = record.get("seconds", float("nan"))  # of all views together
            for view, values in record["views"].items():
                numbers = [values[name] for name in fitting.METRICS]
                rows.append([*key, *place, view, *numbers, seconds, str(path.with_suffix(".parquet"))])
        return pd.DataFrame(rows, columns=evidence.EVAL_COLUMNS)

    def _evaluation(self, key: Key, path: Path) -> Record:
        record = self.guard.record(path, "evaluation")
        self._belongs(key, record, "made")
        average = "members" in self.found.studies[key[0]].experiments.get(key[1], {})  # which has no run of its own
        for name, weights in record.get("members", {}).items() if average else ():
            experiment, _, seed = name.partition("/")
            member = self.found.runs.get((key[0], experiment, int(seed) if seed.isdecimal() else -1), {})
            if member.get("weights_sha256") != weights:
                raise Unfit(f"its member {name[:80]} is not used, or has other weights now")
        if not average:
            self._same_weights(key, record)
        if not path.with_suffix(".parquet").is_file():
            raise Unfit("its table of predictions is missing")
        fitting.evaluation(self.guard, path, record)
        self._of_data(key[0], record["set"], record, {record["split"]: record["images"]})
        return record
