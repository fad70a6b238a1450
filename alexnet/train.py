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
import resource
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from alexnet import provenance
from alexnet.data import Split, central_crop, mean_views, open_split, to_batch
from alexnet.errors import UserError
from alexnet.execution import Execution, plan
from alexnet.files import sha256, write_atomically, write_json
from alexnet.inputs import mean_image, read_config, start_from
from alexnet.loader import TrainingBatches
from alexnet.metrics import top_k_error
from alexnet.model import AlexNet, build
from alexnet.optim import PaperSGD, Rates, parameter_groups, rates, set_rates
from alexnet.progress import Progress
from alexnet.towers import Link, Tower, run_both

PEER_TIMEOUT = 600.0  # seconds


@dataclass
class State:
    """What a checkpoint holds besides weights and velocities."""

    epoch: int = 0  # epochs finished
    history: list[dict[str, float]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One training run: net, optimizer, data, and where they are kept."""

    def __init__(
        self,
        config: dict[str, Any],
        data: Path,
        out: Path,
        execution: Execution,
        start: Path | None = None,
        link: Link | None = None,
    ) -> None:
        self.config, self.out, self.execution, self.link = config, out, execution, link
        self.rank = link.rank if link else 0
        self.device = execution.device(self.rank)
        record = config["data"]
        if record["validation_set"] != record["set"]:
            raise UserError(f"study {config['study']}: training and validation must come from one packed set")
        train = open_split(data, record["train_split"])
        self.validation = open_split(data, record["validation_split"])
        _check_data(train, config)
        self.manifest = train.manifest
        self.mean = mean_image(data)
        self.views = mean_views(self.mean, record["crop"], "center", config["augmentation"]["mean"])
        self.batches = TrainingBatches(train, config, self.mean, execution.threads, self.device)
        size, partial = config["optimizer"]["batch_size"], config["optimizer"]["partial_batch"]
        self.images = len(train) // size * size if partial == "drop" else len(train)
        net = build(config)
        self.started_from = ""
        if "starts_from" in config:
            source = config["starts_from"]
            if start is None:
                raise UserError(
                    f"study {config['study']}: {config['experiment']} starts from the weights of "
                    f"{source['experiment']}; name its model.pt with --start"
                )
            self.started_from = start_from(net, start, source)
        elif start is not None:
            raise UserError(f"--start: {config['experiment']} starts from random weights; leave it out")
        self.net: AlexNet | Tower = (Tower(net, link) if link else net).to(self.device)
        self.names = [name for name, _ in self.net.named_parameters()]
        if not self.images:
            raise UserError(
                f"study {config['study']}: {len(train)} training images are less than a batch of {size}, and "
                "`partial_batch` is drop; choose a smaller `batch_size`"
            )
        self.optimizer = PaperSGD(parameter_groups(self.net, config["optimizer"]))
        self.state = State()
        self.checkpoint = out / "checkpoint" / f"{config['fingerprint'][:16]}.pt"
        self.name = f"{config['study']}/{config['experiment']}/{config['seed']}"

    def resume(self) -> None:
        """Continue from this configuration's checkpoint, if there is a whole one made from the same data."""
        try:
            saved = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
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
        self.load_state(saved["net"], saved["optimizer"])
        self.state = State(saved["epoch"], json.loads(saved["history"]), json.loads(saved["sessions"]))
        print(f"{self.name}: resumed after epoch {self.state.epoch}", file=sys.stderr)

    def whole_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Weights and optimizer state of the whole net, whichever part of it is here; both towers call it."""
        net, optimizer = self.net.state_dict(), self.optimizer.state_dict()
        if isinstance(self.net, Tower):
            tower = self.net
            net = {name: tower.whole(name, tensor) for name, tensor in net.items()}
            kept = {i: optimizer["state"].get(i) for i in range(len(self.names))}
            optimizer["state"] = {
                i: {"velocity": tower.whole(self.names[i], state["velocity"])}
                for i, state in kept.items()
                if state
            }
        return net, optimizer

    def load_state(self, net: dict[str, torch.Tensor], optimizer: dict[str, Any]) -> None:
        """Take over what `whole_state` returned."""
        if isinstance(self.net, Tower):
            tower = self.net
            net = {name: tower.part(name, tensor) for name, tensor in net.items()}
            optimizer["state"] = {
                i: {"velocity": tower.part(self.names[i], state["velocity"])}
                for i, state in optimizer["state"].items()
            }
        self.net.load_state_dict(net)
        self.optimizer.load_state_dict(optimizer)

    def save_checkpoint(self) -> None:
        net, optimizer = self.whole_state()
        if self.rank:
            return
        record = {
            "config_fingerprint": self.config["fingerprint"],
            "data_fingerprint": self.manifest["fingerprint"],
            "net": net,
            "optimizer": optimizer,
            "epoch": self.state.epoch,
            "history": json.dumps(self.state.history),
            "sessions": json.dumps(self.state.sessions),
        }
        write_atomically(self.checkpoint, lambda path: torch.save(record, path))

    def train_epoch(self, epoch: int, report: Callable[[int, float], None]) -> dict[str, float]:
        """One pass over the training split: running loss and errors in train mode, as the paper's Fig. 1."""
        config = self.config
        current = self.rates(epoch)
        set_rates(self.optimizer, current)
        self.net.train()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        done, bf16 = 0, config["precision"] == "bf16"
        waiting: tuple[int, int, torch.Tensor] | None = None
        for step, (images, labels) in enumerate(self.batches.epoch(epoch, current.color_noise)):
            # dropout masks are keyed by (seed, epoch, step)
            torch.manual_seed(zlib.crc32(f"{config['seed']}/{epoch}/{step}".encode()))
            labels = labels.to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                logits = self.net(images.to(self.device, non_blocking=True)).float()
            loss = F.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            scores, loss = logits.detach(), loss.detach()
            errors = [top_k_error(scores, labels, k).sum() for k in (1, 5)]
            sums += torch.stack([loss * len(labels), *errors]).double()
            done += len(labels)
            if waiting:  # looked at a step late: a device need not stop for it
                self._look(epoch, *waiting, current, report)
            waiting = step, done, loss
        if waiting:
            self._look(epoch, *waiting, current, report)
        loss, error, top5 = (sums / done).tolist()
        return {
            "images": (epoch + 1) * self.images,
            "learning_rate": current.weights,
            "bias_learning_rate": current.biases,
            "conv1_learning_rate": current.of("conv1.weights"),
            "color_noise": config["augmentation"]["color_noise"] * current.color_noise,
            "train_loss": loss,
            "train_error": error,
            "train_top5_error": top5,
        }

    def rates(self, epoch: int) -> Rates:
        """The learning rates of `epoch`, from the schedule and the validation errors so far."""
        config, history = self.config, self.state.history
        errors = [row["validation_error"] for row in history[:epoch]]
        current = rates(config["optimizer"], epoch, config["training"]["epochs"], errors)
        stays = config["augmentation"]["color_noise_stays"]
        return replace(current, color_noise=True) if stays else current

    def rate_changes(self) -> list[dict[str, Any]]:
        """Each epoch at which a rate or the colour noise changed, with the reason."""
        changes: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        for epoch in range(self.state.epoch):
            current = asdict(self.rates(epoch))
            reason = current.pop("reason")
            if current != last:
                changes.append({"epoch": epoch + 1, "reason": reason, **current})
            last = current
        return changes

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and errors on the validation split, single centre view."""
        self.net.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        crop, split = self.config["data"]["crop"], self.validation
        for start in range(0, len(split), 256):
            pixels = np.ascontiguousarray(central_crop(split.images[start : start + 256], crop))
            labels = torch.from_numpy(split.labels[start : start + 256]).to(self.device)
            logits = self.net(to_batch(pixels, self.views[0]).to(self.device))
            sums[0] += F.cross_entropy(logits, labels, reduction="sum").item()
            sums[1] += top_k_error(logits, labels, 1).sum().item()
            sums[2] += top_k_error(logits, labels, 5).sum().item()
        loss, error, top5 = (sums / len(split)).tolist()
        return {"validation_loss": loss, "validation_error": error, "validation_top5_error": top5}

    def _look(
        self,
        epoch: int,
        step: int,
        done: int,
        loss: torch.Tensor,
        current: Rates,
        report: Callable[[int, float], None],
    ) -> None:
        """Report the loss of a step, or end the run if it is not finite."""
        value = loss.item()
        if not math.isfinite(value):
            self._give_up(epoch, step, value, current)
        report(done, value)

    def _give_up(self, epoch: int, step: int, loss: float, current: Rates) -> None:
        evidence = self.out / "failed.json"
        if self.rank:
            raise UserError(f"{self.name}: the loss became {loss}")  # the first tower says more
        record = {"epoch": epoch + 1, "step": step, "loss": str(loss), "rates": asdict(current)}
        write_json(evidence, record | {"history": self.state.history})
        raise UserError(
            f"{self.name}: the loss became {loss} in epoch {epoch + 1}, step {step} (rate {current.weights:g}); "
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
    config_path: Path,
    data: Path,
    out: Path,
    devices: str = "auto",
    threads: int | None = None,
    start: Path | None = None,
    peer_timeout: float = PEER_TIMEOUT,
) -> None:
    """Train one configuration; resumes from its checkpoint after an interruption.

    Args:
        config_path: config.json of `python -m alexnet configure`.
        data: packed set with the training and validation splits.
        out: folder that gets model.pt, metrics.csv and run.json, written last.
        devices: "auto", "0", "1" or "2", see `alexnet.execution.plan`.
        start: model.pt of the run that the configuration starts from, if it does.
        threads: CPU threads; the study's if None. Results are bit-identical only at equal thread counts.
        peer_timeout: seconds that one device waits for the other one before the run ends.

    Raises:
        UserError: bad configuration or data, another training in the same folder, a loss that is not finite, or
            one of two devices was lost.
    """
    config = read_config(config_path)
    if "members" in config:
        raise UserError(f"{config_path}: {config['experiment']} is an average of nets; use the verb ensemble")
    threads = threads or config["training"]["threads"]
    execution = plan(devices, threads, config["precision"], config["model"]["towers"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "checkpoint").mkdir(exist_ok=True)
    with open(out / "checkpoint" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another training is running in {out}; wait for it, or end it, and try again"
            ) from None
        arguments = (config, data, out, execution, start)
        if len(execution.devices) == 2:
            run_both(_train, arguments, execution.exchange, peer_timeout)
        else:
            _train(None, *arguments)
    for leftover in (out / "checkpoint").iterdir():
        leftover.unlink()
    (out / "checkpoint").rmdir()
    (out / "failed.json").unlink(missing_ok=True)


def _train(
    link: Link | None,
    config: dict[str, Any],
    data: Path,
    out: Path,
    execution: Execution,
    start: Path | None,
) -> None:
    """The run, or with a `link` one tower's part of it."""
    execution.apply(link.rank if link else 0)
    run = Run(config, data, out, execution, start, link)
    run.resume()
    if link and len(set(link.numbers(run.state.epoch))) > 1:
        raise UserError(f"{run.checkpoint} was not read alike by both towers; run the same again")
    session = {"started": _now(), **provenance.collect(), **execution.record()}
    session["device"] = execution.devices[0]
    _epochs(run, session)
    _publish(run)


def _epochs(run: Run, session: dict[str, Any]) -> None:
    state = run.state
    progress = Progress(
        run.name, run.images, state.epoch, run.config["training"]["epochs"], silent=run.rank > 0
    )
    earlier = list(state.sessions)
    for epoch in range(state.epoch, run.config["training"]["epochs"]):
        started = progress.epoch_started = time.monotonic()
        current = run.rates(epoch)
        if epoch == 0 or replace(current, reason="") != replace(run.rates(epoch - 1), reason=""):
            progress.note(f"epoch {epoch + 1}: rates {describe_rates(current)} ({current.reason})")
        row: dict[str, float] = {"epoch": epoch + 1}
        traffic = run.link.traffic() if run.link else None
        row |= run.train_epoch(epoch, partial(progress.batch, epoch))
        if run.link and traffic:
            session["traffic"] = run.link.traffic().since(traffic).of_images(run.images)
        seconds = time.monotonic() - started
        row |= run.validate()
        row |= {"seconds": time.monotonic() - started, "images_per_second": run.images / seconds}
        state.epoch = epoch + 1
        state.history.append(row)
        state.sessions = [*earlier, session | {"finished": _now(), "until_epoch": epoch + 1}]
        run.save_checkpoint()
        progress.epoch(epoch, row)


def describe_rates(current: Rates) -> str:
    """The rates in one line of a log."""
    own = [
        f"{layer} {kind} {rate:g}"
        for layer, rates_ in current.layers.items()
        for kind, rate in rates_.items()
    ]
    noise = [] if current.color_noise else ["without colour noise"]
    return ", ".join([f"{current.weights:g}, biases {current.biases:g}", *own, *noise])


def _publish(run: Run) -> None:
    """Write metrics.csv, model.pt and, last, run.json."""
    config, state, execution = run.config, run.state, run.execution
    net, _ = run.whole_state()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memories = run.link.numbers(memory) if run.link else [memory]
    if run.rank:
        return

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
        "mean": torch.from_numpy(run.mean),
        "state_dict": {name: tensor.cpu() for name, tensor in net.items()},
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
            "rate_changes": run.rate_changes(),
            **({"started_from_sha256": run.started_from} if run.started_from else {}),
            "parameters": sum(net[name].numel() for name in run.names),
            "weights_sha256": sha256(run.out / "model.pt"),
            "final": state.history[-1],
            "wall_seconds": sum(row["seconds"] for row in state.history),
            "peak_memory_mb": sum(memories),
            **execution.record(),
            **({"traffic": state.sessions[-1]["traffic"]} if run.link else {}),
            "sessions": state.sessions,
            "provenance": provenance.collect(),
        },
    )
