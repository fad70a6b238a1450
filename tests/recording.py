"""Records a training step on the processor, as a CUDA graph does on a GPU: operations and constants are frozen."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import _disable_current_modes


def traced(work: partial[torch.Tensor]) -> tuple[Callable[[], object], torch.Tensor]:
    """As `alexnet.training.step.cuda_graph`, for a call of a `Step`.

    Tracing runs the step once, which recording a CUDA graph does not: weights, velocities and random state are put back.
    """
    net, optimizer = work.func.net, work.func.optimizer
    weights, drawn = copy.deepcopy(net.state_dict()), torch.default_generator.get_state()
    velocities = {p: state["velocity"].clone() for p, state in optimizer.state.items()}
    graph = make_fx(lambda: work())()
    net.load_state_dict(weights)
    for p, velocity in velocities.items():
        optimizer.state[p]["velocity"].copy_(velocity)
    torch.default_generator.set_state(drawn)
    result = torch.empty(4, dtype=torch.float64)

    def replay() -> None:
        with _disable_current_modes():  # a counter of operations does not see what a replay does, either
            result.copy_(graph())

    return replay, result
