"""A recorded step gives the bits of an eager one. Here it is recorded by torch's tracer, on a GPU as a CUDA graph."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import make_packed_set
from recording import traced
from test_train import ReadsBack, same, weights
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet.net import execution, layers
from alexnet.training import state, train, trainer
from alexnet.training.step import EAGER, RecordedStep, Step, cuda_graph

FULL = 15  # batches of 8, five an epoch, each of which ends with one of 4


def changes(config):
    """Three epochs, of which the last has other rates; dropout, crops and colour noise stay on."""
    config["training"]["epochs"] = 3
    config["optimizer"]["batch_size"] = 8
    config["optimizer"]["schedule"]["stages"] = [
        {"until": 62, "weights": 0.01, "biases": 0.02},
        {"until": 93, "weights": 0.001, "biases": 0.002},
    ]


@pytest.fixture
def train_on(configure, tmp_path, monkeypatch):
    """Trains with torch's own normalisation, which can be traced; `record`: by recorded steps."""
    data = make_packed_set(tmp_path / "data", {"train": 44, "val": 12})
    config = configure(change=changes)
    for module in (layers, execution):
        monkeypatch.setattr(module, "norm_backend", lambda device: None)
    plan = execution.plan

    def run(out, record=None, kind=RecordedStep, **more):
        monkeypatch.setattr(train, "plan", lambda *asked: replace(plan(*asked), graph=record is not None))
        monkeypatch.setattr(trainer, "RecordedStep", partial(kind, record=record))
        train.train(config, data, tmp_path / out, threads=1, **more)
        return weights(tmp_path / out)

    return run


class Counts(TorchDispatchMode):
    """Operations by name."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func.name()] += 1
        return func(*args, **(kwargs or {}))


def counted(call, steps, reads):
    """`call` of a step, which notes the operations of each."""

    def step(self, images, labels):
        with Counts() as counts, reads:
            found = call(self, images, labels)
        steps.append(counts.seen)
        return found

    return step


def test_recorded_steps_end_with_the_bits_of_eager_ones(train_on, monkeypatch):
    """Across a change of rates, smaller batches and a death within an epoch; a replay costs three operations and reads nothing."""
    steps, replays, recordings, reads = [], [], [], ReadsBack()

    def record(work):
        recordings.append(work.func.optimizer.param_groups[0]["lr"])
        return traced(work)

    with monkeypatch.context() as here:
        here.setattr(Step, "__call__", counted(Step.__call__, steps, reads))
        eager = train_on("eager")
    with monkeypatch.context() as here:
        here.setattr(RecordedStep, "__call__", counted(RecordedStep.__call__, replays, reads))
        assert same(train_on("whole", record), eager)
    assert recordings == [0.01, 0.001]
    assert min(seen.total() for seen in steps) > 100 and reads.count == 0
    assert replays.count(Counter({"aten::copy_": 2, "aten::clone": 1})) == FULL - 2 * EAGER - 2  # two were recorded
    due = trainer.Run.due

    def dies(run):
        if (run.state.epoch, run.state.step) == (1, 3):
            raise KeyboardInterrupt
        return due(run)

    with monkeypatch.context() as here:
        here.setattr(trainer.Run, "due", dies)
        with pytest.raises(KeyboardInterrupt):
            train_on("cut", record, cadence=state.Cadence(minutes=60, steps=2))
    assert same(train_on("cut", record), eager)
    assert recordings[2:] == [0.01, 0.001]  # the last four steps of an epoch hold three eager ones and no whole batch

    class Stale(RecordedStep):
        """Goes on with a recording after a change of rates: else the equality above would show nothing."""

        def __call__(self, images, labels):
            if self.rates:
                self.rates = [group["lr"] for group in self.step.optimizer.param_groups]
            return super().__call__(images, labels)

    assert not same(train_on("stale", traced, Stale), eager)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_is_recorded_and_replayed():
    x = torch.ones(4, device="cuda")
    replay, result = cuda_graph(lambda: x.mul_(2).clone())
    assert x.tolist() == [1] * 4
    for power in (2, 4):
        replay()
        assert result.tolist() == x.tolist() == [power] * 4
