"""Chooses how a training is carried out on this machine: devices, threads, arithmetic.

The only place that decides these. What it decides is in run.json. It changes how fast a run is, not what is computed: on
the processor equal thread counts give equal bits; between one device and two, and on CUDA, rounding differs.
"""

import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from alexnet.errors import UserError
from alexnet.net.layers import norm_backend

DEVICES = ("auto", "0", "1", "2")


@dataclass(frozen=True)
class Execution:
    """How a training is carried out."""

    devices: tuple[str, ...]  # one, or one a tower
    threads: int  # of each device's process
    precision: str  # fp32, tf32 (CUDA; elsewhere fp32) or bf16
    exchange: str = ""  # how two devices talk: gloo or nccl
    deterministic: bool = True  # torch's deterministic algorithms; not on CUDA, where the fastest are searched
    response_norm: str = "torch"  # lrn_cpu, lrn_triton or torch's operations
    memory_format: str = "channels_last"
    allocator: str = ""  # mallopt: freed memory stays in the process
    graph: bool = False  # the step is recorded as a CUDA graph and replayed

    def device(self, rank: int = 0) -> torch.device:
        return torch.device(self.devices[rank])

    @property
    def gpus(self) -> list[str]:
        """What the CUDA devices among `devices` call themselves."""
        return [torch.cuda.get_device_name(name) for name in self.devices if name != "cpu"]

    def record(self) -> dict[str, Any]:
        """For run.json."""
        vectors = torch.backends.cpu.get_cpu_capability()  # such as AVX512; bits depend on it
        return asdict(self) | {"devices": list(self.devices), "gpus": self.gpus, "vector_instructions": vectors}

    def apply(self, rank: int = 0) -> None:
        """Set torch up, in the process of a run, for its device number `rank`."""
        torch.set_num_threads(self.threads)
        torch.set_deterministic_debug_mode("warn" if self.deterministic else "default")
        # nothing here reads memory that it did not write
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        tf32 = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not self.deterministic
        if self.device(rank).type == "cuda":
            torch.cuda.set_device(self.device(rank))
        keep_memory()


def plan(devices: str, threads: int, precision: str = "fp32", towers: int = 1) -> Execution:
    """Choose.

    Args:
        devices: "0" the processor; "1" one device, CUDA where there is some; "2" one a tower, CUDA where there are
            two; "auto" one device.
        threads: of the run; two processes on the processor share them.
        towers: of the net.

    Raises:
        UserError: another word, or two devices for one tower, or for two towers on one CUDA device.
    """
    if devices not in DEVICES:
        raise UserError(f"--devices {devices}: choose {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    there = torch.cuda.device_count() if torch.cuda.is_available() and devices != "0" else 0
    two = devices == "2"
    if two and towers != 2:
        raise UserError(f"--devices 2: this net has {towers} tower{'s' * (towers > 1)}, not two; use --devices 1")
    if two and there == 1:
        raise UserError(
            "--devices 2: there is one CUDA device; use --devices 1 (the same mathematics), or hide it "
            "(CUDA_VISIBLE_DEVICES=) for two processes on the processor"
        )
    cuda = there > 0
    names = tuple(f"cuda:{i}" for i in range(2 if two else 1)) if cuda else ("cpu",) * (2 if two else 1)
    backend = norm_backend("cuda" if cuda else "cpu")
    return Execution(
        devices=names,
        threads=threads if cuda or not two else max(1, threads // 2),
        precision=precision,
        exchange=("nccl" if cuda else "gloo") if two else "",
        deterministic=not cuda,
        response_norm=backend.__name__.rpartition(".")[2] if backend else "torch",
        allocator="mallopt" if _mallopt() else "",
        graph=cuda and not two and os.environ.get("ALEXNET_CUDA_GRAPH") == "1",
    )


def generator_of(device: torch.device) -> torch.Generator:
    """What a device draws from by default; to seed it alone takes microseconds, where `torch.manual_seed` seeds all."""
    return torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index]


def _mallopt() -> Any:
    """glibc's mallopt; None elsewhere."""
    import ctypes

    if os.name != "posix" or sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "mallopt", None)


def keep_memory() -> None:
    """Keep freed memory in the process: fresh pages for each activation cost more than using them."""
    mallopt = _mallopt()
    if mallopt:
        mallopt(-4, 0)  # M_MMAP_MAX
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
