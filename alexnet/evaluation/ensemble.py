"""Errors of an average of nets, from their saved probabilities (s. 6, Table 2)."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.batches.views import VIEWS
from alexnet.errors import UserError
from alexnet.evaluation.evaluate import Scores, identity, probabilities_of, write_scores
from alexnet.experiments.resolve import read_config
from alexnet.runtime.files import read_record, sha256


def ensemble(config_path: Path, members: list[Path], out: Path) -> dict[str, Any]:
    """Average the members' probabilities with equal weights and evaluate; writes what `evaluate` writes.

    The authors' own averages may have been weighted: avg-valid.py:49-71 searches one weight a model on the
    validation set, and which weights the printed numbers used is not recorded. Weights fitted to the images
    that are then scored would flatter, so there are none here.

    Args:
        config_path: config.json of an experiment with `members`.
        members: their evaluations on one split (.json), with .parquet and .probabilities.npy beside them.
        out: folder for the result.

    Raises:
        UserError: not exactly the members that the configuration names, or evaluations of different images.
    """
    started = time.monotonic()
    config = read_config(config_path)
    if "members" not in config:
        raise UserError(f"{config_path}: {config['experiment']} is one net, not an average; use the verb evaluate")
    records = {path: _record(path) for path in members}
    wanted = {member["fingerprint"]: f"{member['experiment']}/{member['seed']}" for member in config["members"]}
    given = [record["config_fingerprint"] for record in records.values()]
    if sorted(given) != sorted(wanted):
        missing = ", ".join(name for fingerprint, name in wanted.items() if fingerprint not in given)
        raise UserError(
            f"the evaluations of {config['experiment']} must be those of {', '.join(wanted.values())} in their present "
            f"configuration, each once{f'; missing: {missing}' if missing else ''}"
        )
    first, *others = records.items()
    for path, record in others:
        for key in ("set", "split", "images", "data_fingerprint"):
            if record[key] != first[1][key]:
                raise UserError(
                    f"{path} and {first[0]} differ in `{key}`: they are evaluations of different images; evaluate again"
                )
    images = {path: _images(path) for path in records}
    labels, names = images[first[0]]
    total: NDArray[np.float64] | None = None
    for path in sorted(records):  # a fixed order: the sum is the same whatever the order of the arguments
        if images[path][1] != names:
            raise UserError(f"{path} and {first[0]} hold different images; evaluate again")
        probabilities = _probabilities(path, len(names))
        if (total is not None and total.shape != probabilities.shape) or labels.max() >= probabilities.shape[2]:
            raise UserError(f"{path} and {first[0]} tell of different numbers of classes; evaluate again")
        total = probabilities.astype(np.float64) if total is None else total + probabilities
    assert total is not None
    mean = torch.from_numpy((total / len(records)).astype(np.float32))
    record = {
        **identity(config, "ensemble"),
        **{key: first[1][key] for key in ("set", "split", "images", "data_fingerprint")},
        "members": {wanted[record["config_fingerprint"]]: record["weights_sha256"] for record in records.values()},
    }
    scores = Scores(names, labels, dict(zip(VIEWS, mean, strict=True)))
    return write_scores(out, record, scores, started, keep_probabilities=False)


def _record(path: Path) -> dict[str, Any]:
    def evaluation(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        for key in ("config_fingerprint", "set", "split", "data_fingerprint", "weights_sha256"):
            if not isinstance(record[key], str):
                raise TypeError(f"`{key}` is no text")
        return {"images": record["images"]} | record, dict(record.get("files", {}))

    record, files = read_record(path, evaluation, "evaluate that member")
    for name, value in files.items():
        file = path.parent / Path(name).name
        if file.is_file() and sha256(file) != value:
            raise UserError(f"{file} has changed since {path.name} was written beside it; evaluate again")
    return record


def _images(path: Path) -> tuple[torch.Tensor, list[str]]:
    import pandas as pd

    try:
        table = pd.read_parquet(path.with_suffix(".parquet"), columns=["name", "label"])
        labels = table["label"].to_numpy(np.int64, copy=True)
    except Exception as error:  # whatever a torn file makes of the reader
        raise UserError(
            f"{path.with_suffix('.parquet')} cannot be read ({error.__class__.__name__}); evaluate again"
        ) from None
    if not len(labels) or labels.min() < 0:
        raise UserError(f"{path.with_suffix('.parquet')} has no images, or labels below 0; evaluate again")
    return torch.from_numpy(labels), list(table["name"])


def _probabilities(path: Path, images: int) -> NDArray[np.float32]:
    source = probabilities_of(path)
    try:
        array: NDArray[np.float32] = np.load(source, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{source} does not exist; evaluate that member again with --keep-probabilities") from None
    except Exception as error:  # whatever a torn file makes of the reader
        raise UserError(f"{source} cannot be read ({error.__class__.__name__}); evaluate again") from None
    if array.ndim != 3 or array.shape[:2] != (len(VIEWS), images):
        raise UserError(
            f"{source} has the shape {array.shape}, not {len(VIEWS)} views x {images} images; evaluate again"
        )
    if array.dtype != np.float32 or not ((array >= 0) & (array < 1.01)).all():
        raise UserError(f"{source} holds no probabilities; evaluate again")
    return array
