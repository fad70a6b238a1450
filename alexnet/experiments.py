"""Turns recipe + study + experiment + seed into one resolved configuration record, without torch.

Order: recipe <- study diff <- experiment diff <- the study's own diff of that experiment, then `width` scales
maps and units. Dicts merge, lists and scalars replace, null removes. Only what changes a trained net is in the
record, so that rewording a sentence retrains nothing.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from alexnet.architecture import describe, layer_table
from alexnet.errors import UserError

SCHEMAS = Path(__file__).resolve().parent.parent / "workflow" / "schemas"
FULL_CROP = 224  # s. 3.5


def merge(base: dict[str, Any], diff: dict[str, Any]) -> dict[str, Any]:
    """A new dict: `diff` over `base`; dicts merge, other values replace, None removes the key."""
    out = copy.deepcopy(base)
    for key, value in diff.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def fingerprint(record: dict[str, Any]) -> str:
    """sha256 of the record's canonical JSON."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _schema(name: str) -> dict[str, Any]:
    return _read_yaml(SCHEMAS / f"{name}.schema.yaml")


@cache
def _validator(schema: str, part: str | None) -> Any:
    import jsonschema

    loaded = _schema(schema)
    if part:
        loaded = {"$ref": f"#/$defs/{part}", "$defs": loaded["$defs"]}
    return jsonschema.Draft202012Validator(loaded)


def check(record: Any, schema: str, where: str, part: str | None = None) -> None:
    """Validate `record` against workflow/schemas/<schema>.schema.yaml (or its definition `part`).

    Raises:
        UserError: names `where`, the key and what is wrong with it.
    """
    import jsonschema

    validator = _validator(schema, part)
    if validator.is_valid(record):
        return
    error = jsonschema.exceptions.best_match(validator.iter_errors(record))
    key = ".".join(str(step) for step in error.absolute_path)
    message = error.message
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        patterns = error.schema.get("patternProperties", {})
        unknown = [k for k in error.instance if k not in known and not patterns] or list(error.instance)
        message = f"unknown key {unknown[0]!r}{_did_you_mean(unknown[0], known)}"
    raise UserError(f"{where}: {f'`{key}`: ' if key else ''}{message}")


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        # the safe loader in C, where it is built: ten times as fast, at every start of Snakemake
        return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


@cache
def definitions(folder: str = "config") -> dict[str, Any]:
    """Recipes and experiments from <folder>/experiments.yaml, validated."""
    path = Path(folder) / "experiments.yaml"
    loaded = _read_yaml(path)
    check(loaded, "experiments", str(path))
    return loaded


@cache
def load_study(study: str, folder: str = "config") -> dict[str, Any]:
    """One study from <folder>/studies/<study>.yaml, validated, defaults filled in."""
    path = Path(folder) / "studies" / f"{study}.yaml"
    if not path.is_file():
        studies = sorted(p.stem for p in (Path(folder) / "studies").glob("*.yaml"))
        raise UserError(f"unknown study {study!r}{_did_you_mean(study, studies)}")
    loaded: dict[str, Any] = _read_yaml(path)
    check(loaded, "study", str(path))
    defaults = {k: v["default"] for k, v in _schema("study")["properties"].items() if "default" in v}
    loaded = copy.deepcopy(defaults) | loaded
    known = definitions(folder)
    for name in [*loaded["experiments"], *loaded["experiment_diffs"]]:
        if name not in known["experiments"]:
            hint = _did_you_mean(name, list(known["experiments"]))
            raise UserError(f"{path}: unknown experiment {name!r}{hint}")
    if loaded["recipe"] not in known["recipes"]:
        hint = _did_you_mean(loaded["recipe"], list(known["recipes"]))
        raise UserError(f"{path}: unknown recipe {loaded['recipe']!r}{hint}")
    for key in ("train", "validate", "evaluate"):
        for where in loaded[key] if key == "evaluate" else [loaded[key]]:
            if where["split"] not in loaded["sets"].get(where["set"], {}).get("splits", []):
                raise UserError(f"{path}: `{key}` names {where['set']}/{where['split']}, which `sets` lacks")
    generated = ("ilsvrc2010", "ilsvrc2012")
    if "synthetic" in loaded and any(data["source"] not in generated for data in loaded["sets"].values()):
        raise UserError(
            f"{path}: `synthetic` writes {' and '.join(generated)} archives; `sets` names another source"
        )
    if loaded["crop"] > loaded["image_size"]:
        raise UserError(
            f"{path}: `crop` ({loaded['crop']}) is larger than `image_size` ({loaded['image_size']})"
        )
    return loaded


def _widen(model: dict[str, Any], width: float) -> dict[str, Any]:
    """Maps and units times `width`, rounded to a multiple of the towers."""
    out = copy.deepcopy(model)
    step = out["towers"]
    for record in out["layers"].values():
        key = "maps" if "maps" in record else "units"
        if record[key] != "classes":
            record[key] = max(step, round(record[key] * width / step) * step)
    return out


def resolve(study: str, experiment: str, seed: int, folder: str = "config") -> dict[str, Any]:
    """The complete configuration of one run.

    Returns:
        study, experiment, seed, tier, data, model, augmentation, optimizer, training, precision, and
        `fingerprint`, the sha256 of all the rest.

    Raises:
        UserError: unknown study or experiment, an unknown key, or a net that cannot be built.
    """
    record = load_study(study, folder)
    known = definitions(folder)
    if experiment not in known["experiments"]:
        raise UserError(
            f"unknown experiment {experiment!r}{_did_you_mean(experiment, list(known['experiments']))}"
        )
    recipe = known["recipes"][record["recipe"]]
    diff = known["experiments"][experiment]["diff"]
    full = merge(merge(recipe, record["diff"]), diff)
    full = merge(full, record["experiment_diffs"].get(experiment, {}))
    check(full, "experiments", f"{study}/{experiment}", part="record")
    model = _widen(full["model"], record["width"])
    if model["scale_std_by_fan_in"]:
        _scale_std(model, merge(recipe, diff)["model"], record["crop"], record["classes"])
    layer_table(model, record["crop"], record["classes"])  # raises where it cannot be built
    config = {
        "study": study,
        "experiment": experiment,
        "seed": seed,
        "tier": record["tier"],
        "data": {
            "set": record["train"]["set"],
            "train_split": record["train"]["split"],
            "validation_set": record["validate"]["set"],
            "validation_split": record["validate"]["split"],
            "image_size": record["image_size"],
            "crop": record["crop"],
            "classes": record["classes"],
        },
        "model": model,
        "augmentation": full["augmentation"],
        "optimizer": full["optimizer"],
        "training": {"epochs": record["epochs"], "threads": record["threads"]},
        "precision": record["precision"],
    }
    return config | {"fingerprint": fingerprint(config)}


def _scale_std(model: dict[str, Any], full: dict[str, Any], crop: int, classes: int) -> None:
    """Scale each weight_std by sqrt(full-size fan-in / fan-in), in place (a deviation that keeps the signal)."""
    ours = {row.name: row.fan_in for row in layer_table(model, crop, classes) if row.weights}
    paper = {row.name: row.fan_in for row in layer_table(full, FULL_CROP, 1000) if row.weights}
    for name, record in model["layers"].items():
        if name in paper:
            record["weight_std"] = round(record["weight_std"] * math.sqrt(paper[name] / ours[name]), 8)


def describe_experiment(study: str, experiment: str, folder: str = "config") -> dict[str, Any]:
    """Layer table, totals, model record and differences from the base experiment `alexnet`."""
    config = resolve(study, experiment, 0, folder)
    base = resolve(study, "alexnet", 0, folder)
    data = config["data"]
    return {
        "study": study,
        "experiment": experiment,
        **describe(config["model"], data["crop"], data["classes"]),
        **{key: config[key] for key in ("model", "augmentation", "optimizer")},
        "difference": differences(base, config),
    }


def differences(base: Any, other: Any, path: str = "") -> dict[str, list[Any]]:
    """{dotted key: [base value, other value]} of all leaves that differ, run identity left out."""
    if isinstance(base, dict) and isinstance(other, dict):
        out: dict[str, list[Any]] = {}
        for key in list(base) + [k for k in other if k not in base]:
            if not path and key in ("study", "experiment", "seed", "fingerprint"):
                continue
            out |= differences(base.get(key), other.get(key), f"{path}.{key}" if path else key)
        return out
    return {} if base == other else {path: [base, other]}


def study_record(study: str, folder: str = "config") -> dict[str, Any]:
    """What the report says about a study, with the fingerprint of every run that belongs to it now."""
    record = load_study(study, folder)
    known = definitions(folder)["experiments"]
    keys = ("title", "tier", "data", "recipe", "image_size", "crop", "classes", "width", "epochs", "threads")
    return {
        "study": study,
        **{key: record[key] for key in keys},
        "convergence_threshold": record["convergence_threshold"],
        "training_set": record["train"]["set"],
        "sets": record["sets"],
        "evaluate": record["evaluate"],
        "experiments": [
            {"name": name, "about": known[name]["about"], "seeds": record["seeds"]}
            for name in record["experiments"]
        ],
        "fingerprints": {
            name: {str(seed): resolve(study, name, seed, folder)["fingerprint"] for seed in record["seeds"]}
            for name in record["experiments"]
        },
        "command": f"snakemake --cores all --config studies=[{study}]",
    }
