"""Benchmarks the training step: beside a plain program, torchvision's net and the limits of the processor.

Each program runs in a process of its own, with its own threads and allocator settings, so that none profits from
what another one set up; while one works, the others wait. CUDA devices are not measured here.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from alexnet.bench import programs
from alexnet.bench.compare import Row, Side, compare, row
from alexnet.bench.processes import Program, together
from alexnet.experiments.architecture import layer_table
from alexnet.experiments.config import RunConfig

FULL, SMALL = "ilsvrc2012", "demo"  # studies whose base nets are measured
OBVIOUS = "torch.nn.LocalResponseNorm, fp32, contiguous"


def operations(config: RunConfig) -> float:
    """Floating-point operations of a training step an image: forward and both gradients, but not that of the image."""
    rows = layer_table(config["model"], config["data"]["crop"], config["data"]["classes"])
    macs = [row.macs for row in rows]
    return 2 * (3 * sum(macs) - next(filter(None, macs)))


def step_rows(rounds: int, full_size: bool, cores: int | None = None) -> Iterator[Row]:
    """Rows on the training step and its parts.

    Args:
        full_size: the full-size net in batches of 128; else the demo's in small ones, for tests.
        cores: threads of a run that has the machine for itself.
    """
    cores = cores or len(os.sched_getaffinity(0))
    study, batch, size = (FULL, 128, 32) if full_size else (SMALL, 8, 2)
    precisions = ("fp32", "bf16") if full_size else ("bf16",)
    for precision in precisions:
        yield from _whole_step(rounds, study, batch, precision, cores)
    for precision in precisions:
        with (
            Program(cores, programs.norm_alone, size, precision, False) as ours,
            Program(cores, programs.norm_alone, size, "fp32", True) as theirs,  # torch has none in bfloat16
        ):
            own = Side(f"alexnet.net.layers.LocalResponseNorm, {precision}", ours, size)
            peer = Side("torch.nn.LocalResponseNorm, fp32", theirs, size)
            yield compare(f"response normalisation, 96 x 55 x 55, batch {size}", own, peer, rounds)
    yield from _small_runs(rounds, cores, batch)


def _whole_step(rounds: int, study: str, batch: int, precision: str, cores: int) -> Iterator[Row]:
    config, plain = programs.resolved(study, "alexnet", precision), programs.resolved(study, "alexnet")
    what, ours_is, half = f"{study} net, batch {batch}", f"this bench, {precision}", max(1, cores // 2)

    def pair(peer: str, theirs: Program, ours: Callable[[], object], subject: str = ours_is) -> Row:
        return compare(f"training step, {what}", Side(subject, ours, batch), Side(peer, theirs, batch), rounds)

    with Program(cores, programs.our_step, config, batch) as ours:
        with Program(cores, programs.obvious_step, plain, batch) as theirs:
            yield pair(OBVIOUS, theirs, ours)
            yield row(f"peak memory, {what}", ours_is, [ours.peak_mb()], OBVIOUS, [theirs.peak_mb()], "MB")
        with Program(cores, programs.torchvision_step, config, batch) as theirs:
            yield pair(f"torchvision's AlexNet (no normalisation), {precision}, channels last", theirs, ours)
        with Program(cores, programs.our_step, programs.resolved(study, "no_lrn", precision), batch) as theirs:
            yield pair(f"the same without response normalisation, {precision}", theirs, ours)
        size, images, repeats = (2048, 128, 5) if batch >= 128 else (256, 8, 5)
        for peer, make, argument, count in (
            ("matrix product", programs.matrix_product, size, 2 * size**3),
            ("convolution like conv3, forward", programs.convolution, images, 2 * images * 384 * 256 * 9 * 13 * 13),
        ):
            with Program(cores, make, argument, precision) as limit:
                own = Side(ours_is, ours, operations(config) * batch / 1e9)
                several = Side(f"{peer}, {precision}", together(limit, times=repeats), count * repeats / 1e9)
                yield compare(f"arithmetic of the step, {what}", own, several, rounds, "GFLOP/s")
        with Program(cores, programs.layer_times, config, batch) as layers:
            yield from _split(layers, ours, rounds, f"{what}, {precision}")
        with tempfile.TemporaryDirectory(prefix="alexnet-towers-") as folder, ExitStack() as stack:
            meeting = Path(folder, "rendezvous")
            towers = [
                stack.enter_context(Program(half, programs.tower_step, config, batch, rank, meeting)) for rank in (0, 1)
            ]
            subject = f"two towers in two processes of {half} threads, {precision}"
            yield pair(f"one process of {cores} threads, {precision}", ours, together(*towers), subject)
            with Program(half, programs.our_step, programs.resolved(study, "one_gpu", precision), batch) as theirs:
                peer = f"the one-GPU net in one process of {half} threads, {precision}"
                yield pair(peer, theirs, together(*towers), subject)


def _split(layers: Program, step: Program, rounds: int, what: str) -> Iterator[Row]:
    """Share of each layer in the step, measured alone; the update and the loss are not among them."""
    layers(), step()
    times: dict[str, list[float]] = {}
    steps: list[float] = []
    for _ in range(rounds):
        for name, seconds in layers().items():
            times.setdefault(name, []).append(1000 * seconds)
        steps.append(1000 / Side("the whole step", step, 1).speed())
    for name, values in times.items():
        if median(values) >= 0.005 * median(steps):
            yield row(f"time of a layer, {what}", name, values, "the whole step", steps, "ms")


def _small_runs(rounds: int, cores: int, batch: int) -> Iterator[Row]:
    """The demo's net: as many runs of one thread as there are cores, against one run of all threads."""
    config, steps = programs.resolved(SMALL, "alexnet"), 10
    what, images = f"training step, {SMALL} net, batch {batch}", batch * steps
    with ExitStack() as stack:
        several = [stack.enter_context(Program(1, programs.our_step, config, batch)) for _ in range(cores)]
        one = together(stack.enter_context(Program(cores, programs.our_step, config, batch)), times=steps)
        obvious = together(stack.enter_context(Program(cores, programs.obvious_step, config, batch)), times=steps)
        many = together(*several, times=steps)
        side_by_side = Side(f"{cores} runs side by side, a thread each", many, images * cores)
        yield compare(what, side_by_side, Side(f"one run of {cores} threads", one, images), rounds)
        yield compare(what, Side("this bench, fp32", one, images), Side(OBVIOUS, obvious, images), rounds)
