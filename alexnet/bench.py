"""Turns this machine's time into ratios: our training step and our parts beside what one would write first.

Each pair is measured in turn, A B A B, in one process and at one thread count, after a warm-up of both; the
figures are medians, the ratio is the median of the ratios pair by pair with the smallest and the largest.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet import experiments
from alexnet.files import write_atomically
from alexnet.layers import LocalResponseNorm
from alexnet.model import build
from alexnet.optim import PaperSGD, Rates, parameter_groups, set_rates

COLUMNS = (
    "benchmark",
    "subject",
    "subject_value",
    "peer",
    "peer_value",
    "unit",
    "ratio",
    "ratio_low",
    "ratio_high",
    "n",
)
Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Two ways to do the same amount of work; `count` units of it a call. A ratio above 1: ours is faster."""

    benchmark: str
    subject: str
    peer: str
    unit: str
    count: int
    ours: Work
    theirs: Work


def seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(pair: Pair, rounds: int) -> dict[str, Any]:
    """One row of the table, from `rounds` alternations after one warm-up of each."""
    pair.ours(), pair.theirs()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds(pair.ours))
        theirs.append(seconds(pair.theirs))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    values = (
        pair.benchmark,
        pair.subject,
        pair.count / statistics.median(ours),
        pair.peer,
        pair.count / statistics.median(theirs),
        pair.unit,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        rounds,
    )
    return dict(zip(COLUMNS, values, strict=True))


class ObviousNorm(nn.Module):
    """torch.nn.LocalResponseNorm on each tower, the obvious way to write s. 3.3 (dividing alpha)."""

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        alpha = norm.coefficient * norm.size
        self.norm, self.towers = nn.LocalResponseNorm(norm.size, alpha, norm.beta, norm.k), norm.towers

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(half) for half in x.chunk(self.towers, 1)], 1)


def obvious_net(config: dict[str, Any]) -> nn.Module:
    """The same net as one would write it first: torch's normalisation, contiguous tensors."""
    net = build(config)
    for name, module in net.layers.items():
        if isinstance(module, LocalResponseNorm) and module.mode == "across":
            net.layers[name] = ObviousNorm(module)
    return net.to(memory_format=torch.contiguous_format)


def training_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Callable[[], float]:
    def step() -> float:
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def step_pair(study: str, batch: int) -> Pair:
    """Our training step against the obvious program, for the base experiment of a study."""
    config = experiments.resolve(study, "alexnet", 1)
    crop = config["data"]["crop"]
    images = torch.randn(batch, 3, crop, crop) * 60
    labels = torch.arange(batch) % config["data"]["classes"]
    slow = Rates(1e-4, 1e-4, "bench")
    ours = build(config)
    optimizer = PaperSGD(parameter_groups(ours, config["optimizer"]))
    set_rates(optimizer, slow)
    theirs = obvious_net(config)
    peer = torch.optim.SGD(theirs.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    return Pair(
        f"training step, {study} net, batch {batch}",
        "alexnet.model, fp32, channels last",
        "torch.nn.LocalResponseNorm, fp32, contiguous",
        "images/s",
        batch,
        training_step(ours, optimizer, images.to(memory_format=torch.channels_last), labels),
        training_step(theirs, peer, images, labels),
    )


def norm_pair(batch: int) -> Pair:
    """Response normalisation alone, forward and backward, at the shape of conv1 of the full-size net."""
    norm = LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha_by_size=True, towers=2)
    obvious = ObviousNorm(norm)
    x = torch.randn(batch, 96, 55, 55)

    def both_ways(layer: nn.Module, inputs: Tensor) -> Work:
        leaf = inputs.requires_grad_()
        return lambda: torch.autograd.grad(layer(leaf).sum(), leaf)

    return Pair(
        f"response normalisation, 96 x 55 x 55, batch {batch}",
        "alexnet.layers.LocalResponseNorm",
        "torch.nn.LocalResponseNorm",
        "images/s",
        batch,
        both_ways(norm, x.to(memory_format=torch.channels_last)),
        both_ways(obvious, x.clone()),
    )


def bench(
    out: Path, rounds: int = 5, threads: int | None = None, full_size: bool = True
) -> list[dict[str, Any]]:
    """Measure all pairs and write the table to `out` (CSV).

    Raises:
        alexnet.errors.UserError: the definitions in config/ cannot be read.
    """
    if threads:
        torch.set_num_threads(threads)
    pairs: list[Callable[[], Pair]] = [lambda: norm_pair(16), lambda: step_pair("demo", 128)]
    if full_size:
        pairs.append(lambda: step_pair("ilsvrc2012", 32))
    rows = []
    for make in pairs:
        row = compare(make(), rounds)
        rows.append(row)
        print(
            f"{row['benchmark']}: {row['subject']} {row['subject_value']:.0f} {row['unit']}, {row['peer']} "
            f"{row['peer_value']:.0f}; ratio {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}, "
            f"n={row['n']}, {torch.get_num_threads()} threads)",
            file=sys.stderr,
        )

    def write(path: Path) -> None:
        with open(path, "w", newline="") as target:
            writer = csv.DictWriter(target, fieldnames=COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(out, write)
    return rows
