"""The page on speed against numbers worked out by hand."""

import json
import re

import pandas as pd

from analysis.report.pages import speed

COLUMNS = [
    "benchmark",
    "subject",
    "subject_value",
    "peer",
    "peer_value",
    "unit",
    "ratio",
    "ratio_low",
    "ratio_high",
    "n",
]
ROWS = [
    ["ingest on one core, x", "ours", 500.0, "Pillow: open, resize LANCZOS, crop, save", 200.0, "images/s", 2.5, 2, 3, 5],
    ["ingest, x", "ours, two workers on two cores", 900.0, "one", 500.0, "images/s", 1.8, 1.7, 1.9, 5],
    ["size of an image, x", "jpeg", 50.0, "raw store", 196.608, "kB", 0.25, 0.2, 0.3, 8],
]  # fmt: skip


def test_packing_is_images_by_rate_and_bytes(tmp_path):
    (tmp_path / "bench").mkdir()
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(tmp_path / "bench/bench.csv", index=False)
    html = speed.speed(tmp_path).replace("\u00a0", " ")
    # 1,331,167 / (500 * 2 * 0.9) = 1,479 s; 16 cores: 184.9 s; 1,461,406 / 900 = 1,623.8 s
    for cell in ("25 min", "3 min", "27 min", "262 GB", "67 GB", "287 GB", "73 GB", "1,461,406"):
        assert f">{cell}<" in html, cell
    assert "images / (500 images/s on one core × cores × 0.90)" in html


def test_hours():
    assert speed.hours(59 * 60) == "59 min"
    assert speed.hours(3 * 3600 + 5 * 60) == "3 h 05 min"


def test_own_measurements_come_before_the_published_ones(tmp_path, monkeypatch):
    reference = tmp_path / "reference"
    reference.mkdir()
    monkeypatch.setattr(speed, "REFERENCE", reference)
    assert "make bench" in speed.speed(tmp_path)
    pd.DataFrame(ROWS[:1], columns=COLUMNS).to_csv(reference / "bench.csv", index=False)
    assert "not measured here" in speed.speed(tmp_path)
    (tmp_path / "bench").mkdir()
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(tmp_path / "bench/bench.csv", index=False)
    (tmp_path / "bench/bench.json").write_text(json.dumps({"cpu": "A processor", "cores": 4}))
    html = speed.speed(tmp_path)
    assert "Measured here: A processor, 4 cores" in html
    assert "2.50 [2.00, 3.00]" in html


STEP = [
    ["training step, net", "ours", 80.0, "the obvious program", 16.0, "images/s", 5.0, 4.5, 5.5, 5],
    ["peak memory, net, batch 128", "ours", 2000.0, "the obvious program", 3000.0, "MB", 0.667, 0.6, 0.7, 1],
    ["peak memory", "packing many", 211.0, "packing few", 207.0, "MB", 1.02, 1.0, 1.1, 5],
    ["time of a layer, net, fp32", "conv1", 200.0, "the whole step", 1000.0, "ms", 0.2, 0.19, 0.21, 5],
    ["time of a layer, net, fp32", "lrn_conv1", 50.0, "the whole step", 1000.0, "ms", 0.05, 0.04, 0.06, 5],
]  # fmt: skip


def test_rows_stand_under_their_part_and_layers_are_drawn(tmp_path):
    bench = pd.DataFrame(ROWS + STEP, columns=COLUMNS)
    assert [speed.part_of(name) for name in bench["benchmark"]] == [
        "Packing", "Packing", "Packing", "Training step", "Training step", "Packing", "Other", "Other",
    ]  # fmt: skip
    (tmp_path / "bench").mkdir()
    bench.to_csv(tmp_path / "bench/bench.csv", index=False)
    html = speed.speed(tmp_path).replace("\u00a0", " ")
    assert html.index("Packing") < html.index("packing many") < html.index("Training step") < html.index("0.67 [0.60")
    assert "the whole step:" not in html and "<h3>Other</h3>" not in html  # drawn instead
    assert "(1,000 ms)" in html and "counts twice: 75 %" in html
    drawn = re.findall(r'<span>([^<]+)</span><span><span class="meter" style="width:([\d.]+)%"', html)
    assert drawn == [("conv1", "20.0"), ("lrn conv1", "5.0")]
    assert speed.layer_shares(bench[:0]) == []
