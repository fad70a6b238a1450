"""Progress lines of a training: details for the log, one line an epoch for the terminal."""

import datetime
import sys
import time
from typing import TextIO

PROGRESS_SECONDS = 5.0


class Progress:
    """Lines with images/s and ETA every few seconds to the log, and one line an epoch to standard output.

    Args:
        silent: write nothing; the other one of two processes does.
        spent: seconds that an earlier process spent on the first epoch.
    """

    def __init__(
        self, name: str, images: int, first_epoch: int, epochs: int, silent: bool = False, spent: float = 0.0
    ) -> None:
        self.silent = silent
        self.name, self.images, self.first_epoch, self.epochs = name, images, first_epoch, epochs
        self.last = time.monotonic()
        self.started = self.epoch_started = self.last - spent

    def batch(self, epoch: int, done: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last < PROGRESS_SECONDS:
            return
        self.last = now
        rate = done / (now - self.epoch_started)
        finished = (epoch - self.first_epoch) * self.images + done
        eta = ((self.epochs - epoch) * self.images - done) * (now - self.started) / finished
        self.note(
            f"epoch {epoch + 1}/{self.epochs}  {done}/{self.images} images  loss {loss:.4f}  {rate:.0f} images/s  "
            f"ETA {clock(eta)}"
        )

    def note(self, words: str, *also: TextIO) -> None:
        """A line to the log alone, or `also` elsewhere."""
        for target in () if self.silent else (*also, sys.stderr):
            print(f"{self.name}  {words}", file=target, flush=True)

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        eta = (self.epochs - epoch - 1) * (time.monotonic() - self.started) / (epoch + 1 - self.first_epoch)
        self.note(
            f"epoch {epoch + 1}/{self.epochs}  loss {row['train_loss']:.4f}  "
            f"training error {row['train_error']:.1%}  validation error {row['validation_error']:.1%}  "
            f"rate {row['learning_rate']:g}  {row['images_per_second']:.0f} images/s  ETA {clock(eta)}",
            sys.stdout,
        )


def clock(seconds: float) -> str:
    """h:mm:ss."""
    return str(datetime.timedelta(seconds=round(seconds)))
