"""Probes of a finished net against SciPy and explicit loops: planted patterns are found, and noise, smooth or not, is not."""

from __future__ import annotations

import io
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, logsumexp, rel_entr, softmax

from alexnet.evaluation import probe_dropout, probe_kernels, probe_pictures, probe_retrieval
from alexnet.synthetic.synsets import synsets

Y, X = np.mgrid[:11, :11] - 5.0


def gabors(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Grey ones of 0.2 cycles a pixel under noise of a third of their energy, and their directions, degrees."""
    angles = rng.uniform(0, 180, count)
    found = []
    for angle, phase in zip(np.radians(angles), rng.uniform(0, 2 * np.pi, count), strict=True):
        wave = np.cos(2 * np.pi * 0.2 * (X * np.cos(angle) + Y * np.sin(angle)) + phase)
        found.append(np.exp(-(X**2 + Y**2) / (2 * 2.5**2)) * wave)
    return noisy(np.repeat(np.array(found)[:, None], 3, axis=1), 1 / 3, rng), angles


def coloured_blobs(count: int, rng: np.random.Generator) -> np.ndarray:
    places = rng.uniform(-2, 2, (count, 2))
    bumps = np.array([np.exp(-((X - a) ** 2 + (Y - b) ** 2) / (2 * 2**2)) for a, b in places])
    colours = rng.standard_normal((count, 3))
    colours -= colours.mean(1, keepdims=True)
    return noisy(bumps[:, None] * colours[:, :, None, None], 0.05, rng)


def noisy(kernels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """With white noise of `share` times their energy."""
    size = np.sqrt(np.square(kernels).mean((1, 2, 3), keepdims=True))
    return kernels / size + np.sqrt(share) * rng.standard_normal(kernels.shape)


def textures(count: int, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Cut-outs of isotropic Gaussian noise, each channel by itself, smoothed by `sd` pixels."""
    whole = rng.standard_normal((count, 3, 35, 35))
    return gaussian_filter(whole, (0, 0, sd, sd))[:, :, 12:23, 12:23] if sd else whole[:, :, :11, :11]


def shares(kernels: np.ndarray) -> dict[str, float]:
    said = probe_kernels.selectivity(kernels)
    return {key: float(np.mean(np.array(said[f"{key}_p"]) <= 0.05)) for key in ("orientation", "blob", "patch")}


# First kernels ------------------------------------------------------------------------------------------------------


def test_gabors_are_oriented_and_no_blobs_of_colour() -> None:
    kernels, angles = gabors(60, np.random.default_rng(0))
    said = {key: np.array(values) for key, values in probe_kernels.selectivity(kernels).items()}
    assert np.mean(said["orientation_p"] <= 0.05) > 0.95
    assert (said["colourfulness"] < 0.5).all()
    away = np.abs(said["angle"] - angles)
    assert np.median(np.minimum(away, 180 - away)) < 10
    assert np.median(said["frequency"]) == pytest.approx(0.2, abs=0.05)


def test_coloured_blobs_are_blobs_and_not_oriented() -> None:
    kernels = coloured_blobs(60, np.random.default_rng(1))
    said = {key: np.array(values) for key, values in probe_kernels.selectivity(kernels).items()}
    assert said["one_colour"].mean() == pytest.approx(0.97, abs=0.01) and np.mean(said["blob_p"] <= 0.05) > 0.8
    assert (said["patch_p"] <= 0.05).all() and (said["colourfulness"] > 0.5).all()
    assert np.mean(said["orientation_p"] <= 0.05) < 0.1


@pytest.mark.parametrize("sd", [0, 1, 1.5])
def test_textures_are_oriented_or_blobs_as_rarely_as_chance_says_however_smooth(sd: float) -> None:
    count = 150
    found = shares(textures(count, sd, np.random.default_rng(2)))
    most = stats.binom.ppf(0.999, count, 0.05) / count
    assert found["orientation"] <= most and found["blob"] <= most
    assert found["patch"] <= most if sd == 0 else found["patch"] > 0.9  # that one is what tells smooth from white


def test_a_kernel_of_one_colour_all_over_is_a_patch_and_no_blob() -> None:
    rng = np.random.default_rng(3)
    flat = np.ones((40, 1, 11, 11)) * np.array([1.0, -1.0, 0.2])[:, None, None]
    found = shares(noisy(flat, 0.5, rng))
    assert found["patch"] == 1 and found["blob"] < 0.1 and found["orientation"] < 0.15


def test_surrogates_have_the_autocovariance_of_the_kernel_by_distance() -> None:
    pattern = textures(1, 1.0, np.random.default_rng(4))[0, 0]
    places = [(i, j) for i in range(11) for j in range(11)]
    sums: dict[int, list[tuple[float, float]]] = {}
    for a in places:
        for b in places:
            distance = float(np.hypot(a[0] - b[0], a[1] - b[1]))
            sums.setdefault(round(distance), []).append((distance, pattern[a] * pattern[b]))
    means = np.array([np.mean(sums[key], axis=0) for key in sorted(sums)])
    wanted = np.array([[np.interp(np.hypot(a[0] - b[0], a[1] - b[1]), *means.T) for b in places] for a in places])
    values, vectors = np.linalg.eigh(wanted)
    wanted = (vectors * np.clip(values, 0, None)) @ vectors.T
    drawn = probe_kernels.surrogates(pattern, 40_000, np.random.default_rng(5)).reshape(-1, 121)
    error = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / len(drawn))
    assert (np.abs(drawn.T @ drawn / len(drawn) - wanted) < 6 * error + 1e-12).all()


def test_orientation_is_that_of_an_explicit_spectrum() -> None:
    for rows, columns in ((7, 7), (6, 8)):
        pattern = np.random.default_rng(6).standard_normal((rows, columns))
        turned, total, frequency = 0j, 0.0, 0.0
        for u in range(-((rows - 1) // 2), (rows - 1) // 2 + 1):
            for v in range(-((columns - 1) // 2), (columns - 1) // 2 + 1):
                y, x = np.mgrid[:rows, :columns]
                wave = np.exp(-2j * np.pi * (u * y / rows + v * x / columns))
                power = abs((pattern * wave).sum()) ** 2 if (u, v) != (0, 0) else 0.0
                turned += power * np.exp(2j * np.arctan2(u / rows, v / columns))
                frequency += power * np.hypot(u / rows, v / columns)
                total += power
        (size,), (angle,) = probe_kernels.orientation(pattern[None])
        assert size == pytest.approx(abs(turned) / total)
        assert angle == pytest.approx(np.degrees(np.angle(turned) / 2) % 180)
        assert probe_kernels.frequency(pattern[None])[0] == pytest.approx(frequency / total)


def test_a_blob_holds_what_least_squares_say() -> None:
    kernel = np.random.default_rng(7).standard_normal((3, 5, 5))
    y, x = np.mgrid[:5, :5]
    best = 0.0
    for sd in (5 / 8, 5 / 4, 5 / 2, np.inf):
        for row in range(5):
            for column in range(5):
                bump = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sd**2)).reshape(-1, 1)
                _, left, *_ = np.linalg.lstsq(bump, kernel.reshape(3, -1).T, rcond=None)
                best = max(best, 1 - left.sum() / np.square(kernel).sum())
    assert probe_kernels.blob(kernel[None])[0] == pytest.approx(best)


def test_colour_of_grey_coloured_and_random_kernels() -> None:
    rng = np.random.default_rng(8)
    pattern = rng.standard_normal((5, 5))
    nothing = np.zeros((5, 5))
    grey, opponent, red = (
        np.stack(channels) for channels in ([pattern] * 3, [pattern, -pattern, nothing], [pattern, nothing, nothing])
    )
    kernels = np.stack([grey, opponent, red, np.zeros((3, 5, 5))])
    np.testing.assert_allclose(probe_kernels.chroma_share(kernels), [0, 1, 2 / 3, 0], atol=1e-12)
    patterns, colours, held = probe_kernels.dominant(kernels[:3])
    np.testing.assert_allclose(probe_kernels.colourfulness(colours), [0, 1, 2 / 3], atol=1e-12)
    np.testing.assert_allclose(held, 1)
    np.testing.assert_allclose(colours[:, :, None, None] * patterns[:, None], kernels[:3], atol=1e-12)
    assert probe_kernels.chroma_share(rng.standard_normal((4000, 3, 5, 5))).mean() == pytest.approx(2 / 3, abs=0.005)
    nothing_said = probe_kernels.selectivity(kernels[3:], 19)
    assert nothing_said["orientation_p"] == nothing_said["blob_p"] == nothing_said["patch_p"] == [1.0]


# Thinned nets -------------------------------------------------------------------------------------------------------


def test_divergences_and_errors_are_those_of_scipy() -> None:
    rng = np.random.default_rng(9)
    thinned, halved = log_softmax(rng.normal(0, 2, (6, 4, 7)), -1), log_softmax(rng.normal(0, 2, (4, 7)), -1)
    labels = rng.integers(0, 7, 4)
    said = probe_dropout.compared(*(torch.from_numpy(a) for a in (thinned, halved, labels)))

    def away(masks: np.ndarray) -> tuple[np.ndarray, ...]:
        geometric = softmax(masks.mean(0), -1)
        arithmetic = np.exp(logsumexp(masks, 0) - np.log(len(masks)))
        return tuple(
            rel_entr(of, to).sum(-1)
            for of, to in ((geometric, np.exp(halved)), (geometric, arithmetic), (arithmetic, np.exp(halved)))
        )

    names = ("geometric_halved", "geometric_arithmetic", "arithmetic_halved")
    for name, whole, first, second in zip(names, away(thinned), away(thinned[:3]), away(thinned[3:]), strict=True):
        np.testing.assert_allclose(said[f"{name}_sampled"], whole)
        np.testing.assert_allclose(said[name], 2 * whole - (first + second) / 2)
    geometric = softmax(thinned.mean(0), -1)
    np.testing.assert_allclose(said["thinned"], rel_entr(geometric, np.exp(thinned)).sum(-1).mean(0))
    np.testing.assert_array_equal(said["geometric_error"], geometric.argmax(-1) != labels)
    np.testing.assert_array_equal(said["arithmetic_error"], np.exp(thinned).mean(0).argmax(-1) != labels)
    np.testing.assert_allclose(said["thinned_error"], (thinned.argmax(-1) != labels).mean(0))


def test_extrapolation_takes_away_the_luck_of_few_masks() -> None:
    """Of ten nets that are all there are, 16 drawn a time: the mean over many draws is the divergence of all ten."""
    rng = np.random.default_rng(10)
    nets, halved = log_softmax(rng.normal(0, 1, (10, 5)), -1), log_softmax(rng.normal(0, 0.3, 5))
    geometric, arithmetic = softmax(nets.mean(0)), np.exp(nets).mean(0)
    true = {
        "geometric_halved": rel_entr(geometric, np.exp(halved)).sum(),
        "geometric_arithmetic": rel_entr(geometric, arithmetic).sum(),
        "arithmetic_halved": rel_entr(arithmetic, np.exp(halved)).sum(),
    }
    draws = 40_000
    thinned = torch.from_numpy(nets[rng.integers(0, 10, (16, draws))])
    labels = torch.zeros(draws, dtype=torch.long)
    said = probe_dropout.compared(thinned, torch.from_numpy(np.tile(halved, (draws, 1))), labels)
    for name, value in true.items():
        bias, sampled = (said[key].numpy() - value for key in (name, f"{name}_sampled"))
        error = bias.std() / draws**0.5
        assert abs(bias.mean()) < max(4 * error, 0.15 * abs(sampled.mean()))
    assert (said["geometric_halved_sampled"].mean() - true["geometric_halved"]) > 20 * error


# Neighbours ---------------------------------------------------------------------------------------------------------


def test_ranks_are_those_of_scipy() -> None:
    rng = np.random.default_rng(11)
    distances = rng.integers(0, 30, (9, 40)).astype(np.float32)  # with ties
    chosen = rng.integers(0, 40, (9, 6))
    expected = (stats.rankdata(distances, axis=1) - 1) / 39
    found = probe_retrieval.ranks(torch.from_numpy(distances), torch.from_numpy(chosen))
    np.testing.assert_allclose(found, np.take_along_axis(expected, chosen, 1))
    classes, own = rng.integers(0, 3, 40), np.array([0, 1, 2] * 2 + [0, 1, 5])
    plain = rng.permuted(np.tile(np.arange(40.0), (9, 1)), axis=1)
    places = (stats.rankdata(plain, axis=1) - 1) / 39
    ranks = probe_retrieval.class_rank(*(torch.from_numpy(a) for a in (plain, classes, own)))
    for query in range(8):
        assert float(ranks[query]) == pytest.approx(places[query][classes == own[query]].mean())
    assert ranks[8].isnan()


def test_ties_at_the_border_are_shared_out() -> None:
    """The mean over every order in which equally distant images can stand."""
    distances, classes = np.array([1.0, 2, 2, 2, 2, 3]), np.array([1, 0, 1, 1, 0, 1])
    shares_ = [
        np.mean([classes[i] == 1 for i in sorted(order, key=lambda i: distances[i])[:3]])
        for order in permutations(range(6))
    ]
    found = probe_retrieval.same_class(
        torch.from_numpy(distances)[None], torch.from_numpy(classes), torch.tensor([1]), 3
    )
    assert float(found) == pytest.approx(np.mean(shares_))


def test_planted_neighbours_are_found_by_distances_codes_and_colours() -> None:
    rng = np.random.default_rng(12)
    centres, classes = rng.standard_normal((8, 200)), np.repeat(np.arange(8), 25)
    found = torch.from_numpy(centres[classes] + 0.3 * rng.standard_normal((200, 200))).float()
    asking = torch.from_numpy(centres + 0.3 * rng.standard_normal((8, 200))).float()
    own, labels = torch.arange(8), torch.from_numpy(classes)
    bits = [probe_retrieval.projections(side) for side in (asking, found)]
    codes = probe_retrieval.hamming(*bits)
    mean = bits[1].numpy().mean(0)
    np.testing.assert_allclose(codes, 64 * cdist(bits[0].numpy() > mean, bits[1].numpy() > mean, "hamming"))
    for distances in (torch.cdist(asking, found), codes):
        assert (probe_retrieval.same_class(distances, labels, own) == 1).all()
    strangers = probe_retrieval.hamming(bits[0], probe_retrieval.projections(torch.randn(4000, 200)))
    assert strangers.mean() == pytest.approx(32, abs=1)


def test_colours_are_a_histogram_without_places() -> None:
    rng = np.random.default_rng(13)
    pixels = rng.integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    found = probe_retrieval.colours(pixels)
    for image, said in zip(pixels, found, strict=True):
        counted, _ = np.histogramdd(image.reshape(-1, 3), bins=[np.arange(0, 257, 32)] * 3)
        np.testing.assert_allclose(said, np.sqrt(counted.ravel() / 63), rtol=1e-6)
    torch.testing.assert_close(probe_retrieval.colours(pixels[:, ::-1, ::-1].copy()), found)


# Pictures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "wnid", "free"),
    [
        ("cifar10", "airplane", True),
        ("ilsvrc2012", "n90000011", True),
        ("ilsvrc2012", "n15075141", False),
        ("imagenette", "n01440764", False),
    ],
)
def test_only_images_that_may_be_passed_on_travel(source: str, wnid: str, free: bool) -> None:
    assert probe_pictures.may_travel({"source": source, "classes": [{"wnid": wnid}]}) is free
    mixed = {"source": "ilsvrc2012", "classes": [{"wnid": "n90000011"}, {"wnid": "n01440764"}]}
    assert not probe_pictures.may_travel(mixed)
    for year in (2010, 2012):
        generated = [{"wnid": row.wnid} for row in synsets(year, 7, 12)]
        assert probe_pictures.may_travel({"source": f"ilsvrc{year}", "classes": generated})


def test_thumbnails_are_the_images_in_order_and_never_too_large() -> None:
    rng = np.random.default_rng(14)
    images = list(gaussian_filter(rng.uniform(0, 255, (64, 32, 32, 3)), (0, 4, 4, 0)).astype(np.uint8))
    sheet = np.asarray(Image.open(io.BytesIO(probe_pictures.thumbnails(images))))
    assert sheet.shape == (8 * 32, 8 * 32, 3)
    for place, image in enumerate(images):
        row, column = divmod(place, 8)
        tile = sheet[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        assert np.abs(tile.astype(int) - image).mean() < 4
    noise = list(rng.integers(0, 256, (64, 200, 200, 3), dtype=np.uint8))
    small = probe_pictures.thumbnails(noise)
    assert len(small) <= probe_pictures.LIMIT and Image.open(io.BytesIO(small)).size == (512, 512)


def test_positions_are_spread_evenly() -> None:
    assert probe_pictures.spread(3, 8) == [0, 1, 2]
    assert probe_pictures.spread(100, 5) == [0, 24, 49, 74, 99]
    assert probe_pictures.spread(0, 5) == []
