"""Benchmarks the training step: beside a plain program, torchvision's net and the limits of the processor.

Each program runs in a process of its own, with its own threads and allocator settings, so that none profits from
what another one set up; while one works, the others wait. CUDA devices are not measured here.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from alexnet.bench.compare import Pair, Work, compare, row
from alexnet.bench.processes import Make, Program, TwoTowers
from alexnet.bench.programs import (
    convolution,
    layer_times,
    matrix_product,
    norm_alone,
    obvious_step,
    our_step,
    resolved,
    torchvision_step,
)
from alexnet.experiments.architecture import layer_table
from alexnet.experiments.config import RunConfig

FULL, SMALL = "ilsvrc2012", "demo"  # studies whose base nets are measured


def operations(config: RunConfig) -> float:
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
            names = f"alexnet.net.layers.LocalResponseNorm, {precision}", "torch.nn.LocalResponseNorm, fp32"
            yield compare(Pair(what, *names, "images/s", size, ours, theirs), rounds)
    yield from _small_runs(rounds, cores, 128 if full_size else 8)


def _whole_step(rounds: int, study: str, batch: int, precision: str, cores: int) -> Iterator[dict[str, Any]]:
    config, plain = resolved(study, "alexnet", precision), resolved(study, "alexnet")
    speed, ours_is = f"training step, {study} net, batch {batch}", f"this bench, {precision}"

    def pair(peer: str, theirs: Work, ours: Work, subject: str = ours_is) -> dict[str, Any]:
        return compare(Pair(speed, subject, peer, "images/s", batch, ours, theirs), rounds)

    step = (config, batch, cores)
    obvious, half = "torch.nn.LocalResponseNorm, fp32, contiguous", max(1, cores // 2)
    with Program(our_step, *step) as ours:
        with Program(obvious_step, plain, batch, cores) as theirs:
            yield pair(obvious, theirs, ours)
            peaks = [ours.peak_mb()], [theirs.peak_mb()]
            yield row(f"peak memory, {study} net, batch {batch}", ours_is, peaks[0], obvious, peaks[1], "MB")
        with Program(torchvision_step, *step) as theirs:
            yield pair(f"torchvision's AlexNet (no normalisation), {precision}, channels last", theirs, ours)
        with Program(our_step, resolved(study, "no_lrn", precision), batch, cores) as theirs:
            yield pair(f"the same without response normalisation, {precision}", theirs, ours)
        size, images = (2048, 128) if batch >= 128 else (256, 8)
        limits: list[tuple[str, Make, tuple[Any, ...], float]] = [
            ("matrix product", matrix_product, (size, precision, cores), 2 * size**3),
            ("convolution like conv3, forward", convolution, (images, precision, cores), _conv3(images)),
        ]
        for peer, make, arguments, count in limits:
            what, repeats = f"arithmetic of the step, {study} net, batch {batch}", 5
            done = operations(config) * batch / 1e9, count * repeats / 1e9
            with Program(make, *arguments) as limit:
                several = _repeated(limit, repeats)
                yield compare(
                    Pair(what, ours_is, f"{peer}, {precision}", "GFLOP/s", done[0], ours, several, done[1]), rounds
                )
        with Program(layer_times, *step) as layers:
            yield from _split(layers, ours, rounds, f"{study} net, batch {batch}, {precision}")
        with TwoTowers(our_step, config, batch, half) as towers:
            subject = f"two towers in two processes of {half} threads, {precision}"
            yield pair(f"one process of {cores} threads, {precision}", ours, towers, subject)
            with Program(our_step, resolved(study, "one_gpu", precision), batch, half) as theirs:
                peer = f"the one-GPU net in one process of {half} threads, {precision}"
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
        subject, peer = f"{cores} runs side by side, a thread each", f"one run of {cores} threads"
        yield compare(Pair(what, subject, peer, "images/s", images * cores, side_by_side, alone, images), rounds)
        subject, peer = "this bench, fp32", "torch.nn.LocalResponseNorm, fp32, contiguous"
        yield compare(Pair(what, subject, peer, "images/s", images, alone, _repeated(obvious, steps)), rounds)
