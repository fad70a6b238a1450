"""The rehearsal of a data set of full size, in small: every stage does all of its images."""

from __future__ import annotations

from pathlib import Path

import pytest
from rehearsal import rehearse


@pytest.mark.filterwarnings("error")
def test_every_stage_sees_every_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rehearse(tmp_path, images=300, validation=60, classes=10, shards=4)
    counts = {row["stage"]: row["images"] for row in rows}
    assert counts == {"generate": 360, "pack": 360, "index": 300, "draw": 300, "load": 300, "evaluate": 60}
    assert all(row["seconds"] > 0 and row["peak_mb"] > 10 for row in rows)
    assert "Warning" not in capfd.readouterr().err
