"""The lab's own logs: checked rows, the numbers of the claims, and the paper's ablations judged by them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import fabricate
import numpy as np
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.errors import UserError
from analysis.paper.claims import Claim, load_claims
from analysis.paper.lab_logs import LAB_LOGS, load_lab_logs, logged, rows_of, view_gains
from analysis.report.context import Context
from analysis.report.pages import lab_logs
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

LOGS = load_lab_logs()
CLAIMS = {claim.id: claim for claim in load_claims()}
# Numbers of the lab that are no errors of one note, with where they stand in the table of logs.
ELSEWHERE = {
    "lrn-cifar-without": ("cifar10-conv-local-13pct-wiki", "top1_error"),
    "lrn-cifar-with": ("cifar10-conv-local-11pct", "top1_error"),
    "disc-bigger-longer": ("145-continued-2012-val-ten", "top1_error"),
}


@pytest.mark.parametrize("claim", [c for c in CLAIMS.values() if c.lab_value is not None], ids=lambda claim: claim.id)
def test_lab_values_of_the_claims_are_those_of_the_logs(claim: Claim) -> None:
    if claim.id == "lr-drops":
        (log,) = {log.drops for log in LOGS if log.net == "145-2010"}
        assert len([part for part in log.split(", ") if part.isdigit()]) == claim.lab_value
        return
    if claim.id in ELSEWHERE:
        name, column = ELSEWHERE[claim.id]
        assert {log.id: getattr(log, column) for log in LOGS}[name] == claim.lab_value
        return
    assert rows_of(claim, LOGS)
    assert logged(claim, LOGS) == pytest.approx(claim.lab_value, abs=6e-4)


def test_the_nets_of_the_paper_are_logged_on_two_data_sets() -> None:
    sets = {id_: {(log.dataset, log.split) for log in rows_of(claim, LOGS)} for id_, claim in CLAIMS.items()}
    assert sets["gpu-delta-top1"] == {("ilsvrc2010", "test")}
    assert sets["lrn-delta-lab"] == sets["pool-delta-top1"] == {("ilsvrc2012", "val")}
    for claim in CLAIMS.values():
        if claim.kind == "training" and claim.dataset and sets[claim.id]:
            assert sets[claim.id] == {(claim.dataset, claim.split)}, claim.id


def test_what_ten_views_win_over_sixteen_nets() -> None:
    gains = view_gains(LOGS).to_numpy()
    assert len(gains) == 16
    np.testing.assert_allclose(gains.mean(0), [1.96, 1.49], atol=0.005)
    np.testing.assert_allclose(gains.std(0, ddof=1), [0.13, 0.09], atol=0.005)


def test_every_error_has_its_place_and_lines_only_name_files() -> None:
    assert len(LOGS) > 100
    for log in LOGS:
        if log.views:
            assert log.dataset and log.split and log.top1_error, log.id
        if log.top5_error:
            assert log.top5_error < log.top1_error, log.id
        if log.line:
            assert "*" not in log.file, log.id
    assert {log.period for log in LOGS} == {"contest", "after", "cifar10"}


def test_pooling_is_about_1_3_unpaired_standard_errors_of_the_images() -> None:
    found = {d.claim: d for d in lab_logs.differences(LOGS, "top1_error") if d.claim}
    pooling = found["pool-delta-top1"]
    p, q = 0.41058, 0.40664
    expected = 100 * (p * (1 - p) / 50_000 + q * (1 - q) / 50_000) ** 0.5
    assert pooling.image_error == pytest.approx(expected)
    assert pooling.image_errors == pytest.approx((p - q) * 100 / expected)
    assert round(pooling.image_errors, 1) == 1.3
    assert pooling.value - pooling.half < 0 < found["lrn-delta-lab"].value - found["lrn-delta-lab"].half


def test_the_interval_counts_images_and_runs() -> None:
    d = next(d for d in lab_logs.differences(LOGS, "top5_error") if d.claim == "gpu-delta-top5")
    twins = np.std([19.549, 19.583, 19.766, 19.486, 19.660], ddof=1)
    images = (18.2287 * 81.7713 + 16.9987 * 83.0013) / 150_000
    half = (stats.norm.ppf(0.975) ** 2 * images + stats.t.ppf(0.975, 4) ** 2 * 2 * twins**2) ** 0.5
    assert d.value == pytest.approx(1.23)
    assert d.half == pytest.approx(half, rel=1e-4)


def test_printed_numbers_are_what_the_logs_round_to() -> None:
    for id_ in ("abs-top1-2010", "tab2-1cnn-top5", "fn5-center", "lrn-delta-lab", "pool-delta-top5", "gpu-delta-top1"):
        assert lab_logs.rounds_to(logged(CLAIMS[id_], LOGS), CLAIMS[id_]), id_
    assert not lab_logs.rounds_to(37.44, CLAIMS["abs-top1-2010"])
    assert not lab_logs.rounds_to(93.0, CLAIMS["cycles-90"]) or CLAIMS["cycles-90"].tolerance >= 3


def test_the_page_says_what_the_numbers_say(tmp_path: Path) -> None:
    fabricate.describes(tmp_path)
    table = tmp_path / "claims.csv"
    assert main(["check", "--results", str(tmp_path), "--out", str(table)]) == 0
    ctx = Context(load_results(tmp_path), read_table(table))
    judged = lab_logs.judged(ctx)
    assert "0.39 points of overlapping pooling are 1.3 unpaired standard errors" in judged
    assert "pooling without overlap (top-1)" in judged and "pooling without overlap (top-5)" in judged
    side = lab_logs.side_by_side(ctx)
    assert "ILSVRC-2010 test centre view, ILSVRC-2010 test ten views and ILSVRC-2012 val ten views" in side
    assert "layer-params-147.cfg:174, layer-params-145.cfg:182" in re.sub(r"<[^>]+>", "", side)
    assert lab_logs.all_logs().count("<tr>") > len(LOGS)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"dataset": "mnist"}, "column `dataset`"),
        ({"top1_error": "high"}, "column `top1_error`: 'high' is not a number"),
        ({"top1_error": "137.5"}, "column `top1_error`"),
        ({"line": "1.5"}, "column `line`"),
        ({"id": "99"}, "stands already"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    with LAB_LOGS.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    rows[5].update(cells)
    path = tmp_path / "lab_logs.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError) as caught:
        load_lab_logs(path)
    assert says in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        load_lab_logs(tmp_path / "none.csv")
