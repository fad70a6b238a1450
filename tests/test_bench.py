"""The benchmark compares equals, and its ratios are those of the times."""

import csv
import json
import time
from functools import partial

import numpy as np
import pytest
import torch

from alexnet.bench import bench, compare, ingest, programs
from alexnet.experiments.resolve import resolve
from alexnet.net.layers import LocalResponseNorm
from alexnet.net.model import build


def test_the_obvious_net_is_the_same_function():
    config = resolve("demo", "alexnet", 1)
    x = torch.randn(4, 3, 56, 56) * 60
    torch.testing.assert_close(programs.obvious_net(config).eval()(x), build(config).eval()(x), rtol=1e-4, atol=1e-4)
    norm = LocalResponseNorm(5, 1e-4, 0.75, 2.0, towers=2)  # undivided alpha, too
    x = torch.randn(2, 8, 3, 3) * 100
    torch.testing.assert_close(programs.ObviousNorm(norm)(x), norm(x))


def test_ratio_says_how_many_times_faster():
    ours, theirs = (compare.Side(name, partial(time.sleep, seconds), 1) for name, seconds in (("s", 0.01), ("p", 0.03)))
    row = compare.compare("b", ours, theirs, 3, "calls/s")
    assert row["n"] == 3
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert 1.5 < row["ratio"] < 6
    assert row["subject_value"] > row["peer_value"]


def test_it_writes_its_table(tmp_path):
    rows = bench.bench(tmp_path / "bench.csv", [], rounds=1, threads=1, only="step", full_size=False)
    table = list(csv.DictReader(open(tmp_path / "bench.csv")))
    assert [row["benchmark"] for row in table] == [row["benchmark"] for row in rows]
    assert tuple(table[0]) == compare.COLUMNS
    assert json.loads((tmp_path / "bench.json").read_text())["cores"] >= 1


def test_the_peers_of_ingest_make_the_same_picture():
    """Otherwise their times could not be compared; two ways of Pillow's are the scale."""
    files = [ingest.generated(i) for i in range(3)]
    row = ingest.fidelity("three images", files)
    assert row["subject_value"] > 40 and row["peer_value"] > 40
    assert ingest.psnr(np.zeros(9, np.uint8), np.full(9, 16, np.uint8)) == pytest.approx(24.0484, abs=1e-3)


def test_ingest_is_measured_on_official_archives(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "GENERATED", 8)
    monkeypatch.setattr(ingest, "MANY", 80)
    rows = list(ingest.ingest_rows([], tmp_path, 1))
    by_peer = {row["peer"]: row for row in rows}
    assert all("8 generated images" in row["benchmark"] for row in rows[:5])
    assert by_peer["raw store"]["peer_value"] == pytest.approx(196.608)
    assert 0 < by_peer["raw store"]["ratio"] < 1
    stages = {row["subject"]: row["subject_value"] for row in rows if row["unit"] == "us"}
    assert len(stages) == 5 and max(stages, key=stages.__getitem__) == "decoding"
    memory = next(row for row in rows if row["unit"] == "MB")
    assert 20 < memory["subject_value"] < 1000
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["source"], manifest["splits"]["train"]["images"]) == ("ilsvrc2012", 80)
