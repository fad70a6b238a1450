"""Log loss and top-k errors; ties are shared out as in the original program."""

import torch
from torch import Tensor


def top_k_error(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """1 where the label is not among the k largest scores, 0 where it is, a fraction on ties at the border.

    With g scores above the label's and e equal to it (itself included), the label is among the first k with
    probability min(1, (k - g) / e) (code layer_kernels.cu:96-119).

    Args:
        scores: (N, classes); labels: (N,).

    Returns:
        (N,) float32. A label whose score is not a number counts as an error.
    """
    own = scores.gather(1, labels[:, None])
    greater = (scores > own).sum(1).float()
    equal = (scores == own).sum(1).clamp(min=1).float()
    error = 1.0 - ((k - greater) / equal).clamp(0.0, 1.0)
    return torch.where(own[:, 0].isnan(), torch.ones_like(error), error)


def log_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """-log p of the label, (N,), p floored at the smallest normal float32."""
    own = probabilities.gather(1, labels[:, None])[:, 0]
    return -own.clamp(min=torch.finfo(torch.float32).tiny).log()
