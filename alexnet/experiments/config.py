"""The resolved configuration of a run as types; what may stand in it is checked by workflow/schemas/experiments.schema.yaml.

Annotations are no strings here: `NotRequired` is read from them when the classes are made.
"""

from typing import Any, NotRequired, TypedDict

Settings = dict[str, Any]  # of a pooling, a normalisation or a schedule: other keys for each kind


class Data(TypedDict):
    """Which images, by packed set and split; sides in pixels."""

    set: str
    train_split: str
    validation_set: str
    validation_split: str
    image_size: int
    crop: int
    classes: int


class LayerRecord(TypedDict):
    """A learned layer: convN and localN have maps, kernel, stride and pad, fcN units."""

    maps: NotRequired[int]
    kernel: NotRequired[int]
    stride: NotRequired[int]
    pad: NotRequired[int]
    units: NotRequired[Any]  # a number; in a recipe also the word classes
    reads: str
    weight_std: float
    bias: float
    after: list[str]
    pool: NotRequired[Settings]
    lrn: NotRequired[Settings]
    spatial_norm: NotRequired[Settings]


class Model(TypedDict):
    towers: int
    activation: str
    partial_windows: bool
    initial: NotRequired[str]
    input_divisors: NotRequired[list[float]]
    scale_std_by_fan_in: bool
    pool: Settings
    lrn: Settings
    spatial_norm: Settings
    drop_probability: float
    inverted_dropout: NotRequired[bool]
    layers: dict[str, LayerRecord]


class Augmentation(TypedDict):
    random_crop: bool
    horizontal_flip: bool
    images_per_crop: int
    mean: str
    color_noise: float
    color_noise_scale: str
    color_divisor: float
    color_noise_stays: bool
    reshuffle: bool


class StopAt(TypedDict):
    train_error: float
    more_epochs: int


class Optimizer(TypedDict):
    batch_size: int
    data_batch: NotRequired[int]
    partial_batch: str
    momentum: float
    weight_decay: float
    layer_weight_decay: NotRequired[dict[str, float]]
    stop_at: NotRequired[StopAt]
    decay_biases: bool
    equal_rates: bool
    schedule: Settings


class Training(TypedDict):
    epochs: int
    threads: int


class Member(TypedDict):
    experiment: str
    seed: int
    fingerprint: str


class RunConfig(TypedDict):
    """Of a run; of an average of nets only study, experiment, seed, tier, fingerprint and `members`."""

    study: str
    experiment: str
    seed: int
    tier: str
    data: Data
    model: Model
    augmentation: Augmentation
    optimizer: Optimizer
    training: Training
    precision: str
    rate: NotRequired[dict[str, Any]]  # factor; pilot, where it is being tried
    starts_from: NotRequired[dict[str, Any]]  # experiment, fingerprint, except
    members: NotRequired[list[Member]]
    fingerprint: str
