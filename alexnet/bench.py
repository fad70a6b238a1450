"""Turns this machine's time into ratios: our training step and our parts beside what one would write first."""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet import experiments, provenance
from alexnet.bench_ingest import ingest_rows
from alexnet.bench_loader import loader_rows
from alexnet.comparison import COLUMNS, Pair, Work, compare
from alexnet.files import write_atomically, write_json
from alexnet.layers import LocalResponseNorm
from alexnet.model import build
from alexnet.optim import PaperSGD, Rates, parameter_groups, set_rates

PARTS = ("ingest", "loader", "step")


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


def step_rows(rounds: int, full_size: bool) -> Iterator[dict[str, Any]]:
    """Rows on the training step and its parts."""
    pairs: list[Callable[[], Pair]] = [lambda: norm_pair(16), lambda: step_pair("demo", 128)]
    if full_size:
        pairs.append(lambda: step_pair("ilsvrc2012", 32))
    for make in pairs:
        yield compare(make(), rounds)


def bench(
    out: Path,
    folders: list[Path],
    rounds: int = 5,
    threads: int | None = None,
    only: str | None = None,
    full_size: bool = True,
) -> list[dict[str, Any]]:
    """Measure everything and write the table to `out` (CSV), and the machine beside it (.json).

    Args:
        folders: where real full-size images are looked for.
        only: one of PARTS; None for all.

    Raises:
        alexnet.errors.UserError: the definitions in config/ cannot be read.
    """
    if threads:
        torch.set_num_threads(threads)
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="bench-") as work:
        parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "ingest": lambda: ingest_rows(folders, Path(work), rounds),
            "loader": lambda: loader_rows(Path(work), rounds),
            "step": lambda: step_rows(rounds, full_size),
        }
        for name in PARTS:
            for row in parts[name]() if only in (None, name) else ():
                rows.append(row)
                print(
                    f"{row['benchmark']}: {row['subject']} {row['subject_value']:.0f} {row['unit']}, {row['peer']} "
                    f"{row['peer_value']:.0f}; ratio {row['ratio']:.2f} ({row['ratio_low']:.2f} to "
                    f"{row['ratio_high']:.2f}, n={row['n']})",
                    file=sys.stderr,
                    flush=True,
                )

    def write(path: Path) -> None:
        with open(path, "w", newline="") as target:
            writer = csv.DictWriter(target, fieldnames=COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(out, write)
    machine = provenance.collect() | {"threads": torch.get_num_threads()}
    write_json(out.with_suffix(".json"), machine)
    return rows
