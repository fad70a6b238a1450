"""A training step: forward, loss, gradients, update. On a GPU it can be recorded once and replayed."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.net.metrics import top_k_error
from alexnet.training.sgd import PaperSGD

EAGER = 3  # steps before a recording, in which libraries choose their algorithms and the optimizer makes its velocities
Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]


class Step:
    """Trains a net on one batch.

    Args:
        bf16: whether the forward pass and its gradients are computed in bfloat16.
    """

    def __init__(self, net: nn.Module, optimizer: PaperSGD | torch.optim.Optimizer, bf16: bool) -> None:
        self.net, self.optimizer, self.bf16 = net, optimizer, bf16

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, its sum, top-1 and top-5 errors: (4,) float64, before the update; all tensors on the net's device."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.net(images).float()
        loss = F.cross_entropy(logits, labels)
        self.net.zero_grad()
        loss.backward()
        self.optimizer.step()
        scores, loss = logits.detach(), loss.detach()
        errors = [top_k_error(scores, labels, k).sum() for k in (1, 5)]
        return torch.stack([loss, loss * len(labels), *errors]).double()


def cuda_graph(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record `work`, which does not run yet: a call that runs it on the same memory, and where its result will be."""
    graph = torch.cuda.CUDAGraph()
    # "thread_local": what other threads do meanwhile does not matter
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work()
    return graph.replay, result


class RecordedStep:
    """Replays a recording of `step`, which saves the time of some 170 launches.

    A recording holds the learning rates and the size of the batch as they were: there is a new one after a change of rates, and
    a smaller batch runs eagerly. Random numbers come from the device's generator, as it is seeded before each call.

    Args:
        size: images of a batch that is replayed.
        record: `cuda_graph`, or what does the same elsewhere.
    """

    def __init__(self, step: Step, size: int, record: Record = cuda_graph) -> None:
        self.step, self.size, self.record = step, size, record
        self.rates: list[float] = []

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """As `Step`."""
        rates = [group["lr"] for group in self.step.optimizer.param_groups]
        if rates != self.rates:
            self.rates, self.eager, self.replay = rates, EAGER, None
        if self.eager or len(labels) != self.size:
            self.eager = max(0, self.eager - 1)
            return self.step(images, labels)
        if self.replay is None:
            self.images, self.labels = images.clone(), labels.clone()
            self.replay, self.result = self.record(partial(self.step, self.images, self.labels))
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.replay()
        return self.result.clone()
