"""Published results: smaller, without weights and pictures, and they give the same verdicts and the same pages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.rebuild import NOTEBOOKS, rebuild
from analysis.results.campaign import elapsed, sentences
from analysis.results.evidence import load_results

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "reports" / "reference"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies, with weights, pictures and probabilities beside their records."""
    folder = tmp_path_factory.mktemp("kept") / "results"
    fabricate.campaign(folder, images=200)
    fabricate.campaign(folder, "small", "proxy", seeds=3, images=200)
    fabricate.describes(folder)
    fabricate.departures(folder)
    for path in folder.glob("*/runs/*/*/run.json"):
        record = json.loads(path.read_text())
        record["provenance"] |= {"platform": "Linux-1.2.3-somewhere", "git_dirty": False}
        record["sessions"] = [{"platform": "Linux-1.2.3-somewhere", "cores": 2}]
        path.write_text(json.dumps(record))
        path.with_name("model.pt").write_bytes(b"w" * 1000)
    for path in folder.glob("*/evals/*/*/*.json"):
        np.save(path.with_suffix(".probabilities.npy"), np.zeros((2, 200, 12)))
    return folder


def check(results: Path, out: Path) -> bytes:
    assert main(["check", "--results", str(results), "--out", str(out)]) == 0
    return out.read_bytes()


def keep(results: Path, out: Path, *studies: str) -> int:
    which = ["--study", *studies] if studies else []
    return main(["keep", "--results", str(results), "--out", str(out), *which])


def test_what_is_kept_gives_the_same_verdicts_without_weights_or_predictions(results: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert keep(results, kept) == 0
    assert check(kept, tmp_path / "kept.csv") == check(results, tmp_path / "all.csv")
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".pt" or "probabilities" in path.name]
    assert {str(name) for path in kept.glob("*/evals/*/*/*.parquet") for name in pd.read_parquet(path)} == {
        "name", "center_top1_error", "center_top5_error", "ten_top1_error", "ten_top5_error",
    }  # fmt: skip
    assert not [path for path in files if b"somewhere" in path.read_bytes()]
    assert not [path for path in files if path.suffix == ".csv" and b"\r" in path.read_bytes()]
    whole = sum(path.stat().st_size for path in results.glob("*/evals/*/*/*.parquet"))
    assert sum(path.stat().st_size for path in kept.glob("*/evals/*/*/*.parquet")) < whole / 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_errors_that_are_shares_stay_shares(results: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "results"
    shutil.copytree(results, mixed)
    path = next(mixed.glob("small/evals/alexnet/1/*.parquet"))
    table = pd.read_parquet(path)
    table["ten_top1_error"] = np.linspace(0, 1, len(table))
    table.to_parquet(path, index=False)
    record = json.loads(path.with_suffix(".json").read_text())
    record["views"]["ten"]["top1_error"] = 0.5
    path.with_suffix(".json").write_text(json.dumps(record))
    assert keep(mixed, tmp_path / "kept") == 0
    small = pd.read_parquet(tmp_path / "kept" / path.relative_to(mixed))
    assert small["ten_top1_error"].tolist() == table["ten_top1_error"].tolist()
    assert small["center_top1_error"].tolist() == table["center_top1_error"].astype(bool).tolist()


def test_one_study_is_kept_of_two_and_replaces_what_was_kept_before(results: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert keep(results, kept) == keep(results, kept, "small") == 0
    assert [path.parent.name for path in kept.glob("*/study.json")] == ["small"]


def test_what_is_added_in_parts_is_what_is_kept_at_once(results: Path, tmp_path: Path) -> None:
    parts = [tmp_path / "first", tmp_path / "second"]
    for number, part in enumerate(parts):
        shutil.copytree(results, part)
        for place in ("runs", "evals", "examined"):
            for path in part.glob(f"*/{place}/*/*"):
                if (path.parent.name in ("tanh", "no_lrn")) != bool(number) and path.parent.name != "alexnet":
                    shutil.rmtree(path)
    shutil.rmtree(parts[1] / "demo")
    stale = parts[0] / "small/runs/alexnet/2/run.json"
    stale.write_text(json.dumps(json.loads(stale.read_text()) | {"wall_seconds": 1e6}))  # the second part has it too
    both, whole = tmp_path / "both", tmp_path / "whole"
    assert keep(parts[0], both) == keep(results, whole) == 0
    assert main(["keep", "--results", str(parts[1]), "--out", str(both), "--add"]) == 0
    missing = {p.relative_to(whole) for p in whole.rglob("*")} ^ {p.relative_to(both) for p in both.rglob("*")}
    assert {path.parts[:2] for path in missing} == {("demo", "runs"), ("demo", "evals")}
    assert {path.parts[2] for path in missing} <= {"tanh", "no_lrn"}
    assert main(["verify", "--results", str(both)]) == 0
    for path in filter(Path.is_file, both.glob("*/**/*")):
        assert path.read_bytes() == (whole / path.relative_to(both)).read_bytes(), path


def test_runs_of_another_configuration_and_dirty_ones_are_told(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "results"
    shutil.copytree(results, changed)
    path = changed / "small" / "runs" / "tanh" / "1" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"config_fingerprint": "older"}))
    path = changed / "small" / "runs" / "tanh" / "2" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"provenance": {**record["provenance"], "git_dirty": True}}))
    assert keep(changed, tmp_path / "kept", "small") == 0
    said = capsys.readouterr().err
    assert "run small/tanh/seed 1: trained with another configuration" in said
    assert "1 of the kept runs were not made from a clean checkout, such as small/tanh/2" in said
    assert sorted(p.name for p in (tmp_path / "kept/small/runs/tanh").iterdir()) == ["2", "3"]


def test_nothing_is_replaced_by_nothing_and_nothing_foreign_is_removed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, foreign, empty = tmp_path / "kept", tmp_path / "foreign", tmp_path / "empty"
    assert keep(results, kept) == 0
    before = sorted(kept.rglob("*"))
    assert keep(results, kept, "smal") == 2
    assert "has no study 'smal'; it has demo, small" in capsys.readouterr().err
    fabricate.study(empty, "small", "proxy")
    assert keep(empty, kept) == 2
    assert "no finished run" in capsys.readouterr().err
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years")
    assert keep(results, foreign) == 2
    assert "holds something else" in capsys.readouterr().err and (foreign / "thesis.tex").exists()
    assert sorted(kept.rglob("*")) == before


def test_the_report_is_built_from_what_is_kept(results: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", tmp_path / "reports" / "alexnet.html"
    assert keep(results, kept) == 0
    pages = [NOTEBOOKS / "00_answer.ipynb", NOTEBOOKS / "34_ablations.ipynb"]
    table = rebuild(kept, out, notebooks=pages)
    assert table.read_bytes() == check(results, tmp_path / "all.csv")
    html = out.read_text()
    assert "Traceback" not in html and 'id="claim-lrn-delta-top1"' in html
    names = {"alexnet.html", "claims.csv", "claims.json", "ro-crate-metadata.json", "workflow.smk", "headline.svg"}
    assert {path.name for path in out.parent.iterdir()} == names


def test_a_sentence_says_where_the_runs_of_a_study_come_from(results: Path) -> None:
    demo, small = sentences(load_results(results))
    runs = len(list(results.glob("small/runs/*/*/run.json")))
    assert small.startswith("- `small` (proxy): ") and f" {runs} runs of {runs // 3} networks, 3 seeds each; " in small
    minutes = [json.loads(path.read_text()) for path in results.glob("small/runs/*/*/run.json")]
    hours = sum(run["wall_seconds"] * run["threads"] for run in minutes) / 3600
    assert f" {hours:.1f} thread-hours" in small and "commit 0123456" in small
    assert " of evaluation" not in small  # a second each
    for path in results.glob("small/evals/*/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 720.0}))
    sets = len(list(results.glob("small/evals/*/*/*.json")))
    assert f" and {sets / 5:.1f} of evaluation" in sentences(load_results(results))[1]
    assert "5 seeds each" in demo


def test_runs_side_by_side_count_once_by_the_clock_and_pauses_do_not_count():
    def run(*spans: tuple[str, str]) -> dict:
        return {
            "sessions": [
                {"started": f"2026-01-01T{a}:00+00:00", "finished": f"2026-01-01T{b}:00+00:00"} for a, b in spans
            ]
        }

    runs = [
        run(("10:00", "11:00")),
        run(("10:30", "11:30"), ("15:00", "15:15")),
        run(("10:40", "10:50")),
        {"sessions": [{"started": "2026-01-01T20:00:00+00:00"}]},  # never left off, as far as is known
    ]
    assert elapsed(runs) == pytest.approx(1.75)
    assert elapsed([]) == elapsed([{"wall_seconds": 60.0}]) == 0


@pytest.mark.skipif(not (REFERENCE / "results").is_dir(), reason="no runs are published yet")
def test_the_published_verdicts_are_those_of_the_published_runs(tmp_path: Path) -> None:
    made = check(REFERENCE / "results", tmp_path / "claims.csv")
    assert made == (REFERENCE / "claims.csv").read_bytes(), "run `make reference` and commit what it writes"


@pytest.mark.skipif(not (REFERENCE / "results").is_dir(), reason="no runs are published yet")
def test_the_readmes_show_the_published_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    claims = ["--claims", "reports/reference/claims.csv"]
    for readme, verbs in (("README.md", ["answer"]), ("reports/reference/README.md", ["table", "departures"])):
        copy = tmp_path / "README.md"
        shutil.copy(readme, copy)
        for verb in verbs:
            of = [] if verb == "departures" else claims
            assert main([verb, *of, "--results", "reports/reference/results", "--into", str(copy)]) == 0
        assert copy.read_text() == Path(readme).read_text(), "run `make reference` and commit what it writes"
