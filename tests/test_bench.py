"""The benchmark compares equals, and its ratios are those of the times."""

import csv
import time

import torch

from alexnet import bench
from alexnet.experiments import resolve
from alexnet.layers import LocalResponseNorm
from alexnet.model import build


def test_the_obvious_net_is_the_same_function():
    config = resolve("demo", "alexnet", 1)
    x = torch.randn(4, 3, 56, 56) * 60
    torch.testing.assert_close(
        bench.obvious_net(config).eval()(x), build(config).eval()(x), rtol=1e-4, atol=1e-4
    )
    norm = LocalResponseNorm(5, 1e-4, 0.75, 2.0, towers=2)  # undivided alpha, too
    x = torch.randn(2, 8, 3, 3) * 100
    torch.testing.assert_close(bench.ObviousNorm(norm)(x), norm(x))


def test_ratio_says_how_many_times_faster():
    pair = bench.Pair("b", "s", "p", "calls/s", 1, lambda: time.sleep(0.01), lambda: time.sleep(0.03))
    row = bench.compare(pair, 3)
    assert row["n"] == 3
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert 1.5 < row["ratio"] < 6
    assert row["subject_value"] > row["peer_value"]


def test_it_writes_its_table(tmp_path):
    rows = bench.bench(tmp_path / "bench.csv", rounds=1, threads=1, full_size=False)
    table = list(csv.DictReader(open(tmp_path / "bench.csv")))
    assert [row["benchmark"] for row in table] == [row["benchmark"] for row in rows]
    assert tuple(table[0]) == bench.COLUMNS
