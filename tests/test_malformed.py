"""Files of results that a machine or somebody spoilt, a hundred a reader with fixed seeds: each ends in a sentence, or is read."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricate
import numpy as np
import pytest
import torch

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.resolve import read_config
from alexnet.net import tensors
from alexnet.net.weights import finished_net
from alexnet.packed.manifest import read_manifest
from alexnet.packed.packed_set import mean_image, open_split, verify
from alexnet.training import train
from analysis.paper.claims import CLAIMS, load_claims
from analysis.results.evidence import load_results
from analysis.verdicts.judge import judge_all

TRIES = 100
ODD: list[Any] = [
    *(None, True, -1, 0, 2**70, 10**400, 1e308, math.inf, math.nan, "", "x" * 1000, "../../x", "\x00", "9" * 5000),
    *([], {}, [[]], {"": None}, [None] * 3),
]  # fmt: skip


def torn(content: bytes, draw: random.Random) -> bytes:
    """Cut, overwritten, moved, doubled, or with single bits changed."""
    if not content:
        return content
    a, b = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    way = draw.randrange(7)
    if way == 0:
        return content[:a]
    if way == 1:
        return content[a:]
    if way == 2:
        return content[:a] + bytes(b - a) + content[b:]
    if way == 3:
        return content[:a] + draw.randbytes(min(b - a, 64)) + content[a + min(b - a, 64) :]
    if way == 4:
        return content[:b] + content[a:]
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 16])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def bent(record: Any, draw: random.Random) -> Any:
    """The record with one value, somewhere in it, replaced, taken away, or doubled."""
    record, place = json.loads(json.dumps(record)), []

    def walk(value: Any) -> None:
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            place.append((value, key))
            walk(value[key])

    walk(record)
    holder, key = draw.choice(place)
    if draw.random() < 0.25:
        del holder[key]
    else:
        holder[key] = draw.choice(ODD)
    return record


def spoilt(path: Path, draw: random.Random) -> Callable[[], object]:
    """Spoil a file; what comes back mends it."""
    content = path.read_bytes()
    if path.suffix == ".json" and draw.random() < 0.75:
        text = json.dumps(bent(json.loads(content), draw))
    elif path.suffix == ".json" and draw.random() < 0.1:
        text = draw.choice(["[" * 100_000, "", "NaN", '{"a": 1', "\ufeff{}", '{"seed": ' + "9" * 5000 + "}"])
    elif path.suffix == ".csv" and draw.random() < 0.5:
        lines = content.decode().splitlines()
        cells = lines[draw.randrange(len(lines))].split(",")
        cells[draw.randrange(len(cells))] = draw.choice(["", "nan", "inf", "-1", "x", "1e400", '"', "9" * 400, "=1+1"])
        lines[draw.randrange(len(lines))] = ",".join(cells)
        text = "\n".join(lines)
    else:
        path.write_bytes(torn(content, draw))
        return lambda: path.write_bytes(content)
    path.write_text(text)
    return lambda: path.write_bytes(content)


# What the analysis reads --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nets of two seeds, evaluated and one of them examined."""
    folder = tmp_path_factory.mktemp("malformed") / "results"
    fabricate.study(folder, "demo")
    fabricate.manifest(folder, "demo", "ilsvrc2012", {"train": 3600, "val": 24})
    for name in ("alexnet", "no_lrn"):
        for seed in (1, 2):
            fabricate.run(folder, "demo", name, seed, [0.8, 0.5, 0.3 + 0.01 * seed])
            errors = (np.arange(24) % (3 + seed) == 0).astype(float)
            fabricate.evaluation(folder, "demo", name, seed, "ilsvrc2012", "val", errors)
            fabricate.examination(folder, "demo", name, seed, np.ones(30), queries_of=24)
    return folder


JUDGED = (
    "lrn-delta-top1",
    "lrn-delta-top5",
    "tenview-gain",
    "fig3-types",
    "fig4-retrieval",
    "fig4-pixels",
    "wd-train-err",
)
READERS = {
    "study.json": "demo/study.json",
    "manifest.json": "demo/data/ilsvrc2012/manifest.json",
    "mean.npy": "demo/data/ilsvrc2012/mean.npy",
    "config.json": "demo/runs/no_lrn/1/config.json",
    "run.json": "demo/runs/no_lrn/1/run.json",
    "metrics.csv": "demo/runs/no_lrn/1/metrics.csv",
    "evaluation": "demo/evals/no_lrn/1/ilsvrc2012-val.json",
    "errors": "demo/evals/no_lrn/1/ilsvrc2012-val.parquet",
    "examination": "demo/examined/alexnet/2/examination.json",
    "sample": "demo/examined/alexnet/2/sample.parquet",
    "queries": "demo/examined/alexnet/2/queries.parquet",
    "kernels": "demo/examined/alexnet/2/kernels.npy",
}


@pytest.mark.parametrize("reader", READERS)
def test_the_analysis_reads_it_or_says_why_not(results: Path, reader: str) -> None:
    path, claims = results / READERS[reader], [claim for claim in load_claims(CLAIMS) if claim.id in JUDGED]
    assert load_results(results).set_aside == []
    told = 0
    for number in range(TRIES):
        draw = random.Random(f"{reader}/{number}")
        mend = spoilt(path, draw)
        try:
            read = load_results(results)
            told += bool(read.set_aside)
            assert all("\n" not in line and len(line) < 400 for line in read.set_aside), read.set_aside
            if not read.set_aside:  # then it is used
                judge_all(claims, read)
        finally:
            mend()
    assert told > TRIES / 4
    assert load_results(results).set_aside == []


# What the network reads ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed set, a run on it and two evaluations with their probabilities, for an average."""
    from conftest import ROOT, TINY_STUDY, make_packed_set
    from yaml import safe_dump

    from alexnet.experiments import resolve

    folder = tmp_path_factory.mktemp("net")
    (folder / "definitions/studies").mkdir(parents=True)
    shutil.copy(ROOT / "config/experiments.yaml", folder / "definitions")
    study = TINY_STUDY | {"seeds": [1, 2], "experiments": ["alexnet", "ensemble"]}
    (folder / "definitions/studies/tiny.yaml").write_text(safe_dump(study))
    resolve.forget()
    make_packed_set(folder / "ilsvrc2012", {"train": 48, "val": 24})
    for name, seed in (("alexnet", 1), ("alexnet", 2), ("ensemble", 1)):
        where = folder / f"{name}{seed}"
        where.mkdir()
        config = where / "config.json"
        config.write_text(json.dumps(resolve.resolve("tiny", name, seed, str(folder / "definitions"))))
        if name == "alexnet":
            train.train(config, folder / "ilsvrc2012", where, threads=1)
            options = {"threads": 1, "keep_probabilities": True}
            evaluate(config, folder / "ilsvrc2012", where / "model.pt", where, **options)
            record = (
                where / "ilsvrc2012-val.json"
            )  # as of records that name no hashes: the readers are tried, not the hashes
            record.write_text(json.dumps(json.loads(record.read_text()) | {"files": {}}))
    return folder


def weights(path: Path) -> None:
    config = read_config(path.with_name("config.json"))
    net, saved = finished_net(config, path)
    assert all(torch.is_tensor(tensor) for tensor in saved["state_dict"].values()) and net


def average(path: Path) -> None:
    from alexnet.evaluation.ensemble import ensemble

    folder = path.parents[1]
    members = [folder / f"alexnet{seed}/ilsvrc2012-val.json" for seed in (1, 2)]
    ensemble(folder / "ensemble1/config.json", members, folder / "average")


NET_READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "model.pt": ("alexnet1/model.pt", weights),
    "config.json": ("alexnet1/config.json", read_config),
    "manifest.json": ("ilsvrc2012/manifest.json", lambda path: read_manifest(path.parent)),
    "mean.npy": ("ilsvrc2012/mean.npy", lambda path: mean_image(path.parent)),
    "member": ("alexnet2/ilsvrc2012-val.json", average),
    "member's table": ("alexnet2/ilsvrc2012-val.parquet", average),
    "member's probabilities": ("alexnet2/ilsvrc2012-val.probabilities.npy", average),
}


@pytest.mark.parametrize("reader", NET_READERS)
def test_the_network_reads_it_or_says_why_not(trained: Path, reader: str) -> None:
    name, read = NET_READERS[reader]
    path, told = trained / name, 0
    for number in range(TRIES):
        mend = spoilt(path, random.Random(f"{reader}/{number}"))
        said = ""
        try:
            read(path)
        except UserError as error:
            said = str(error)
        finally:
            mend()
        told += bool(said)
        assert "\n" not in said and len(said) < 600, said
        assert not said or path.stem.split(".")[0] in said or "alexnet/2" in said, said
    assert told > TRIES / 4
    read(path)


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no weights": lambda saved: saved.pop("state_dict"),
    "weights of another shape": lambda saved: saved["state_dict"].update({next(iter(saved["state_dict"])): torch.zeros(3)}),
    "a view of 4 TB on one number": lambda saved: saved["state_dict"].update(
        {next(iter(saved["state_dict"])): torch.zeros(1).expand(10**6, 10**6)}
    ),
    "weights of no numbers": lambda saved: saved["state_dict"].update({next(iter(saved["state_dict"])): "x"}),
    "whole numbers": lambda saved: saved["state_dict"].update({k: v.long() for k, v in saved["state_dict"].items()}),
    "one layer more": lambda saved: saved["state_dict"].update({"layers.fc99.weight": torch.zeros(2, 2)}),
    "a mean of another size": lambda saved: saved.update(mean=torch.zeros(7, 7, 3)),
    "no mean": lambda saved: saved.update(mean=None),
    "classes that are no names": lambda saved: saved.update(wnids=[1, 2, 3, 4, 5, 6]),
    "a class less": lambda saved: saved["wnids"].pop(),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGED)
def test_weights_that_fit_no_net_are_a_sentence(
    trained: Path, tmp_path: Path, forgery: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, saved = (trained / "alexnet1/config.json", torch.load(trained / "alexnet1/model.pt", weights_only=True))
    FORGED[forgery](saved)
    torch.save(saved, tmp_path / "model.pt")
    for verb in ("evaluate", "examine"):
        options = ["--data", str(trained / "ilsvrc2012"), "--weights", str(tmp_path / "model.pt"), "--devices", "0"]
        assert main([verb, str(config), *options, "--out", str(tmp_path / "e")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {tmp_path / 'model.pt'}") and error.count("\n") == 1, error


def test_a_small_file_does_not_unpack_to_a_large_one(trained: Path, tmp_path: Path) -> None:
    """The same members, deflated: torch would unpack them, from a thousandth of the bytes."""
    with (
        zipfile.ZipFile(trained / "alexnet1/model.pt") as plain,
        zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    with pytest.raises(UserError, match="is packed, which torch does not do"):
        finished_net(read_config(trained / "alexnet1/config.json"), tmp_path / "model.pt")
    with open(tmp_path / "model.pt", "rb") as file, pytest.raises(tensors.Refused):
        tensors.read_tensors(file)


@pytest.mark.parametrize("name", ["manifest.json", "mean.npy", "train.csv", "train.npy"])
def test_a_packed_set_that_never_ends_is_not_read(trained: Path, tmp_path: Path, name: str) -> None:
    """Nor one with an empty file, or with one as long as a disk; by verification as by training."""
    (source,) = (path.parent for path in trained.rglob("train.npy"))
    copied = shutil.copytree(source, tmp_path / "set")
    path = copied / name
    makes: list[Callable[[], object]] = [lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), path.touch]
    for make in makes:
        path.unlink()
        make()
        done = subprocess.run(
            ["sh", "-c", 'ulimit -v 6000000; exec "$@"', "sh", sys.executable, "-m", "alexnet", "verify", str(copied)],
            cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
        assert str(copied) in done.stderr and done.stderr.count("\n") == 1
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} is larger than"):
        verify(copied)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} is larger than"):  # what training opens
        [open_split(copied, split) for split in ("train", "val")], mean_image(copied)
