"""Turns the processor's time into ratios: our training step beside the obvious program, torchvision's net and the limits.

Each program runs in a process of its own, with its own threads and allocator settings, so that none profits from
what another one set up; while one works, the others wait. CUDA devices are not measured here.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet import experiments
from alexnet.architecture import layer_table
from alexnet.comparison import Pair, Work, compare, row
from alexnet.errors import UserError
from alexnet.execution import keep_memory, plan
from alexnet.layers import LocalResponseNorm
from alexnet.model import AlexNet, build
from alexnet.optim import PaperSGD, Rates, parameter_groups, set_rates
from alexnet.towers import Link, Tower, run_both

FULL, SMALL = "ilsvrc2012", "demo"  # studies whose base nets are measured
RATE = 1e-5  # low, so that the random images below lead nowhere
Make = Callable[..., Callable[[], Any]]


# Programs ------------------------------------------------------------------------------------------------------------


class ObviousNorm(nn.Module):
    """torch.nn.LocalResponseNorm on each tower, the obvious way to write s. 3.3 (dividing alpha)."""

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        alpha = norm.coefficient * norm.size
        self.norm, self.towers = nn.LocalResponseNorm(norm.size, alpha, norm.beta, norm.k), norm.towers

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(half) for half in x.chunk(self.towers, 1)], 1)


class ObviousSpatialNorm(nn.Module):
    """Normalisation within maps as one would write it in torch."""

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        sums = F.avg_pool2d(x * x, n.size, stride=1, padding=n.size // 2, divisor_override=1)
        return x / (n.k + n.coefficient * sums) ** n.beta


def obvious_net(config: dict[str, Any]) -> nn.Module:
    """The same net as one would write it first: torch's normalisation, contiguous tensors."""
    net = build(config)
    for name, module in net.layers.items():
        if isinstance(module, LocalResponseNorm):
            net.layers[name] = ObviousNorm(module) if module.mode == "across" else ObviousSpatialNorm(module)
    return net.to(memory_format=torch.contiguous_format)


def resolved(study: str, experiment: str, precision: str = "fp32") -> dict[str, Any]:
    return experiments.resolve(study, experiment, 1) | {"precision": precision}


def batch_of(config: dict[str, Any], batch: int, last: bool) -> tuple[Tensor, Tensor]:
    """Random images (batch, 3, crop, crop) and labels, the same in every process."""
    crop, generator = config["data"]["crop"], torch.Generator().manual_seed(0)
    images = 60 * torch.randn(batch, 3, crop, crop, generator=generator)
    format = torch.channels_last if last else torch.contiguous_format
    return images.contiguous(memory_format=format), torch.arange(batch) % config["data"]["classes"]


def training_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, bf16: bool = False
) -> Callable[[], float]:
    """One step as `alexnet.train` does it."""
    net.train()

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net(images).float()
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(
    config: dict[str, Any], batch: int, threads: int, link: Link | None = None
) -> Callable[[], float]:
    """Our program; with a `link` one tower's part of it."""
    plan("0", threads, config["precision"]).apply()
    net: AlexNet | Tower = Tower(build(config), link) if link else build(config)
    optimizer = PaperSGD(parameter_groups(net, config["optimizer"]))
    set_rates(optimizer, Rates(RATE, RATE, "bench"))
    return training_step(net, optimizer, *batch_of(config, batch, True), config["precision"] == "bf16")


def obvious_step(config: dict[str, Any], batch: int, threads: int) -> Callable[[], float]:
    torch.set_num_threads(threads)
    net = obvious_net(config)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    return training_step(net, optimizer, *batch_of(config, batch, False))


def torchvision_step(config: dict[str, Any], batch: int, threads: int) -> Callable[[], float]:
    """torchvision's own AlexNet, another net (one tower, no normalisation), with the best settings known."""
    from torchvision.models import alexnet

    torch.set_num_threads(threads)
    keep_memory()
    net = alexnet(num_classes=config["data"]["classes"]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, fused=True)
    least = config | {"data": config["data"] | {"crop": max(64, config["data"]["crop"])}}  # that it takes
    return training_step(net, optimizer, *batch_of(least, batch, True), config["precision"] == "bf16")


def matrix_product(size: int, precision: str, threads: int) -> Callable[[], Any]:
    """A product of two size x size matrices."""
    torch.set_num_threads(threads)
    a, b = (torch.randn(size, size).to(_type(precision)) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def convolution(batch: int, precision: str, threads: int) -> Callable[[], Any]:
    """conv3 of the full-size net, forward."""
    torch.set_num_threads(threads)
    keep_memory()
    x = torch.randn(batch, 256, 13, 13).to(_type(precision)).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(384, 256, 3, 3).to(_type(precision)).contiguous(memory_format=torch.channels_last)
    return torch.no_grad()(lambda: F.conv2d(x, weight, padding=1))


def _type(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


def norm_alone(batch: int, precision: str, threads: int, obvious: bool) -> Callable[[], Any]:
    """Response normalisation, forward and backward, at the shape of conv1 of the full-size net."""
    torch.set_num_threads(threads)
    keep_memory()
    norm = LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha_by_size=True, towers=2)
    layer = ObviousNorm(norm) if obvious else norm
    x = torch.randn(batch, 96, 55, 55).to(_type(precision))
    x = (x if obvious else x.contiguous(memory_format=torch.channels_last)).requires_grad_()
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(layer(x), x, grad)


def layer_times(config: dict[str, Any], batch: int, threads: int) -> Callable[[], dict[str, float]]:
    """Seconds that each layer takes, forward and backward, one after the other on what it gets in the net."""
    plan("0", threads, config["precision"]).apply()
    net = build(config).train()
    images, _ = batch_of(config, batch, True)
    bf16 = config["precision"] == "bf16"
    inputs: dict[str, Tensor] = {}

    def remember(name: str, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[name] = arguments[0].detach()

    for name, module in net.layers.items():
        module.register_forward_pre_hook(partial(remember, name))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        net(images)

    def measure() -> dict[str, float]:
        found = {}
        for number, (name, module) in enumerate(net.layers.items()):
            x = inputs[name].clone(memory_format=torch.preserve_format).requires_grad_(number > 0)
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = module(x)
            torch.autograd.backward(out, torch.ones_like(out))
            found[name] = time.perf_counter() - started
        return found

    return measure


# Processes -----------------------------------------------------------------------------------------------------------


class Program:
    """A program in a process of its own, which works once at each call, and its result.

    Args:
        make: a function of this module that sets it up and returns what works.
    """

    def __init__(self, make: Make, *arguments: Any) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.connection: Connection = ours
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self.process.start()
        theirs.close()
        self._hear()

    def _hear(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise UserError("a program of the benchmark ended; its message stands above") from None

    def begin(self) -> None:
        self.connection.send("work")

    def end(self) -> Any:
        return self._hear()

    def __call__(self) -> Any:
        self.begin()
        return self.end()

    def peak_mb(self) -> float:
        """Its largest memory so far."""
        self.connection.send("memory")
        return float(self._hear())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.join()


def _serve(connection: Connection, make: Make, arguments: tuple[Any, ...]) -> None:
    _obey(connection, make(*arguments))


def _obey(connection: Connection, work: Callable[[], Any]) -> None:
    connection.send("ready")
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        if order == "work":
            connection.send(work())
        else:
            connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class TwoTowers:
    """Our program as two processes with a device each, called as one."""

    def __init__(self, config: dict[str, Any], batch: int, threads: int) -> None:
        pairs = [multiprocessing.Pipe() for _ in range(2)]
        self.connections = [ours for ours, _ in pairs]
        arguments = ([theirs for _, theirs in pairs], config, batch, threads)
        self.thread = threading.Thread(target=run_both, args=(_serve_tower, arguments, "gloo", 600.0))
        self.thread.start()
        self.answers()
        for _, theirs in pairs:
            theirs.close()

    def answers(self) -> list[Any]:
        try:
            return [connection.recv() for connection in self.connections]
        except EOFError:
            raise UserError("a tower of the benchmark ended; its message stands above") from None

    def __call__(self) -> list[Any]:
        for connection in self.connections:
            connection.send("work")
        return self.answers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()
        self.thread.join()


def _serve_tower(
    link: Link, connections: list[Connection], config: dict[str, Any], batch: int, threads: int
) -> None:
    connections[1 - link.rank].close()
    _obey(connections[link.rank], our_step(config, batch, threads, link))


# Rows of the table ---------------------------------------------------------------------------------------------------


def operations(config: dict[str, Any]) -> float:
    """Floating-point operations of a training step an image: forward and both gradients, but not that of the image."""
    rows = layer_table(config["model"], config["data"]["crop"], config["data"]["classes"])
    macs = [row.macs for row in rows]
    return 2 * (3 * sum(macs) - next(filter(None, macs)))


def step_rows(rounds: int, full_size: bool, cores: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows on the training step and its parts.

    Args:
        full_size: the full-size net in batches of 128; else the demo's in small ones, for tests.
        cores: threads of a run that has the machine for itself.
    """
    cores = cores or len(os.sched_getaffinity(0))
    study, batch = (FULL, 128) if full_size else (SMALL, 8)
    precisions = ("fp32", "bf16") if full_size else ("bf16",)
    for precision in precisions:
        yield from _whole_step(rounds, study, batch, precision, cores)
    for precision in precisions:
        size = 32 if full_size else 2
        with (
            Program(norm_alone, size, precision, cores, False) as ours,
            Program(norm_alone, size, "fp32", cores, True) as theirs,  # torch has none in bfloat16
        ):
            what = f"response normalisation, 96 x 55 x 55, batch {size}"
            names = f"alexnet.layers.LocalResponseNorm, {precision}", "torch.nn.LocalResponseNorm, fp32"
            yield compare(Pair(what, *names, "images/s", size, ours, theirs), rounds)
    yield from _small_runs(rounds, cores, 128 if full_size else 8)


def _whole_step(rounds: int, study: str, batch: int, precision: str, cores: int) -> Iterator[dict[str, Any]]:
    config, plain = resolved(study, "alexnet", precision), resolved(study, "alexnet")
    what, ours_is = f"training step, {study} net, batch {batch}", f"this bench, {precision}"

    def pair(peer: str, theirs: Work, ours: Work, subject: str = ours_is) -> dict[str, Any]:
        return compare(Pair(what, subject, peer, "images/s", batch, ours, theirs), rounds)

    with ExitStack() as stack:
        ours = stack.enter_context(Program(our_step, config, batch, cores))
        with Program(obvious_step, plain, batch, cores) as theirs:
            yield pair("torch.nn.LocalResponseNorm, fp32, contiguous", theirs, ours)
            memory = [ours.peak_mb()], [theirs.peak_mb()]
            peer = "torch.nn.LocalResponseNorm, fp32, contiguous"
            yield row(f"peak memory, {study} net, batch {batch}", ours_is, memory[0], peer, memory[1], "MB")
        with Program(torchvision_step, config, batch, cores) as theirs:
            yield pair(f"torchvision's AlexNet (no normalisation), {precision}, channels last", theirs, ours)
        with Program(our_step, resolved(study, "no_lrn", precision), batch, cores) as theirs:
            yield pair(f"the same without response normalisation, {precision}", theirs, ours)
        size, images = (2048, 128) if batch >= 128 else (256, 8)
        limits: list[tuple[str, Make, tuple[Any, ...], float]] = [
            ("matrix product", matrix_product, (size, precision, cores), 2 * size**3),
            ("convolution like conv3, forward", convolution, (images, precision, cores), _conv3(images)),
        ]
        for peer, make, arguments, count in limits:
            with Program(make, *arguments) as limit:
                repeats = 5
                yield compare(
                    Pair(
                        f"arithmetic of the step, {study} net, batch {batch}",
                        ours_is, f"{peer}, {precision}", "GFLOP/s", operations(config) * batch / 1e9,
                        ours, _repeated(limit, repeats), count * repeats / 1e9,
                    ),
                    rounds,
                )  # fmt: skip
        with Program(layer_times, config, batch, cores) as layers:
            yield from _split(layers, ours, rounds, f"{study} net, batch {batch}, {precision}")
        with TwoTowers(config, batch, max(1, cores // 2)) as towers:
            subject = f"two towers in two processes of {max(1, cores // 2)} threads, {precision}"
            yield pair(f"one process of {cores} threads, {precision}", ours, towers, subject)
            alone = resolved(study, "one_gpu", precision)
            with Program(our_step, alone, batch, max(1, cores // 2)) as theirs:
                peer = f"the one-GPU net in one process of {max(1, cores // 2)} threads, {precision}"
                yield pair(peer, theirs, towers, subject)


def _conv3(images: int) -> float:
    return 2.0 * images * 384 * 256 * 9 * 13 * 13


def _repeated(work: Work, times: int) -> Work:
    def repeated() -> None:
        for _ in range(times):
            work()

    return repeated


def _split(layers: Program, step: Program, rounds: int, what: str) -> Iterator[dict[str, Any]]:
    """Share of each layer in the step, measured alone; the update and the loss are not among them."""
    layers(), step()
    times: dict[str, list[float]] = {}
    steps: list[float] = []
    for _ in range(rounds):
        for name, seconds in layers().items():
            times.setdefault(name, []).append(1000 * seconds)
        started = time.perf_counter()
        step()
        steps.append(1000 * (time.perf_counter() - started))
    for name, values in times.items():
        if statistics.median(values) >= 0.005 * statistics.median(steps):
            yield row(f"time of a layer, {what}", name, values, "the whole step", steps, "ms")


def _small_runs(rounds: int, cores: int, batch: int) -> Iterator[dict[str, Any]]:
    """The demo's net: as many runs of one thread as there are cores, against one run of all threads."""
    config, steps = resolved(SMALL, "alexnet"), 10
    what = f"training step, {SMALL} net, batch {batch}"
    with ExitStack() as stack:
        several = [stack.enter_context(Program(our_step, config, batch, 1)) for _ in range(cores)]
        one = stack.enter_context(Program(our_step, config, batch, cores))
        obvious = stack.enter_context(Program(obvious_step, config, batch, cores))

        def side_by_side() -> None:
            for _ in range(steps):
                for program in several:
                    program.begin()
                for program in several:
                    program.end()

        images, alone = batch * steps, _repeated(one, steps)
        yield compare(
            Pair(what, f"{cores} runs side by side, a thread each", f"one run of {cores} threads", "images/s",
                 images * cores, side_by_side, alone, images),
            rounds,
        )  # fmt: skip
        peer = "torch.nn.LocalResponseNorm, fp32, contiguous"
        yield compare(
            Pair(what, "this bench, fp32", peer, "images/s", images, alone, _repeated(obvious, steps)), rounds
        )


def show(found: dict[str, Any]) -> None:
    """A row, as a line for people."""
    print(
        f"{found['benchmark']}: {found['subject']} {found['subject_value']:.3g} {found['unit']}, {found['peer']} "
        f"{found['peer_value']:.3g}; ratio {found['ratio']:.2f} ({found['ratio_low']:.2f} to "
        f"{found['ratio_high']:.2f}, n={found['n']})",
        file=sys.stderr,
        flush=True,
    )
