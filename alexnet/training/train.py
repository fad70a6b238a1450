"""Trains one configuration on a packed set: model.pt, metrics.csv and run.json.

On the CPU a run is a pure function of its configuration, its data and its thread count: every draw is keyed by (seed, epoch,
step), so that a run that was interrupted at any step and resumed from its checkpoint ends as one that was not, bit for bit.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import Timeout

from alexnet.errors import UserError
from alexnet.experiments.config import RunConfig
from alexnet.experiments.resolve import read_config
from alexnet.net.execution import Execution, plan
from alexnet.runtime import interruption, provenance
from alexnet.runtime.files import from_the_future, locked, remove_leftovers
from alexnet.runtime.gpu_leases import leased
from alexnet.runtime.progress import Progress
from alexnet.runtime.provenance import now
from alexnet.training.record import lost_epoch, publish
from alexnet.training.schedule import describe_rates, over
from alexnet.training.state import BY_THE_CLOCK, Cadence
from alexnet.training.towers import Link
from alexnet.training.trainer import Diverged, Run
from alexnet.training.two_processes import run_both

PEER_TIMEOUT = 600.0  # seconds
LOCK_SECONDS = 60.0  # that a training which was told to end may take to do so


def train(
    config_path: Path,
    data: Path,
    out: Path,
    devices: str = "auto",
    threads: int | None = None,
    start: Path | None = None,
    peer_timeout: float = PEER_TIMEOUT,
    cadence: Cadence = BY_THE_CLOCK,
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
        with leased(devices):
            execution = plan(devices, threads, config["precision"], config["model"]["towers"])
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
    busy = f"another training is running in {out}"
    say = partial(print, f"{busy}; waiting for its end", file=sys.stderr, flush=True)
    try:
        lock = locked(folder / "lock", LOCK_SECONDS, say)
    except Timeout:
        raise UserError(f"{busy}; wait for it, or end it, and try again") from None
    with lock:
        remove_leftovers(folder)
        remove_leftovers(out)
        yield


def _train(
    link: Link | None,
    config: RunConfig,
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
    run.session = {"started": now(), **provenance.collect("train"), **execution.record()}
    run.session["device"] = execution.devices[0]
    with run.writer.pool:
        _epochs(run)
    publish(run)


def _epochs(run: Run) -> None:
    state, link, epochs = run.state, run.link, run.config["training"]["epochs"]
    progress = Progress(run.name, run.images, state.epoch, epochs, silent=run.rank > 0, spent=state.seconds)
    run.saved = time.monotonic()
    for epoch in range(state.epoch, epochs):
        if over(run.config["optimizer"], [past["train_error"] for past in state.history], epochs):
            break
        run.epoch_started = progress.epoch_started = time.monotonic() - state.seconds
        current = run.rates(epoch)
        if epoch == 0 or replace(current, reason="") != replace(run.rates(epoch - 1), reason=""):
            progress.note(f"epoch {epoch + 1}: rates {describe_rates(current)} ({current.reason})")
        row: dict[str, float] = {"epoch": epoch + 1}
        before = state.images
        if link:
            link.count_anew()
        try:
            row |= run.train_epoch(epoch, partial(progress.batch, epoch))
        except Diverged as reason:
            if "stop_at" not in run.config["optimizer"] and not run.config.get("rate", {}).get("pilot"):
                raise
            progress.note(f"{reason}; in a race or a pilot that is a result")
            state.history.append(row | lost_epoch(run, epoch, time.monotonic() - run.epoch_started))
            state.begin_epoch(epoch + 1)
            break
        if link and state.images > before:
            run.session["traffic"] = link.traffic(state.images - before)
        seconds = state.seconds
        row |= run.validate()
        row |= {"seconds": time.monotonic() - run.epoch_started, "images_per_second": run.images / seconds}
        state.history.append(row)
        state.begin_epoch(epoch + 1)
        run.save_checkpoint()
        progress.epoch(epoch, row)
    run.written()
    state.sessions.append(run.session_so_far())
