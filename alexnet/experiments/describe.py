"""What the report says about experiments, studies and departures: layer tables, differences, fingerprints; without torch."""

import re
from functools import reduce
from pathlib import Path
from typing import Any

from alexnet.errors import UserError
from alexnet.experiments import tuning
from alexnet.experiments.architecture import describe
from alexnet.experiments.definitions import BASE, lineage, load, load_study, merge, plan_of, races
from alexnet.experiments.resolve import resolve, seeds_of
from alexnet.runtime.files import sha256

IDENTITY = ("study", "experiment", "seed", "fingerprint")


def describe_experiment(study: str, experiment: str, folder: str = "config") -> dict[str, Any]:
    """Layer table, totals, model record and differences from the base experiment, `alexnet` or that of its data.

    UserError for unknown names, a net that cannot be built, or an ensemble, which has no layers of its own.
    """
    config = resolve(study, experiment, 0, folder)
    if "members" in config:
        raise UserError(f"{experiment} is an average of nets; describe one of its members")
    oldest = lineage(experiment, load(folder)["experiments"], "baseline")[0]
    base = resolve(study, oldest, 0, folder)
    data = config["data"]
    return {
        "study": study,
        "experiment": experiment,
        **({"base": oldest} if oldest != BASE else {}),
        **describe(config["model"], data["crop"], data["classes"]),
        **{key: config[key] for key in ("model", "augmentation", "optimizer", "precision")},
        "difference": differences(base, config),
    }


def differences(base: Any, other: Any, path: str = "") -> dict[str, list[Any]]:
    """{dotted key: [base value, other value]} of all leaves that differ, run identity left out."""
    if isinstance(base, dict) and isinstance(other, dict):
        out: dict[str, list[Any]] = {}
        for key in list(base) + [k for k in other if k not in base]:
            if not path and key in IDENTITY:
                continue
            out |= differences(base.get(key), other.get(key), f"{path}.{key}" if path else key)
        return out
    return {} if base == other else {path: [base, other]}


def study_record(study: str, folder: str = "config") -> dict[str, Any]:
    """What the report says about a study, with the fingerprint of every run that belongs to it now."""
    record = load_study(study, folder)
    keys = ["title", "tier", "data", "recipe", "image_size", "crop", "classes", "width", "epochs", "threads"]
    keys += ["convergence_threshold", "sets", "evaluate", *record.keys() & {"stand_ins"}]
    names = record["experiments"]
    return {
        "study": study,
        **{key: record[key] for key in keys},
        "training_set": record["train"]["set"],
        "experiments": [_about(study, name, folder) for name in names],
        **_races(study, folder),
        **_pilot(study, folder),
        **({} if record["judged"] else {"judged": False}),
        **({"plan": _plan(record["plan"], plan_of(record, folder))} if "plan" in record else {}),
        "fingerprints": {
            name: {
                str(seed): resolve(study, name, seed, folder)["fingerprint"] for seed in seeds_of(study, name, folder)
            }
            for name in names
        },
        "command": f"snakemake --cores all --config studies=[{study}]",
    }


def _plan(name: str, path: Path) -> dict[str, Any]:
    """Name and hash of a registered plan, and the titles of the departures from it, which departures.md beside it lists."""
    listed = path.with_name("departures.md")
    text = listed.read_text(encoding="utf-8") if listed.exists() else ""
    return {"name": name, "sha256": sha256(path), "departures": re.findall(r"^\d+\. \*\*(.+?)\*\*", text, re.MULTILINE)}


def _pilot(study: str, folder: str) -> dict[str, Any]:
    """What study.json says of its pilot: seed, epochs, fingerprints of its runs, by experiment the factor chosen and all errors.

    UserError if a rate was chosen for another configuration than the present one.
    """
    record = load_study(study, folder)
    if "pilot" not in record:
        return {}
    pilot = record["pilot"]
    rates, fingerprints = {}, {}
    for name in tuning.arms(record, load(folder)["experiments"]):
        curve = tuning.curve(study, name, folder)
        for row in curve:
            run = tuning.pilot_run(name, float(row["factor"]))
            if resolve(study, run, pilot["seed"], folder)["fingerprint"] != row["fingerprint"]:
                raise UserError(
                    f"{folder}/{tuning.TABLE}: the rate of {study}/{name} was chosen for another configuration; "
                    f"run `snakemake --cores all pilot --config 'studies=[{study}]'` again"
                )
            fingerprints[run] = {str(pilot["seed"]): row["fingerprint"]}
        rates[name] = {
            "factor": float(tuning.chosen(study, name, folder)["factor"]),
            "tried": {row["factor"]: float(row["validation_error"]) for row in curve},
        }
    about = {"epochs": record["epochs"], **{key: value for key, value in pilot.items() if key != "factors"}}
    return {"pilot": about | {"rates": rates, "fingerprints": fingerprints}}


def _races(study: str, folder: str) -> dict[str, Any]:
    """What study.json says of its races, by name; nothing if it has none."""
    known, names, found = load(folder)["experiments"], load_study(study, folder)["experiments"], {}
    for race in races(names, known):
        config = resolve(study, race, 0, folder)
        found[race] = {
            **{key: known[race][key] for key in ("about", "condition", "baseline")},
            "rates": {name: known[name]["rate"] for name in names if known[name].get("race") == race},
            "epochs": config["training"]["epochs"],
            "train_error": config["optimizer"]["stop_at"]["train_error"],
            "seeds": seeds_of(study, race, folder),
        }
    return {"races": found} if found else {}


def _about(study: str, experiment: str, folder: str) -> dict[str, Any]:
    """What the report says about an experiment; `difference` is that from its baseline in this study, `epochs` are those
    trained and those of the recipe's schedule, of a training that is shorter."""
    record, shortened = load(folder)["experiments"][experiment], {}
    ours, base = (resolve(study, name, 0, folder) for name in (experiment, record["baseline"]))
    plain = "members" not in ours and "members" not in base
    if "members" not in ours:
        trained, of = ours["training"]["epochs"], ours["optimizer"]["schedule"]["epochs"]
        shortened = {"epochs": [trained, of]} if trained < 0.9 * of else {}
    return {
        "name": experiment,
        **{key: record[key] for key in ("kind", "about", "baseline")},
        **{key: record[key] for key in ("departure", "members", "data", "race", "rate") if key in record},
        **shortened,
        "seeds": seeds_of(study, experiment, folder),
        **({"on_request": True} if experiment in load_study(study, folder)["on_request"] else {}),
        "difference": differences(base, ours) if plain else {},
    }


def departures(folder: str = "config") -> dict[str, Any]:
    """Where the program of 2012 departs from the text, at full size, and all recipes side by side.

    Returns:
        departures: one record each with name, baseline, about, topic, text, code, base (whose side the baseline is
        on), and `changes`, {dotted key: [in the program, by the text]}. recipes: {name: {dotted key: value}}.
        published: {name: {about, top1, top5, changes, source}} of the recipes with which others published errors.
    """
    recipes, known = load(folder)["recipes"], load(folder)["experiments"]

    def row(name: str, about: dict[str, Any]) -> dict[str, Any]:
        departure = {"base": "code", **about["departure"]}
        diffs = [[known[step]["diff"] for step in lineage(of, known)] for of in (about["baseline"], name)]
        sides = [reduce(merge, of, recipes["code2012"]) for of in diffs]
        program, text = sides if departure["base"] == "code" else sides[::-1]
        named = {"name": name, "baseline": about["baseline"], "about": about["about"]}
        return named | departure | {"changes": differences(program, text)}

    return {
        "departures": [row(name, about) for name, about in known.items() if about["kind"] == "departure"],
        "recipes": {name: _leaves(recipe) for name, recipe in recipes.items()},
        "published": {
            name: {"about": about["about"], **about["published"]}
            for name, about in known.items()
            if "published" in about
        },
    }


def _leaves(record: dict[str, Any], path: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in record.items():
        where = f"{path}.{key}" if path else key
        out |= _leaves(value, where) if isinstance(value, dict) else {where: value}
    return out
