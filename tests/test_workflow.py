"""The whole workflow, really run once on a tiny study in a copy of the project, and what makes a result stale."""

from __future__ import annotations

import csv
import functools
import hashlib
import http.server
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import soak
import yaml
from conftest import ROOT, TINY_STUDY
from PIL import Image

from workflow import snakemake_internals


def copy_project(folder: Path) -> Path:
    """The project without its results, with the study `tiny` as the one that runs."""
    soak.copy_project(folder, "tiny")
    (folder / "config/studies/tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY))
    return folder


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`; its output is one text."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("ALEXNET_DATA", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=500,
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule that a dry run would do."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout
    table = done.stdout.split("Job stats:")
    if len(table) == 1:
        assert "Nothing to be done" in done.stdout
        return {}
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table[1], re.MULTILINE)}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the project in which everything was made, and what Snakemake printed."""
    folder = copy_project(tmp_path_factory.mktemp("workflow") / "project")
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder, done.stdout


@pytest.fixture
def project(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """Its own copy of the finished project, times kept, to edit."""
    folder = tmp_path / "project"
    shutil.copytree(finished[0], folder, symlinks=True)
    return folder


def test_the_default_target_makes_the_report_and_the_claims(finished):
    folder, output = finished
    assert (folder / "reports/alexnet.html").stat().st_size > 50_000
    rows = list(csv.DictReader(open(folder / "reports/claims.csv")))
    for column in ("id", "section", "paper", "ours", "low", "high", "n", "evidence", "verdict"):
        assert column in rows[0]
    for row in rows:
        if row["evidence"] in ("demo", "proxy"):
            assert row["verdict"] not in ("replicated", "not replicated")
    assert {row["evidence"] for row in rows} >= {"arithmetic", "demo"}
    assert re.search(r"^tiny/no_lrn/1 +epoch 2/2 .*images/s.*ETA", output, re.MULTILINE)  # one line an epoch
    log = (folder / "results/logs/tiny/no_lrn/1/train.log").read_text()
    assert "images/s" in log and "ETA" in log


def test_evaluations_cover_exactly_the_manifest(finished):
    folder, _ = finished
    for name, split, images in (("ilsvrc2012", "val", 24), ("ilsvrc2010", "test", 24)):
        manifest = json.loads((folder / f"results/tiny/data/{name}/manifest.json").read_text())
        record = json.loads((folder / f"results/tiny/evals/alexnet/1/{name}-{split}.json").read_text())
        assert record["images"] == manifest["splits"][split]["images"] == images
        assert record["data_fingerprint"] == manifest["fingerprint"]


def test_snakemakes_own_report_holds_ours_in_categories(finished, tmp_path):
    folder, _ = finished
    done = snakemake(folder, "--report", str(tmp_path / "snakemake.zip"))
    assert done.returncode == 0, done.stdout[-3000:]
    with zipfile.ZipFile(tmp_path / "snakemake.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        results = next(name for name in archive.namelist() if name.endswith("report.html"))
        page = archive.read(results).decode()
    assert {"alexnet.html", "claims.csv", "claims.json", "00_answer.ipynb"} <= names
    for category in ("Report", "Verdicts", "Pages"):
        assert f'"{category}"' in page, category
    assert {"ro-crate-metadata.json", "workflow.smk"} <= {path.name for path in (folder / "reports").iterdir()}


def test_a_second_call_has_nothing_to_do(finished):
    done = snakemake(finished[0])
    assert done.returncode == 0 and "Nothing to be done" in done.stdout


def test_snakemake_starts_without_what_takes_seconds_to_import(finished):
    slow = ("torch", "scipy", "matplotlib", "seaborn", "pyarrow")
    code = f"""
import runpy, sys
sys.argv = ["snakemake", "--cores", "1", "--list-target-rules"]
try:
    runpy.run_module("snakemake", run_name="__main__")
finally:
    print("slow:", [name for name in {slow!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=finished[0], capture_output=True, text=True)
    assert "slow: []" in done.stdout, done.stdout + done.stderr


def test_prose_formatting_rules_and_plots_retrain_nothing(project):
    edit(project / "config/experiments.yaml", "about: Without dropout", "about: Not having dropout")
    edit(project / "config/experiments.yaml", "recipes:\n", "# another comment\nrecipes:\n")
    edit(project / "workflow/rules/runs.smk", "--threads {threads} 2> {log:q}", " --threads {threads} 2> {log:q}")
    with open(project / "alexnet/training/train.py", "a") as source:
        source.write("\n# a comment\n")
    assert not {"train", "evaluate", "configure"} & set(planned(project))
    with open(project / "analysis/verdicts/rules.py", "a") as source:
        source.write("\n# a comment\n")
    jobs = planned(project)
    assert {"check", "report"} <= set(jobs)
    assert not {"train", "evaluate", "configure", "pack_tiny_ilsvrc2012"} & set(jobs)


def test_editing_one_experiment_makes_only_that_one_stale(project):
    edit(project / "config/experiments.yaml", "activation: tanh\n", "activation: tanh\n        drop_probability: 0.4\n")
    jobs = planned(project)
    assert (jobs["configure"], jobs["train"], jobs["evaluate"]) == (1, 1, 2)
    shown = snakemake(project, "--dry-run", "--forcerun", "check").stdout
    assert "synthesize" not in shown


def test_a_deleted_intermediate_file_is_made_again_when_it_is_needed_and_only_then(project):
    run = project / "results/tiny/runs/no_lrn/1"
    before = json.loads((run / "run.json").read_text())["weights_sha256"]
    (run / "model.pt").unlink()
    assert planned(project) == {}  # weights take the most room; a report that stands needs none
    (project / "results/tiny/evals/no_lrn/1/ilsvrc2012-val.json").unlink()
    target = "results/tiny/evals/no_lrn/1/ilsvrc2012-val.json"
    assert planned(project, target) == {"train": 1, "evaluate": 1, "total": 2}
    done = snakemake(project, target)
    assert done.returncode == 0, done.stdout
    assert hashlib.sha256((run / "model.pt").read_bytes()).hexdigest() == before


def test_one_failed_ablation_does_not_stop_the_rest_nor_the_report(project):
    study = project / "config/studies/tiny.yaml"
    record = yaml.safe_load(study.read_text())
    stages = [{"until": 93, "weights": 1.0e6, "biases": 1.0e6}]
    record["experiment_diffs"] = {
        "no_lrn": {"optimizer": {"schedule": {"stages": stages}}},
        "tanh": {"model": {"drop_probability": 0.4}},
    }
    study.write_text(yaml.safe_dump(record))
    before = (project / "reports/alexnet.html").read_bytes()
    done = snakemake(project)
    assert done.returncode == 1, done.stdout[-4000:]
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith("failed: ")]
    assert len(told) == 1
    assert told[0].startswith("failed: results/logs/tiny/no_lrn/1/train.log: error: tiny/no_lrn/1: the loss became")
    assert "the report without what failed: reports/draft/alexnet.html" in lines
    assert "claim-lrn-delta-top1" in (project / "reports/draft/alexnet.html").read_text()
    assert (project / "reports/alexnet.html").read_bytes() == before
    left = planned(project)
    assert left["train"] == 1 and left["evaluate"] == 2  # the other one is done


def test_one_target_prints_its_verdicts(finished):
    done = snakemake(finished[0], "no_lrn")
    assert done.returncode == 0
    assert "lrn-delta-top1" in done.stdout
    assert "gpu-delta-top1" not in done.stdout


def test_one_target_trains_the_base_and_itself_only(tmp_path):
    jobs = planned(copy_project(tmp_path / "project"), "no_lrn")
    assert (jobs["train"], jobs["evaluate"]) == (2, 4)
    assert "report" not in jobs


def test_a_target_brings_what_it_starts_from_and_what_it_is_compared_with(tmp_path):
    project = copy_project(tmp_path / "project")
    jobs = planned(project, "conv6_pretrained")
    assert (jobs["train"], jobs["evaluate"]) == (4, 6)  # alexnet, conv6, its pre-training, the fine-tuned net
    jobs = planned(project, "ensemble")
    assert (jobs["train"], jobs["evaluate"], jobs["ensemble_evaluate"]) == (1, 2, 2)
    jobs = planned(project, "text_plateau")  # a departure is compared on the first split alone
    assert (jobs["train"], jobs["evaluate"]) == (2, 3)


def test_a_target_trains_the_arms_of_its_claims_where_the_study_has_them(tmp_path):
    project = copy_project(tmp_path / "project")
    arms = ["no_conv3", "no_conv5", "one_gpu", "text_no_spatial_norm"]
    record = yaml.safe_load((project / "config/studies/tiny.yaml").read_text())
    record["experiments"] += arms
    (project / "config/studies/tiny.yaml").write_text(yaml.safe_dump(record))
    for target, nets in (
        ("no_lrn", 3),  # and the net without the spatial normalisation, evaluated on both splits as the other two are
        ("no_conv5", 3),  # the base, and what the claim about every layer has in this study
        ("importance", 3),  # an order has no baseline
    ):
        jobs = planned(project, target)
        assert (jobs["train"], jobs["evaluate"]) == (nets, 2 * nets), target


def test_weights_that_others_start_from_make_these_stale(project):
    edit(
        project / "config/experiments.yaml",
        "data: pretraining\n    diff: {}",
        "data: pretraining\n    diff: {optimizer: {momentum: 0.8}}",
    )
    jobs = planned(project)
    assert (jobs["configure"], jobs["train"], jobs["evaluate"]) == (2, 2, 2)


def test_fine_tuning_and_averages_are_what_they_say(finished):
    folder, _ = finished
    runs = folder / "results/tiny/runs"
    record = json.loads((runs / "conv6_pretrained/1/run.json").read_text())
    source = (runs / "conv6_pretraining/1/model.pt").read_bytes()
    assert record["started_from_sha256"] == hashlib.sha256(source).hexdigest()
    average = json.loads((folder / "results/tiny/evals/ensemble/1/ilsvrc2010-test.json").read_text())
    assert list(average["members"]) == ["alexnet/1"] and average["images"] == 24
    alone = json.loads((folder / "results/tiny/evals/alexnet/1/ilsvrc2010-test.json").read_text())
    for view in ("center", "ten"):  # the average of one net is that net
        assert average["views"][view]["top1_error"] == alone["views"][view]["top1_error"]


def test_a_departure_prints_its_effect(finished):
    done = snakemake(finished[0], "text_plateau")
    assert done.returncode == 0
    found = [line for line in done.stdout.splitlines() if line.startswith("tiny (demo): text_plateau")]
    assert len(found) == 2  # ten views and one
    assert all("against alexnet: top-1 error" in line and "points" in line for line in found)


def test_the_drawn_rules_are_those_that_make_reproduce_runs(tmp_path):
    """The picture leaves out what a longer way says already, so that reachability is compared."""
    soak.copy_project(tmp_path, "demo")
    names, needs = {}, set()
    for line in snakemake(tmp_path, "--rulegraph").stdout.splitlines():
        if node := re.search(r'(\d+)\[label = "([^"\\]*)', line):
            names[node[1]] = node[2]
        elif edge := re.search(r"(\d+) -> (\d+)", line):
            needs.add((names[edge[1]], names[edge[2]]))
    drawing = (ROOT / "reports/reference/rules.svg").read_text()
    drawn = dict(re.findall(r"<title>(\d+)</title>.*?<text [^>]*>([^<]*)</text>", drawing, re.DOTALL))
    arrows = {(drawn[a], drawn[b]) for a, b in re.findall(r"<title>(\d+)&#45;&gt;(\d+)</title>", drawing)}
    assert len(names) > 10 and sorted(drawn.values()) == sorted(names.values())

    def closure(edges):
        while more := {(a, d) for a, b in edges for c, d in edges if b == c} - edges:
            edges = edges | more
        return edges

    assert closure(arrows) == closure(needs)


def test_architecture_needs_no_training(tmp_path):
    assert set(planned(copy_project(tmp_path / "project"), "architecture")) <= {
        "describe",
        "departures",
        "architecture",
        "total",
    }


def test_a_draft_is_made_from_what_exists(project, finished):
    shutil.rmtree(project / "results/tiny/evals/tanh")
    shutil.rmtree(project / "results/tiny/runs/tanh")
    done = snakemake(project, "draft")
    assert done.returncode == 0, done.stdout[-4000:]
    assert "train" not in planned(project, "draft")
    text = (project / "reports/draft/alexnet.html").read_text()
    before = (finished[0] / "reports/claims.csv").read_bytes()
    assert (project / "reports/claims.csv").read_bytes() == before  # the finished table stays
    assert "claim-lrn-delta-top1" in text


def test_targets_are_listed_with_a_line_each(finished):
    listed = snakemake(finished[0], "--list-target-rules").stdout
    lines = [line for line in listed.splitlines() if not line.startswith("Using ")]
    assert all(re.fullmatch(r"\w+ \(.{10,}\)", line) for line in lines), listed
    names = {line.split()[0] for line in lines}
    assert names >= {"alexnet", "one_gpu", "no_lrn", "tanh", "draft", "architecture", "dataset", "all"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "studys=[tiny]"], "config: unknown key 'studys'; did you mean 'studies'?"),
        (["--config", "studies=[demmo]"], "unknown study 'demmo'; did you mean 'demo'?"),
        (["--config", "studies=[imagenette]"], "study imagenette: source imagenette lacks"),
        (["--config", "report=here.pdf"], "config: `report`"),
        (["--config", "studies=tiny"], "config: `studies`: 'tiny' is not a list; write [tiny]"),
        (["--config", "results=my results"], "config: `results`: 'my results' is not made of letters"),
        (
            ["--config", "results=2026"],
            "config: `results`: 2026 is not text; add a letter, or in a file put it into quotes",
        ),
        (
            ["--config", "downloads={imagenette: ftp://a}"],
            "config: `downloads.imagenette`: 'ftp://a' is not made of http:// or https://, a host, and a path",
        ),
        (
            ["results/imagenette/runs/no_lrn/2/model.pt"],
            "study imagenette is not among those chosen; choose it: --config",
        ),
        (["results/imagenett/baselines.json"], "unknown study 'imagenett'; did you mean 'imagenette'?"),
        (["results/tiny/runs/no_lrm/2/model.pt"], "unknown experiment 'no_lrm'; did you mean 'no_lrn'?"),
    ],
)
def test_a_mistake_is_a_sentence(finished, arguments, sentence):
    done = snakemake(finished[0], "--dry-run", *arguments)
    assert done.returncode != 0
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {sentence}")
    assert "Traceback" not in done.stdout and ", line " not in done.stdout


def test_a_study_file_with_a_wrong_key_or_experiment_is_a_sentence(tmp_path):
    project = copy_project(tmp_path / "project")
    study = project / "config/studies/tiny.yaml"
    for old, new, words in (
        ("epochs: 2", "epoch: 2", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("- no_lrn", "- no_norm", "unknown experiment 'no_norm'"),
    ):
        text = study.read_text()
        edit(study, old, new)
        done = snakemake(project, "--dry-run")
        assert done.returncode != 0 and words in done.stdout and "tiny.yaml" in done.stdout
        assert "Traceback" not in done.stdout
        study.write_text(text)


def test_archives_are_found_through_the_environment_without_being_part_of_a_run(tmp_path):
    project = copy_project(tmp_path / "project")
    for name in ("imagenette2-224-train.tar.gz", "imagenette2-224-val.tar.gz"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / name).touch()
    done = snakemake(project, "--dry-run", "--config", "studies=[imagenette]", ALEXNET_DATA=str(tmp_path / "elsewhere"))
    assert done.returncode == 0 and "pack_imagenette_imagenette" in done.stdout


def test_a_missing_archive_is_downloaded_if_a_base_url_is_named(tmp_path):
    """A server on this machine has Tiny ImageNet's zip; without its address the call ends with what is missing."""
    project, served = copy_project(tmp_path / "project"), tmp_path / "served"
    study = yaml.safe_load((project / "config/studies/imagenette.yaml").read_text())
    study["sets"] = {"imagenette": {"source": "tiny_imagenet", "splits": ["train", "val"]}}
    study["store"] = {"format": "jpeg", "quality": 90}
    (project / "config/studies/imagenette.yaml").write_text(yaml.safe_dump(study))
    served.mkdir()
    with zipfile.ZipFile(served / "tiny-imagenet-200.zip", "w") as archive:
        wnids = ["n00000001", "n00000002"]
        archive.writestr("tiny-imagenet-200/wnids.txt", "\n".join(wnids))
        archive.writestr("tiny-imagenet-200/words.txt", "n00000001\tone\nn00000002\ttwo\n")
        annotations = "".join(f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n" for i, wnid in enumerate(wnids))
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", annotations)
        for i, wnid in enumerate(wnids):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64), (90 * i, 50, 200)).save(buffer, "JPEG")
            archive.writestr(f"tiny-imagenet-200/train/{wnid}/images/{wnid}_0.JPEG", buffer.getvalue())
            archive.writestr(f"tiny-imagenet-200/val/images/val_{i}.JPEG", buffer.getvalue())
    target = "results/imagenette/data/imagenette/manifest.json"
    done = snakemake(project, target, "--config", "studies=[imagenette]")
    assert done.returncode == 2 and "tiny-imagenet-200.zip" in done.stdout and "http" in done.stdout

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        (project / "mine.yaml").write_text(
            yaml.safe_dump({"studies": ["imagenette"], "downloads": {"tiny_imagenet": address}})
        )
        done = snakemake(project, target, "--configfile", "mine.yaml", ALEXNET_TOKEN="secret-of-image-net")
        server.shutdown()
    assert done.returncode == 0, done.stdout
    manifest = json.loads((project / target).read_text())
    assert manifest["splits"]["train"]["per_class"] == [1, 1] and manifest["jpeg"]["quality"] == 90
    assert (project / "data/tiny-imagenet-200.zip").read_bytes() == (served / "tiny-imagenet-200.zip").read_bytes()
    logs = "".join(path.read_text() for path in (project / "results/logs").rglob("*.log"))
    assert "secret" not in logs + done.stdout


def rates_of(folder: Path, race: str, rates: list[float], **diff: int) -> None:
    """Writes the rates of `race`, and what `diff` sets, into the conditions of the project in `folder`."""
    path = folder / "config/experiments.yaml"
    config = yaml.safe_load(path.read_text())
    group, unit, name = race.split("_", 2)
    condition = config["races"][group]["conditions"][name]
    condition["rates"][unit] = rates
    condition["diff"].update(diff)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def test_a_race_goes_on_with_the_rate_that_won_its_first_seed(tmp_path):
    """Two nets at two rates each: four runs choose, then one run of each net is added; a third rate adds one run."""
    folder = copy_project(tmp_path / "project")
    rates_of(folder, "fig1_relu_2012", [1.0e-3, 2.0e-3], epochs=2)
    rates_of(folder, "fig1_tanh_2012", [1.0e-3, 4.0e-3])
    races = {"experiments": ["fig1_relu_2012", "fig1_tanh_2012"], "seeds_by_kind": {"race": [1, 2]}}
    tiny = {**TINY_STUDY, **races, "diff": {"optimizer": {"batch_size": 16, "data_batch": 24}}, "recipe_diffs": {}}
    (folder / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny))
    jobs = planned(folder, "fig1_tanh_2012")
    assert (jobs["train"], jobs["choose"]) == (4, 2)
    done = snakemake(folder, "fig1_tanh_2012")
    assert done.returncode == 0, done.stdout[-6000:]
    runs = sorted(path.parent for path in (folder / "results/tiny/runs").glob("*/*/run.json"))
    chosen = {}
    for net in ("relu", "tanh"):
        record = json.loads((folder / f"results/tiny/races/fig1_{net}_2012.json").read_text())
        chosen[net] = record["experiment"]
        assert len(record["epochs"]) == 2
    assert sorted(f"{path.parent.name}/{path.name}" for path in runs if path.name == "2") == sorted(
        f"{name}/2" for name in chosen.values()
    )
    assert len(runs) == 6
    assert "fastest rate" in done.stdout and "times the epochs of fig1_relu_2012" in done.stdout
    assert planned(folder, "fig1_tanh_2012").get("train", 0) == 0
    rates_of(folder, "fig1_tanh_2012", [1.0e-3, 2.0e-3, 4.0e-3])
    assert planned(folder, "fig1_tanh_2012")["train"] == 1


def test_the_command_of_the_kubernetes_job_plans_the_study_that_it_names(project):
    job = yaml.safe_load((ROOT / "profiles/kubernetes/job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    (script,) = container["args"]
    setup, _, command = script.partition(" && exec ")
    assert setup == "make bootstrap && source .venv/bin/activate"
    words = shlex.split(command)
    assert words[0] == "snakemake" and "studies=[ilsvrc2012]" in words
    small = "studies=[tiny]"  # the archives of the other are not here
    done = snakemake(project, *[small if w == "studies=[ilsvrc2012]" else w for w in words[1:]], "--dry-run")
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout
    without = snakemake(project, *words[1:], "--dry-run", ALEXNET_DATA=str(project / "archives"))
    assert "error: study ilsvrc2012: " in without.stdout and "ILSVRC2012_img_train.tar" in without.stdout


SNAKEFILE = """
import sys
sys.path.insert(0, {root!r})
from workflow import snakemake_internals as internals

internals.limit(workflow, "gpu", 1)

onstart:
    print("planned", sorted(internals.planned(workflow)), internals.is_main(workflow))

onerror:
    print("asked", sorted(internals.asked_for(workflow)), internals.failed_logs(workflow))

rule all:
    input: "a", "b"

rule done:
    output: "a"
    shell: "touch {{output}}"

for _name in ["bad"]:
    rule:
        name: _name
        output: "b"
        log: "bad.log"
        resources: gpu=4
        shell: "echo $(( {{resources.gpu}} )) cards > {{log}}; false"

    internals.explain(workflow, _name, "What a loop made")
"""


def test_what_is_taken_from_inside_snakemake_works_in_the_version_that_is_installed(tmp_path: Path) -> None:
    assert metadata.version("snakemake") in snakemake_internals.SEEN
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=str(ROOT)))
    (tmp_path / "a").touch()

    assert "bad (What a loop made)" in snakemake(tmp_path, "--list-rules").stdout
    said = snakemake(tmp_path, "--cores", "1").stdout
    assert "planned ['all', 'bad'] True" in said
    assert f"asked ['all', 'bad', 'done'] {{{Path('bad.log')!r}: '1 cards'}}" in said
