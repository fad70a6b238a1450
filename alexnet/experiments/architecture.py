"""The layer table of a model record: shapes, parameters, units and multiply-adds, without torch.

The counts are those of the paper's sections 3 and 3.5 and Figure 2: a *unit* ("neuron") is one output value of a
convolutional or fully connected layer, a parameter is a weight or a bias, and one multiply-add is one weight
applied once.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from alexnet.errors import UserError
from alexnet.experiments.config import LayerRecord, Model, Settings

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Layer:
    """One row of the layer table. Shapes are (channels, rows, columns) or (units,)."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    weights: int = 0
    biases: int = 0
    units: int = 0
    macs: int = 0
    fan_in: int = 0
    kernel: int = 0
    stride: int = 0
    pad: int = 0
    groups: int = 1
    reads: str = "all"
    weight_std: float = 0.0
    bias_value: float = 0.0
    receptive_field: int = 0  # pixels of the input seen by one unit; 0: the whole input
    partial_window: int = 0  # zeros added at the right and the bottom so that the last window counts

    @property
    def parameters(self) -> int:
        return self.weights + self.biases


def layer_table(model: Model, crop: int, classes: int, channels: int = 3) -> list[Layer]:
    """Layers of `model` on a `crop` x `crop` input, in order.

    UserError if a window is larger than what it reads, or maps cannot be shared out over the towers.
    """
    towers = model["towers"]
    shape: tuple[int, ...] = (channels, crop, crop)
    field, jump = 1, 1
    rows: list[Layer] = []
    for name, record in model["layers"].items():
        if "maps" in record:
            row = _convolution(name, record, shape, towers, model["partial_windows"], field, jump)
            if name.startswith("local"):
                row = _not_shared(row)
            field, jump = row.receptive_field, jump * row.stride
        else:
            units = classes if record["units"] == "classes" else record["units"]
            row = _learned(name, "fc", record, (units,), math.prod(shape))
        rows.append(row)
        shape = row.output_shape
        for step, suffix in steps_after(record["after"]):
            label = f"{step}{name.lstrip(LETTERS)}{suffix}"
            if step == "pool":
                pool = _pooling(label, name, settings_of(step, record, model), shape, field, jump)
                field, jump = pool.receptive_field, jump * pool.stride
                shape = pool.output_shape
                rows.append(pool)
            else:
                kind = model["activation"] if step == "activation" else step
                rows.append(Layer(label, kind, shape))
    return rows


def steps_after(after: list[str]) -> list[tuple[str, str]]:
    """The steps that follow a layer, each with what tells it from an earlier one of its kind: "", "_2", ..."""
    counts = [after[: i + 1].count(step) for i, step in enumerate(after)]
    return [(step, f"_{n}" if n > 1 else "") for step, n in zip(after, counts, strict=True)]


def settings_of(step: str, record: LayerRecord, model: Model) -> Settings:
    """Settings of a `pool`, `lrn` or `spatial_norm` after a layer: the model's, and what the layer has of its own."""
    settings: Settings = {**model[step], **record.get(step, {})}  # type: ignore[literal-required, dict-item]
    return settings


def in_order(layers: dict[str, Any]) -> dict[str, Any]:
    """Layers in the order of computation: convolutional and local before fully connected, by number."""
    return dict(sorted(layers.items(), key=lambda item: (item[0][:2] == "fc", int(item[0].lstrip(LETTERS)))))


def _convolution(
    name: str, record: LayerRecord, shape: tuple[int, ...], towers: int, partial_windows: bool, field: int, jump: int
) -> Layer:
    channels, rows, _ = shape
    kernel, stride, pad, maps = record["kernel"], record["stride"], record["pad"], record["maps"]
    groups = towers if record["reads"] == "own_tower" else 1
    if maps % towers or channels % groups:
        raise UserError(
            f"{name}: {maps} maps that read {channels} cannot be shared out over {towers} towers; choose even numbers"
        )
    span = rows + 2 * pad - kernel
    if span < 0:
        raise UserError(f"{name}: a {kernel}-pixel kernel does not fit into {rows} pixels; choose a larger `crop`")
    extra = (-span) % stride if partial_windows else 0
    side = (span + extra) // stride + 1
    seen = field + (kernel - 1) * jump
    row = _learned(name, "conv", record, (maps, side, side), channels // groups * kernel * kernel)
    row = replace(row, kernel=kernel, stride=stride, pad=pad, groups=groups, reads=record["reads"])
    return replace(row, receptive_field=seen, partial_window=extra)


def _not_shared(row: Layer) -> Layer:
    """The same layer with weights and biases of its own at each place, the `local` of the CIFAR-10 nets."""
    if row.groups > 1:
        raise UserError(f"{row.name}: a layer without shared kernels reads all towers; choose `reads: all`")
    return replace(row, kind="local", weights=row.units * row.fan_in, biases=row.units)


def _learned(name: str, kind: str, record: LayerRecord, shape: tuple[int, ...], fan_in: int) -> Layer:
    """A layer with `shape[0]` kernels or units that read `fan_in` values each."""
    units, weights = math.prod(shape), shape[0] * fan_in
    row = Layer(name, kind, shape, weights, biases=shape[0], units=units, macs=units * fan_in, fan_in=fan_in)
    return replace(row, weight_std=record["weight_std"], bias_value=record["bias"])


def _pooling(label: str, after: str, pool: dict[str, Any], shape: tuple[int, ...], field: int, jump: int) -> Layer:
    channels, rows, _ = shape
    kernel, stride = pool["kernel"], pool["stride"]
    if rows < kernel:
        raise UserError(
            f"pooling after {after}: a window of {kernel} does not fit into {rows} pixels; choose a larger `crop`"
        )
    side = 1 + math.ceil((rows - kernel) / stride)  # code layer.py:1163-1164 rounds up
    return Layer(
        name=label,
        kind="pool",
        output_shape=(channels, side, side),
        kernel=kernel,
        stride=stride,
        receptive_field=field + (kernel - 1) * jump,
    )


def exchange(rows: list[Layer], towers: int) -> list[dict[str, Any]]:
    """What crosses between two towers on two devices (s. 3.2), at each place: values that one tower sends an image.

    Before a layer that reads both towers, half of what it reads, and the gradient of the other half on the way
    back; after the last one half of the output, which the other tower's softmax needs. Empty for one tower.
    """
    learned = [row for row in rows if row.kind in ("conv", "local", "fc")]
    crossing = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before and row in learned[1:] and row.reads == "all":
            half = math.prod(before.output_shape) / towers
            crossing.append({"place": f"before {row.name}", "forward": half, "backward": half})
    last = learned[-1]
    half = math.ceil(last.units / towers)
    crossing.append({"place": f"after {last.name}", "forward": half, "backward": 0})
    return crossing if towers == 2 else []


def describe(model: Model, crop: int, classes: int) -> dict[str, Any]:
    """The layer table and its totals as a JSON-ready record."""
    rows = layer_table(model, crop, classes)
    totals = {key: sum(getattr(row, key) for row in rows) for key in ("weights", "biases", "units", "macs")}
    return {
        "input_shape": [3, crop, crop],
        "towers": model["towers"],
        "layers": [asdict(row) | {"parameters": row.parameters} for row in rows],
        "exchange": exchange(rows, model["towers"]),
        "totals": {"parameters": totals["weights"] + totals["biases"], **totals},
    }
