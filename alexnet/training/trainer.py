"""One training: net, optimizer, data and state, an epoch at a time, and how its checkpoint goes on."""

import json
import math
import signal
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch.nn import functional as F

from alexnet.batches.loader import TrainingBatches, minibatches
from alexnet.batches.views import central_crop, mean_views, to_batch
from alexnet.errors import UserError
from alexnet.experiments.config import RunConfig
from alexnet.net import tensors
from alexnet.net.execution import Execution, generator_of
from alexnet.net.metrics import top_k_error
from alexnet.net.model import AlexNet, build
from alexnet.net.weights import start_from
from alexnet.packed.packed_set import mean_image, open_split
from alexnet.runtime import fingerprint, interruption
from alexnet.runtime.files import write_json
from alexnet.runtime.provenance import now
from alexnet.training import checkpoints
from alexnet.training.schedule import Rates, rates
from alexnet.training.sgd import PaperSGD, parameter_groups, set_rates
from alexnet.training.state import BY_THE_CLOCK, Cadence, State, check_data
from alexnet.training.step import RecordedStep, Step
from alexnet.training.towers import Link, Tower

GO_ON, SAVE, STOP = 0, 1, 2  # what the two towers agree on after a step
LOOK = {"cuda": 50}  # steps after which losses are looked at, for which this device has to stop; elsewhere each is


class Diverged(UserError):
    """The loss is not finite any more."""


class Run:
    """One training run: net, optimizer, data, and where they are kept."""

    def __init__(
        self,
        config: RunConfig,
        data: Path,
        out: Path,
        execution: Execution,
        start: Path | None = None,
        link: Link | None = None,
        cadence: Cadence = BY_THE_CLOCK,
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
        check_data(train, config)
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
        self.net: AlexNet = (Tower(net, link) if link else net).to(self.device)
        self.names = [name for name, _ in self.net.named_parameters()]
        if not self.images:
            raise UserError(
                f"study {config['study']}: {len(train)} training images are less than a batch of {size}, and "
                "`partial_batch` is drop; choose a smaller `batch_size`"
            )
        self.optimizer = PaperSGD(parameter_groups(self.net, config["optimizer"]))
        step = Step(self.net, self.optimizer, config["precision"] == "bf16")
        self.step = RecordedStep(step, size) if execution.graph else step
        self.state = State()
        self.session: dict[str, Any] = {}
        self.epoch_started = self.saved = time.monotonic()
        self.key = {
            "config_fingerprint": config["fingerprint"],
            "data_fingerprint": self.manifest["fingerprint"],
            "start": self.started_from,
        }
        self.checkpoint = out / "checkpoint" / f"{config['fingerprint'][:16]}.pt"
        self.writer = checkpoints.Writer(self.checkpoint)
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
        own = {name: (rows.get(name, len(tensor)), *tensor.shape[1:]) for name, tensor in self.net.state_dict().items()}
        try:
            state = State(**json.loads(saved["state"]))
            parts = (saved["net"], saved["velocity"])
            net, moving = ({name: tuple(tensor.shape) for name, tensor in part.items()} for part in parts)
            kinds = {
                name: (int, float) if type(value) is float else type(value) for name, value in vars(State()).items()
            }
            fits = all(isinstance(getattr(state, name), kind) for name, kind in kinds.items())
            fits = fits and net == own and moving.items() <= own.items()
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
            name: state[parameter]["velocity"] for name, parameter in self.net.named_parameters() if parameter in state
        }
        if isinstance(tower := self.net, Tower):
            net, velocity = ({name: tower.whole(name, own) for name, own in part.items()} for part in (net, velocity))
        return net, velocity

    def load_state(self, net: dict[str, torch.Tensor], velocity: dict[str, torch.Tensor]) -> None:
        """Take over what `whole_state` returned."""
        if isinstance(tower := self.net, Tower):
            net, velocity = (
                {name: tower.part(name, whole) for name, whole in part.items()} for part in (net, velocity)
            )
        self.net.load_state_dict(net)
        for name, parameter in self.net.named_parameters():
            if name in velocity:  # laid out in memory as the parameter is, which the fused update counts on
                self.optimizer.state[parameter]["velocity"] = torch.empty_like(parameter).copy_(velocity[name])

    def save_checkpoint(self) -> None:
        """Begin to write the checkpoint; both towers call it, and the first one writes; UserError as for `written`."""
        started = time.monotonic()
        self.written()
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
            self.writer.begin(record)
        self.saved = time.monotonic()
        self.state.checkpoints += 1
        self.state.checkpoint_seconds += self.saved - started
        self.epoch_started += self.saved - started  # no part of the training's speed

    def written(self) -> None:
        """Return when the last checkpoint is on the disk; UserError if it cannot be written: then the one before stays."""
        try:
            self.writer.wait()
        except OSError as error:
            raise UserError(
                f"{self.name}: {self.checkpoint} cannot be written ({error.strerror or error}); mend it and run "
                "the same again: it goes on from its last checkpoint"
            ) from None

    def session_so_far(self) -> dict[str, Any]:
        """This session, for the list of sessions."""
        steps = {"until_step": self.state.step} if self.state.step else {}
        return self.session | {"finished": now(), "until_epoch": self.state.epoch, **steps}

    def _agreed(self, wanted: int) -> int:
        """What both towers do: the most that one of them wants."""
        return int(max(self.link.numbers(wanted))) if self.link else wanted

    def due(self) -> int:
        """What to do between two steps: go on, save, or save and stop; both towers call it, and get the same answer."""
        minutes, steps = self.cadence.minutes, self.cadence.steps
        save = time.monotonic() - self.saved >= 60 * minutes or bool(steps and self.state.step % steps == 0)
        return self._agreed(STOP if interruption.asked() else SAVE if save else GO_ON)

    def stop(self) -> NoReturn:
        """Write a checkpoint and end, as the signal asked."""
        self.save_checkpoint()
        self.written()
        self._agreed(STOP)  # the first tower has written it
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
        done = state.images
        waiting: list[tuple[int, int, torch.Tensor]] = []
        masks = generator_of(self.device)
        batches = self.batches.epoch(epoch, current.color_noise, state.step)
        for step, (images, labels) in enumerate(batches, state.step):
            # dropout masks are keyed by (seed, epoch, step)
            masks.manual_seed(zlib.crc32(f"{config['seed']}/{epoch}/{step}".encode()))
            found = self.step(*(tensor.to(self.device, non_blocking=True) for tensor in (images, labels)))
            sums += found[1:]
            done += len(labels)
            if len(waiting) >= LOOK.get(self.device.type, 1):  # a step late
                self._look(epoch, waiting, report)
            waiting.append((step, done, found[0]))
            state.step, state.images = step + 1, done
            if what := self.due():
                self._look(epoch, waiting, report)
                self._note_place(sums)
                if what == STOP:
                    self.stop()
                self.save_checkpoint()
        self._look(epoch, waiting, report)
        self._note_place(sums)
        loss, error, top5 = (sums / done).tolist()
        return self.rates_row(epoch) | {"train_loss": loss, "train_error": error, "train_top5_error": top5}

    def rates_row(self, epoch: int) -> dict[str, float]:
        """What an epoch's row of metrics.csv begins with: images seen by its end, learning rates, colour noise."""
        current = self.rates(epoch)
        return {
            "images": (epoch + 1) * self.images,
            "learning_rate": current.weights,
            "bias_learning_rate": current.biases,
            "conv1_learning_rate": current.of("conv1.weights"),
            "color_noise": self.config["augmentation"]["color_noise"] * current.color_noise,
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
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        crop, split = self.config["data"]["crop"], self.validation
        for start in range(0, len(split), 256):
            pixels = np.ascontiguousarray(central_crop(split.images[start : start + 256], crop))
            labels = torch.from_numpy(split.labels[start : start + 256]).to(self.device)
            logits = self.net(to_batch(pixels, self.views[0], self.device))
            errors = [top_k_error(logits, labels, k).sum() for k in (1, 5)]
            sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum"), *errors]).double()
            if self._agreed(STOP if interruption.asked() else GO_ON) == STOP:
                self.stop()  # it will validate again, from the end of the training steps
        loss, error, top5 = (sums / len(split)).tolist()
        return {"validation_loss": loss, "validation_error": error, "validation_top5_error": top5}

    def _look(
        self, epoch: int, waiting: list[tuple[int, int, torch.Tensor]], report: Callable[[int, float], None]
    ) -> None:
        """Report the losses of steps, which wait no longer, or end the run at the first that is not finite."""
        losses = torch.stack([loss for _, _, loss in waiting]).tolist() if waiting else []
        for (step, done, _), value in zip(waiting, losses, strict=True):
            if not math.isfinite(value):
                self._end(epoch, step, value)
            report(done, value)
        waiting.clear()

    def _end(self, epoch: int, step: int, value: float) -> NoReturn:
        if self.rank:
            raise Diverged(f"{self.name}: the loss became {value}")  # the first tower says more
        evidence, current = self.out / "failed.json", self.rates(epoch)
        record = {"epoch": epoch + 1, "step": step, "loss": str(value), "rates": asdict(current)}
        write_json(evidence, record | {"history": self.state.history})
        raise Diverged(
            f"{self.name}: the loss became {value} in epoch {epoch + 1}, step {step} (rate {current.weights:g}); "
            f"lower the learning rates; the history is kept in {evidence}"
        )
