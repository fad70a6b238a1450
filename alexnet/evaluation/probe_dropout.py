"""How near the halved outputs of a net with dropout come to the mean of its thinned nets (s. 4.2).

The geometric mean of m sampled nets lies off that of all nets by luck, which adds about c / m to every divergence. It is taken
away by extrapolation to infinitely many: twice the divergence with m nets, minus the average of those with either half of them.
"""

import math

import torch
from torch import Tensor, nn

from alexnet.net.layers import Dropout
from alexnet.net.metrics import top_k_error
from alexnet.net.model import AlexNet

MASKS = 64  # thinned nets; even


def divergences(of: Tensor, to: Tensor) -> Tensor:
    """Kullback-Leibler divergence, nats, of `to` from `of`; both (..., classes) log-probabilities."""
    return (of.exp() * (of - to)).sum(-1)


def geometric_mean(log_probabilities: Tensor) -> Tensor:
    """(B, classes) normalised geometric mean of (masks, B, classes), all log-probabilities."""
    return log_probabilities.mean(0).log_softmax(-1)


def arithmetic_mean(log_probabilities: Tensor) -> Tensor:
    """(B, classes) mean of the probabilities of (masks, B, classes), all log-probabilities."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def _distances(thinned: Tensor, halved: Tensor) -> dict[str, Tensor]:
    geometric, arithmetic = geometric_mean(thinned), arithmetic_mean(thinned)
    return {
        "geometric_halved": divergences(geometric, halved),
        "geometric_arithmetic": divergences(geometric, arithmetic),
        "arithmetic_halved": divergences(arithmetic, halved),
    }


def compared(thinned: Tensor, halved: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What one image says of the means of thinned nets and of the halved net, (B,) each.

    Args:
        thinned: (masks, B, classes) log-probabilities, an even number of masks.
        halved: (B, classes) log-probabilities.

    Returns:
        geometric_halved      divergence of the halved net from the geometric mean, extrapolated to all masks
        geometric_arithmetic  that of the arithmetic mean from the geometric one, extrapolated
        arithmetic_halved     that of the halved net from the arithmetic mean, extrapolated
        *_sampled             the three with the masks that were drawn, without extrapolation
        thinned               divergence of single thinned nets from the geometric mean that was drawn, their mean
        *_error               top-1 errors: of the halved net, of both means, and of single thinned nets
    """
    whole = _distances(thinned, halved)
    half = len(thinned) // 2
    parts = [_distances(part, halved) for part in (thinned[:half], thinned[half:])]
    center = geometric_mean(thinned)
    errors = {"halved_error": halved, "geometric_error": center, "arithmetic_error": arithmetic_mean(thinned)}
    singles = torch.stack([top_k_error(one, labels, 1) for one in thinned])
    return {
        **{key: 2 * value - (parts[0][key] + parts[1][key]) / 2 for key, value in whole.items()},
        **{f"{key}_sampled": value for key, value in whole.items()},
        "thinned": divergences(center, thinned).mean(0),
        **{key: top_k_error(said, labels, 1) for key, said in errors.items()},
        "thinned_error": singles.double().mean(0),
    }


def _tail(net: AlexNet) -> tuple[str, nn.Sequential]:
    """The layer ("" for the input) before the first fully connected one, and all from there on; dropout comes later."""
    names = list(net.layers)
    linear = next(name for name in net.learned if isinstance(net.layers[name], nn.Linear))
    before = net.learned[net.learned.index(linear) - 1] if linear != net.learned[0] else ""
    if not before or any(isinstance(net.layers[name], Dropout) for name in names[: names.index(linear)]):
        return "", nn.Sequential(net)
    return before, nn.Sequential(nn.Flatten(), *(net.layers[name] for name in names[names.index(linear) :]))


@torch.no_grad()
def against_thinned_nets(net: AlexNet, views: Tensor, labels: Tensor, masks: int = MASKS) -> dict[str, Tensor]:
    """`compared` for views (B, 3, rows, columns) and labels (B,), on the processor; nothing for a net without dropout."""
    dropouts = [module for module in net.modules() if isinstance(module, Dropout)]
    if not dropouts:
        return {}
    net.eval()
    before, tail = _tail(net)
    hidden = net.features(views, before) if before else views  # the same for all masks
    halved = tail(hidden).double().log_softmax(-1).cpu()
    for module in dropouts:
        module.train()
    try:
        thinned = torch.stack([tail(hidden).double().log_softmax(-1) for _ in range(masks)]).cpu()
    finally:
        net.eval()
    return compared(thinned, halved, labels)
