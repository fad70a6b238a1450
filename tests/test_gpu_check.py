"""The check of a GPU, in small on the processor: every part measures something, and a second call measures nothing again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import gpu_check
import pytest

from alexnet.experiments.definitions import load_study


def test_every_part_runs_on_the_processor_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    out = tmp_path / "gpu.json"
    arguments = ["--out", str(out), "--device", "cpu", "--small"]
    assert gpu_check.main([*arguments, "--parts", "copies", "norms"]) == 0
    assert set(json.loads(out.read_text())) == {"device", "torch", "copies", "norms"}
    assert gpu_check.main(arguments) == 0
    record = json.loads(out.read_text())
    assert set(record) == {"device", "torch", *gpu_check.PARTS} and record["device"] == "processor"
    numbers = [value for name in gpu_check.PARTS for value in record[name].values()]
    assert all(math.isfinite(value) and value >= 0 for value in numbers)
    assert all(len(record[name]) > 1 for name in gpu_check.PARTS)  # seconds, and what was measured
    assert record["norms"]["across ours error"] < 1e-5 and record["norms"]["within torch error"] < 1e-5
    assert record["launches"]["busy share"] > 0
    assert record["graph"]["largest difference"] == 0 < record["graph"]["largest move"]
    capsys.readouterr()
    parts = {name: (None, prediction) for name, (_, prediction) in gpu_check.PARTS.items()}
    monkeypatch.setattr(gpu_check, "PARTS", parts)  # nothing can be measured any more
    assert gpu_check.main(arguments) == 0
    text = capsys.readouterr().out
    for name, (_, prediction) in parts.items():
        assert f"{name}: " in text and f"predicted: {prediction}" in text


def test_evidence_is_planned_by_the_workflow_and_begins_nothing_that_would_not_end_in_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "gpu.json"), "--device", "cpu", "--small", "--parts", "copies"]
    assert gpu_check.main([*arguments, "--evidence", "demo", "--minutes", "0"]) == 0
    assert capsys.readouterr().out.endswith("finished: nothing\n")
    found = gpu_check.evidence("demo", 1.0, small=True)
    blocks = [f"results/demo/blocks/{seed}" for seed in load_study("demo")["seeds"]]
    assert list(found) == blocks[: len(found)] and found and all(seconds > 0 for seconds in found.values())
    assert gpu_check.targets("demo") == blocks
    assert gpu_check.targets("imagenette_full") == [
        "pilot",
        *(f"results/imagenette_full/blocks/{n}" for n in (2, 3, 4)),
    ]
