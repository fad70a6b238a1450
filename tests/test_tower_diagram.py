"""The diagram of the towers has the sizes of section 3.5, and marks the one number that Fig. 2 prints otherwise."""

from __future__ import annotations

import html
import re
from pathlib import Path

import fabricate
import pandas as pd
import pytest

from analysis.report.context import Context
from analysis.report.pages import tower_diagram
from analysis.results.evidence import load_results


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    from analysis.paper.claims import load_claims

    folder = tmp_path_factory.mktemp("towers")
    fabricate.describes(folder)
    return Context(load_results(folder), pd.DataFrame({"id": [claim.id for claim in load_claims()]}))


def test_stages_are_those_of_the_paper(ctx: Context) -> None:
    found = tower_diagram.stages(ctx.results.layers["alexnet"])
    assert [(s.name, s.maps, s.side, s.reads) for s in found] == [
        ("input", 3, 224, "all"),
        ("conv1", 48, 55, "all"),
        ("conv2", 128, 27, "own_tower"),
        ("conv3", 192, 13, "all"),
        ("conv4", 192, 13, "own_tower"),
        ("conv5", 128, 13, "own_tower"),
        ("fc6", 2048, 1, "all"),
        ("fc7", 2048, 1, "all"),
        ("fc8", 500, 1, "all"),
    ]
    assert [s.then for s in found[1:6]] == [("norm", "pool"), ("norm", "pool"), (), (), ("pool",)]
    assert [s.units for s in found[1:]] == [290400, 186624, 64896, 64896, 43264, 4096, 4096, 1000]


def test_what_fig_2_prints_comes_from_the_claims(ctx: Context) -> None:
    printed = [253440, 186624, 64896, 64896, 43264, 4096, 4096, 1000]
    numbers = dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"), printed, strict=True))
    assert tower_diagram.printed(ctx) == numbers


def test_every_size_is_drawn_and_the_slip_is_marked(ctx: Context) -> None:
    shown = tower_diagram.towers(ctx)
    texts = [
        html.unescape(re.sub(r"<[^>]+>", "", text)) for text in re.findall(r"<text[^>]*>(.*?)</text>", shown, re.S)
    ]
    for size in ("48 × 55 × 55", "128 × 27 × 27", "192 × 13 × 13", "128 × 13 × 13", "2,048", "500"):
        assert sum(size == text.strip().replace("\xa0", " ") for text in texts) >= 2, size  # once a tower
    assert sum("(Fig. 2:" in text for text in texts) == 2  # wide and narrow
    assert any("(Fig. 2: 253,440)" in text for text in texts)
    assert "prints another number: 253,440 for conv1." in shown


def test_without_a_layer_table_nothing_is_drawn(tmp_path: Path) -> None:
    empty = Context(load_results(tmp_path), pd.DataFrame({"id": []}))
    assert tower_diagram.towers(empty) is None
