"""Top-k errors against a sort, and ties against their expectation over random tie-breaking."""

import numpy as np
import torch

from alexnet.net.metrics import log_loss, top_k_error


def test_without_ties_it_is_the_sorted_definition():
    scores = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(500) % 20
    for k in (1, 5):
        among = (scores.argsort(1, descending=True)[:, :k] == labels[:, None]).any(1)
        assert torch.equal(top_k_error(scores, labels, k), 1.0 - among.float())


def test_ties_are_the_mean_over_random_tie_breaking():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 3, (8, 6))
    labels = generator.integers(0, 6, 8)
    trials = 20_000
    hits = np.zeros((8, 2))
    for _ in range(trials):
        order = np.argsort(-(scores + generator.random(scores.shape) * 1e-3), axis=1)
        hits[:, 0] += order[:, 0] == labels
        hits[:, 1] += (order[:, :3] == labels[:, None]).any(1)
    for column, k in enumerate((1, 3)):
        ours = top_k_error(torch.from_numpy(scores).float(), torch.from_numpy(labels), k).numpy()
        np.testing.assert_allclose(ours, 1 - hits[:, column] / trials, atol=0.02)


def test_a_net_that_says_nothing_errs_at_chance():
    scores, labels = torch.zeros(3, 1000), torch.tensor([0, 500, 999])
    torch.testing.assert_close(top_k_error(scores, labels, 1), torch.full((3,), 0.999))
    torch.testing.assert_close(top_k_error(scores, labels, 5), torch.full((3,), 0.995))
    assert (top_k_error(torch.full((3, 1000), torch.nan), labels, 5) == 1).all()


def test_log_loss_is_minus_log_p_and_finite():
    p = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    loss = log_loss(p, torch.tensor([0, 0]))
    torch.testing.assert_close(loss[0], torch.tensor(0.25).log().neg())
    assert torch.isfinite(loss).all()
