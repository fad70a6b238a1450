"""The numbers that the paper states about its net, from a layer table (results/describe/<experiment>.json)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from analysis.paper.claims import Claim

Describe = dict[str, Any]


class Absent(Exception):
    """The layer table does not hold what the claim asks for."""


def measure(claim: Claim, layers: dict[str, Describe]) -> float | str:
    """The value that the layer tables give for an arithmetic claim; text for shapes and lists.

    Raises:
        Absent: no layer table of that experiment, or it lacks the asked path.
    """
    if claim.experiment not in layers:
        raise Absent(f"there is no layer table of {claim.experiment} yet")
    net = layers[claim.experiment]
    if claim.how == "value":
        return _number(look_up(net, claim.metric))
    if claim.how == "sum":
        return math.fsum(_column(net, claim.metric))
    if claim.how == "share":
        field = claim.metric.rpartition(".")[2]
        return 100 * _number(look_up(net, claim.metric)) / net["totals"][field]
    if claim.how == "largest_share":
        field = claim.metric.rpartition(".")[2]
        return 100 * max(_column(net, claim.metric)) / net["totals"][field]
    if claim.how == "count":
        return len(_of_kind(net, claim.metric))
    if claim.how == "product":
        return math.prod(look_up(net, claim.metric))
    if claim.how == "list":
        return " ".join(_text(value) for value in _listed(net, claim.metric))
    if claim.how == "after":
        return " ".join(dict.fromkeys(_preceding(net, claim.metric)))
    if claim.how == "shape":
        return shape(layer(net, claim.metric))
    if claim.how == "log2":
        return math.log2(_number(look_up(net, claim.metric)))
    if claim.how == "crops":
        path, stored = claim.metric.split()
        return 2 * (int(stored) - int(look_up(net, path)) + 1) ** 2
    if claim.how == "drops":
        rates = [stage["weights"] for stage in look_up(net, claim.metric)]
        return sum(later < earlier for earlier, later in pairwise(rates))
    if claim.how == "ratio_of_nets":
        if claim.baseline not in layers:
            raise Absent(f"there is no layer table of {claim.baseline} yet")
        base = layers[claim.baseline]
        paths = claim.metric.split()
        return min(_number(look_up(net, path)) / _number(look_up(base, path)) for path in paths)
    raise Absent(f"{claim.how!r} is not made from a layer table")


def layer(net: Describe, name: str) -> dict[str, Any]:
    """The row `name` of the layer table."""
    for row in net["layers"]:
        if row["name"] == name:
            return dict(row)
    raise Absent(f"the layer table of {net.get('experiment', 'the net')} does not hold {name}")


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


def _column(net: Describe, metric: str) -> list[float]:
    kinds, _, field = metric.partition(".")
    return [_number(row[field]) for row in _of_kind(net, kinds)]


def _listed(net: Describe, metric: str) -> list[Any]:
    """Values of `kind.field` over the layers of a kind, of several paths, or of the list at one path."""
    paths = metric.split()
    if len(paths) > 1:
        return [look_up(net, path) for path in paths]
    kinds, _, field = metric.partition(".")
    rows = _of_kind(net, kinds)
    if rows:
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


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
