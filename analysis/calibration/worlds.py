"""Fabricates outcomes of known truth: seeds that differ, images of unequal difficulty, correlated answers.

A world has images of `DIFFICULTIES` kinds. A net of error e is wrong on an image of a kind with a probability drawn from a
Beta distribution with mean e (quantile midpoints), wide enough that two nets of 40 % error disagree on about every
fifth image. On half of the images of each kind the other net is systematically better, on half worse, so that the choice
of images matters to a difference. A seed shifts all probabilities p in proportion to p (1 - p), by a normal draw whose
standard deviation is the world's; an effect does the same by a fixed amount. So the true mean errors are known exactly.

Sampling is exact image by image (`by_image`); for many images the counts by kind are drawn instead, and sums of products
of two seeds' answers take their expectation given the counts (`by_kind`): thousands of test sets in seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from analysis.measures.inference import Moments, moments

DIFFICULTIES = 20
CONCENTRATION = 0.714  # a + b of the Beta distribution
TASTE = 0.1  # systematic difference of two nets on half of the images, in units of p (1 - p) / mean of p (1 - p)
FEW_IMAGES = 1000  # up to which images are drawn one by one


@dataclass(frozen=True)
class World:
    """What is true. Errors are fractions."""

    error: float  # of the baseline, or of the only net
    effect: float  # error of the experiment minus that of the baseline
    sd: float  # between seeds of the experiment (or of the only net)
    baseline_sd: float
    images: int
    seeds: int
    baseline_seeds: int  # 0: there is one net; as many as `seeds`: pairs


def kinds(error: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chance of an error by kind of image (2 x difficulties), weight of a shift, and taste of the second net (+ or -)."""
    middle = (np.arange(DIFFICULTIES) + 0.5) / DIFFICULTIES
    p = betaincinv(error * CONCENTRATION, (1 - error) * CONCENTRATION, middle)
    p = np.clip(p, 1e-4, 1 - 1e-4)
    p = np.repeat(p + (error - p.mean()) * p * (1 - p) / np.mean(p * (1 - p)), 2)
    weight = p * (1 - p) / np.mean(p * (1 - p))
    return p, weight, np.tile([1.0, -1.0], DIFFICULTIES)


def chances(world: World, rng: np.random.Generator, repeats: int) -> list[np.ndarray]:
    """Chance of an error, (repeats, seeds, kinds), of the experiment and of the baseline, if there is one."""
    p, weight, taste = kinds(world.error)

    def net(n: int, sd: float, shift: np.ndarray) -> np.ndarray:
        luck = rng.normal(0, sd, (repeats, n, 1)) if sd else np.zeros((repeats, n, 1))
        return np.clip(p + weight * (luck + shift), 0, 1)

    if not world.baseline_seeds:
        return [net(world.seeds, world.sd, np.full_like(p, world.effect))]
    # the sums over kinds of weight * taste vanish, so the mean stays what it is
    ours = net(world.seeds, world.sd, world.effect + TASTE * taste / 2)
    return [ours, net(world.baseline_seeds, world.baseline_sd, -TASTE * taste / 2)]


def by_image(world: World, rng: np.random.Generator, repeats: int) -> Iterator[Moments]:
    """Moments of fabricated answers, image by image."""
    for nets in zip(*chances(world, rng, repeats), strict=True):
        kind = rng.integers(0, 2 * DIFFICULTIES, world.images)
        sides = [(rng.random((world.images, len(p)), np.float32) < p[:, kind].T).astype(float) for p in nets]
        paired = len(sides) == 2 and sides[0].shape == sides[1].shape
        yield moments(sides[0] - sides[1]) if paired else moments(*sides)


def by_kind(world: World, rng: np.random.Generator, repeats: int) -> Iterator[Moments]:
    """The same from counts of errors by kind of image."""
    n = world.images
    sides = chances(world, rng, repeats)
    of_kind = rng.multinomial(n, np.full(2 * DIFFICULTIES, 1 / (2 * DIFFICULTIES)), repeats)  # repeats, kinds
    counts = [rng.binomial(of_kind[:, None], side) for side in sides]
    every = np.concatenate(counts, axis=1).astype(float)
    products = np.einsum("rkc,rlc->rkl", every / np.maximum(of_kind, 1)[:, None], every)
    seeds = np.arange(every.shape[1])
    products[:, seeds, seeds] = every.sum(axis=2)  # an answer times itself
    means = every.sum(axis=2) / n
    sizes = [side.shape[1] for side in counts]
    if len(set(sizes)) == 1 and len(sizes) == 2:  # pairs
        gain = np.hstack([np.eye(sizes[0]), -np.eye(sizes[0])])
        products, means, sizes = gain @ products @ gain.T, means @ gain.T, sizes[:1]
    weight = np.concatenate([np.full(k, sign / k) for k, sign in zip(sizes, (1, -1), strict=False)])
    squares = np.einsum("k,rkl,l->r", weight, products, weight)
    between = (squares - n * (means @ weight) ** 2) / (n - 1)
    luck, ends = np.zeros(repeats), np.cumsum(sizes)
    for k, end in zip(sizes, ends, strict=True):
        block = products[:, end - k : end, end - k : end]
        if k > 1:
            luck += (np.trace(block, axis1=1, axis2=2) - block.sum(axis=(1, 2)) / k) / (k - 1) / n / k
    arms = zip(*np.split(means, ends[:-1], axis=1), strict=True)
    for found, variance, part in zip(arms, between, luck, strict=True):
        yield Moments(found, float(variance), float(part), n)


def outcomes(world: World, rng: np.random.Generator, repeats: int) -> Iterator[Moments]:
    """Moments of `repeats` fabricated campaigns."""
    draw = by_image if world.images <= FEW_IMAGES else by_kind
    yield from draw(world, rng, repeats)
