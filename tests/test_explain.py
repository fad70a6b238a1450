"""Claims on the command line: the table, and one claim in full."""

from __future__ import annotations

from pathlib import Path

import fabricate
import numpy as np
import pytest

from analysis.__main__ import main
from analysis.paper.claims import load_claims
from analysis.results.evidence import load_results
from analysis.verdicts.explain import explain
from analysis.verdicts.judge import judge


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    fabricate.campaign(folder, images=200)
    fabricate.describes(folder)
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_table_has_a_line_a_claim_and_can_be_narrowed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = load_claims()
    lines = said(capsys, "claims", "--results", str(results)).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [claim.id for claim in claims]
    assert lines[-1] == f"{len(claims)} claims"
    column = lines[0].index("verdict")
    assert {line[column - 1] for line in lines[1:-1]} == {" "}
    some = said(capsys, "claims", "--results", str(results), "--group", "no_lrn").splitlines()
    assert [line.split()[0] for line in some[1:-1]] == ["lrn-delta-top1", "lrn-delta-top5", "lrn-delta-lab"]
    cited = said(capsys, "claims", "--results", str(results), "--status", "cited").splitlines()
    assert len(cited) - 2 == sum(claim.kind == "cited" for claim in claims)
    assert all(line.endswith("cited") for line in cited[1:-1])


def test_one_claim_in_full(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "explain", "lrn-delta-lab", "--results", str(results))
    for words in (
        "section 3.3", "Printed        1.4 %", "within 0.5", "1.37 points (layer-params-148.cfg:148", "net 148: No normalisation",
        "error of no_lrn minus error of alexnet", "study demo, ilsvrc2012 val, 200 images, 5 pairs of seeds", "95 % interval [",
        "(Holm)", "To run it      snakemake --cores all no_lrn",
    ):  # fmt: skip
        assert words in out, words
    table = said(capsys, "verdicts", "--results", str(results), "--group", "no_lrn")
    verdict = table.splitlines()[4].partition(": ")[2].partition("   ")[0]
    assert f"Verdict        {verdict}" in out


def test_every_claim_can_be_explained(results: Path) -> None:
    loaded = load_results(results)
    for claim in load_claims():
        lines = explain(claim, judge(claim, loaded))
        out = "\n".join(lines)
        assert out.startswith(f"{claim.id}   section {claim.section}")
        assert "\nVerdict " in out and "\nWhy " in out, claim.id
        assert "nan" not in out and "None" not in out, claim.id
        assert max(map(len, lines)) <= 130, claim.id


def test_wrong_names_are_sentences_with_a_hint(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in [
        (["explain", "lrn-delta-top"], "unknown claim 'lrn-delta-top'; did you mean lrn-delta-top"),
        (["explain", "xyzzy"], "`python -m analysis claims` lists them"),
        (["claims", "--status", "pendng"], "unknown status 'pendng'; did you mean pending?"),
        (["claims", "--group", "nolrn"], "unknown group 'nolrn'"),
    ]:
        assert main([*arguments, "--results", str(results)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_without_results_everything_that_needs_a_run_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--group", "no_lrn"]) == 0
    heard = capsys.readouterr()
    assert "no results here yet" in heard.err
    assert heard.out.count("pending") == 3
    assert main(["claims", "--results", "nowhere"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_order_of_the_parts(tmp_path: Path) -> None:
    """All steps up: the order agrees; one step down: it does not; the number is the smallest step."""
    claim = next(claim for claim in load_claims() if claim.how == "rank")
    rng = np.random.default_rng(2)
    for last, verdict in ((0.2, "direction agrees"), (0.6, "direction contradicts")):
        true = {"tanh": 0.8, "one_gpu": 0.6, "no_lrn": 0.4, "non_overlapping_pooling": last}
        errors = {}
        for name, error in true.items():
            runs = [
                (rng.permutation(2000) < 2000 * (error + luck)) * 1.0 for luck in (-0.001, -0.0005, 0, 0.0005, 0.001)
            ]
            errors[name, "ilsvrc2012", "val", "ten"] = np.array(runs).T
        outcome = judge(claim, fabricate.in_memory(errors))[0]
        assert outcome.verdict == verdict
        assert outcome.ours == pytest.approx(100 * min(0.2, 0.4 - last))
        assert "smallest of 3 differences" in outcome.why and outcome.seeds == 5
    errors["non_overlapping_pooling", "ilsvrc2012", "val", "ten"] = np.array(runs).T[:, :2]
    assert judge(claim, fabricate.in_memory(errors))[0].seeds == 2  # the fewest, wherever they stand
