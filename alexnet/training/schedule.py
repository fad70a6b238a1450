"""Learning rates in force during an epoch, and whether a training should stop early."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alexnet.experiments.config import Optimizer

PACE = 5  # epochs over which `hopeless` measures how fast errors fall

BEGUN = 0.1  # that errors must have fallen before anything is said

MARGIN = 0.02  # above the mark; ten standard errors of a training error of 50,000 images


@dataclass(frozen=True)
class Rates:
    """Learning rates in force during one epoch; `reason` says in words why these."""

    weights: float
    biases: float
    reason: str
    layers: dict[str, dict[str, float]] = field(default_factory=dict)  # {"conv1": {"weights": 0.0}}: what differs
    color_noise: bool = True

    def of(self, group: str) -> float:
        """Rate of a group of `parameter_groups`."""
        layer, _, kind = group.partition(".")
        return self.layers.get(layer, {}).get(kind, self.weights if kind == "weights" else self.biases)


def rates(optimizer: Optimizer, epoch: int, epochs: int, validation_errors: Sequence[float]) -> Rates:
    """The rates of `epoch` (0-based) of `epochs`, by the schedule of a resolved configuration.

    Args:
        optimizer: the configuration's `optimizer`; its `equal_rates` puts biases and all layers at the rate of
            the weights (s. 5).
        validation_errors: of the epochs before `epoch`; only the plateau rule looks at them, so that the rates
            are a function of what a checkpoint holds anyway.
    """
    schedule = optimizer["schedule"]
    if schedule["rule"] == "plateau":
        found = plateau(schedule, validation_errors[:epoch])
    elif schedule["rule"] == "stages":
        found = stage(schedule, epoch, epochs)
    else:
        found = stepwise_exponential(schedule, epoch, epochs)
    return replace(found, biases=found.weights, layers={}) if optimizer["equal_rates"] else found


def over(optimizer: Optimizer, training_errors: Sequence[float], epochs: int) -> bool:
    """Whether a training of `epochs` with `stop_at` is over: it reached its mark and did the epochs after it, diverged (NaN), or is hopeless."""
    stop = optimizer.get("stop_at")
    if not stop or not training_errors:
        return False
    if math.isnan(training_errors[-1]):
        return True
    first = next((i for i, error in enumerate(training_errors) if error <= stop["train_error"]), None)
    if first is None:
        return hopeless(training_errors, epochs, stop["train_error"])
    return len(training_errors) > first + stop["more_epochs"]


def hopeless(errors: Sequence[float], epochs: int, mark: float) -> bool:
    """Whether errors that fall ever slower would stay above `mark`, by `MARGIN`, if they fell on to the last epoch as they do now.

    Falling ever slower: less in the last `PACE` epochs than in as many before, and in those no more than in as many
    before them. Nothing is said of a net that has not begun to learn (`BEGUN`), or learns faster and faster.
    """
    if len(errors) <= 3 * PACE or max(errors) - errors[-1] < BEGUN:
        return False
    before, earlier, later = (errors[-1 - i * PACE - PACE] - errors[-1 - i * PACE] for i in (2, 1, 0))
    at_end = errors[-1] - max(0.0, later) / PACE * (epochs - len(errors))
    return later < earlier <= before and at_end > mark + MARGIN


def stage(schedule: dict[str, Any], epoch: int, epochs: int) -> Rates:
    """Fixed stages, as the lab set them by hand; their bounds are compressed to `epochs`."""
    position = epoch / epochs * schedule["epochs"]
    stages = schedule["stages"]
    number = next((i for i, s in enumerate(stages) if position < s["until"] - 1e-9), len(stages) - 1)
    chosen = stages[number]
    return Rates(
        chosen["weights"],
        chosen["biases"],
        f"stage {number + 1} of {len(stages)}",
        chosen.get("layers", {}),
        chosen.get("color_noise", True),
    )


def plateau(schedule: dict[str, Any], validation_errors: Sequence[float]) -> Rates:
    """The rule of s. 5: rates divided by `factor` when the validation error stops improving, `drops` times at most.

    "Stops improving" is `patience` epochs in a row without a new lowest error; the count starts anew at a drop.
    """
    drops, lowest, waited, reason = 0, math.inf, 0, "first rate"
    for number, error in enumerate(validation_errors, start=1):
        waited = 0 if error < lowest else waited + 1
        lowest = min(lowest, error)
        if waited >= schedule["patience"] and drops < schedule["drops"]:
            drops, waited = drops + 1, 0
            reason = (
                f"drop {drops} of {schedule['drops']}: validation error not below {100 * lowest:.2f}% "
                f"for {schedule['patience']} epochs up to epoch {number}"
            )
    divisor = schedule["factor"] ** drops
    weights = schedule["weights"] / divisor
    return Rates(weights, schedule["biases"] / divisor if "biases" in schedule else weights, reason)


def stepwise_exponential(schedule: dict[str, Any], epoch: int, epochs: int) -> Rates:
    """Stages of equal length from `base` to `base / factor`, geometric (code lr.cu:132-151, "dexp")."""

    def step(series: dict[str, Any]) -> int:
        return min(math.floor(epoch / epochs * series["steps"] + 1e-9), series["steps"] - 1)

    def rate(series: dict[str, Any]) -> float:
        if series["steps"] == 1:
            return float(series["base"])
        return float(series["base"] * series["factor"] ** (-step(series) / (series["steps"] - 1)))

    weights, biases = schedule["weights"], schedule["biases"]
    reason = f"step {step(weights) + 1} of {weights['steps']} (biases {step(biases) + 1} of {biases['steps']})"
    return Rates(rate(weights), rate(biases), reason)


def describe_rates(current: Rates) -> str:
    """The rates in one line of a log."""
    own = [f"{layer} {kind} {rate:g}" for layer, rates_ in current.layers.items() for kind, rate in rates_.items()]
    noise = [] if current.color_noise else ["without colour noise"]
    return ", ".join([f"{current.weights:g}, biases {current.biases:g}", *own, *noise])
