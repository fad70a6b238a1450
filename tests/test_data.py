"""Batches and views against explicit crops and sums; draws against their distributions."""

import itertools

import numpy as np
import pytest
import torch

from alexnet.batches import augment
from alexnet.batches import views as test_time
from alexnet.batches.loader import TrainingBatches
from alexnet.errors import UserError
from alexnet.packed.packed_set import open_split

SETTINGS = {
    "random_crop": True,
    "horizontal_flip": True,
    "images_per_crop": 1,
    "color_noise": 0.0,
    "color_noise_scale": "standard_deviation",
    "color_divisor": 1.0,
    "mean": "central_crop",
    "reshuffle": True,
}


def config(crop=32, **changes):
    return {
        "seed": 5,
        "data": {"crop": crop},
        "optimizer": {"batch_size": 16, "partial_batch": "use"},
        "augmentation": SETTINGS | changes,
    }


def batches(split, settings, epoch=0, noise=True):
    mean = np.zeros((40, 40, 3), np.float32)
    out = list(TrainingBatches(split, settings, mean).epoch(epoch, noise))
    return torch.cat([images for images, _ in out]), torch.cat([labels for _, labels in out])


def test_every_image_once_an_epoch_and_each_is_a_crop_or_a_flipped_crop(packed_set):
    split = open_split(packed_set, "train")
    images, labels = batches(split, config())
    assert images.shape == (48, 3, 32, 32)
    crops = {}  # each crop of each image, and its reflection
    for index in range(48):
        for top, left, step in itertools.product(range(9), range(9), (1, -1)):
            crop = split.images[index][top : top + 32, left : left + 32][:, ::step]
            crops.setdefault(crop.tobytes(), []).append(index)
    seen = [crops[image.astype(np.uint8).tobytes()] for image in images.numpy().transpose(0, 2, 3, 1)]
    assert np.array_equal(images, images.byte())
    assert sorted(seen) == [[index] for index in range(48)]
    assert [split.labels[index] for (index,) in seen] == labels.tolist()


def test_draws_are_a_function_of_seed_and_epoch(packed_set):
    split = open_split(packed_set, "train")
    first, again, later = (batches(split, config(), epoch)[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_without_reshuffling_the_minibatches_keep_their_composition(packed_set):
    split = open_split(packed_set, "train")
    settings = config(reshuffle=False)
    orders = [augment.epoch_order(48, 5, epoch, False) for epoch in (0, 3)]
    assert np.array_equal(*orders) and np.array_equal(orders[0], augment.epoch_order(48, 5, 0, True))
    plain = np.random.Generator(np.random.Philox(np.random.SeedSequence((5, 0, 3))))  # seed, order, epoch
    assert np.array_equal(augment.epoch_order(48, 5, 3, True), plain.permutation(48))
    assert not np.array_equal(augment.epoch_order(48, 5, 0, True), augment.epoch_order(48, 5, 3, True))
    assert torch.equal(batches(split, settings, 0)[1], batches(split, settings, 3)[1])


def test_one_crop_and_flip_for_a_group_of_images():
    draws = augment.draw_epoch(100, SETTINGS | {"images_per_crop": 32}, 32, np.zeros((3, 3)), 0, 0)
    for values in (draws.top, draws.left, draws.flip):
        assert all(len(set(values[start : start + 32].tolist())) == 1 for start in (0, 32, 64, 96))
    assert len(set(draws.top.tolist())) > 1
    centre = augment.draw_epoch(3, SETTINGS | {"random_crop": False}, 9, np.zeros((3, 3)), 0, 0)
    assert centre.top.tolist() == centre.left.tolist() == [4, 4, 4]


def test_offsets_are_uniform_over_all_33_and_flips_fair():
    draws = augment.draw_epoch(66_000, SETTINGS, 32, np.zeros((3, 3)), 0, 0)
    for offsets in (draws.top, draws.left):
        counts = np.bincount(offsets, minlength=33)
        assert len(counts) == 33
        assert ((counts - 2000) ** 2 / 2000).sum() < 70  # chi-square with 32 degrees of freedom, p = 1e-4
    assert abs(draws.flip.mean() - 0.5) < 0.01


@pytest.mark.parametrize(("scale", "power"), [("standard_deviation", 1.0), ("eigenvalue", 2.0)])
def test_color_noise_has_the_moments_of_the_covariance(scale, power):
    covariance = np.array([[900.0, 300.0, 100.0], [300.0, 800.0, 200.0], [100.0, 200.0, 700.0]])
    values, vectors = np.linalg.eigh(covariance)
    rgb = {"eigenvalues": values.tolist(), "eigenvectors": vectors.tolist()}
    axes = augment.color_axes(rgb, scale)
    noise = augment.draw_epoch(200_000, SETTINGS | {"color_noise": 0.1}, 0, axes, 0, 0).color
    expected = 0.01 * vectors @ np.diag(values**power) @ vectors.T  # 0.1**2 covariance for standard deviations
    if power == 1.0:
        np.testing.assert_allclose(expected, 0.01 * covariance)
    np.testing.assert_allclose(np.cov(noise.T), expected, rtol=0.05, atol=0.01 * expected.max())
    assert abs(noise.mean(0)).max() < 5 * np.sqrt(expected.max() / 200_000)


def test_color_noise_adds_one_colour_per_image_then_divides(packed_set):
    split = open_split(packed_set, "train")
    plain, _ = batches(split, config(color_noise=0.1, color_divisor=1.1), noise=False)
    noisy, _ = batches(split, config(color_noise=0.1, color_divisor=1.1), noise=True)
    added = noisy * 1.1 - plain
    assert added.flatten(2).std(2).max() < 1e-4
    assert added[:, :, 0, 0].std(0).min() > 0.5
    assert torch.equal(plain, batches(split, config())[0])


def test_ten_views_are_corners_and_centre_and_their_reflections():
    from torchvision.transforms.functional import ten_crop  # a second to import, which other tests do without

    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    views = test_time.ten_views(images, 32)
    assert views.shape == (2, 10, 32, 32, 3)
    explicit = [images[:, :32, :32], images[:, :32, 8:], images[:, 8:, :32], images[:, 8:, 8:], images[:, 4:36, 4:36]]
    for number, view in enumerate(explicit):
        assert np.array_equal(views[:, number], view)
        assert np.array_equal(views[:, number + 5], view[:, :, ::-1])
    assert np.array_equal(test_time.test_views(images, 32, "center")[:, 0], views[:, 4])
    torchvisions = ten_crop(torch.from_numpy(images).permute(0, 3, 1, 2), 32)
    flipped = [6, 5, 8, 7, 9]  # torchvision reflects the image first, which swaps left and right corners
    for number, view in zip([0, 1, 2, 3, 4, *flipped], torchvisions, strict=True):
        assert np.array_equal(views[:, number], view.permute(0, 2, 3, 1).numpy())


def test_mean_is_subtracted_and_memory_is_channels_last():
    pixels = np.full((2, 4, 4, 3), 7, np.uint8)
    mean = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    batch = test_time.to_batch(pixels, mean)
    assert np.array_equal(batch[1].permute(1, 2, 0), 7 - mean)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    views = np.arange(2 * 3 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 4, 3)
    means = np.random.default_rng(0).random((3, 4, 4, 3), dtype=np.float32)
    batch = test_time.to_batch(views, means)
    assert batch.shape == (6, 3, 4, 4)
    np.testing.assert_allclose(batch[4].permute(1, 2, 0), views[1, 1] - means[1], rtol=1e-6)


def test_the_central_crop_of_the_mean_or_each_pixels_own(packed_set):
    """Differences of both recipes are explained by the mean image alone, crop by crop."""
    split = open_split(packed_set, "train")
    mean = np.random.default_rng(3).uniform(80, 150, (40, 40, 3)).astype(np.float32)
    both = {}
    for rule in ("central_crop", "aligned"):
        settings = config(mean=rule)
        out = list(TrainingBatches(split, settings, mean).epoch(0))
        both[rule] = torch.cat([images for images, _ in out]).numpy().transpose(0, 2, 3, 1)
    draws = augment.draw_epoch(48, SETTINGS, 8, np.zeros((3, 3)), 5, 0)
    order = augment.epoch_order(48, 5, 0, True)
    for row in range(48):
        top, left, step = draws.top[row], draws.left[row], -1 if draws.flip[row] else 1
        crop = (slice(top, top + 32), slice(left, left + 32))
        image = split.images[order[row]].astype(np.float32)
        np.testing.assert_allclose(both["aligned"][row], (image - mean)[crop][:, ::step], rtol=1e-5)
        np.testing.assert_allclose(both["central_crop"][row], image[crop][:, ::step] - mean[4:36, 4:36], rtol=1e-5)


def test_means_of_the_test_views():
    mean = np.random.default_rng(4).random((40, 40, 3)).astype(np.float32)
    aligned = test_time.mean_views(mean, 32, "ten", "aligned")
    assert np.array_equal(aligned[1], mean[:32, 8:]) and np.array_equal(aligned[6], mean[:32, 8:][:, ::-1])
    central = test_time.mean_views(mean, 32, "ten", "central_crop")
    assert central.shape == (10, 32, 32, 3) and all(np.array_equal(view, mean[4:36, 4:36]) for view in central)
    assert np.array_equal(test_time.mean_views(mean, 32, "center", "aligned"), central[:1])


@pytest.mark.parametrize(("rule", "sizes"), [("use", [20, 20, 8]), ("drop", [20, 20])])
def test_a_last_smaller_batch_is_used_or_dropped(packed_set, rule, sizes):
    settings = config()
    settings["optimizer"] = {"batch_size": 20, "partial_batch": rule}
    batches_ = TrainingBatches(open_split(packed_set, "train"), settings, np.zeros((40, 40, 3), np.float32))
    assert [len(labels) for _, labels in batches_.epoch(0)] == sizes


def test_missing_and_torn_sets_are_sentences(packed_set, tmp_path):
    with pytest.raises(UserError, match="manifest.json does not exist"):
        open_split(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match="no split 'test'"):
        open_split(packed_set, "test")
    np.save(packed_set / "val.npy", np.load(packed_set / "val.npy")[:-1])
    with pytest.raises(UserError, match="23 images"):
        open_split(packed_set, "val")
    (packed_set / "val.npy").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        open_split(packed_set, "val")
