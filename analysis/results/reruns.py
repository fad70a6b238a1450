"""Compares two results folders: which of their common runs ended with the same bits.

A rerun is a run of the same experiment and seed that was trained anew, as anybody can who has a published results folder.
What is known of it is kept beside the published runs, in <study>/reruns.csv, one row a rerun; whether it agrees is worked
out from both whenever it is shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import UserError
from analysis.files import write_text
from analysis.results import golden
from analysis.results.campaign import devices
from analysis.results.evidence import Key, Results
from analysis.results.integrity import MANIFEST, Unfit, write_manifest
from analysis.text import plural

FILE = "reruns.csv"
KEY = ["experiment", "seed", "finished"]
MACHINE = {"cpu": "processor", "device": "device", "threads": "threads", "torch": "torch", "code_sha256": "code"}


@dataclass(frozen=True)
class Rerun:
    """One run of a study that was trained again."""

    key: Key
    rerun: dict[str, Any]  # `COLUMNS`
    published: dict[str, Any]  # the same of the published run

    @property
    def same(self) -> bool:
        """Whether both ended with the same weights, bit for bit."""
        return bool(self.rerun["weights_sha256"] == self.published["weights_sha256"])

    @property
    def comparable(self) -> bool:
        """Whether both are the same experiment on the same packed images."""
        keys = ("config_fingerprint", "data_fingerprint")
        return all(self.rerun[key] == self.published[key] for key in keys)

    @property
    def other(self) -> set[str]:
        """What was not as in the published run, of all that can move a bit; code that computes the same is not other code."""
        found = {words for key, words in MACHINE.items() if str(self.rerun[key]) != str(self.published[key])}
        codes = str(self.rerun["code_sha256"]), str(self.published["code_sha256"])
        return found - ({"code"} if golden.known().same("train", *codes) else set())

    @property
    def differs(self) -> str:
        """The same in words; nothing if all was as there."""
        named = {key: words for key, words in MACHINE.items() if words in self.other}
        both = {key: (_short(self.rerun[key]), _short(self.published[key])) for key in named}
        return ", ".join(f"{named[key]} {ours} instead of {theirs}" for key, (ours, theirs) in both.items())

    @property
    def words(self) -> str:
        """The result in one sentence without its full stop."""
        if not self.comparable:
            same = self.rerun["config_fingerprint"] == self.published["config_fingerprint"]
            return f"{'other images' if same else 'another configuration'} than the published run: not compared"
        if self.same:
            return "the same weights, bit for bit"
        errors = (
            f"{words} error {100 * float(self.rerun[key]):.2f} instead of {100 * float(self.published[key]):.2f} %"
            for key, words in (("train_error", "training"), ("validation_error", "validation"))
        )
        return f"other weights; {', '.join(errors)}"


def compare(ours: Results, published: Results, processor: str = "") -> list[Rerun]:
    """Runs that both folders hold; not those that are the same run, copied.

    `processor`: what the reruns were made on, where the name that it gives itself says too little: a virtual machine may hide the
    model and its vector instructions, on which the bits depend.
    """
    named = {"cpu": processor} if processor else {}
    found = [
        Rerun(key, facts(ours.runs[key]) | named, facts(published.runs[key]))
        for key in sorted(set(ours.runs) & set(published.runs))
        if _when(ours.runs[key]) != _when(published.runs[key])
    ]
    if not found:
        raise UserError(
            f"{ours.folder} holds no run that was trained again: of the {plural(len(published.runs), 'run')} in {published.folder}, "
            "it has none, or only copies, or lacks the study.json of their study, without which no run is read"
        )
    return found


def _when(run: dict[str, Any]) -> list[tuple[str, str]]:
    """When a run was begun and left off, each time."""
    return [(str(s.get("started")), str(s.get("finished"))) for s in run.get("sessions", [])]


def facts(run: dict[str, Any]) -> dict[str, Any]:
    """What a run's record says that bears on its bits: a row of a table of reruns."""
    made, final = run.get("provenance", {}), run.get("final", {})
    return {
        **{key: run.get(key, "") for key in ("experiment", "seed", "config_fingerprint", "data_fingerprint", "weights_sha256")},
        **{key: final.get(key, float("nan")) for key in ("train_error", "validation_error")},
        **{key: made.get(key, "") for key in ("git_commit", "code_sha256", "cpu")},
        "device": devices(run),
        "threads": run.get("threads", ""),
        "torch": made.get("packages", {}).get("torch", ""),
        "finished": (run.get("sessions") or [{}])[-1].get("finished", ""),
    }  # fmt: skip


COLUMNS = list(facts({}))  # of a table of reruns


def record(found: Iterable[Rerun], folder: Path) -> None:
    """Add reruns of published runs to the tables in `folder`; one that is there already is replaced."""
    by_study = groupby(sorted(found, key=lambda one: one.key), lambda one: one.key[0])
    for study, group in by_study:
        path = folder / study / FILE
        both = pd.concat([read(path), pd.DataFrame([one.rerun for one in group], columns=COLUMNS).astype(str)])
        both = both.drop_duplicates(KEY, keep="last").sort_values(KEY)
        write_text(path, both.to_csv(index=False, lineterminator="\n"))
        if (folder / MANIFEST).is_file():
            write_manifest(folder, [path.relative_to(folder).as_posix()])


def read(path: Path) -> pd.DataFrame:
    """A table of reruns, all cells text; without rows if it does not exist."""
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if missing := [column for column in COLUMNS if column not in found]:
        raise UserError(f"{path} lacks {', '.join(missing)}; delete it, or compare again with --record to make it anew")
    return found


def recorded(results: Results) -> list[Rerun]:
    """The reruns that are kept beside the published runs, of runs that are there and the same experiment still."""
    found = []
    for study in results.studies:
        try:
            results.guard.unchanged(results.folder / study / FILE)
        except Unfit:  # which `load_results` tells
            continue
        for row in read(results.folder / study / FILE).to_dict("records"):
            key = (study, str(row["experiment"]), int(row["seed"]))
            if key in results.runs:
                one = Rerun(key, {str(k): v for k, v in row.items()}, facts(results.runs[key]))
                found += [one] if one.comparable else []
    return found


def lines(found: Iterable[Rerun]) -> list[str]:
    """A line a rerun."""
    return [f"{'/'.join(map(str, one.key))}: {one.words}{f' ({one.differs})' if one.differs else ''}" for one in found]


def _short(value: object) -> str:
    text = str(value)
    return text[:10] if len(text) == 64 else text or "unknown"
