"""Files beside the report: the same verdicts as JSON, and a crate that the library for crates can read."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.paper.claims import load_claims
from analysis.report import deposit


@pytest.fixture(scope="module")
def folder(report: Path) -> Path:
    return report.parent


def test_the_json_says_what_the_csv_says(folder: Path) -> None:
    record = json.loads((folder / "claims.json").read_text())
    table = pd.read_csv(folder / "claims.csv", dtype=str, keep_default_na=False)
    assert [row["id"] for row in record["claims"]] == [claim.id for claim in load_claims()]
    for row, line in zip(record["claims"], table.to_dict("records"), strict=True):
        assert set(line) | {"runs"} == set(row)
        for key, text in line.items():
            if text == "":
                assert row[key] is None
            elif isinstance(row[key], float):
                assert math.isclose(row[key], float(text))
            else:
                assert row[key] == text
    counted = {(row["evidence"] or "", row["verdict"]): row["claims"] for row in record["counts"]}
    assert counted == table.groupby(["evidence", "verdict"]).size().to_dict()


def test_the_json_names_the_runs_behind_a_claim(folder: Path) -> None:
    record = json.loads((folder / "claims.json").read_text())
    (claim,) = (row for row in record["claims"] if row["id"] == "lrn-delta-top1")
    runs = [(run["experiment"], run["seed"], run["git_commit"]) for run in claim["runs"]]
    commit = "0123456789abcdef"
    assert runs == [(name, seed, commit) for name in ("no_lrn", "text_no_spatial_norm") for seed in range(1, 6)]
    assert [study["finished_runs"] for study in record["studies"]] == [70]


def test_rocrate_reads_the_crate(folder: Path) -> None:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(folder)
    assert crate.mainEntity.id == "workflow.smk"
    assert crate.mainEntity["programmingLanguage"]["name"] == "Snakemake"
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} <= set(crate.mainEntity.type)
    parts = {part.id for part in crate.root_dataset["hasPart"]}
    assert parts == {"alexnet.html", "claims.csv", "claims.json", "workflow.smk"}
    for part in crate.root_dataset["hasPart"]:
        data = (folder / part.id).read_bytes()
        assert part["sha256"] == hashlib.sha256(data).hexdigest() and part["contentSize"] == str(len(data))
        assert part["encodingFormat"] and part["name"]
    profiles = {entity.id for entity in crate.root_dataset["conformsTo"]}
    assert profiles == {url for url, _, _ in deposit.PROFILES}
    for name in ("name", "description", "license", "datePublished"):
        assert crate.root_dataset[name], name
    assert crate.mainEntity["programmingLanguage"]["version"] == "9.19"  # min_version of workflow/Snakefile
    assert {action.id for action in crate.root_dataset["mentions"]} == {"#study-demo"}


def test_the_crate_tells_what_was_run_on_what(folder: Path) -> None:
    from rocrate.rocrate import ROCrate

    (action,) = ROCrate(folder).get_by_type("CreateAction")
    assert action["instrument"].id == "workflow.smk"
    assert {made.id for made in action["result"]} == {"alexnet.html", "claims.csv", "claims.json"}
    assert (action["startTime"], action["endTime"]) == ("2026-01-01T00:00:00", "2026-01-01T00:03:10")
    archive = action["object"] if not isinstance(action["object"], list) else action["object"][0]
    assert archive["sha256"] == "a" * 64 and archive["name"].endswith(".tar")
    assert "70 finished runs" in action["description"] and "0123456789abcdef" in action["description"]


def test_without_results_the_crate_still_stands(report: Path, tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    out = tmp_path / "r" / "page.html"
    executed = str(report.parent.parent / "90_provenance.ipynb")
    claims = str(report.with_name("claims.csv"))
    assert main(["report", executed, "--claims", claims, "--out", str(out)]) == 0
    crate = ROCrate(out.parent)
    assert [action.id for action in crate.get_by_type("CreateAction")] == ["#report"]
    names = {"page.html", "claims.csv", "claims.json", "workflow.smk", "ro-crate-metadata.json"}
    assert {path.name for path in out.parent.iterdir()} == names  # nothing half-written is left
