"""Trains a few small nets with the code of a checkout and records hashes of what came out, to compare code with code.

    python tests/golden.py                       # this checkout
    python tests/golden.py --checkout FOLDER     # another one, such as a git worktree of the commit of a published run

The nets are published ones (`NETS`), of which the sizes are shrunk and nothing else, on generated images. Together they have
each kind of layer, schedule, augmentation and arithmetic that any published run has (`kinds`). A row of the table is a hash
of one measure of a net: its weights, the errors and losses of each epoch, what it says of each image, or a probe. Rows are comparable where processor, vector instructions, torch, numba and images are the same.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "reports" / "reference" / "results"
TABLE = ROOT / "reports" / "reference" / "golden.csv"
MACHINE = ["cpu", "vector_instructions", "torch", "numba", "images"]
KEY = ["stage", "code_sha256", *MACHINE, "net", "measure"]
COLUMNS = ["stage", "code_sha256", "commit", *MACHINE, "net", "measure", "sha256"]
NETS = (  # the fewest published runs that have each kind, by study/experiment/seed
    "imagenette/alexnet/2",
    "imagenette/no_conv2/2",
    "imagenette/non_overlapping_pooling/2",
    "imagenette/onetower2014/2",
    "imagenette/paper/2",
    "imagenette/text_whole_windows/2",
    "imagenette_tuned/bf16/2",
    "cifar10/cifar_lrn_final/2",
    "cifar10/fig1_relu_modern_lr004/1",
    "cifar10/fig1_tanh_2012_fp32_lr008/3",
    "cifar10/fig1_tanh_deeper_lr002/1",
    "cifar10_full_length/cifar_lrn/2",
)
NUMBER = re.compile(r"(?<=[a-z])\d.*")  # of a layer
EXACT = ("lrn.size", "spatial_norm.size", "pool.kernel", "conv.stride", "images_per_crop", "model.towers")
LARGE, SMALL = (72, 64), (32, 24)  # pixels stored and seen, by what the published net reads
EPOCHS = {"stop_at": 36, "schedule": 16}  # a race reaches its mark or is given up; each stage has an epoch
SCORES = [f"{view}_{what}" for view in ("center", "ten") for what in ("top1_error", "top5_error", "loss", "prediction")]
NEIGHBOURS = ["chance", "same_class", "same_class_pixels"]  # the other columns of queries.parquet have changed since
MEASURED = [f"{of}_{what}" for of in ("train", "validation") for what in ("loss", "error", "top5_error")]
Values = dict[tuple[str, str], str]  # by stage and measure
Command = Callable[[Sequence[str]], object]


# What is trained -------------------------------------------------------------------------------------------------


def published(name: str) -> dict[str, Any]:
    """The configuration of a published run, by study/experiment/seed."""
    study, experiment, seed = name.split("/")
    config: dict[str, Any] = json.loads((PUBLISHED / study / "runs" / experiment / seed / "config.json").read_text())
    return config


def kinds(config: dict[str, Any]) -> set[str]:
    """What a run has that takes a path of its own through the code: its settings, of numbers the sign; each step in its precision."""
    model, precision = config["model"], config["precision"]
    parts = {key: config[key] for key in ("model", "augmentation", "optimizer")}
    steps = {step for layer in model["layers"].values() for step in layer["after"]}
    pools = {
        layer.get("pool", model["pool"]).get("kind", "max")
        for layer in model["layers"].values()
        if "pool" in layer["after"]
    }
    said = {*steps, *pools, model["activation"], *(NUMBER.sub("", name) for name in model["layers"])}
    start = "from weights" if "starts_from" in config else "from scratch"
    return {start, *(f"{what} in {precision}" for what in said), *_settings(parts)}


def _settings(record: Any, path: str = "") -> Iterator[str]:
    if isinstance(record, dict):
        for key, value in record.items():
            yield from _settings(value, f"{path}.{NUMBER.sub('', key)}".strip("."))
    elif isinstance(record, list) and path.endswith("stages"):
        for stage in record:
            yield from _settings(stage, path)
    elif isinstance(record, int | float) and not isinstance(record, bool) and not path.endswith(EXACT):
        yield f"{path} {'>' if record > 0 else '<' if record < 0 else '='} 0"
    else:
        yield f"{path} = {len(record) if path.endswith('divisors') else record}"


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The same net with fewer maps and units on a few small images, for a few steps."""
    small = copy.deepcopy(config)
    del small["fingerprint"]
    for layer in small["model"]["layers"].values():
        key = "maps" if "maps" in layer else "units"
        layer[key] = layer[key] if layer[key] == "classes" else 12 if key == "maps" else 16
    large = config["data"]["image_size"] > 32
    size, crop = LARGE if large else SMALL
    crop = size if config["data"]["crop"] == config["data"]["image_size"] else crop
    name = "large" if large else "small"
    splits = {"train_split": "train", "validation_split": "val"}
    small["data"] = {"set": name, "validation_set": name, **splits, "image_size": size, "crop": crop, "classes": 4}
    optimizer = small["optimizer"]
    optimizer["batch_size"] = 16
    if "data_batch" in optimizer:
        optimizer["data_batch"] = 24
    if "patience" in optimizer["schedule"]:
        optimizer["schedule"]["patience"] = 1
    small["training"] = {"epochs": EPOCHS["stop_at" if "stop_at" in optimizer else "schedule"], "threads": 1}
    text = json.dumps(small, sort_keys=True, separators=(",", ":"))
    return small | {"fingerprint": hashlib.sha256(text.encode()).hexdigest()}


# How, and what is kept of it -------------------------------------------------------------------------------------


def make_images(run: Command, folder: Path) -> str:
    """Generate and pack both sets; returns a hash of all images, labels, means and colours."""
    of = ["--classes", "4", "--train-per-class", "12", "--val-per-class", "4", "--test-per-class", "1"]
    run(["synthesize", "--out", f"{folder}/archives", *of, "--image-size", "80", "--workers", "1"])
    digest = hashlib.sha256()
    for name, (size, _) in (("large", LARGE), ("small", SMALL)):
        out = folder / name
        given = [
            "--source",
            "ilsvrc2012",
            "--archives",
            f"{folder}/archives",
            "--stand-ins",
            "--splits",
            "train",
            "val",
        ]
        run(["pack", *given, "--out", str(out), "--image-size", str(size), "--workers", "1"])
        for path in sorted(out.glob("*.npy")):
            digest.update(np.load(path).tobytes())
        for path in sorted(out.glob("*.csv")):
            digest.update(pd.read_csv(path)[["name", "label"]].to_csv().encode())
        rgb = json.loads((out / "manifest.json").read_text())["rgb"]
        digest.update(json.dumps([rgb["eigenvalues"], rgb["eigenvectors"]]).encode())
    return digest.hexdigest()


def train_net(run: Command, folder: Path, name: str) -> tuple[Values, dict[str, Any]]:
    """Train, evaluate and examine one net; returns a hash of each measure, and the records by stage."""
    config = shrunk(published(name))
    out = folder / name.replace("/", "-")
    out.mkdir(parents=True)
    path, data = out / "config.json", folder / config["data"]["set"]
    path.write_text(json.dumps(config))
    common = [str(path), "--data", str(data), "--devices", "0", "--threads", "1"]
    run(["train", *common, "--out", str(out)])
    weights = ["--weights", str(out / "model.pt"), "--out"]
    run(["evaluate", *common, *weights, str(out / "eval")])
    run(["examine", *common, *weights, str(out / "inside")])
    saved = torch.load(out / "model.pt", weights_only=True)["state_dict"]
    said = out / "eval" / f"{data.name}-val"
    sample, queries = (pd.read_parquet(out / "inside" / f"{what}.parquet") for what in ("sample", "queries"))
    inside = json.loads((out / "inside" / "examination.json").read_text())
    others = queries.select_dtypes("number").drop(columns=[*NEIGHBOURS, "label"])
    near = "/".join(name for row in queries["neighbours"] for name in row)
    values = {
        ("train", "weights"): _hash([saved[key].numpy() for key in sorted(saved)]),
        ("train", "epochs"): _hash([pd.read_csv(out / "metrics.csv")[MEASURED]]),
        ("evaluate", "scores"): _hash([pd.read_parquet(f"{said}.parquet")[SCORES]]),
        ("examine", "training images"): _hash([sample.select_dtypes("number")]),
        ("examine", "first kernels"): _hash([np.load(out / "inside" / "kernels.npy")]),
        ("examine", "neighbours"): _hash([queries[NEIGHBOURS], near]),
        ("examine", "other probes of images"): _hash([json.dumps(list(others)), others]),
        ("examine", "probes of kernels"): _hash([json.dumps(inside["kernels"])]),
    }
    records = {"train": json.loads((out / "run.json").read_text()), "examine": inside}
    return values, records | {"evaluate": json.loads(Path(f"{said}.json").read_text())}


def _hash(arrays: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(np.frombuffer(array.encode(), np.uint8) if isinstance(array, str) else array)
        digest.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def rows(run: Command, folder: Path, commit: str, pack: Command) -> pd.DataFrame:
    """The rows of one checkout, whose code `run` calls; `pack` calls the code that makes the images."""
    images = make_images(pack, folder)
    found = []
    for name in NETS:
        values, records = train_net(run, folder, name)
        made = records["train"]["provenance"]
        machine = {
            "cpu": made["cpu"],
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "torch": made["packages"]["torch"],
            "numba": importlib.metadata.version("numba"),
            "images": images,
        }
        for (stage, measure), value in values.items():
            code = records[stage].get("code_sha256", made["code_sha256"])  # older code had one hash for all stages
            row = {"stage": stage, "code_sha256": code, "commit": commit, **machine, "net": name}
            found.append(row | {"measure": measure, "sha256": value})
    return pd.DataFrame(found, columns=COLUMNS)


def committed() -> pd.DataFrame:
    """The table; without rows if there is none."""
    return pd.read_csv(TABLE, dtype=str) if TABLE.exists() else pd.DataFrame(columns=COLUMNS, dtype=str)


def published_code() -> set[str]:
    """Hashes of the code that trained, evaluated or examined published runs, or trained them again."""
    runs = (json.loads(path.read_text())["provenance"] for path in PUBLISHED.glob("*/runs/*/*/run.json"))
    later = (
        json.loads(path.read_text())
        for kind in ("evals", "examined")
        for path in PUBLISHED.glob(f"*/{kind}/*/*/*.json")
    )
    again = (set(pd.read_csv(path, dtype=str)["code_sha256"]) for path in PUBLISHED.glob("*/reruns.csv"))
    return {record["code_sha256"] for of in (runs, later) for record in of if "code_sha256" in record}.union(*again)


def commit(checkout: Path) -> str:
    """The commit that has the code of a checkout; nothing if none has."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=checkout, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return "" if git("status", "--porcelain", "alexnet") else git("rev-parse", "HEAD")


def command(arguments: Sequence[str]) -> None:
    """`python -m alexnet` in this process, of the checkout that is on the path."""
    from alexnet.__main__ import main as run

    if code := run(list(arguments)):
        sys.exit(code)


def ours(arguments: Sequence[str]) -> None:
    """The same of this checkout, whatever is on the path: all code is tried on the same images, in the same order."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "alexnet", *arguments], cwd=ROOT, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="folder of the code (default: this checkout)")
    checkout = parser.parse_args().checkout.resolve()
    if os.environ.get("PYTHONPATH") != str(checkout):
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)
    with tempfile.TemporaryDirectory() as folder:
        made = rows(command, Path(folder), commit(checkout), ours)
    table = committed()
    kept = table[table["code_sha256"].isin(published_code())]  # what this checkout was before is of no use
    table = pd.concat([kept, made]).drop_duplicates(KEY, keep="last").sort_values(KEY)
    table.to_csv(TABLE, index=False, lineterminator="\n")
    print(f"{len(made)} rows of {made['code_sha256'].nunique()} hashes of code written to {TABLE}", file=sys.stderr)


if __name__ == "__main__":
    main()
