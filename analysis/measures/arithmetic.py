"""The numbers that the paper states about its net, from a layer table (results/describe/<experiment>.json)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from analysis.text import brief

Describe = dict[str, Any]
CYCLES, IMAGES = 90, 1.2e6  # sections 5 and 2
CARDS, PEAK = 2, 1.581e12  # GTX 580: 512 cores at 1.544 GHz, two operations a cycle in single precision


class Absent(Exception):
    """The layer table does not hold what the claim asks for."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the layer table of a net: the value at `metric`; `base`: the table of the net that it is compared with."""

    net: Describe
    metric: str
    base: Describe = field(default_factory=dict)

    @property
    def value(self) -> Any:
        return look_up(self.net, self.metric)

    @property
    def number(self) -> float:
        return _number(self.value)

    @property
    def total(self) -> float:
        """The net's total of the same field."""
        return float(self.net["totals"][self.metric.rpartition(".")[2]])


def _crops(asked: Asked) -> int:
    path, stored = asked.metric.split()
    return 2 * (int(stored) - int(look_up(asked.net, path)) + 1) ** 2


def _ratio(asked: Asked) -> float:
    return min(_number(look_up(asked.net, path)) / _number(look_up(asked.base, path)) for path in asked.metric.split())


MEASURES: dict[str, Callable[[Asked], float | str]] = {
    "value": lambda a: a.number,
    "share": lambda a: 100 * a.number / a.total,
    "largest_share": lambda a: 100 * max(map(_number, _listed(a.net, a.metric))) / a.total,
    "count": lambda a: len(_of_kind(a.net, a.metric)),
    "product": lambda a: math.prod(a.value),
    "list": lambda a: " ".join(map(brief, _listed(a.net, a.metric))),
    "after": lambda a: " ".join(dict.fromkeys(_preceding(a.net, a.metric))),
    "shape": lambda a: shape(layer(a.net, a.metric)),
    "log2": lambda a: math.log2(a.number),
    "crops": _crops,
    "drops": lambda a: sum(later["weights"] < earlier["weights"] for earlier, later in pairwise(a.value)),
    "ratio_of_nets": _ratio,
    "ratio_per_tower": lambda a: _ratio(a) / (a.net["towers"] / a.base["towers"]),
    # on `CARDS` GTX 580 at their peak: each multiply-add is two operations, forward and in both gradients
    "least_days": lambda a: 3 * 2 * a.number * IMAGES * CYCLES / (CARDS * PEAK) / 86_400,
}


def measure(how: str, metric: str, experiment: str, baseline: str, layers: dict[str, Describe]) -> float | str:
    """The value that the layer tables give; text for shapes and lists. `Absent` is raised where they do not hold it."""
    for name in filter(None, (experiment, baseline)):
        if name not in layers:
            raise Absent(f"there is no layer table of {name} yet")
    return MEASURES[how](Asked(layers[experiment], metric, layers.get(baseline, {})))


def layer(net: Describe, name: str) -> dict[str, Any]:
    """The row `name` of the layer table."""
    found = next((dict(row) for row in net["layers"] if row["name"] == name), None)
    if found is None:
        raise Absent(f"the layer table of {net.get('experiment', 'the net')} does not hold {name}")
    return found


def look_up(net: Describe, path: str) -> Any:
    """Value at a dotted path; the first step may be the name of a layer."""
    first, _, rest = path.partition(".")
    value: Any = net[first] if first in net else layer(net, first)
    for step in rest.split(".") if rest else []:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Absent(f"the layer table does not hold {path}") from None
    return value


def shape(row: dict[str, Any]) -> str:
    """Kernels of a convolution as `maps x rows x columns x channels read, stride n`; windows of a pooling layer."""
    side, stride = row["kernel"], row["stride"]
    if row["kind"] == "pool":
        return f"{side} x {side}, stride {stride}"
    return f"{row['output_shape'][0]} x {side} x {side} x {row['fan_in'] // (side * side)}, stride {stride}"


def _of_kind(net: Describe, kinds: str) -> list[dict[str, Any]]:
    return [row for row in net["layers"] if row["kind"] in kinds.split("+")]


def _listed(net: Describe, metric: str) -> list[Any]:
    """Values of `kind.field` over the layers of a kind, of several paths, or of the list at one path."""
    paths = metric.split()
    if len(paths) > 1:
        return [look_up(net, path) for path in paths]
    kinds, _, field = metric.partition(".")
    if rows := _of_kind(net, kinds):
        return [look_up({**row, "layers": []}, field) for row in rows]
    value = look_up(net, metric)
    return value if isinstance(value, list) else [value]


def _preceding(net: Describe, kind: str) -> list[str]:
    """Names of the learned layers that layers of `kind` follow."""
    names, last = [], ""
    for row in net["layers"]:
        if row["kind"] in ("conv", "local", "fc"):
            last = row["name"]
        elif row["kind"] == kind:
            names.append(last)
    return names


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Absent(f"the layer table holds {value!r} where a number is expected")
    return value
