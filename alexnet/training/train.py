"""Turns config.json and a packed set into model.pt, metrics.csv and run.json.

On the CPU a run is a pure function of its configuration, its data and its thread count: every draw is keyed by (seed, epoch,
step), so that a run that was interrupted at any step and resumed from its checkpoint ends as one that was not, bit for bit.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import resource
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch.nn import functional as F

from alexnet.batches.loader import TrainingBatches, minibatches
from alexnet.batches.views import central_crop, mean_views, to_batch
from alexnet.errors import UserError
from alexnet.experiments.resolve import read_config
from alexnet.net import tensors
from alexnet.net.execution import Execution, plan
from alexnet.net.metrics import top_k_error
from alexnet.net.model import AlexNet, build
from alexnet.net.weights import start_from
from alexnet.packed.packed_set import Split, mean_image, open_split
from alexnet.runtime import fingerprint, interruption, provenance
from alexnet.runtime.files import (
    from_the_future,
    hashes,
    held,
    remove_leftovers,
    write_atomically,
    write_json,
)
from alexnet.runtime.gpu_leases import leased
from alexnet.runtime.progress import Progress
from alexnet.training import checkpoints
from alexnet.training.schedule import Rates, over, rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates
from alexnet.training.towers import Link, Tower
from alexnet.training.two_processes import run_both

PEER_TIMEOUT = 600.0  # seconds
LOCK_SECONDS = 60.0  # that a training which was told to end may take to do so
GO_ON, SAVE, STOP = 0, 1, 2  # what the two towers agree on after a step


@dataclass(frozen=True)
class Cadence:
    """When checkpoints are written, besides after each epoch."""

    minutes: float = 10.0  # since the last one
    steps: int = 0  # after each so many steps of an epoch; 0: by the clock alone


@dataclass
class State:
    """What a checkpoint holds besides weights and velocities; no random state, as each draw has its key."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps finished of the epoch that is going on
    images: int = 0  # that these steps had
    sums: list[float] = field(
        default_factory=lambda: [0.0] * 3
    )  # loss, top-1 and top-5 errors of these images
    seconds: float = 0.0  # that these steps took
    history: list[dict[str, float]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.step, self.images, self.sums, self.seconds = epoch, 0, 0, [0.0] * 3, 0.0

    @property
    def place(self) -> str:
        """In words."""
        return f"after epoch {self.epoch}" + (f" and {self.step} steps" if self.step else "")


class Diverged(UserError):
    """The loss is not finite any more."""


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
        cadence: Cadence = Cadence(),
    ) -> None:
        self.config, self.out, self.execution, self.link = config, out, execution, link
        self.cadence = cadence
        self.rank = link.rank if link else 0
        self.device = execution.device(self.rank)
        record = config["data"]
        if record["validation_set"] != record["set"]:
            raise UserError(f"study {config['study']}: training and validation must come from one packed set")
        train = open_split(data, record["train_split"])
        self.validation = open_split(data, record["validation_split"])
        _check_data(train, config)
        self.validation.check()  # the images of the other one are compared when they are first used
        self.manifest = train.manifest
        self.mean = mean_image(data)
        self.views = mean_views(self.mean, record["crop"], "center", config["augmentation"]["mean"])
        self.batches = TrainingBatches(train, config, self.mean, execution.threads, self.device)
        size = config["optimizer"]["batch_size"]
        self.images = sum(end - first for first, end in minibatches(len(train), config["optimizer"]))
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
        self.session: dict[str, Any] = {}
        self.epoch_started = self.saved = time.monotonic()
        self.key = {
            "config_fingerprint": config["fingerprint"],
            "data_fingerprint": self.manifest["fingerprint"],
            "start": self.started_from,
        }
        self.checkpoint = out / "checkpoint" / f"{config['fingerprint'][:16]}.pt"
        self.name = f"{config['study']}/{config['experiment']}/{config['seed']}"

    def resume(self) -> None:
        """Continue from this run's checkpoint, if there is a whole one."""
        others = [path for path in self.checkpoint.parent.glob("*.pt") if path != self.checkpoint]
        try:
            saved = checkpoints.load(self.checkpoint, self.key)
            state = self._state_of(saved)
        except FileNotFoundError:
            if others:
                self._say(f"{others[0]} belongs to another configuration; starting afresh")
            return
        except tensors.Refused as reason:
            self._say(f"{self.checkpoint} {reason}; starting afresh")
            return
        self.load_state(saved["net"], saved["velocity"])
        self.state = state
        self._say(f"{self.name}: resumed {state.place}")
        theirs, ours = str(saved.get("code_sha256")), fingerprint.code_sha256("train")
        if theirs != ours:
            self._say(
                f"{self.name}: the checkpoint is of training code {theirs[:10]}, this checkout has {ours[:10]} (`code_sha256`, "
                "the hash of what training reaches); the run goes on with the latter"
            )

    def _say(self, words: str) -> None:
        if not self.rank:
            print(words, file=sys.stderr, flush=True)

    def _state_of(self, saved: dict[str, Any]) -> State:
        """The state that a checkpoint holds.

        Raises:
            Refused: it does not fit this net, so that nothing of it may be used.
        """
        rows = self.net.rows if isinstance(self.net, Tower) else {}
        own = {
            name: (rows.get(name, len(tensor)), *tensor.shape[1:])
            for name, tensor in self.net.state_dict().items()
        }
        try:
            state = State(**json.loads(saved["state"]))
            shapes = {name: tuple(tensor.shape) for name, tensor in saved["net"].items()}
            moving = {name: tuple(tensor.shape) for name, tensor in saved["velocity"].items()}
            fits = shapes == own and all(
                isinstance(getattr(state, name), int | float if isinstance(value, float) else type(value))
                for name, value in vars(State()).items()
            )
            fits = fits and all(own[name] == shape for name, shape in moving.items())
            fits = fits and len(state.history) == state.epoch and len(state.sums) == 3
        except (AttributeError, KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise tensors.Refused("does not fit this net")
        return state

    def whole_state(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Weights, and velocities of what ever moved, by name, of the whole net; both towers call it."""
        net = self.net.state_dict()
        state = self.optimizer.state
        velocity = {
            name: state[parameter]["velocity"]
            for name, parameter in self.net.named_parameters()
            if parameter in state
        }
        if isinstance(self.net, Tower):
            tower = self.net
            net = {name: tower.whole(name, tensor) for name, tensor in net.items()}
            velocity = {name: tower.whole(name, tensor) for name, tensor in velocity.items()}
        return net, velocity

    def load_state(self, net: dict[str, torch.Tensor], velocity: dict[str, torch.Tensor]) -> None:
        """Take over what `whole_state` returned."""
        if isinstance(self.net, Tower):
            tower = self.net
            net = {name: tower.part(name, tensor) for name, tensor in net.items()}
            velocity = {name: tower.part(name, tensor) for name, tensor in velocity.items()}
        self.net.load_state_dict(net)
        for name, parameter in self.net.named_parameters():
            if name in velocity:  # laid out in memory as the parameter is, which the fused update counts on
                self.optimizer.state[parameter]["velocity"] = torch.empty_like(parameter).copy_(
                    velocity[name]
                )

    def save_checkpoint(self) -> None:
        """Write the checkpoint; both towers call it, and the first one writes.

        Raises:
            UserError: it cannot be written; the one before it stays.
        """
        started = time.monotonic()
        net, velocity = self.whole_state()
        if not self.rank:
            state = asdict(self.state)
            state["sessions"] = [*self.state.sessions, self.session_so_far()]
            record = {
                **self.key,
                "code_sha256": self.session.get("code_sha256"),
                "net": net,
                "velocity": velocity,
                "state": json.dumps(state),
            }
            try:
                checkpoints.save(self.checkpoint, record)
            except OSError as error:
                raise UserError(
                    f"{self.name}: {self.checkpoint} cannot be written ({error.strerror or error}); mend it and run "
                    "the same again: it goes on from its last checkpoint"
                ) from None
        self.saved = time.monotonic()
        self.state.checkpoints += 1
        self.state.checkpoint_seconds += self.saved - started
        self.epoch_started += self.saved - started  # no part of the training's speed

    def session_so_far(self) -> dict[str, Any]:
        """This session, for the list of sessions."""
        steps = {"until_step": self.state.step} if self.state.step else {}
        return self.session | {"finished": _now(), "until_epoch": self.state.epoch, **steps}

    def due(self) -> int:
        """What to do between two steps: go on, save, or save and stop; both towers call it, and agree."""
        wanted = GO_ON
        if time.monotonic() - self.saved >= 60 * self.cadence.minutes:
            wanted = SAVE
        if self.cadence.steps and self.state.step % self.cadence.steps == 0:
            wanted = SAVE
        if interruption.asked():
            wanted = STOP
        return max(self.link.agree(wanted)) if self.link else wanted

    def stop(self) -> NoReturn:
        """Write a checkpoint and end, as the signal asked."""
        self.save_checkpoint()
        if self.link:
            self.link.agree(STOP)  # the first tower has written it
        number = interruption.asked() or signal.SIGTERM  # the other tower was asked
        raise interruption.Interrupted(
            number, f"{self.name}: stopped", f" {self.state.place}; the same command goes on there"
        )

    def train_epoch(self, epoch: int, report: Callable[[int, float], None]) -> dict[str, float]:
        """One pass over the training split: running loss and errors in train mode, as the paper's Fig. 1."""
        config = self.config
        current = self.rates(epoch)
        set_rates(self.optimizer, current)
        self.net.train()
        state = self.state
        sums = torch.tensor(state.sums, dtype=torch.float64).to(self.device)
        done, bf16 = state.images, config["precision"] == "bf16"
        waiting: tuple[int, int, torch.Tensor] | None = None
        batches = self.batches.epoch(epoch, current.color_noise, state.step)
        for step, (images, labels) in enumerate(batches, state.step):
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
            state.step, state.images = step + 1, done
            if what := self.due():
                self._look(epoch, *waiting, current, report)
                waiting = None
                self._note_place(sums)
                if what == STOP:
                    self.stop()
                self.save_checkpoint()
        if waiting:
            self._look(epoch, *waiting, current, report)
        self._note_place(sums)
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

    def _note_place(self, sums: torch.Tensor) -> None:
        self.state.sums = sums.tolist()
        self.state.seconds = time.monotonic() - self.epoch_started

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
            if interruption.asked() or self.link:
                wanted = STOP if interruption.asked() else GO_ON
                if (max(self.link.agree(wanted)) if self.link else wanted) == STOP:
                    self.stop()  # it will validate again, from the end of the training steps
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
            raise Diverged(f"{self.name}: the loss became {loss}")  # the first tower says more
        record = {"epoch": epoch + 1, "step": step, "loss": str(loss), "rates": asdict(current)}
        write_json(evidence, record | {"history": self.state.history})
        raise Diverged(
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
    cadence: Cadence = Cadence(),
) -> None:
    """Train one configuration; resumes from its checkpoint after an interruption.

    Args:
        config_path: config.json of `python -m alexnet configure`.
        data: packed set with the training and validation splits.
        out: folder that gets model.pt, metrics.csv and run.json, written last.
        devices: "auto", "0", "1" or "2", see `alexnet.net.execution.plan`.
        start: model.pt of the run that the configuration starts from, if it does.
        threads: CPU threads; the study's if None. Results are bit-identical only at equal thread counts.
        peer_timeout: seconds that one device waits for the other one before the run ends.
        cadence: when checkpoints are written.

    Raises:
        UserError: bad configuration or data, another training in the same folder, a loss that is not finite, a full
            disk, or one of two devices was lost.
        Interrupted: SIGTERM or Ctrl-C; the checkpoint is written.
    """
    config = read_config(config_path)
    if "members" in config:
        raise UserError(f"{config_path}: {config['experiment']} is an average of nets; use the verb ensemble")
    threads = threads or config["training"]["threads"]
    with _alone(out):
        towers = config["model"]["towers"]
        with leased(devices, towers):
            execution = plan(devices, threads, config["precision"], towers)
            with interruption.deferred():
                arguments = (config, data, out, execution, start, cadence)
                if len(execution.devices) == 2:
                    run_both(_train, arguments, execution.exchange, peer_timeout)
                else:
                    _train(None, *arguments)
                if number := interruption.asked():  # the one who wanted it may be gone, and ask for it again
                    raise interruption.Interrupted(number, f"{out}: finished, and stopped")
        (out / "failed.json").unlink(missing_ok=True)
        if later := from_the_future([config_path, data, *filter(None, [start])]):
            print(
                f"{later[0]} is dated later than now: the clock was set back. The workflow will refuse these results; "
                "the checkpoint stays, and the same command ends in seconds",
                file=sys.stderr,
            )
        else:
            shutil.rmtree(out / "checkpoint")  # else a forced training would go on from the end of this one


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Be the one that trains in a folder; one that was told to end is waited for."""
    folder = out / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        print(f"another training is running in {out}; waiting for its end", file=sys.stderr, flush=True)

    with held(folder / "lock", LOCK_SECONDS, waiting) as ours:
        if not ours:
            raise UserError(f"another training is running in {out}; wait for it, or end it, and try again")
        remove_leftovers(folder)
        remove_leftovers(out)
        yield


def _train(
    link: Link | None,
    config: dict[str, Any],
    data: Path,
    out: Path,
    execution: Execution,
    start: Path | None,
    cadence: Cadence,
) -> None:
    """The run, or with a `link` one tower's part of it."""
    execution.apply(link.rank if link else 0)
    run = Run(config, data, out, execution, start, link, cadence)
    run.resume()
    if link and (len(set(link.numbers(run.state.epoch))) > 1 or len(set(link.numbers(run.state.step))) > 1):
        raise UserError(f"{run.checkpoint} was not read alike by both towers; run the same again")
    run.session = {"started": _now(), **provenance.collect("train"), **execution.record()}
    run.session["device"] = execution.devices[0]
    _epochs(run)
    _publish(run)


def _epochs(run: Run) -> None:
    state, session = run.state, run.session
    progress = Progress(
        run.name,
        run.images,
        state.epoch,
        run.config["training"]["epochs"],
        silent=run.rank > 0,
        spent=state.seconds,
    )
    run.saved = time.monotonic()
    for epoch in range(state.epoch, run.config["training"]["epochs"]):
        if over(
            run.config["optimizer"],
            [past["train_error"] for past in state.history],
            run.config["training"]["epochs"],
        ):
            break
        run.epoch_started = progress.epoch_started = time.monotonic() - state.seconds
        current = run.rates(epoch)
        if epoch == 0 or replace(current, reason="") != replace(run.rates(epoch - 1), reason=""):
            progress.note(f"epoch {epoch + 1}: rates {describe_rates(current)} ({current.reason})")
        row: dict[str, float] = {"epoch": epoch + 1}
        before, traffic = state.images, run.link.traffic() if run.link else None
        try:
            row |= run.train_epoch(epoch, partial(progress.batch, epoch))
        except Diverged as reason:
            if "stop_at" not in run.config["optimizer"] and not run.config.get("rate", {}).get("pilot"):
                raise
            progress.note(f"{reason}; in a race or a pilot that is a result")
            state.history.append(row | lost_epoch(run, epoch, time.monotonic() - run.epoch_started))
            state.begin_epoch(epoch + 1)
            break
        if run.link and traffic and state.images > before:
            session["traffic"] = run.link.traffic().since(traffic).of_images(state.images - before)
        seconds = state.seconds
        row |= run.validate()
        row |= {"seconds": time.monotonic() - run.epoch_started, "images_per_second": run.images / seconds}
        state.history.append(row)
        state.begin_epoch(epoch + 1)
        run.save_checkpoint()
        progress.epoch(epoch, row)
    state.sessions.append(run.session_so_far())


def lost_epoch(run: Run, epoch: int, seconds: float) -> dict[str, float]:
    """The row of an epoch in which the loss stopped being finite: rates, and nothing measured."""
    current = run.rates(epoch)
    row = {"images": (epoch + 1) * run.images, "learning_rate": current.weights}
    row |= {"bias_learning_rate": current.biases, "conv1_learning_rate": current.of("conv1.weights")}
    row["color_noise"] = run.config["augmentation"]["color_noise"] * current.color_noise
    measured = [f"{of}_{what}" for of in ("train", "validation") for what in ("loss", "error", "top5_error")]
    return row | dict.fromkeys(measured, math.nan) | {"seconds": seconds, "images_per_second": math.nan}


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

    traffic = [session["traffic"] for session in state.sessions if "traffic" in session]

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
    (run.out / "run.json").unlink(missing_ok=True)  # its presence says that the three belong together
    write_atomically(run.out / "metrics.csv", write_metrics)
    tensors.save_tensors(run.out / "model.pt", weights)
    files = hashes(run.out / "metrics.csv", run.out / "model.pt")
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
            "weights_sha256": files["model.pt"],
            "files": files,
            "final": {key: None if math.isnan(v) else v for key, v in state.history[-1].items()},
            **({"diverged": True} if math.isnan(state.history[-1]["train_error"]) else {}),
            "wall_seconds": sum(row["seconds"] for row in state.history),
            "checkpoints": state.checkpoints,
            "checkpoint_seconds": state.checkpoint_seconds,
            "peak_memory_mb": sum(memories),
            **execution.record(),
            **({"traffic": traffic[-1]} if traffic else {}),
            "sessions": state.sessions,
            "provenance": provenance.collect("train"),
        },
    )
