"""Resolves recipe, study, experiment and seed into one configuration record, without torch.

Order: recipe <- the study's diff <- its diff of that recipe <- experiment diff (of what it extends first) <- the
study's own diff of that experiment, then `width` scales maps and units. Dicts merge, lists and scalars replace,
null removes. Only what changes a trained net is in the record, so that rewording a sentence retrains nothing.
"""

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any

from alexnet.errors import UserError
from alexnet.experiments import tuning
from alexnet.experiments.architecture import in_order, layer_table
from alexnet.experiments.config import Model, RunConfig
from alexnet.experiments.definitions import BASE, check, lineage, load, load_study, merge, must_know
from alexnet.runtime.files import read_record

FULL_CROP = 224  # s. 3.5


def fingerprint(record: Mapping[str, Any]) -> str:
    """sha256 of the record's canonical JSON."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _widen(model: Any, width: float) -> Any:
    """Maps and units times `width`, rounded to a multiple of the towers."""
    out = copy.deepcopy(model)
    step = out["towers"]
    for record in out["layers"].values():
        key = "maps" if "maps" in record else "units"
        if record[key] != "classes":
            record[key] = max(step, round(record[key] * width / step) * step)
    return out


def resolve(study: str, experiment: str, seed: int, folder: str = "config") -> RunConfig:
    """The complete configuration of one run.

    Returns:
        study, experiment, seed, tier, data, model, augmentation, optimizer, training, precision, where it starts
        from trained weights `starts_from`, `rate` where a pilot chose it or chooses it (`tuning`), and `fingerprint`,
        the sha256 of all the rest; of an ensemble instead of these `members`.

    UserError for an unknown study or experiment, an unknown key, or a net that cannot be built.
    """
    config: Any = copy.deepcopy(_without_seed(study, experiment, folder)) | {"seed": seed}
    about = load(folder)["experiments"][tuning.arm_of(experiment)[0]]
    if "members" in about:
        config["members"] = [
            {"experiment": name, "seed": s, "fingerprint": resolve(study, name, s, folder)["fingerprint"]}
            for name in about["members"]
            for s in seeds_of(study, name, folder)
        ]
    if "starts_from" in about:
        source = resolve(study, about["starts_from"]["experiment"], seed, folder)
        config["starts_from"] = {**about["starts_from"], "fingerprint": source["fingerprint"]}
    return config | {"fingerprint": fingerprint(config)}


@cache
def _without_seed(study: str, experiment: str, folder: str) -> dict[str, Any]:
    """What all seeds of an experiment share."""
    record = load_study(study, folder)
    known = load(folder)
    config = {"study": study, "experiment": experiment, "seed": None, "tier": record["tier"]}
    experiment, factor = tuning.arm_of(experiment)
    must_know(experiment, known["experiments"], "unknown experiment")
    about = known["experiments"][experiment]
    if "members" in about:
        return config
    name = about.get("recipe", record["recipe"])
    recipe = known["recipes"][name]
    diffs = [known["experiments"][step]["diff"] for step in lineage(experiment, known["experiments"])]
    own = [record["experiment_diffs"].get(step, {}) for step in (about.get("race"), experiment)]
    full = reduce(merge, [recipe, record["diff"], record["recipe_diffs"].get(name, {}), *diffs, *own])
    check(full, "experiments", f"{study}/{experiment}", part="record")
    if about["kind"] == "race" and "stop_at" not in full["optimizer"]:
        raise UserError(f"{study}/{experiment}: a race needs `stop_at` in its optimizer")
    full["model"]["layers"] = in_order(full["model"]["layers"])
    train, validate, classes = record["train"], record["validate"], record["classes"]
    if "data" in about:
        if "pretraining" not in record:
            raise UserError(f"study {study} has no `pretraining`, which {experiment} needs")
        train, validate, classes = (record["pretraining"][key] for key in ("train", "validate", "classes"))
    crop, epochs = (full.get(key, record[key]) for key in ("crop", "epochs"))
    if crop > record["image_size"]:
        raise UserError(f"{study}/{experiment}: `crop` ({crop}) is larger than `image_size` ({record['image_size']})")
    model = _widen(full["model"], record["width"])
    if model["scale_std_by_fan_in"]:
        unshrunken: Any = reduce(merge, [diff.get("model", {}) for diff in diffs], recipe["model"])
        unshrunken["layers"] = in_order(unshrunken["layers"])
        _scale_std(model, unshrunken, crop, classes)
    layer_table(model, crop, classes)  # raises where it cannot be built
    if rate := _rate(study, experiment, factor, folder):
        full["optimizer"]["schedule"] = tuning.scaled(full["optimizer"]["schedule"], rate["factor"])
        config["rate"] = rate
        if rate.get("pilot"):
            epochs = record["pilot"].get("epochs", epochs)
    return config | {
        "data": {
            "set": train["set"],
            "train_split": train["split"],
            "validation_set": validate["set"],
            "validation_split": validate["split"],
            "image_size": record["image_size"],
            "crop": crop,
            "classes": classes,
        },
        "model": model,
        "augmentation": full["augmentation"],
        "optimizer": full["optimizer"],
        "training": {"epochs": epochs, "threads": record["threads"]},
        "precision": full["precision"],
    }


def _rate(study: str, experiment: str, factor: float | None, folder: str) -> dict[str, Any] | None:
    """The factor on an experiment's rates, with `pilot` if that is being tried; None where no pilot chooses it."""
    record = load_study(study, folder)
    if factor is not None:
        if "pilot" not in record:
            raise UserError(f"study {study} has no `pilot`; {tuning.pilot_run(experiment, factor)} needs one")
        return {"factor": factor, "pilot": True}
    own = BASE if experiment in record["on_request"] else experiment
    source = record.get("pilot", {}).get("at_rate_of", {}).get(experiment, own)
    if "pilot" not in record or source not in tuning.arms(record, load(folder)["experiments"]):
        return None
    return {"factor": float(tuning.chosen(study, source, folder)["factor"])}


def forget() -> None:
    """Forget what was read of the definitions; for a process in which the files change."""
    for remembered in (load, load_study, _without_seed, tuning.table):
        remembered.cache_clear()


def seeds_of(study: str, experiment: str, folder: str = "config") -> list[int]:
    """Seeds of an experiment in a study; an ensemble, made of all seeds of its members, has one."""
    record = load_study(study, folder)
    about = load(folder)["experiments"][experiment]
    of_kind = record["seeds_by_kind"].get(about["kind"], record["seeds"])
    seeds: list[int] = record["seeds_by_experiment"].get(about.get("race", experiment), of_kind)
    return seeds[:1] if "members" in about else seeds


def _scale_std(model: Model, full: Model, crop: int, classes: int) -> None:
    """Scale each weight_std by sqrt(full-size fan-in / fan-in), in place (a deviation that keeps the signal)."""
    ours = {row.name: row.fan_in for row in layer_table(model, crop, classes) if row.weights}
    paper = {row.name: row.fan_in for row in layer_table(full, FULL_CROP, 1000) if row.weights}
    for name, record in model["layers"].items():
        if name in paper:
            record["weight_std"] = round(record["weight_std"] * math.sqrt(paper[name] / ours[name]), 8)


def read_config(path: Path) -> RunConfig:
    """A resolved configuration; UserError if it is missing, not JSON, or its fingerprint shows that somebody edited it."""
    advice = "make it with `python -m alexnet configure`"
    config: Any = read_record(path, lambda record: {**record}, advice)
    rest = {key: value for key, value in config.items() if key != "fingerprint"}
    if config.get("fingerprint") != fingerprint(rest):
        raise UserError(
            f"{path} was changed after `configure` (its fingerprint does not fit); edit config/ and configure again"
        )
    parts = ("members",) if "members" in config else ("data", "model", "augmentation", "optimizer", "training")
    missing = [key for key in ("study", "experiment", "seed", "tier", *parts) if key not in config]
    if missing:
        raise UserError(f"{path} lacks `{missing[0]}`; {advice}")
    return config
