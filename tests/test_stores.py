"""Stores against pixels that Pillow decoded, for every way of asking; damage and contradictions are sentences."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import seal
from test_loader import jpeg_copy

from alexnet.errors import UserError
from alexnet.evaluation import evaluate
from alexnet.packed.packed_set import open_split
from alexnet.packed.stores import RawImages


@pytest.fixture
def jpeg_set(packed_set, tmp_path):
    """A folder with a jpeg store, and what its 48 images decode to."""
    decoded = jpeg_copy(tmp_path / "jpeg", packed_set)
    return tmp_path / "jpeg", decoded


@pytest.mark.parametrize(
    "which",
    [3, np.int64(47), -1, slice(0, 5), slice(40, 99), slice(48, 60), slice(None, None, -7), np.array([9, 0, 9, -2])],
    ids=str,
)
def test_stores_are_sliced_as_arrays_are(jpeg_set, packed_set, which):
    for folder, array in (jpeg_set, (packed_set, np.load(packed_set / "train.npy"))):
        images = open_split(folder, "train").images
        found = images[which]
        assert found.dtype == np.uint8 and found.shape == array[which].shape
        assert np.array_equal(found, array[which])


def test_a_store_that_is_cut_off_while_it_is_read_is_a_sentence(packed_set):
    """Where a map of the file would end the process by SIGBUS."""
    images = open_split(packed_set, "train").images
    os.truncate(packed_set / "train.npy", (packed_set / "train.npy").stat().st_size - 1)
    assert np.array_equal(images[46], images[46])
    with pytest.raises(UserError, match=r"train\.npy was cut off"):
        images[40:]


def test_what_is_read_does_not_count_as_memory(tmp_path):
    """The pages of a mapped file are resident memory of the process, by which clusters end it."""
    path = tmp_path / "train.npy"
    np.save(path, np.ones((1000, 64, 64, 3), np.uint8))

    def mapped() -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("RssFile:")[2].split()[0])

    images, before = RawImages(path), mapped()
    assert sum(int(images[i].sum(dtype=np.int64)) for i in range(1000)) == 1000 * 64 * 64 * 3
    assert mapped() - before < path.stat().st_size / 4


def test_places_outside_the_store_are_errors(jpeg_set):
    images = open_split(jpeg_set[0], "train").images
    for which in (48, -49, np.array([0, 48])):
        with pytest.raises(IndexError):
            images[which]


def test_threads_read_the_same_file_at_once(jpeg_set):
    folder, decoded = jpeg_set
    images = open_split(folder, "train").images
    start = threading.Barrier(8)

    def read(seed):
        order = np.random.default_rng(seed).permutation(48)
        start.wait()
        return all(np.array_equal(images[int(index)], decoded[index]) for index in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def replace(folder, place, blob):
    store = bytearray((folder / "train.jpegs").read_bytes())
    store[place : place + len(blob)] = blob
    (folder / "train.jpegs").write_bytes(store)


@pytest.mark.parametrize("part", ["beginning", "middle", "end"])
def test_damage_anywhere_names_file_and_image(jpeg_set, part):
    folder, decoded = jpeg_set
    row = pd.read_csv(folder / "train.csv").loc[20]
    at = {"beginning": 0, "middle": row["bytes"] - 400, "end": row["bytes"] - 2}[part]
    replace(folder, row["offset"] + at, bytes(2 if part == "end" else 300))
    images = open_split(folder, "train").images
    with pytest.raises(UserError, match=r"train\.jpegs: image 20 is damaged .*; pack the data again"):
        images[18:22]
    assert np.array_equal(images[21], decoded[21])


def test_an_image_of_another_size_is_a_sentence(jpeg_set):
    folder, decoded = jpeg_set
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"image_size": 40', '"image_size": 41'))
    seal(folder, {"train": decoded})
    with pytest.raises(UserError, match=r"image 0 is of shape \(40, 40, 3\)"):
        open_split(folder, "train").images[0]


def test_an_index_without_places_or_a_missing_store_cannot_be_read(jpeg_set):
    folder, _ = jpeg_set
    table = pd.read_csv(folder / "train.csv")
    table.drop(columns="offset").to_csv(folder / "train.csv", index=False)
    with pytest.raises(UserError, match=r"split 'train' cannot be read \(.*offset.*\); pack the data again"):
        open_split(folder, "train")
    table.to_csv(folder / "train.csv", index=False)
    (folder / "train.jpegs").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_split(folder, "train")


def test_names_stay_what_was_written(packed_set):
    table = pd.read_csv(packed_set / "val.csv")
    odd = ["NA", "007", "1e5", "null", 'a "quoted", name.JPEG', "été.JPEG"]
    table["name"] = [*odd, *table["name"][len(odd) :]]
    table.to_csv(packed_set / "val.csv", index=False)
    seal(packed_set)
    split = open_split(packed_set, "val")
    assert split.names[: len(odd)] == odd
    assert split.labels.dtype == np.int64 and split.labels.tolist() == [i % 6 for i in range(24)]


class Watched:
    """Images that remember how many were asked for at a time."""

    def __init__(self, images):
        self.images, self.shape, self.asked = images, images.shape, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, which):
        part = self.images[which]
        self.asked.append(len(part))
        return part


@pytest.mark.parametrize("views", ["center", "ten"])
def test_testing_reads_either_store_a_batch_at_a_time(jpeg_set, views, monkeypatch):
    folder, decoded = jpeg_set
    monkeypatch.setattr(evaluate, "BATCH", 20)
    mean = np.random.default_rng(2).uniform(0, 200, (40, 40, 3)).astype(np.float32)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 6))
    watched = Watched(open_split(folder, "train").images)
    outputs = [
        torch.cat(list(evaluate.predict(net, images, mean, 32, views, torch.device("cpu"))))
        for images in (watched, decoded)
    ]
    assert torch.equal(*outputs)
    assert sum(watched.asked) == 48 and max(watched.asked) == (20 if views == "center" else 2)
