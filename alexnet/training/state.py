"""Where a training stands, and how often it is kept."""

from dataclasses import dataclass, field
from typing import Any

from alexnet.errors import UserError
from alexnet.experiments.config import RunConfig
from alexnet.packed.packed_set import Split


@dataclass(frozen=True)
class Cadence:
    """When checkpoints are written, besides after each epoch."""

    minutes: float = 10.0  # since the last one
    steps: int = 0  # after each so many steps of an epoch; 0: by the clock alone


BY_THE_CLOCK = Cadence()


@dataclass
class State:
    """What a checkpoint holds besides weights and velocities; no random state, as each draw has its key."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps finished of the epoch that is going on
    images: int = 0  # that these steps had
    sums: list[float] = field(default_factory=lambda: [0.0] * 3)  # loss, top-1 and top-5 errors of these images
    seconds: float = 0.0  # that these steps took
    history: list[dict[str, float]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.step, self.images, self.sums, self.seconds = epoch, 0, 0, [0.0] * 3, 0.0

    @property
    def place(self) -> str:
        """In words."""
        return f"after epoch {self.epoch}" + (f" and {self.step} steps" if self.step else "")


def check_data(split: Split, config: RunConfig) -> None:
    record = config["data"]
    classes = len(split.manifest["classes"])
    if classes != record["classes"]:
        raise UserError(
            f"the packed set {split.set} has {classes} classes, study {config['study']} says {record['classes']}"
        )
    if split.images.shape[1] != record["image_size"]:
        raise UserError(
            f"the packed set {split.set} has images of {split.images.shape[1]} pixels, study {config['study']} says "
            f"{record['image_size']}; pack it again"
        )
