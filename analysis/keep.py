"""Turns a results folder into a small one from which the report can be built again: no weights, no archives, no images but thumbnails.

Kept are the finished runs that belong to their studies now, under the names that they had:

    describe/*.json, departures.json                    layer tables, and where program and text differ
    <study>/study.json, baselines.json, races/*.json    what was asked for, and which rates were chosen
    <study>/reruns.csv                                  published runs that were trained again
    <study>/data/<set>/manifest.json, mean.npy          what was packed
    <study>/runs/<experiment>/<seed>/                   config.json, run.json, metrics.csv
    <study>/evals/<experiment>/<seed>/                  the summary (JSON), and the errors of each image (Parquet)
    <study>/examined/<experiment>/<seed>/               examination.json, kernels.npy, sample and queries (Parquet), thumbnails.jpg

The release of the operating system is left out of the records; all else that they say of the machine stays.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import UserError
from analysis.evidence import Results, load_results
from analysis.files import read_json

NOT_KEPT = "platform"  # key of the provenance
PLAIN = (
    "study.json",
    "baselines.json",
    "reruns.csv",
    "races/*.json",
    "data/*/manifest.json",
    "data/*/mean.npy",
)


def keep(folder: Path, out: Path, studies: Sequence[str] = (), add: bool = False) -> list[str]:
    """Write the small copy of results `folder` to `out`, whole or not at all; one that is there is replaced.

    Args:
        studies: names of those to keep; all if there are none.
        add: what is kept in `out` stays, but for runs that `folder` has too and such as their study has changed since.

    Returns:
        A sentence for each thing in the results that was left out because it does not belong to its study now, or that
        a reader will ask about.

    Raises:
        UserError: the folder or a study does not exist, nothing is finished, or `out` is no such copy or cannot be written.
    """
    results = load_results(folder)
    for name in studies:
        if name not in results.studies:
            raise UserError(f"{folder} has no study {name!r}; it has {', '.join(results.studies) or 'none'}")
    chosen = [name for name in results.studies if not studies or name in studies]
    if not any(key[0] in chosen for key in results.runs):
        raise UserError(f"no finished run in {folder} of {', '.join(chosen) or 'any study'}: nothing to keep")
    if out.exists() and any(out.iterdir()) and not any(out.glob("*/study.json")):
        raise UserError(f"{out} holds something else than kept results; name an empty or a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as room:
            fresh, old = Path(room, "fresh"), Path(room, "old")
            if add and out.exists():
                both = Path(room, "both")
                shutil.copytree(out, both)
                _copy(results, both, chosen)
                aside, results = results.set_aside, load_results(both)
                results.set_aside[:0] = aside
                chosen = list(results.studies)
            _copy(results, fresh, chosen)
            if out.exists():
                out.rename(old)
            fresh.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    return [*results.set_aside, *_dirty(results, chosen)]


def _copy(results: Results, out: Path, studies: Sequence[str]) -> None:
    source = results.folder
    paths = [*source.glob("describe/*.json"), source / "departures.json"]
    for study in studies:
        paths += [path for pattern in PLAIN for path in source.glob(f"{study}/{pattern}")]
    for path in filter(Path.is_file, paths):
        _copy_file(path, out / path.relative_to(source))
    for study, experiment, seed in results.runs:
        if study not in studies:
            continue
        where = Path(study, "runs", experiment, str(seed))
        for name in ("config.json", "run.json"):
            _copy_record(source / where / name, out / where / name)
        table = (source / where / "metrics.csv").read_text(encoding="utf-8")  # lines end as git keeps them
        (out / where / "metrics.csv").write_text(table, encoding="utf-8", newline="\n")
    for path in sorted({Path(path) for path in results.evals["path"]}):
        where = path.relative_to(source)
        if where.parts[0] in studies:
            _copy_record(path.with_suffix(".json"), (out / where).with_suffix(".json"))
            _copy_errors(path, out / where)
    for (study, *_), record in results.examined.items():
        folder = Path(str(record["folder"]))
        if study in studies:
            _copy_record(folder / "examination.json", out / folder.relative_to(source) / "examination.json")
            for path in [
                *folder.glob("*.parquet"),
                *folder.glob("kernels.npy"),
                *folder.glob("thumbnails.jpg"),
            ]:
                _copy_file(path, out / path.relative_to(source))


def _copy_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _copy_record(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(_without(read_json(path)), indent=1) + "\n", encoding="utf-8")


def _without(record: Any) -> Any:
    """The record without `NOT_KEPT`, wherever it stands in it."""
    if isinstance(record, dict):
        return {key: _without(value) for key, value in record.items() if key != NOT_KEPT}
    return [_without(value) for value in record] if isinstance(record, list) else record


def _copy_errors(path: Path, target: Path) -> None:
    """Names and errors of all images; errors are 0 or 1, unless images stand for several (then they stay as they are)."""
    table = pd.read_parquet(path)
    errors = [name for name in table if str(name).endswith(("_top1_error", "_top5_error"))]
    small = table[["name", *errors]].copy()
    for name in errors:
        if small[name].isin([0, 1]).all():
            small[name] = small[name].astype(bool)
    target.parent.mkdir(parents=True, exist_ok=True)
    small.to_parquet(target, index=False, compression="zstd")


def _dirty(results: Results, studies: Sequence[str]) -> list[str]:
    """A sentence if runs were made from files that no commit has."""
    names = [
        "/".join(map(str, key))
        for key, run in results.runs.items()
        if key[0] in studies and run.get("provenance", {}).get("git_dirty") is not False
    ]
    if not names:
        return []
    return [f"{len(names)} of the kept runs were not made from a clean checkout, such as {names[0]}"]
