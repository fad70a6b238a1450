"""Turns config.json and a packed set into model.pt, metrics.csv and run.json.

On the CPU a run is a pure function of its configuration, its data and its thread count: every draw is keyed by (seed, epoch,
step), so that a run that was interrupted and resumed from its checkpoint ends as one that was not.
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import json
import math
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet import experiments, provenance
from alexnet.data import Split, TrainingBatches, central_crop, open_split, to_batch
from alexnet.errors import UserError
from alexnet.files import sha256, write_atomically, write_json
from alexnet.metrics import top_k_error
from alexnet.model import AlexNet, build
from alexnet.optim import PaperSGD, parameter_groups, set_rates, stage_of
from alexnet.progress import Progress


def read_config(path: Path) -> dict[str, Any]:
    """A resolved configuration, its fingerprint checked.

    Raises:
        UserError: missing, not JSON, or edited by hand after `configure`.
    """
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; make it with `python -m alexnet configure`") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is no configuration; make it with `python -m alexnet configure`")
    rest = {key: value for key, value in config.items() if key != "fingerprint"}
    if config.get("fingerprint") != experiments.fingerprint(rest):
        raise UserError(
            f"{path} was changed after `configure` (its fingerprint does not fit); edit config/ and configure again"
        )
    return config


def choose_device(devices: str) -> torch.device:
    """The device of a run: the processor for "0", else CUDA where there is some. Both towers share it.

    Raises:
        UserError: two devices were asked for, which this version cannot do.
    """
    if devices == "2":
        raise UserError(
            "--devices 2: running the towers on two devices is not built yet; use --devices 1 (same mathematics)"
        )
    return torch.device("cuda" if devices != "0" and torch.cuda.is_available() else "cpu")


def mean_image(folder: Path, crop: int) -> Tensor:
    """(3, crop, crop): the central crop of the training set's mean image, 0-255 (s. 2; convdata_jpeg.py:95)."""
    try:
        mean = np.load(folder / "mean.npy")
    except OSError:
        raise UserError(
            f"{folder / 'mean.npy'} is missing; pack the set that holds the training split again"
        ) from None
    return torch.from_numpy(central_crop(mean, crop).copy()).permute(2, 0, 1).contiguous()


@dataclass
class State:
    """What a checkpoint holds besides weights and velocities."""

    epoch: int = 0  # epochs finished
    history: list[dict[str, float]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One training run: net, optimizer, data, and where they are kept."""

    def __init__(self, config: dict[str, Any], data: Path, out: Path, device: torch.device) -> None:
        self.config, self.out, self.device = config, out, device
        record = config["data"]
        if record["validation_set"] != record["set"]:
            raise UserError(f"study {config['study']}: training and validation must come from one packed set")
        train = open_split(data, record["train_split"])
        self.validation = open_split(data, record["validation_split"])
        _check_data(train, config)
        self.manifest = train.manifest
        self.mean = mean_image(data, record["crop"])
        self.batches = TrainingBatches(train, config, self.mean)
        self.images = len(train)
        self.net = build(config).to(device)
        self.optimizer = PaperSGD(parameter_groups(self.net, config["optimizer"]))
        self.state = State()
        self.checkpoint = out / "checkpoint" / f"{config['fingerprint'][:16]}.pt"
        self.name = f"{config['study']}/{config['experiment']}/{config['seed']}"

    def resume(self) -> None:
        """Continue from this configuration's checkpoint, if there is a whole one made from the same data."""
        try:
            saved = torch.load(self.checkpoint, weights_only=True)
        except FileNotFoundError:
            return
        except Exception as error:
            print(
                f"{self.checkpoint} cannot be read ({error.__class__.__name__}); starting afresh",
                file=sys.stderr,
            )
            return
        key = (self.config["fingerprint"], self.manifest["fingerprint"])
        if (saved.get("config_fingerprint"), saved.get("data_fingerprint")) != key:
            print(
                f"{self.checkpoint} belongs to another configuration or data; starting afresh",
                file=sys.stderr,
            )
            return
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = State(saved["epoch"], json.loads(saved["history"]), json.loads(saved["sessions"]))
        print(f"{self.name}: resumed after epoch {self.state.epoch}", file=sys.stderr)

    def save_checkpoint(self) -> None:
        record = {
            "config_fingerprint": self.config["fingerprint"],
            "data_fingerprint": self.manifest["fingerprint"],
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.state.epoch,
            "history": json.dumps(self.state.history),
            "sessions": json.dumps(self.state.sessions),
        }
        write_atomically(self.checkpoint, lambda path: torch.save(record, path))

    def train_epoch(self, epoch: int, report: Callable[[int, float], None]) -> dict[str, float]:
        """One pass over the training split: running loss and errors in train mode, as the paper's Fig. 1."""
        config = self.config
        stage = stage_of(config["optimizer"]["schedule"], epoch, config["training"]["epochs"])
        set_rates(self.optimizer, stage)
        self.net.train()
        sums = torch.zeros(3, dtype=torch.float64)
        done = 0
        batches = self.batches.epoch(epoch, stage.get("color_noise", True))
        for step, (images, labels) in enumerate(batches):
            # dropout masks are keyed by (seed, epoch, step)
            torch.manual_seed(zlib.crc32(f"{config['seed']}/{epoch}/{step}".encode()))
            labels = labels.to(self.device)
            logits = self.net(images.to(self.device))
            loss = F.cross_entropy(logits, labels)
            value = loss.item()
            if not math.isfinite(value):
                self._give_up(epoch, step, value, stage)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            scores = logits.detach()
            sums[0] += value * len(labels)
            sums[1] += top_k_error(scores, labels, 1).sum().item()
            sums[2] += top_k_error(scores, labels, 5).sum().item()
            done += len(labels)
            report(done, value)
        loss, error, top5 = (sums / done).tolist()
        return {
            "images": (epoch + 1) * self.images,
            "learning_rate": stage["weights"],
            "bias_learning_rate": stage["biases"],
            "train_loss": loss,
            "train_error": error,
            "train_top5_error": top5,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and errors on the validation split, single centre view."""
        self.net.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        crop, split = self.config["data"]["crop"], self.validation
        for start in range(0, len(split), 256):
            pixels = np.ascontiguousarray(central_crop(split.images[start : start + 256], crop))
            labels = torch.from_numpy(split.labels[start : start + 256]).to(self.device)
            logits = self.net(to_batch(pixels, self.mean).to(self.device))
            sums[0] += F.cross_entropy(logits, labels, reduction="sum").item()
            sums[1] += top_k_error(logits, labels, 1).sum().item()
            sums[2] += top_k_error(logits, labels, 5).sum().item()
        loss, error, top5 = (sums / len(split)).tolist()
        return {"validation_loss": loss, "validation_error": error, "validation_top5_error": top5}

    def _give_up(self, epoch: int, step: int, loss: float, stage: dict[str, Any]) -> None:
        evidence = self.out / "failed.json"
        record = {"epoch": epoch + 1, "step": step, "loss": str(loss), "stage": stage}
        write_json(evidence, record | {"history": self.state.history})
        raise UserError(
            f"{self.name}: the loss became {loss} in epoch {epoch + 1}, step {step} (rate {stage['weights']:g}); "
            f"lower the learning rates; the history is kept in {evidence}"
        )


def _check_data(split: Split, config: dict[str, Any]) -> None:
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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def train(
    config_path: Path, data: Path, out: Path, devices: str = "auto", threads: int | None = None
) -> None:
    """Train one configuration; resumes from its checkpoint after an interruption.

    Args:
        config_path: config.json of `python -m alexnet configure`.
        data: packed set with the training and validation splits.
        out: folder that gets model.pt, metrics.csv and run.json, written last.
        devices: "auto", "0", "1" or "2".
        threads: CPU threads; the study's if None. Results are bit-identical only at equal thread counts.

    Raises:
        UserError: bad configuration or data, another training in the same folder, or a loss that is not finite.
    """
    config = read_config(config_path)
    device = choose_device(devices)
    threads = threads or config["training"]["threads"]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "checkpoint").mkdir(exist_ok=True)
    with open(out / "checkpoint" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another training is running in {out}; wait for it, or end it, and try again"
            ) from None
        run = Run(config, data, out, device)
        run.resume()
        session = {"started": _now(), **provenance.collect(), "threads": threads, "device": str(device)}
        _epochs(run, session)
        _publish(run, threads)
    for leftover in (out / "checkpoint").iterdir():
        leftover.unlink()
    (out / "checkpoint").rmdir()
    (out / "failed.json").unlink(missing_ok=True)


def _epochs(run: Run, session: dict[str, Any]) -> None:
    state = run.state
    progress = Progress(run.name, run.images, state.epoch, run.config["training"]["epochs"])
    earlier = list(state.sessions)
    for epoch in range(state.epoch, run.config["training"]["epochs"]):
        started = progress.epoch_started = time.monotonic()
        row: dict[str, float] = {"epoch": epoch + 1}
        row |= run.train_epoch(epoch, partial(progress.batch, epoch))
        seconds = time.monotonic() - started
        row |= run.validate()
        row |= {"seconds": time.monotonic() - started, "images_per_second": run.images / seconds}
        state.epoch = epoch + 1
        state.history.append(row)
        state.sessions = [*earlier, session | {"finished": _now(), "until_epoch": epoch + 1}]
        run.save_checkpoint()
        progress.epoch(epoch, row)


def _publish(run: Run, threads: int) -> None:
    """Write metrics.csv, model.pt and, last, run.json."""
    config, state = run.config, run.state

    def write_metrics(path: Path) -> None:
        with open(path, "w", newline="") as target:
            writer = csv.DictWriter(target, fieldnames=list(state.history[0]))
            writer.writeheader()
            writer.writerows(state.history)

    weights = {
        "format": 1,
        "config_fingerprint": config["fingerprint"],
        "data_fingerprint": run.manifest["fingerprint"],
        "wnids": [entry["wnid"] for entry in run.manifest["classes"]],
        "mean": run.mean,
        "state_dict": {name: tensor.cpu() for name, tensor in run.net.state_dict().items()},
    }
    write_atomically(run.out / "metrics.csv", write_metrics)
    (run.out / "run.json").unlink(missing_ok=True)  # its presence says that the three belong together
    write_atomically(run.out / "model.pt", lambda path: torch.save(weights, path))
    write_json(
        run.out / "run.json",
        {
            "format": 1,
            "study": config["study"],
            "experiment": config["experiment"],
            "seed": config["seed"],
            "tier": config["tier"],
            "status": "finished",
            "config_fingerprint": config["fingerprint"],
            "data_fingerprint": run.manifest["fingerprint"],
            "epochs": state.epoch,
            "parameters": count_parameters(run.net),
            "weights_sha256": sha256(run.out / "model.pt"),
            "final": state.history[-1],
            "wall_seconds": sum(row["seconds"] for row in state.history),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "threads": threads,
            "devices": [str(run.device)],
            "precision": config["precision"],
            "sessions": state.sessions,
            "provenance": provenance.collect(),
        },
    )


def count_parameters(net: AlexNet) -> int:
    """Weights and biases of the net."""
    return sum(parameter.numel() for parameter in net.parameters())


def tune_allocator() -> None:
    """Keep freed memory in the process: fresh pages for each activation cost more than using them."""
    import ctypes

    if os.name == "posix" and sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
