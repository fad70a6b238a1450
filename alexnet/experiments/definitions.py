"""Reads and checks the files of config/: recipes, experiments, studies; without torch."""

import copy
import difflib
import itertools
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from alexnet.errors import UserError

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"
BASE = "alexnet"  # what experiments are compared with
# of definitions: bytes of a file, lists and maps one in the other, characters of a text or a number
LARGEST, DEEPEST, LONGEST = 4_000_000, 50, 3_000
STUDY = re.compile("[A-Za-z0-9_]+")  # names of studies, which become names of files, targets and rules


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
    """UserError with `where`, key and fault unless `record` fits <schema>.schema.yaml in workflow/schemas, or its definition `part`."""
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
        message = f"unknown key {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}"
    if error.validator == "type" and error.validator_value == "array" and isinstance(error.instance, str | int):
        message = f"{error.instance!r} is not a list; write [{error.instance}]"
    if error.validator == "type" and error.validator_value == "string" and not isinstance(error.instance, dict | list):
        message = f"{error.instance!r} is not text; add a letter, or in a file put it into quotes"
    if error.validator == "pattern" and "title" in error.schema:
        message = f"{error.instance!r} is not made of {error.schema['title']}"
    raise UserError(f"{where}: {f'`{key}`: ' if key else ''}{message}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(map(str, known)))}"


def must_know(name: str, known: Iterable[str], what: str) -> None:
    """Raise a UserError that begins with `what` and offers the nearest name, unless a name is known."""
    if name not in known:
        raise UserError(f"{what} {name!r}{did_you_mean(name, known)}")


def _read_yaml(path: Path) -> Any:
    import yaml

    # the safe loader in C, where it is built: ten times as fast, at every start of Snakemake
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size <= LARGEST):
            raise UserError(f"{path} is no file, or larger than {LARGEST:,} bytes, which no definition is")
        text, depth = path.read_text(encoding="utf-8"), 0
        for event in yaml.parse(text, Loader=SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{path} has an alias (*name), which can stand for gigabytes; write it out")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
                raise UserError(f"{path} has a text or a number of more than {LONGEST:,} characters")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:  # the compiled loader dies of thousands
                raise UserError(f"{path} is nested more than {DEEPEST} deep, which no definition is")
        return yaml.load(text, Loader=SafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also what is not UTF-8, and no date
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


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


@cache
def load(folder: str = "config") -> dict[str, Any]:
    """Recipes and experiments from <folder>/experiments.yaml, validated."""
    path = Path(folder) / "experiments.yaml"
    loaded: dict[str, Any] = _read_yaml(path)
    check(loaded, "experiments", str(path))
    known = loaded["experiments"]
    for group, race in loaded.get("races", {}).items():
        nets = _nets_of(group, race)
        known |= nets
        known |= {key: value for name, net in nets.items() for key, value in _one_a_rate(name, net).items()}
    for name, record in known.items():
        record.setdefault("baseline", BASE)
        record.setdefault("claims", "")
        for other in [*needs(record), record.get("extends", name)]:
            must_know(other, known, f"{path}: {name} names the unknown experiment")
        if "recipe" in record:
            must_know(record["recipe"], loaded["recipes"], f"{path}: {name} names the unknown recipe")
    for name, key in itertools.product(known, ("extends", "baseline")):
        oldest = lineage(name, known, key)[0]
        if key in known[oldest] and not (key == "baseline" and known[oldest][key] == oldest):
            raise UserError(f"{path}: {name}: `{key}` leads in a circle, back to {known[oldest][key]!r}")
    return loaded


def _nets_of(group: str, race: dict[str, Any]) -> dict[str, Any]:
    """The nets of all conditions of a race, ReLU and tanh: <group>_relu_<condition>, and the same with tanh, compared with it."""
    made = {}
    for condition, about in race["conditions"].items():
        relu = f"{group}_relu_{condition}"
        base = {"extends": f"{group}_relu_{about['extends']}"} if "extends" in about else {}
        of_unit = {
            "relu": base | {"diff": about["diff"]},
            "tanh": {"extends": relu, "diff": {"model": {"activation": "tanh"}}},
        }
        for unit, own in of_unit.items():
            made[f"{group}_{unit}_{condition}"] = {
                "kind": "race",
                "about": f"{'ReLU' if unit == 'relu' else unit} {about['about']}",
                "claims": group,
                "condition": about["condition"],
                "recipe": race["recipe"],
                "baseline": relu,
                "rates": about["rates"][unit],
                **({"described_in": race["described_in"]} if unit in about.get("described", []) else {}),
                **own,
            }
    return made


def _one_a_rate(name: str, race: dict[str, Any]) -> dict[str, Any]:
    """The experiments of a net of a race, one for each rate, constant over the training, biases at twice the rate."""
    made = {}
    for rate in race["rates"]:
        stages = [{"until": 1, "weights": rate, "biases": 2 * rate}]
        child = f"{name}_lr{f'{rate:.10f}'.rstrip('0')[2:]}"
        made[child] = {key: race[key] for key in ("kind", "claims", "recipe")} | {
            "about": f"{race['about']}; rate {rate:g}",
            "baseline": child,
            "extends": name,
            "race": name,
            "rate": rate,
            "diff": {"optimizer": {"schedule": {"rule": "stages", "epochs": 1, "stages": stages}}},
        }
    return made


def races(names: list[str], known: dict[str, Any]) -> list[str]:
    """The races among experiments `names` of a study, whose experiments there are one for each rate."""
    return list(dict.fromkeys(known[name]["race"] for name in names if "race" in known[name]))


def needs(experiment: dict[str, Any]) -> list[str]:
    """Names of the experiments whose results one needs: baseline, members, and what it starts from."""
    start = [experiment["starts_from"]["experiment"]] if "starts_from" in experiment else []
    return [experiment["baseline"], *experiment.get("members", []), *start]


def lineage(name: str, known: dict[str, Any], key: str = "extends") -> list[str]:
    """`name` and what it extends (or is compared with, key "baseline", up to the base), the oldest first."""
    line = [name]
    while key in known[line[0]] and known[line[0]][key] not in line:
        line.insert(0, known[line[0]][key])
    return line


def studies(folder: str) -> list[str]:
    """Names of the studies in <folder>/studies, sorted."""
    found = sorted(Path(folder, "studies").glob("*.yaml"))
    return [path.stem for path in found if STUDY.fullmatch(path.stem) and path.is_file()]


@cache
def load_study(study: str, folder: str = "config") -> dict[str, Any]:
    """One study from <folder>/studies/<study>.yaml, validated, defaults filled in; its `experiments` include those `on_request`."""
    path = Path(folder) / "studies" / f"{study}.yaml"
    must_know(study, studies(folder), "unknown study")
    loaded = _whole(path)
    check(loaded, "study", str(path))
    defaults = {k: v["default"] for k, v in _schema("study")["properties"].items() if "default" in v}
    loaded = merge(defaults, loaded)
    known = load(folder)
    shared, stand_ins = loaded.get("pilot", {}).get("at_rate_of", {}), loaded.get("stand_ins", {})
    named = [loaded[key] for key in ("experiments", "on_request", "experiment_diffs", "seeds_by_experiment")]
    for name in [name for names in (*named, shared, shared.values(), stand_ins) for name in names]:
        must_know(name, known["experiments"], f"{path}: unknown experiment")
    for name in [loaded["recipe"], *loaded["recipe_diffs"]]:
        must_know(name, known["recipes"], f"{path}: unknown recipe")
    if "plan" in loaded and not plan_of(loaded, folder).is_file():
        raise UserError(f"{path}: `plan`: {plan_of(loaded, folder)} does not exist")
    if twice := [name for name in loaded["on_request"] if name in loaded["experiments"]]:
        raise UserError(f"{path}: {twice[0]} stands under `experiments` and under `on_request`; leave it in one")
    for name in stand_ins.values():
        must_know(name, loaded["experiments"], f"{path}: `stand_ins`: this study does not train")
    if "pilot" in loaded:
        _check_pilot(loaded, known["experiments"], path)
    loaded["experiments"] = [
        child
        for name in dict.fromkeys([*loaded["experiments"], *loaded["on_request"]])
        for child in ([c for c in known["experiments"] if known["experiments"][c].get("race") == name] or [name])
    ]
    places = [("evaluate", where) for where in loaded["evaluate"]]
    places += [(key, loaded[key]) for key in ("train", "validate")]
    before = loaded.get("pretraining", {})
    places += [(f"pretraining.{key}", before[key]) for key in ("train", "validate") if before]
    for key, where in places:
        if where["split"] not in loaded["sets"].get(where["set"], {}).get("splits", []):
            raise UserError(f"{path}: `{key}` names {where['set']}/{where['split']}, which `sets` lacks")
    for name in loaded["experiments"]:
        record = known["experiments"][name]
        if "data" in record and "pretraining" not in loaded:
            raise UserError(f"{path}: {name} needs `pretraining`, which the study lacks")
        for other in needs(record):
            if other not in loaded["experiments"]:
                raise UserError(f"{path}: {name} needs {other} among the `experiments`")
    generated = ("ilsvrc2010", "ilsvrc2012")
    if "synthetic" in loaded and any(data["source"] not in generated for data in loaded["sets"].values()):
        raise UserError(f"{path}: `synthetic` writes {' and '.join(generated)} archives; `sets` names another source")
    if loaded["crop"] > loaded["image_size"]:
        raise UserError(f"{path}: `crop` ({loaded['crop']}) is larger than `image_size` ({loaded['image_size']})")
    return loaded


def asked(study: dict[str, Any]) -> list[str]:
    """Experiments of a study (`load_study`) that are trained without being named."""
    return [name for name in study["experiments"] if name not in study["on_request"]]


def plan_of(study: dict[str, Any], folder: str) -> Path:
    """File of the registered plan of a study that has one (`plan`)."""
    return Path(folder) / "plans" / f"{study['plan']}.md"


def _whole(path: Path, diffs: tuple[Path, ...] = ()) -> Any:
    """What a study file says, merged into what it extends; `diffs` are the files that led to it."""
    record: Any = _read_yaml(path)
    if not isinstance(record, dict) and diffs:
        raise UserError(f"{diffs[-1]}: `extends` names {path.stem!r}, and {path} holds no study")
    if not isinstance(record, dict) or not isinstance(name := record.pop("extends", None), str):
        return record
    must_know(name, studies(str(path.parents[1])), f"{path}: `extends`: unknown study")
    base, diffs = path.parent / f"{name}.yaml", (*diffs, path)
    if base in diffs:
        raise UserError(f"{path}: `extends` names {name!r}, which extends this study in turn")
    return merge(_whole(base, diffs), record)


def _check_pilot(study: dict[str, Any], known: dict[str, Any], path: Path) -> None:
    seed, shared = study["pilot"]["seed"], study["pilot"].get("at_rate_of", {})
    counted = [study["seeds"], *study["seeds_by_kind"].values(), *study["seeds_by_experiment"].values()]
    if any(seed in seeds for seeds in counted):
        raise UserError(f"{path}: `pilot.seed` {seed} is also a seed of the study's runs; choose another")
    for name, source in shared.items():
        if source in shared or source not in study["experiments"]:
            raise UserError(f"{path}: `pilot.at_rate_of`: {name} takes the rate of {source}, which no pilot chooses")
    for name in study["experiments"]:
        if known[name]["kind"] == "race":
            raise UserError(f"{path}: {name} is a race, whose rates `rates` in experiments.yaml names; leave it out")
