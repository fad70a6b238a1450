"""What differs between the configurations of two nets, in words, one entry a thing."""

import math
from collections.abc import Iterator
from typing import Any

from analysis.measures import races
from analysis.measures.estimates import NoEstimate
from analysis.paper.claims import Claim
from analysis.results.evidence import Results, Study
from analysis.text import brief

OF_THE_RUN = ("study", "experiment", "seed", "fingerprint", "tier", "rate")  # a rate's factor shows in the schedule
RATES = ("weights", "biases", "base")
SCHEDULE = "optimizer.schedule."
LAYERS = "model.layers."
NOISE = "augmentation.color_noise"
WITH_NOISE = (f"{NOISE}_scale", f"{NOISE}_stays")  # of no meaning without it


def differs(claim: Claim, results: Results, study: Study) -> str:
    """What differs between the two arms of a claim, of several first arms each by its name; empty where a record is missing."""
    if not claim.baseline or claim.how == "rank":
        return ""
    base = _config(results, study, claim.baseline)
    said = []
    for name in claim.experiment.split():
        ours = _config(results, study, name)
        words = "; ".join(between(ours, base)) if ours and base else ""
        said += [f"{name}: {words}" if " " in claim.experiment else words] if words else []
    return " | ".join(said)


def _config(results: Results, study: Study, name: str) -> dict[str, Any]:
    """The configuration of any run of a net, of a race at the rate in which it is judged; empty if there is none."""
    if name in study.races:
        try:
            name = races.choose(results, study, name).experiment
        except NoEstimate:
            return {}
    found = (config for key, config in results.configs.items() if key[:2] == (study.name, name))
    return next((config for config in found if config.get("model")), {})


def between(ours: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """What differs, ours first: `bias of conv2, fc6: 0 against 1`, `conv1, conv2 without lrn`, `all learning rates x 0.5`.

    Keys that differ alike in several layers are one entry, and so are learning rates that all differ by one factor. What a
    net does not use is left out: the division of its input without the colour noise that it goes with.
    """
    left, right = dict(_leaves(_used(ours))), dict(_leaves(_used(base)))
    keys = [key for key in dict.fromkeys([*left, *right]) if left.get(key) != right.get(key)]
    if not (left.get(NOISE, 1) and right.get(NOISE, 1)):
        keys = [key for key in keys if key not in WITH_NOISE]
    entries: dict[str, list[str]] = {}
    nets = [set(net.get("model", {}).get("layers", {})) for net in (ours, base)]
    for word, lacking in (("without", nets[1] - nets[0]), ("with", nets[0] - nets[1])):
        entries |= {f"{word} {layer}": [] for layer in sorted(lacking)}
        keys = [key for key in keys if key.removeprefix(LAYERS).split(".")[0] not in lacking]
    if factor := _one_factor(left, right):
        keys = [key for key in keys if not _is_rate(key)]
        entries[f"all learning rates × {factor:.4g}"] = []
    for key in keys:
        layer, _, last = key.removeprefix(LAYERS).partition(".")
        values = f"{brief(left.get(key))} against {brief(right.get(key))}".replace("_", " ")
        if last == "after":
            for words in _steps(left[key], right[key]):
                entries.setdefault(f"{{}} {words}", []).append(layer)
        elif key.startswith(LAYERS):
            words = f"{last.replace('_', ' ')} of {{}}: {values}"
            entries.setdefault(words, []).append(layer)
        else:
            name = key.removeprefix("model.").removeprefix("augmentation.").removeprefix("optimizer.")
            entries[f"{name.replace('_', ' ')}: {values}"] = []
    return [words.format(", ".join(layers)) for words, layers in entries.items()]


def _used(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what names the run; its input is not divided where there is no colour noise."""
    out = {key: value for key, value in config.items() if key not in OF_THE_RUN}
    augmentation = out.get("augmentation", {})
    if not augmentation.get("color_noise", 1):
        out["augmentation"] = augmentation | {"color_divisor": 1.0}
    return out


def _leaves(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that is neither a record nor a list of records."""
    if isinstance(record, list) and record and all(isinstance(value, dict) for value in record):
        record = {str(i): value for i, value in enumerate(record)}
    if not isinstance(record, dict):
        yield path, record
        return
    for key, value in record.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _is_rate(key: str) -> bool:
    return key.startswith(SCHEDULE) and key.rpartition(".")[2] in RATES


def _one_factor(left: dict[str, Any], right: dict[str, Any]) -> float | None:
    """The factor by which all learning rates differ; None if they do not, or not all alike."""
    rates = [(left.get(key), right.get(key)) for key in (*left, *right) if _is_rate(key)]
    if left == right or any(None in both or (both[0] == 0) != (both[1] == 0) for both in rates):
        return None
    factors = [ours / base for ours, base in rates if base] or [1]
    alike = all(math.isclose(factor, factors[0], rel_tol=1e-9) for factor in factors)
    return factors[0] if alike and not math.isclose(factors[0], 1, rel_tol=1e-9) else None


def _steps(ours: list[str], base: list[str]) -> list[str]:
    """What follows a layer in one net and not in the other, or that the order differs."""
    less, more = (
        [step for step in one if one.count(step) > two.count(step)] for one, two in ((base, ours), (ours, base))
    )
    words = [f"{'with one less' if step in ours else 'without'} {step}" for step in dict.fromkeys(less)]
    words += [f"with {'one more ' * (step in base)}{step}" for step in dict.fromkeys(more)]
    return [word.replace("_", " ") for word in words] or [f"followed by {' '.join(ours)} against {' '.join(base)}"]
