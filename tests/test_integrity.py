"""Results that somebody changed: what does not fit is named and not used, and a stranger can find out by a command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricate
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet.packed.pack import pack
from alexnet.synthetic.synthesize import synthesize
from analysis.__main__ import main
from analysis.paper.claims import CLAIMS, load_claims
from analysis.report.pages import provenance
from analysis.results import fitting
from analysis.results.evidence import Results, load_results
from analysis.results.integrity import MANIFEST, Guard, Unfit, write_manifest
from analysis.verdicts.judge import judge_all

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "reports/reference/results"
STUDY, NET = "cifar10_full_length", "cifar_lrn"
RUN, EVAL = f"{STUDY}/runs/{NET}", f"{STUDY}/evals/{NET}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published study of two nets with three seeds each, without a hash of any file."""
    shutil.copytree(PUBLISHED / STUDY, tmp_path / "results" / STUDY)
    results = load_results(tmp_path / "results")
    assert len(results.runs) == results.evals.path.nunique() == 6 and results.set_aside == []
    return tmp_path / "results"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def rewrite(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    if path.suffix == ".csv":
        edit(pd.read_csv(path)).to_csv(path, index=False)
    else:
        edit(pd.read_parquet(path)).to_parquet(path, index=False)


def without_errors(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(center_top1_error=False, ten_top1_error=False)


def table_of(folder: Path, seed: int) -> Path:
    (path,) = (folder / EVAL / str(seed)).glob("*.parquet")
    return path


def set_of(folder: Path) -> Path:
    (path,) = folder.glob(f"{STUDY}/data/*/manifest.json")
    return path


def better(folder: Path) -> None:
    """Errors set to 0 in the table, and in the record of it too, but not in the first view."""
    rewrite(table_of(folder, 2), lambda table: table.assign(center_top1_error=False))
    path = table_of(folder, 2).with_suffix(".json")
    views = json.loads(path.read_text())["views"]
    views["ten"]["top1_error"] = 0.0
    change(path, views=views)


ATTACKS: dict[str, tuple[Callable[[Path], object], str, set[int], set[int]]] = {
    # what is done; words of the sentence; seeds of which the run is used still; the evaluation
    "errors set to 0": (
        lambda f: rewrite(table_of(f, 2), without_errors),
        "test.parquet: the mean of center_top1_error is not the one of its record",
        {2, 3, 4}, {3, 4},
    ),
    "errors set to 0, and one mean": (better, "the mean of center_top1_error", {2, 3, 4}, {3, 4}),
    "errors that are no shares, of the same mean": (
        lambda f: rewrite(table_of(f, 2), lambda t: t.assign(ten_top1_error=t.ten_top1_error + np.resize([3.0, -3.0], len(t)))),
        "ten_top1_error has values that are no shares",
        {2, 3, 4}, {3, 4},
    ),
    "errors that are not there": (
        lambda f: rewrite(table_of(f, 2), lambda t: t.assign(ten_top1_error=np.nan)),
        "the mean of ten_top1_error", {2, 3, 4}, {3, 4},
    ),
    "rows cut": (
        lambda f: rewrite(table_of(f, 3), lambda t: t[~t.ten_top1_error]), "rows, its record says 10,000", {2, 3, 4}, {2, 4},
    ),
    "rows cut, and the record": (
        lambda f: (
            rewrite(table_of(f, 3), lambda t: t[t.index < 9000]), change(table_of(f, 3).with_suffix(".json"), images=9000),
        ),
        "the mean of", {2, 3, 4}, {2, 4},
    ),
    "tables swapped": (
        lambda f: swap(table_of(f, 2), table_of(f, 3)), "is not the one of its record", {2, 3, 4}, {4},
    ),
    "evaluations swapped": (
        lambda f: [swap(table_of(f, 2).with_suffix(kind), table_of(f, 3).with_suffix(kind)) for kind in (".json", ".parquet")],
        "made with another configuration", {2, 3, 4}, {4},
    ),
    "metrics swapped": (
        lambda f: swap(f / RUN / "2/metrics.csv", f / RUN / "4/metrics.csv"),
        "2/metrics.csv ends with another", {3}, {3},
    ),
    "epochs cut": (
        lambda f: rewrite(f / RUN / "2/metrics.csv", lambda t: t[t.index > 3]), "has not one row for each of the", {3, 4}, {3, 4},
    ),
    "the last error of a run": (
        lambda f: rewrite(f / RUN / "2/metrics.csv", lambda t: t.assign(validation_error=t.validation_error.where(t.index < len(t) - 1, 0))),
        "ends with another validation_error than run.json says", {3, 4}, {3, 4},
    ),
    "the images of a run": (
        lambda f: change(f / RUN / "2/run.json", data_fingerprint="0" * 64), "made from other images", {3, 4}, {3, 4},
    ),
    "the images of an evaluation": (
        lambda f: change(table_of(f, 2).with_suffix(".json"), data_fingerprint="0" * 64), "made from other images", {2, 3, 4}, {3, 4},
    ),
    "no record of a run": (
        lambda f: (f / RUN / "2/run.json").unlink(), "its run is not there, or is not used", {3, 4}, {3, 4},
    ),
    "the configuration of a run": (
        lambda f: change(f / RUN / "2/config.json", precision="fp64"), "config.json was edited", {3, 4}, {3, 4},
    ),
    "a run under another seed": (
        lambda f: swap(f / RUN / "2/run.json", f / RUN / "3/run.json"), "trained with another configuration", {4}, {4},
    ),
    "a run that says it is another": (
        lambda f: change(f / RUN / "2/run.json", seed=9), f"2/run.json is the record of {STUDY}/{NET}/9", {3, 4}, {3, 4},
    ),
    "classes of the packed set": (
        lambda f: change(set_of(f), classes=[{"wnid": "n0", "name": "all"}]), "manifest.json was edited", set(), set(),
    ),
    "number of images of the packed set": (
        lambda f: change(set_of(f), splits={k: v | {"images": 9} for k, v in json.loads(set_of(f).read_text())["splits"].items()}),
        "another number of images than its classes together", set(), set(),
    ),
    "the mean image": (
        lambda f: np.save(set_of(f).with_name("mean.npy"), np.full((32, 32, 3), np.nan, np.float32)), "mean.npy holds numbers that are not finite", set(), set(),
    ),
}  # fmt: skip


def used(results: Results) -> tuple[set[int], set[int]]:
    """Seeds of which the run, and of which the evaluation counts."""
    evals = results.evals[results.evals.experiment == NET]
    return {key[2] for key in results.runs if key[1] == NET}, set(evals.seed)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_does_not_fit_is_named_and_not_used(folder: Path, attack: str) -> None:
    do, words, runs, evals = ATTACKS[attack]
    do(folder)
    results = load_results(folder)
    assert used(results) == (runs, evals), results.set_aside
    assert any(words in sentence for sentence in results.set_aside), results.set_aside


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_manifest_finds_every_attack(folder: Path, attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(folder)
    assert main(["verify", "--results", str(folder)]) == 0
    ATTACKS[attack][0](folder)
    assert main(["verify", "--results", str(folder)]) == 1
    assert MANIFEST in capsys.readouterr().out.splitlines()[1]


SILENT: dict[str, Callable[[Path], object]] = {  # what nothing else in the folder contradicts
    "two errors exchanged": lambda f: rewrite(
        table_of(f, 2), lambda t: t.assign(**{c: t[c].to_numpy()[::-1] for c in t if str(c).startswith("ten_")})
    ),
    "an epoch in the middle": lambda f: rewrite(
        f / RUN / "2/metrics.csv", lambda t: t.assign(train_error=t.train_error.where(t.index != 5, 0.01))
    ),
    "who made it": lambda f: change(f / RUN / "2/run.json", wall_seconds=1.0),
    "the tier of the study": lambda f: change(f / STUDY / "study.json", convergence_threshold=0.9),
    "the lossy copy": lambda f: change(set_of(f), variant="cifar10"),
    "no manifest of the images": lambda f: set_of(f).unlink(),
}


@pytest.mark.parametrize("attack", SILENT)
def test_what_nothing_else_contradicts_the_manifest_finds(folder: Path, attack: str) -> None:
    before = used(load_results(folder))
    write_manifest(folder)
    SILENT[attack](folder)
    assert used(load_results(folder)) != before
    assert main(["verify", "--results", str(folder)]) == 1
    (folder / MANIFEST).unlink()
    assert used(load_results(folder)) == before  # as before there were manifests


def test_records_that_name_hashes_need_no_manifest(folder: Path) -> None:
    kept = folder.with_name("kept")
    assert main(["keep", "--results", str(folder), "--out", str(kept)]) == 0
    (kept / MANIFEST).unlink()
    results = load_results(kept)
    assert results.set_aside == []
    assert results.guard.bare == {f"{STUDY}/data/cifar10/mean.npy"}  # packed before sets named its hash
    for attack in ("two errors exchanged", "an epoch in the middle"):
        SILENT[attack](kept)
    sentences = load_results(kept).set_aside
    assert any("2/metrics.csv is not the file of which its record has the hash" in line for line in sentences)
    assert any("-test.parquet" in line or "its run" in line for line in sentences)


def test_an_examination_is_what_its_tables_and_kernels_are(tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, images=60)
    where = tmp_path / "demo/examined/alexnet"
    assert ("demo", "alexnet", 1) in load_results(tmp_path).examined
    rewrite(where / "1/sample.parquet", lambda t: t.assign(top1_error=0.0))
    np.save(where / "2/kernels.npy", np.zeros((3, 7, 7, 3), np.float32))
    results = load_results(tmp_path)
    assert [key[2] for key in results.examined if key[1] == "alexnet"] == [3, 4, 5]
    assert {key[1] for key in results.examined} == {"alexnet", "no_dropout", "non_overlapping_pooling"}
    first, second = (line for line in results.set_aside if line.startswith("examination demo/alexnet"))
    assert "1/sample.parquet: the mean of top1_error is not the one of its record" in first
    assert "2/kernels.npy is no array of floats of the shape that its record says" in second


def test_the_published_results_are_as_they_were_kept_and_coreutils_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--results", str(PUBLISHED)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert ": 0 problems in " in line and "; 0 files of records are not protected by a hash" in line
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", MANIFEST], cwd=PUBLISHED)
    assert checked.returncode == 0


def test_verify_names_added_missing_and_changed_files_and_other_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(folder)
    (folder / STUDY / "notes.txt").write_text("mine")
    (folder / RUN / "2/model.pt").write_bytes(b"weights of another net")
    (folder / STUDY / "study.json").rename(folder / STUDY / "study.old")
    assert main(["verify", "--results", str(folder)]) == 1
    said = capsys.readouterr().out
    assert f"{STUDY}/notes.txt is not in {MANIFEST}" in said
    assert f"{STUDY}/study.json is missing, and is in {MANIFEST}" in said
    (folder / STUDY / "study.old").rename(folder / STUDY / "study.json")
    assert main(["verify", "--results", str(folder)]) == 1
    assert f"{RUN}/2/model.pt is not the file of which its record has the hash" in capsys.readouterr().out


def test_results_without_hashes_count_and_are_told_to_be_unprotected(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--results", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"no {MANIFEST}" in said and "; 13 files of records are not protected by a hash" in said
    assert "Not protected: of 13 files no record" in provenance.page(load_results(folder))
    assert main(["verify", "--results", str(folder), "--protect"]) == 0
    assert "; 0 files of records are not protected" in capsys.readouterr().out
    assert "Not protected" not in provenance.page(load_results(folder))
    assert main(["verify", "--results", str(folder), "--protect"]) == 2
    assert "delete it if it shall be made anew" in capsys.readouterr().err
    (folder / MANIFEST).unlink()
    rewrite(table_of(folder, 2), without_errors)
    assert main(["verify", "--results", str(folder), "--protect"]) == 2
    assert "the mean of center_top1_error" in capsys.readouterr().err and not (folder / MANIFEST).exists()


@pytest.mark.parametrize(
    "line", ["torn", "0" * 63 + "  a", "0" * 64 + " a", "0" * 64 + "  ../a", "0" * 64 + "  /etc/passwd"]
)
def test_a_manifest_that_is_none_is_a_sentence(folder: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / MANIFEST).write_text(f"{'0' * 64}  {STUDY}/study.json\n{line}\n")
    assert main(["verify", "--results", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"{MANIFEST}, line 2: no sha256 and path of a file below the folder" in error and error.count("\n") == 1


def test_keep_follows_no_link_out_of_the_folder_and_adds_to_nothing_that_was_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, secret = tmp_path / "kept", tmp_path / "secret"
    assert main(["keep", "--results", str(folder), "--out", str(kept)]) == 0
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    secret.write_text("{}")
    for name in ("baselines.json", "races/no_lrn.json", "data/private"):
        link = folder / STUDY / name
        link.parent.mkdir(exist_ok=True)
        if "." in link.name:
            link.symlink_to(secret)
        else:
            shutil.copytree(set_of(folder).parent, tmp_path / "private")
            link.symlink_to(tmp_path / "private")
        assert main(["keep", "--results", str(folder), "--out", str(kept)]) == 2, name
        assert f"{name}" in (error := capsys.readouterr().err) and "leads out of" in error
        link.unlink()
    rewrite(table_of(kept, 2), without_errors)
    assert main(["keep", "--results", str(folder), "--out", str(kept), "--add"]) == 2
    assert "is not as it was kept" in capsys.readouterr().err
    table_of(kept, 2).write_bytes(before[table_of(kept, 2)])
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def test_keep_adds_to_no_folder_with_links(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody sent as kept results may lead to a private file, or have one overwritten."""
    kept, secret = tmp_path / "kept", tmp_path / "secret"
    secret.write_text("{}")
    for name in ("reruns.csv", "baselines.json", "races/no_lrn.json"):
        shutil.copytree(folder, kept)
        link = kept / STUDY / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(secret)
        assert main(["keep", "--results", str(folder), "--out", str(kept), "--add"]) == 2
        assert f"{link} is a link" in capsys.readouterr().err
        assert link.is_symlink() and secret.read_text() == "{}"
        shutil.rmtree(kept)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    "name", ["study.json", "manifest.json", "config.json", "run.json", "metrics.csv", "cifar10-test.json"]
)
def test_what_never_ends_is_not_read(folder: Path, name: str, kind: str) -> None:
    path = sorted(folder.rglob(name))[0]
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "from analysis.__main__ import main; sys.exit(main(['verify', '--results', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and f"{path.relative_to(folder)} is no file" in done.stdout, done.stderr


def test_a_small_table_does_not_unpack_to_a_large_one(folder: Path) -> None:
    """Some kilobytes stand for names of four gigabytes, or for numbers of eight."""
    path, images = table_of(folder, 2), 400_000
    record = path.with_suffix(".json")
    views = json.loads(record.read_text())["views"]
    columns = [f"{view}_{metric}" for view in views for metric in ("top1_error", "top5_error")]
    zeros = pa.array(np.zeros(images, np.float32))
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(images, np.int32)), ["x" * 10_000])
    none = {view: values | {"top1_error": 0.0, "top5_error": 0.0} for view, values in views.items()}
    change(record, images=images, views=none)
    pq.write_table(pa.table({"name": name} | dict.fromkeys(columns, zeros)), path, store_schema=False)
    assert path.stat().st_size < 100_000
    assert any("names that are longer" in told for told in load_results(folder).set_aside)
    many = {f"view{n}": {"top1_error": 0.0, "top5_error": 0.0, "loss": 0.0} for n in range(100)}
    change(record, views=many)
    columns = [f"{view}_{metric}" for view in many for metric in ("top1_error", "top5_error")]
    name = pa.DictionaryArray.from_arrays(name.indices, ["x"])
    pq.write_table(pa.table({"name": name} | dict.fromkeys(columns, zeros)), path, store_schema=False)
    assert any("is larger than a table" in told for told in load_results(folder).set_aside)


@pytest.mark.parametrize(
    "text", ["{}", '{"layers": [1], "totals": {}}', '{"layers": [{"name": "conv1"}], "totals": {}}']
)
def test_a_table_of_layers_that_is_none_is_not_used(folder: Path, text: str) -> None:
    (folder / "describe").mkdir()
    (folder / "describe/alexnet.json").write_text(text)
    results = load_results(folder)
    assert not results.layers and "describe/alexnet.json" in results.set_aside[0]
    judge_all(load_claims(CLAIMS), results)


def test_a_seed_counts_once(folder: Path) -> None:
    for where in (RUN, EVAL):
        for again in ("02", "\u0662"):  # the same number to int()
            shutil.copytree(folder / where / "2", folder / where / again)
    results = load_results(folder)
    assert len(results.evals) == len(results.evals.drop_duplicates(["experiment", "seed", "view"]))
    assert len(results.metrics) == len(results.metrics.drop_duplicates(["experiment", "seed", "epoch"]))


def test_what_pack_writes_of_ilsvrc_2012_fits_its_own_fingerprint_and_no_other(tmp_path: Path) -> None:
    synthesize(tmp_path, classes=3, train_per_class=4, val_per_class=2, test_per_class=2, image_size=32, workers=1)
    for year, split in ((2010, "test"), (2012, "val")):
        out = tmp_path / f"ilsvrc{year}"
        pack(f"ilsvrc{year}", tmp_path, out, splits=[split], image_size=24, stand_ins=True, workers=1)
        path, guard = out / "manifest.json", Guard(tmp_path, {})
        record = dict(fitting.manifest(guard, path))
        record["classes"] = [entry | {"wnid": entry["wnid"][:-1] + "9"} for entry in record["classes"]]
        path.write_text(json.dumps(record))
        with pytest.raises(Unfit, match="was edited"):
            fitting.manifest(guard, path)
