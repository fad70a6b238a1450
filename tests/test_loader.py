"""Batches against a plain NumPy loop over images, whatever the workers, the store and the device's way."""

import csv
import threading
import time

import numpy as np
import pytest
import torch
from conftest import make_packed_set, seal
from PIL import Image
from test_data import SETTINGS

from alexnet.batches import augment, gather
from alexnet.batches.loader import AHEAD, ALIGNMENT, Memory, TrainingBatches, augment_on_device
from alexnet.errors import UserError
from alexnet.packed.packed_set import Split, open_split

RECIPES = {
    "program": {"color_noise": 0.1, "color_divisor": 1.1, "images_per_crop": 4, "reshuffle": False},
    "text": {"color_noise": 0.1, "mean": "aligned", "color_noise_scale": "eigenvalue"},
    "plain": {"random_crop": False, "horizontal_flip": False},
}


def config(**changes):
    return {
        "seed": 5,
        "data": {"crop": 31},
        "optimizer": {"batch_size": 20, "partial_batch": "use"},
        "augmentation": SETTINGS | changes,
    }


def expected(split, settings, mean, epoch):
    """What the batches of an epoch are, image by image: (N, 31, 31, 3) and labels."""
    augmentation, crop = settings["augmentation"], settings["data"]["crop"]
    order = augment.epoch_order(len(split), settings["seed"], epoch, augmentation["reshuffle"])
    axes = augment.color_axes(split.manifest["rgb"], augmentation["color_noise_scale"])
    margin = split.images.shape[1] - crop
    draws = augment.draw_epoch(len(split), augmentation, margin, axes, settings["seed"], epoch)
    images = []
    for row, index in enumerate(order):
        top, left = draws.top[row], draws.left[row]
        image = np.asarray(split.images[int(index)]).astype(np.float32)
        whole = mean if augmentation["mean"] == "aligned" else None
        cut = image[top : top + crop, left : left + crop]
        below = (
            mean[margin // 2 : margin // 2 + crop, margin // 2 : margin // 2 + crop]
            if whole is None
            else mean[top : top + crop, left : left + crop]
        )
        if draws.flip[row]:
            cut, below = cut[:, ::-1], below if whole is None else below[:, ::-1]
        out = cut - below
        if augmentation["color_noise"]:
            out = (out + draws.color[row]) / np.float32(augmentation["color_divisor"])
        images.append(out)
    return np.stack(images), split.labels[order]


def mean_of(split):
    return np.random.default_rng(1).uniform(0, 200, split.images.shape[1:]).astype(np.float32)


def collect(batches, epoch):
    pairs = list(batches.epoch(epoch))
    images = torch.cat([images for images, _ in pairs]).permute(0, 2, 3, 1).numpy()
    return images, torch.cat([labels for _, labels in pairs]).numpy(), [len(labels) for _, labels in pairs]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_are_the_plain_loops_to_the_bit(packed_set, recipe, workers):
    split, settings = open_split(packed_set, "train"), config(**RECIPES[recipe])
    mean = mean_of(split)
    for epoch in (0, 3):
        images, labels, sizes = collect(TrainingBatches(split, settings, mean, workers), epoch)
        plain, truth = expected(split, settings, mean, epoch)
        assert sizes == [20, 20, 8]
        assert np.array_equal(images, plain)
        assert np.array_equal(labels, truth)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_way_of_the_device_gives_the_same(packed_set, recipe):
    split, settings = open_split(packed_set, "train"), config(**RECIPES[recipe])
    mean, augmentation = mean_of(split), config(**RECIPES[recipe])["augmentation"]
    order = augment.epoch_order(48, 5, 0, augmentation["reshuffle"])
    axes = augment.color_axes(split.manifest["rgb"], augmentation["color_noise_scale"])
    draws = augment.draw_epoch(48, augmentation, 9, axes, 5, 0)
    aligned = augmentation["mean"] == "aligned"
    base = mean if aligned else mean[4:35, 4:35]
    out = augment_on_device(
        torch.from_numpy(np.asarray(split.images)[order]),
        draws,
        torch.from_numpy(np.ascontiguousarray(base)),
        31,
        augmentation["color_noise"] > 0,
        augmentation["color_divisor"],
        aligned,
    )
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(out.permute(0, 2, 3, 1).numpy(), expected(split, settings, mean, 0)[0])


def jpeg_copy(folder, source):
    """The same set as a jpeg store, written without this project's code; returns what it decodes to."""
    images, decoded, at = np.load(source / "train.npy"), [], 0
    rows = list(csv.DictReader(open(source / "train.csv")))
    make_packed_set(folder, {"train": len(images)})
    (folder / "train.npy").unlink()
    with open(folder / "train.jpegs", "wb") as store, open(folder / "train.csv", "w", newline="") as index:
        writer = csv.DictWriter(index, [*rows[0], "offset", "bytes"])
        writer.writeheader()
        for row, image in zip(rows, images, strict=True):
            Image.fromarray(image).save(folder / "one.jpg", quality=90, subsampling=0)
            file = (folder / "one.jpg").read_bytes()
            writer.writerow(row | {"offset": at, "bytes": len(file)})
            decoded.append(np.asarray(Image.open(folder / "one.jpg")))
            at += store.write(file)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"storage": "raw"', '"storage": "jpeg"'))
    seal(folder, {"train": np.stack(decoded)})
    return np.stack(decoded)


def test_a_jpeg_store_gives_what_pillow_decodes(packed_set, tmp_path):
    decoded = jpeg_copy(tmp_path / "jpeg", packed_set)
    split = open_split(tmp_path / "jpeg", "train")
    assert split.images.shape == decoded.shape and len(split.images) == 48
    assert np.array_equal(split.images[7], decoded[7])
    assert np.array_equal(split.images[40:60], decoded[40:])
    settings, mean = config(**RECIPES["program"]), mean_of(split)
    raw = Split("x", "train", decoded, split.labels, split.names, split.manifest)
    assert np.array_equal(collect(TrainingBatches(split, settings, mean, 3), 1)[0], expected(raw, settings, mean, 1)[0])


def test_a_damaged_jpeg_store_is_a_sentence_from_a_worker_too(packed_set, tmp_path):
    jpeg_copy(tmp_path / "jpeg", packed_set)
    store = tmp_path / "jpeg/train.jpegs"
    blob = bytearray(store.read_bytes())
    blob[:4] = b"none"
    store.write_bytes(blob)
    split = open_split(tmp_path / "jpeg", "train")
    with pytest.raises(UserError, match=r"train\.jpegs: image 0 is damaged"):
        list(TrainingBatches(split, config(), mean_of(split), 2).epoch(0))
    store.write_bytes(blob[:-10])
    with pytest.raises(UserError, match="shorter than its index says"):
        open_split(tmp_path / "jpeg", "train")


def test_stopping_early_leaves_no_thread(packed_set):
    split = open_split(packed_set, "train")
    batches = TrainingBatches(split, config(), mean_of(split), 3)
    stream = batches.epoch(0)
    next(stream)
    assert any(thread.name.startswith("batches") for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_batches_are_made_while_the_consumer_works_but_not_without_bound(packed_set, monkeypatch):
    split, made = open_split(packed_set, "train"), []
    settings = config()
    settings["optimizer"]["batch_size"] = 4
    crops = gather.crops
    monkeypatch.setattr(gather, "crops", lambda *a: (made.append(len(a[1])), crops(*a)))
    stream = TrainingBatches(split, settings, mean_of(split), 1).epoch(0)
    next(stream)
    deadline = time.monotonic() + 10
    while sum(made) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert sum(made) == 12, "one that was taken and two in advance"
    stream.close()


def test_a_batch_that_was_taken_does_not_change(packed_set):
    split = open_split(packed_set, "train")
    stream = TrainingBatches(split, config(), mean_of(split), 2).epoch(0)
    first, _ = next(stream)
    before = first.clone()
    for _ in stream:
        pass
    assert torch.equal(first, before)


@pytest.mark.parametrize(
    "part",
    [
        lambda batch: batch.permute(0, 3, 1, 2)[1, :, 2],
        lambda batch: batch.numpy()[1, 2:],
        lambda batch: (torch.ones(2, 3, 3, 3, requires_grad=True) * batch).sum(),  # kept for the backward pass
    ],
)
def test_memory_is_used_again_but_not_while_any_part_of_it_is_held(part):
    memory = Memory(2 * 27)
    batch = memory.take((2, 3, 3, 3))
    place = batch.data_ptr()
    assert place % ALIGNMENT == 0
    held = part(batch)
    del batch
    assert not memory.free
    other = memory.take((1, 3, 3, 3))
    assert abs(other.data_ptr() - place) >= 2 * 27 * 4
    del held
    assert len(memory.free) == 1
    assert memory.take((1, 3, 3, 3)).data_ptr() == place


def test_memory_does_not_grow_with_batches_that_were_kept():
    memory = Memory(12)
    kept = [memory.take((12,)) for _ in range(20)]
    assert len({batch.data_ptr() for batch in kept}) == 20
    kept.clear()
    assert len(memory.free) == AHEAD + 2


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_uses_as_much_memory_as_batches_in_flight(packed_set, workers, monkeypatch):
    split, settings, made = open_split(packed_set, "train"), config(), []
    settings["optimizer"]["batch_size"] = 4
    batches = TrainingBatches(split, settings, mean_of(split), workers)
    take = batches.memory.take
    monkeypatch.setattr(batches.memory, "take", lambda shape: (made.append(not batches.memory.free), take(shape))[1])
    for epoch in range(3):
        for _ in batches.epoch(epoch):
            pass
    assert len(made) == 36 and sum(made) <= AHEAD + 2


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_that_are_kept_stay_as_they_were_while_memory_is_used_again(packed_set, workers):
    split, settings = open_split(packed_set, "train"), config(**RECIPES["program"])
    settings["optimizer"]["batch_size"] = 4
    mean = mean_of(split)
    batches, plain = TrainingBatches(split, settings, mean, workers), expected(split, settings, mean, 0)[0]
    kept = [images[1] for number, (images, _) in enumerate(batches.epoch(0)) if number % 3 == 0]
    for _ in batches.epoch(1):
        pass
    for number, image in zip(range(0, 12, 3), kept, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), plain[4 * number + 1])
