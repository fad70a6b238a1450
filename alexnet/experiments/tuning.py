"""Learning rates chosen on a pilot seed: one factor on all rates of an experiment's schedule, from <definitions>/rates.csv.

A study with `pilot` trains each experiment on the pilot's seed at several factors (experiment `no_lrn_rate_x0p5`: half the
recipe's rates). Target `pilot` writes the errors and the choice into rates.csv; ordinary runs read the choice from there.
"""

import copy
import csv
import io
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from alexnet.errors import UserError
from alexnet.experiments.definitions import load_study
from alexnet.runtime.files import read_record, write_atomically

TABLE = "rates.csv"
COLUMNS = ("study", "experiment", "factor", "seed", "epochs", "validation_error", "fingerprint", "chosen")
WIDER = 3  # times that the search may go on beyond its first factors
_PILOT_RUN = re.compile(r"(?P<experiment>[a-z0-9_]+)_rate_x(?P<factor>[0-9]+(?:p[0-9]+)?)\Z")


def pilot_run(experiment: str, factor: float) -> str:
    """Name of the pilot run of an experiment at `factor` times its rates."""
    return f"{experiment}_rate_x{f'{factor:.10f}'.rstrip('0').rstrip('.').replace('.', 'p')}"


def arm_of(name: str) -> tuple[str, float | None]:
    """Experiment and factor of a pilot run's name; any other name and None."""
    found = _PILOT_RUN.match(name)
    if not found:
        return name, None
    return found["experiment"], float(found["factor"].replace("p", "."))


def scaled(schedule: dict[str, Any], factor: float) -> dict[str, Any]:
    """A schedule with all learning rates times `factor`; its bounds and the ratios between rates stay."""
    out = copy.deepcopy(schedule)
    stages = out.get("stages", [out])
    for record in [place for stage in stages for place in (stage, *stage.get("layers", {}).values())]:
        for kind in {"weights", "biases"} & set(record):
            series, key = (record[kind], "base") if isinstance(record[kind], dict) else (record, kind)
            series[key] = float(f"{series[key] * factor:.12g}")
    return out


def arms(record: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Experiments of a study (`load_study`) whose rate its pilot chooses."""
    shared = {*record["pilot"].get("at_rate_of", {}), *record["on_request"]}
    return [
        name
        for name in record["experiments"]
        if not {"members", "starts_from", "race"} & set(known[name]) and name not in shared
    ]


def beyond(errors: dict[float, float]) -> list[float]:
    """The factor to be tried next, one step of the grid beyond the edge where the lowest error lies; none if it lies within.

    Args:
        errors: validation error by factor, of two factors at least.
    """
    grid, best = sorted(errors), lowest(errors)
    if best == grid[0]:
        return [grid[0] ** 2 / grid[1]]
    return [grid[-1] ** 2 / grid[-2]] if best == grid[-1] else []


def lowest(errors: dict[float, float]) -> float:
    """The factor with the lowest error; of equal ones the nearest to 1, then the smaller."""
    return min(errors, key=lambda factor: (errors[factor], max(factor, 1 / factor), factor))


@cache
def table(folder: str) -> tuple[dict[str, str], ...]:
    """Rows of <folder>/rates.csv; none if the file is missing.

    UserError for a missing column, a factor or an error that is no number, or an experiment without exactly one choice.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        return ()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    chosen: Counter[tuple[str, str]] = Counter()
    for number, row in enumerate(rows, start=2):
        if missing := [column for column in COLUMNS if row.get(column) is None]:
            raise UserError(f"{path}: line {number} lacks `{missing[0]}`; restore the file")
        try:
            if not float(row["factor"]) > 0 or not 0 <= float(row["validation_error"]) <= 1:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}: line {number}: `factor` must be above 0 and `validation_error` between 0 and 1"
            ) from None
        chosen[row["study"], row["experiment"]] += row["chosen"] == "yes"
    for (study, experiment), count in chosen.items():
        if count != 1:
            raise UserError(f"{path}: {study}/{experiment} has {count} rows with `chosen` yes; it needs one")
    return tuple(rows)


def curve(study: str, experiment: str, folder: str) -> list[dict[str, str]]:
    """Rows of rates.csv about one experiment, by factor."""
    rows = [row for row in table(folder) if (row["study"], row["experiment"]) == (study, experiment)]
    return sorted(rows, key=lambda row: float(row["factor"]))


def chosen(study: str, experiment: str, folder: str) -> dict[str, str]:
    """The row of rates.csv that holds the chosen rate of an experiment; UserError if it has none."""
    for row in curve(study, experiment, folder):
        if row["chosen"] == "yes":
            return row
    raise UserError(
        f"{Path(folder) / TABLE} has no rate for {study}/{experiment}; "
        f"run `snakemake --cores all pilot --config 'studies=[{study}]'` first"
    )


def choose(searches: list[Path], study: str, folder: str) -> None:
    """Write what `search` found, from records of it, into rates.csv."""
    found = [read_record(path, lambda record: (record["experiment"], record["tried"])) for path in searches]
    write_choices(study, dict(found), folder)


def write_choices(study: str, curves: dict[str, list[dict[str, Any]]], folder: str) -> None:
    """Replace a study's rows of rates.csv for the experiments in `curves`, and mark the lowest error of each.

    Args:
        curves: by experiment, records with factor, seed, epochs, validation_error and fingerprint.
    """
    rows: list[dict[str, Any]] = [
        row for row in table(folder) if row["study"] != study or row["experiment"] not in curves
    ]
    for experiment, tried in curves.items():
        best = lowest({row["factor"]: row["validation_error"] for row in tried})
        for row in tried:
            mark = "yes" if row["factor"] == best else ""
            own = {"study": study, "experiment": experiment, "factor": f"{row['factor']:g}", "chosen": mark}
            rows.append(row | own)
    rows.sort(key=lambda row: (row["study"], row["experiment"], float(row["factor"])))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(Path(folder) / TABLE, lambda target: target.write_text(text.getvalue()))
    table.cache_clear()


def search(study: str, experiment: str, results: Path, factors: list[float], folder: str) -> dict[str, Any]:
    """What the pilot found for one experiment: `tried`, rows for `write_choices`, and `next`, a factor still to be tried.

    The error of a run that diverged is 1. UserError for a factor without a finished run.
    """
    seed, tried = load_study(study, folder)["pilot"]["seed"], []
    for factor in sorted(factors):
        path = results / study / "runs" / pilot_run(experiment, factor) / str(seed) / "run.json"
        run = read_record(path, lambda run: run | {"error": run["final"].get("validation_error")}, "train it first")
        error = 1.0 if run["error"] is None else run["error"]
        row = {"factor": factor, "seed": seed, "epochs": run["epochs"], "validation_error": error}
        tried.append(row | {"fingerprint": run["config_fingerprint"]})
    beyond_them = beyond({row["factor"]: row["validation_error"] for row in tried})
    return {"experiment": experiment, "tried": tried, "next": beyond_them}
