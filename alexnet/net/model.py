"""The network of section 3.5 for a resolved configuration, both towers on one device.

A layer that reads its own tower is a grouped convolution over the maps [tower 0 | tower 1].
"""

import torch
from torch import Tensor, nn

from alexnet.experiments.architecture import Layer, layer_table, settings_of, steps_after
from alexnet.experiments.config import LayerRecord, Model, RunConfig
from alexnet.net.layers import Dropout, LocallyConnected2d, LocalResponseNorm

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Divided(nn.Module):
    """Input channels, each divided by a number of its own: (B, 3, rows, columns)."""

    def __init__(self, divisors: list[float]) -> None:
        super().__init__()
        self.divisors: Tensor
        self.register_buffer("divisors", torch.tensor(divisors)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x / self.divisors


class AlexNet(nn.Module):
    """Krizhevsky, Sutskever & Hinton (2012), or one of its ablations.

    Shape: (B, 3, crop, crop), mean-subtracted pixels on the 0-255 scale -> (B, classes) logits.
    `features(x, "fc7")` gives the output of the named layer after what follows it.
    """

    def __init__(self, model: Model, crop: int, classes: int) -> None:
        super().__init__()
        rows = {row.name: row for row in layer_table(model, crop, classes)}
        self.learned, self.towers = list(model["layers"]), model["towers"]
        self.reads = {name: rows[name].reads for name in self.learned}
        modules: dict[str, nn.Module] = {}
        if "input_divisors" in model:
            modules["input"] = Divided(model["input_divisors"])
        shape: tuple[int, ...] = (3, crop, crop)  # of what the layer reads
        for row in rows.values():
            if row.kind == "conv":
                modules[row.name] = _convolution(row)
            elif row.kind == "local":
                side = shape[1] + row.partial_window
                sizes = shape[0], row.output_shape[0], (side, side)
                modules[row.name] = LocallyConnected2d(*sizes, row.kernel, row.stride, row.pad)
            elif row.kind == "fc":
                modules[row.name] = nn.Linear(row.fan_in, row.units)
            shape = row.output_shape
            if row.name in model["layers"]:
                record = model["layers"][row.name]
                for step, suffix in steps_after(record["after"]):
                    modules[f"{step}_{row.name}{suffix}"] = _following(step, record, model)
        self.layers = nn.ModuleDict(modules)
        self.partial = {name: rows[name].partial_window for name in self.learned}

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, last=None)

    def features(self, x: Tensor, layer: str) -> Tensor:
        """Activations after `layer` and all that follows it before the next learned layer."""
        return self._run(x, last=layer)

    def _run(self, x: Tensor, last: str | None) -> Tensor:
        current = ""
        for name, module in self.layers.items():
            if name in self.partial:
                if current and current == last:
                    return x
                current = name
                extra = self.partial[name]
                if extra:
                    x = nn.functional.pad(x, (0, extra, 0, extra))
                if isinstance(module, nn.Linear) and x.dim() > 2:
                    x = x.flatten(1)  # (B, C, H, W) -> (B, C*H*W), tower 0 first
                x = self._read(name, x)
            x = module(x)
        return x

    def _read(self, name: str, x: Tensor) -> Tensor:
        """What a learned layer reads, from what is here; one tower of two adds what the other has."""
        return x


def _convolution(row: Layer) -> nn.Conv2d:
    inputs = row.fan_in // row.kernel**2 * row.groups
    return nn.Conv2d(inputs, row.output_shape[0], row.kernel, row.stride, row.pad, groups=row.groups)


def _following(step: str, record: LayerRecord, model: Model) -> nn.Module:
    if step == "activation":
        return ACTIVATIONS[model["activation"]]()
    if step == "lrn":
        return LocalResponseNorm(**settings_of(step, record, model), towers=model["towers"])
    if step == "spatial_norm":
        settings = settings_of(step, record, model)
        return LocalResponseNorm(**settings, mode="within", divide_alpha_by_size=True)
    if step == "pool":
        pool = settings_of(step, record, model)
        # a partial window counts, and its mean is over what lies inside (CC1 conv_util.cuh, regionSize)
        return POOLS[pool.get("kind", "max")](pool["kernel"], pool["stride"], ceil_mode=True)
    return Dropout(model["drop_probability"], model.get("inverted_dropout", False))


def build(config: RunConfig) -> AlexNet:
    """The network of a resolved configuration, weights drawn as section 5 says, keyed by its seed.

    With the model's `initial` at `uniform_by_fan_in` all weights and biases are drawn as torch draws them on its own, between
    -1 / sqrt(fan-in) and that.

    Raises:
        alexnet.errors.UserError: a net that cannot be built.
    """
    data = config["data"]
    net = AlexNet(config["model"], data["crop"], data["classes"])
    rows = {row.name: row for row in layer_table(config["model"], data["crop"], data["classes"])}
    generator = torch.Generator().manual_seed(config["seed"])
    with torch.no_grad():
        for name, record in config["model"]["layers"].items():
            layer = net.layers[name]
            assert isinstance(layer, nn.Conv2d | nn.Linear | LocallyConnected2d)
            assert layer.bias is not None
            if config["model"].get("initial") == "uniform_by_fan_in":
                bound = rows[name].fan_in ** -0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
            else:
                layer.weight.normal_(0.0, record["weight_std"], generator=generator)
                layer.bias.fill_(record["bias"])
    return net.to(memory_format=torch.channels_last)
