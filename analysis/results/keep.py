"""Keeps results for publication: no weights, no archives, no images but thumbnails.

Kept are the finished runs that belong to their studies now, under the names that they had:

    describe/*.json, departures.json                    layer tables, and where program and text differ
    <study>/study.json, baselines.json, races/*.json    what was asked for, and which rates were chosen
    <study>/reruns.csv                                  published runs that were trained again
    <study>/data/<set>/manifest.json, mean.npy          what was packed
    <study>/runs/<experiment>/<seed>/                   config.json, run.json, metrics.csv; of the pilot's runs too;
                                                        config.json, failed.json of one whose loss stopped being finite
    <study>/evals/<experiment>/<seed>/                  the summary (JSON), and the errors of each image (Parquet)
    <study>/examined/<experiment>/<seed>/               examination.json, kernels.npy, sample and queries (Parquet), thumbnails.jpg
    MANIFEST.sha256                                     the hash of each of these files, see `analysis.results.integrity`

The release of the operating system is left out of the records; all else that they say of the machine stays.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import read_json
from analysis.results.evidence import Results, load_results
from analysis.results.integrity import MANIFEST, frame, sha256, write_manifest
from analysis.results.verify import verify

NOT_KEPT = "platform"  # key of the provenance
PLAIN = ("study.json", "baselines.json", "reruns.csv", "races/*.json", "data/*/manifest.json", "data/*/mean.npy")


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
    if add and (links := sorted(path for path in out.rglob("*") if path.is_symlink())):
        raise UserError(f"{links[0]} is a link, which kept results never hold; take it away")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as room:
            fresh, old = Path(room, "fresh"), Path(room, "old")
            if add and out.exists():
                if problems := verify(out)[0]:
                    raise UserError(f"{out} is not as it was kept ({problems[0]}); mend that, or keep without --add")
                both = Path(room, "both")
                shutil.copytree(out, both)
                Path(both, MANIFEST).unlink(missing_ok=True)
                _copy(results, both, chosen)
                aside, results = results.set_aside, load_results(both)
                results.set_aside[:0] = aside
                chosen = list(results.studies)
            _copy(results, fresh, chosen)
            write_manifest(fresh)
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

    def copy(path: Path) -> Path:
        """Where a file goes; it is copied there."""
        if not path.resolve().is_relative_to(source.resolve()):
            raise UserError(f"{path} leads out of {source}; put the file itself there, or leave it out")
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return target

    def copy_record(path: Path, *others: Path) -> None:
        """Copy a record, and have it name the hashes of the copied files that belong to it."""
        record = _without(read_json(path)) | {"files": {other.name: sha256(other) for other in others}}
        copy(path).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    for path in filter(Path.is_file, paths):
        copy(path)
    for study, experiment, seed in [*results.runs, *results.pilots, *results.diverged]:
        if study not in studies:
            continue
        where = source / study / "runs" / experiment / str(seed)
        copy(where / "config.json")
        if failure := results.diverged.get((study, experiment, seed)):
            copy(where / "failed.json").write_text(json.dumps(failure, indent=1) + "\n", encoding="utf-8")
            continue
        epochs = copy(where / "metrics.csv")
        table = epochs.read_text(encoding="utf-8")  # lines end as git keeps them
        epochs.write_text(table, encoding="utf-8", newline="\n")
        copy_record(where / "run.json", epochs)
    for path in sorted({Path(path) for path in results.evals["path"]}):
        if path.relative_to(source).parts[0] in studies:
            errors = copy(path)
            _lessen(errors)
            copy_record(path.with_suffix(".json"), errors)
    for (study, *_), record in results.examined.items():
        folder = Path(str(record["folder"]))
        if study in studies:
            beside = (sorted(folder.glob(pattern)) for pattern in ("*.parquet", "kernels.npy", "thumbnails.jpg"))
            copy_record(folder / "examination.json", *map(copy, chain.from_iterable(beside)))


def _without(record: Any) -> Any:
    """The record without `NOT_KEPT`, wherever it stands in it."""
    if isinstance(record, dict):
        return {key: _without(value) for key, value in record.items() if key != NOT_KEPT}
    return [_without(value) for value in record] if isinstance(record, list) else record


def _lessen(path: Path) -> None:
    """Leave names and errors of all images; errors are 0 or 1, unless images stand for several (then they stay as they are)."""
    import pyarrow.parquet as pq

    kinds = pq.read_schema(path)
    errors = [name for name in kinds.names if name.endswith(("_top1_error", "_top5_error"))]
    small = frame(path, ["name", *errors])
    for name in errors:
        if small[name].isin([0, 1]).all():
            small[name] = small[name].astype(bool)
    small.to_parquet(path, index=False, compression="zstd")


def _dirty(results: Results, studies: Sequence[str]) -> list[str]:
    """A sentence if runs were made from files that no commit has."""
    kept = {key: run.get("provenance", {}) for key, run in results.runs.items() if key[0] in studies}
    names = ["/".join(map(str, key)) for key, made in kept.items() if made.get("git_dirty") is not False]
    return [f"{len(names)} of the kept runs were not made from a clean checkout, such as {names[0]}"] if names else []
