"""What one GPU does with this network, part by part, beside what was predicted for it: some five minutes.

    python tests/gpu_check.py --out gpu.json                # parts that the file has already are not run again
    python tests/gpu_check.py --out cpu.json --device cpu --small      # the same code in small, to try the script
    python tests/gpu_check.py --out gpu.json --evidence imagenette_full --minutes 6      # then trains, until the time is up

Evidence is what the workflow trains in a study: the search for rates, if the study has none, then all nets of one seed after the other.
What was begun when the time is up goes on from its checkpoint in the next call. With --small the workflow plans it and trains nothing.

Predictions are for an H100 and were written down before any measurement (estimates, from counted bytes and operations). Times are medians
of rounds between two synchronisations. Written for CUDA and so far run on processors only.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from recording import traced
from torch.nn import functional as F

from alexnet.batches.views import mean_views, test_views, to_batch
from alexnet.bench.programs import ObviousNorm, batch_of, resolved
from alexnet.experiments import tuning
from alexnet.experiments.definitions import load_study
from alexnet.experiments.resolve import resolve
from alexnet.net.execution import generator_of, plan
from alexnet.net.layers import LocalResponseNorm
from alexnet.net.model import AlexNet, build
from alexnet.runtime.files import write_json
from alexnet.training.schedule import Rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates
from alexnet.training.step import EAGER, RecordedStep, Step, cuda_graph

Numbers = dict[str, float]


class Check:
    """A device, and sizes: of the whole check or of a small one."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small = torch.device(device), small
        self.study, self.batch, self.rounds = ("demo", 8, 2) if small else ("ilsvrc2012", 128, 20)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Median time of `work`, of so many calls between two waits."""
        for _ in range(3):
            work()
        found = []
        for _ in range(self.rounds):
            self.wait()
            began = time.perf_counter()
            for _ in range(times):
                work()
            self.wait()
            found.append((time.perf_counter() - began) / times)
        return median(found)

    def step(self, precision: str, study: str = "", wrap: Callable[[Step], Step] = lambda step: step) -> "Work":
        """A training step of the base net on random images, which reads nothing back; `wrap`: how it is carried out."""
        config = resolved(study or self.study, "alexnet", precision)
        execution = plan("0" if self.device.type == "cpu" else "1", torch.get_num_threads(), precision)
        execution.apply()
        net = build(config).to(self.device).train()
        optimizer = PaperSGD(parameter_groups(net, config["optimizer"]))
        set_rates(optimizer, Rates(1e-5, 1e-5, "check"))
        images, labels = (tensor.to(self.device) for tensor in batch_of(config, self.batch, True))
        return Work(net, optimizer, partial(wrap(Step(net, optimizer, precision == "bf16")), images, labels))

    @property
    def precision(self) -> str:
        return "bf16" if self.device.type == "cuda" else "fp32"

    def traceable(self, step: Step) -> Step:
        """`step`; on the processor with a norm that torch can trace."""
        for name, module in step.net.layers.items():
            if isinstance(module, LocalResponseNorm) and self.device.type == "cpu":
                step.net.layers[name] = ObviousNorm(module)
        return step

    def recorded(self, step: Step) -> RecordedStep:
        """`step` as a CUDA graph; on the processor as torch's tracer records it."""
        return RecordedStep(self.traceable(step), self.batch, cuda_graph if self.device.type == "cuda" else traced)


class Work(NamedTuple):
    """A training step and what it trains."""

    net: AlexNet
    optimizer: PaperSGD
    run: Callable[[], torch.Tensor]

    def __call__(self) -> torch.Tensor:
        return self.run()


def copies(check: Check) -> Numbers:
    size = 1 << (20 if check.small else 30)
    source = torch.ones(size, dtype=torch.uint8, device=check.device)
    target = torch.empty_like(source)
    return {"GB/s": 2 * size / check.seconds(lambda: target.copy_(source)) / 1e9}


def products(check: Check) -> Numbers:
    size, found = 256 if check.small else 8192, {}
    for name, kind, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(size, size, device=check.device, dtype=kind)
        found[f"{name} TFLOP/s"] = 2 * size**3 / check.seconds(lambda a=a: a @ a) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    return found


def steps(check: Check) -> Numbers:
    names = ("fp32",) if check.device.type == "cpu" else ("fp32", "tf32", "bf16")
    return {f"{name} images/s": check.batch / check.seconds(check.step(name), 5) for name in names}


def launches(check: Check) -> Numbers:
    """Operations of a step that reach the device, the time that it works, and the time that it idles."""
    work = check.step(check.precision)
    seconds = check.seconds(work, 5)
    kinds = [
        torch.profiler.ProfilerActivity.CPU,
        *[torch.profiler.ProfilerActivity.CUDA] * (check.device.type == "cuda"),
    ]
    with torch.profiler.profile(activities=kinds) as profile:
        work()
        check.wait()
    cuda = check.device.type == "cuda"
    events = [e for e in profile.key_averages() if not cuda or e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.self_device_time_total if cuda else e.self_cpu_time_total for e in events) / 1e6
    return {"operations": sum(e.count for e in events), "busy share": busy / seconds}


def all_of(net: AlexNet) -> torch.Tensor:
    """All weights, one after the other."""
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def graph(check: Check) -> Numbers:
    """The step replayed and compiled, images/s, and how far weights of replayed steps are from those of eager ones.

    Bits are compared after 50 steps, of which the second half has other rates, with deterministic algorithms.
    """
    backend = "inductor" if check.device.type == "cuda" else "eager"
    ways: dict[str, Any] = {
        "eager": lambda step: step,
        "replayed": check.recorded,
        "compiled": lambda step: Step(
            torch.compile(check.traceable(step).net, backend=backend), step.optimizer, step.bf16
        ),
    }
    found = {
        f"{name} images/s": check.batch / check.seconds(check.step(check.precision, wrap=way), 5)
        for name, way in ways.items()
    }
    weights: list[torch.Tensor] = []
    for way in (check.traceable, check.recorded):
        work, steps = check.step(check.precision, wrap=way), 2 * EAGER + 4 if check.small else 50
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        weights += [all_of(work.net)] * (not weights)
        for i in range(steps):
            rate = 1e-4 if i < steps // 2 else 1e-5
            set_rates(work.optimizer, Rates(rate, 2 * rate, "check"))
            generator_of(check.device).manual_seed(i)
            work()
        weights.append(all_of(work.net))
    before, eager, replayed = weights
    largest = {"largest move": eager - before, "largest difference": eager - replayed}
    return found | {name: values.abs().max().item() for name, values in largest.items()}


def norms(check: Check) -> Numbers:
    """Forward and backward of both modes: ms and largest error against float64, ours and torch's expression."""
    found = {}
    for mode, shape in (("across", (96, 55, 55)), ("within", (256, 27, 27))):
        ours = LocalResponseNorm(5, 1e-4, 0.75, 2.0, mode, True, 2 if mode == "across" else 1).to(check.device)
        x = torch.randn(2 if check.small else check.batch, *shape, device=check.device)
        x = x.contiguous(memory_format=torch.channels_last)
        exact = ObviousNorm(ours)(x.double())
        for name, layer in (("ours", ours), ("torch", ObviousNorm(ours))):
            found[f"{mode} {name} error"] = (layer(x).double() - exact).abs().max().item()
            given = x.clone().requires_grad_()

            def both(layer: Any = layer, given: torch.Tensor = given) -> None:
                layer(given).sum().backward()
                given.grad = None

            found[f"{mode} {name} ms"] = 1000 * check.seconds(both)
    return found


def towers(check: Check) -> Numbers:
    """conv2 with two groups, as two convolutions, and dense, forward and backward, ms."""
    batch, kind = 2 if check.small else check.batch, torch.bfloat16 if check.device.type == "cuda" else torch.float32
    x = torch.randn(batch, 96, 27, 27, device=check.device, dtype=kind).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 48, 5, 5, device=check.device, dtype=kind, requires_grad=True)
    dense = torch.randn(256, 96, 5, 5, device=check.device, dtype=kind, requires_grad=True)
    ways = {
        "groups": lambda: F.conv2d(x, weight, padding=2, groups=2),
        "two": lambda: torch.cat(
            [F.conv2d(a, w, padding=2) for a, w in zip(x.chunk(2, 1), weight.chunk(2), strict=True)], 1
        ),
        "dense": lambda: F.conv2d(x, dense, padding=2),
    }
    return {f"{name} ms": 1000 * check.seconds(lambda way=way: way().sum().backward()) for name, way in ways.items()}


def views(check: Check) -> Numbers:
    """Stored images to probabilities, images/s."""
    config = resolve(check.study, "alexnet", 1)
    data, net = config["data"], build(config).to(check.device).eval()
    side, crop, found = data["image_size"], data["crop"], {}
    images = np.random.default_rng(1).integers(0, 256, (4 if check.small else 128, side, side, 3), dtype=np.uint8)
    for name in ("center", "ten"):
        mean = mean_views(np.zeros((side, side, 3), np.float32), crop, name, "central_crop")

        def work(name: str = name, mean: Any = mean) -> None:
            with torch.no_grad():
                net(to_batch(np.ascontiguousarray(test_views(images, crop, name)), mean, check.device)).softmax(1).cpu()

        found[f"{name} images/s"] = len(images) / check.seconds(work)
    return found


def side_by_side(check: Check) -> Numbers:
    """Steps of the demo's net in one, two and four processes at once, images/s in all."""
    code = "import sys; sys.path.append('tests'); from gpu_check import Check; c = Check(sys.argv[1], sys.argv[2] == 'True'); "
    code += "print(c.batch / c.seconds(c.step('fp32', 'demo'), 1 if c.small else 20))"
    found = {}
    for count in (1, 2) if check.small else (1, 2, 4):
        command = [sys.executable, "-c", code, str(check.device), str(check.small)]
        begun = [
            subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        found[f"{count} at once images/s"] = sum(float(process.communicate()[0]) for process in begun)
    return found


PARTS: dict[str, tuple[Callable[[Check], Numbers], str]] = {
    "copies": (copies, "2,700 to 3,000 GB/s"),
    "products": (products, "fp32 50, tf32 350 to 450, bf16 600 to 750 TFLOP/s"),
    "steps": (steps, "fp32 6,400 to 7,400 images/s, tf32 and bf16 13,000 to 16,000"),
    "launches": (launches, "170 launches in bf16; the device is busy half of the time"),
    "graph": (graph, "replayed 1.3 times eager, compiled less; no difference between replayed and eager weights"),
    "norms": (norms, "ours: less than 1 ms across, less than 2 ms within; errors below 1e-6"),
    "towers": (towers, "two groups take at least as long as one dense convolution of twice the work"),
    "views": (views, "center above 20,000 images/s, ten views a tenth of it"),
    "side_by_side": (side_by_side, "two at once 1.7 times one"),
}


def targets(study: str) -> list[str]:
    """What the workflow makes of a study, one after the other: the search for rates if it has none, then a block for each seed."""
    record = load_study(study)
    searched = ["pilot"] if "pilot" in record and not tuning.curve(study, "alexnet", "config") else []
    return [*searched, *(f"results/{study}/blocks/{seed}" for seed in record["seeds"])]


def evidence(study: str, minutes: float, small: bool) -> Numbers:
    """Seconds of each of a study's targets that was finished in time; none is begun that the longest block so far says would not be."""
    end, found = time.monotonic() + 60 * minutes, Numbers()
    for target in targets(study):
        began, longest = time.monotonic(), max((found[name] for name in found if name != "pilot"), default=0.0)
        if began + longest >= end:
            break
        words = ["snakemake", "--cores", "all", *["--dry-run"] * small, target, "--config", f"studies=[{study}]"]
        process = subprocess.Popen(words, cwd=Path(__file__).parents[1])
        try:
            status = process.wait(end - began)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # trainings write a checkpoint
            process.wait()
            break
        if status:
            sys.exit(f"{' '.join(words)} failed, see above; what it finished is kept, and the same call goes on there")
        found[target] = round(time.monotonic() - began, 1)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--evidence", metavar="STUDY", help="train this study after the measurements")
    parser.add_argument("--minutes", type=float, default=6.0, help="of evidence (default: 6)")
    options = parser.parse_args(arguments)
    check, cuda = Check(options.device, options.small), options.device.startswith("cuda")
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    record |= {"device": torch.cuda.get_device_name(check.device) if cuda else "processor", "torch": torch.__version__}
    for name in options.parts:
        part, prediction = PARTS[name]
        if name not in record:
            began = time.monotonic()
            record[name] = {key: float(f"{value:.5g}") for key, value in part(check).items()}
            record[name]["seconds"] = round(time.monotonic() - began, 1)
            write_json(options.out, record)
        print(f"{name}: {', '.join(f'{key} {value:g}' for key, value in record[name].items())}", flush=True)
        print(f"    predicted: {prediction}", flush=True)
    if options.evidence:
        found = evidence(options.evidence, options.minutes, options.small)
        print(
            f"finished: {', '.join(f'{name} in {value:g} s' for name, value in found.items()) or 'nothing'}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
