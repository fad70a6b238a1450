"""Shared fixtures: a tiny study with its definitions, and packed sets of random images with a learnable signal."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock

from alexnet.experiments import resolve

ROOT = Path(__file__).resolve().parent.parent

# A shell ignores SIGINT in what it starts in the background, and so would all children of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests are about the processor, where equal is equal to the bit, also on a machine with GPUs; test_gpu.py is about those.
GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# As the workflow runs its jobs. Two threads of torch beside other tests on two cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def is_there_a_gpu() -> bool:
    """Asked by test_gpu.py when it is imported, first of all: CUDA reads the variable once, so this process sees what there is,
    its children nothing."""
    import torch

    try:
        os.environ.pop("CUDA_VISIBLE_DEVICES") if GPUS is None else os.environ.update(CUDA_VISIBLE_DEVICES=GPUS)
        return torch.cuda.is_available()
    finally:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


TINY_STUDY = {
    "title": "Tiny (tests)",
    "tier": "demo",
    "data": "generated images",
    "recipe": "code2012",
    "sets": {
        "ilsvrc2012": {"source": "ilsvrc2012", "splits": ["train", "val"]},
        "ilsvrc2010": {"source": "ilsvrc2010", "splits": ["train", "val", "test"]},
    },
    "synthetic": {
        "seed": 7,
        "classes": 6,
        "train_per_class": 8,
        "val_per_class": 4,
        "test_per_class": 4,
        "pretraining_per_class": 8,
    },
    "pretraining": {
        "train": {"set": "ilsvrc2010", "split": "train"},
        "validate": {"set": "ilsvrc2010", "split": "val"},
        "classes": 6,
    },
    "train": {"set": "ilsvrc2012", "split": "train"},
    "validate": {"set": "ilsvrc2012", "split": "val"},
    "evaluate": [{"set": "ilsvrc2012", "split": "val"}, {"set": "ilsvrc2010", "split": "test"}],
    "image_size": 40,
    "crop": 32,
    "classes": 6,
    "width": 0.0625,
    "epochs": 2,
    "threads": 1,
    "convergence_threshold": 0.5,
    "seeds": [1],
    "experiments": [
        *("alexnet", "no_lrn", "tanh", "conv6", "conv6_pretraining", "conv6_pretrained", "ensemble"),
        *("paper", "text_plateau"),
    ],
    "diff": {
        "model": {"scale_std_by_fan_in": True, "layers": {"conv1": {"stride": 1, "kernel": 5}}},
        "optimizer": {"batch_size": 16},
    },
    "recipe_diffs": {"code2012": {"augmentation": {"images_per_crop": 4}}},
}


# Files that train or fit, run Snakemake, open a browser, wait for servers or fill environments, those that take longest first.
# `make quick` leaves them out.
HEAVY = (
    *("workflow", "slurm", "survival", "resume", "towers", "tuning", "bench", "browser", "leases", "bootstrap"),
    *("golden", "malformed_archives", "malformed", "without_a_clone", "odd_states", "deposit", "notebooks", "escaping"),
    *(
        "probes",
        "keep",
        "definitions_from_elsewhere",
        "download",
        "pack",
        "stores",
        "hostile_archives",
        "train",
        "race",
    ),
    *("evaluate", "examine", "ensemble", "baselines", "report", "simulation", "miniature", "gpu", "preflight"),
    *("rehearsal", "recipes", "gpu_check", "lrn_triton", "environments", "export", "recorded_step", "synthetic"),
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make quick` does not even import what is heavy."""
    heavy = collection_path.stem.removeprefix("test_") in HEAVY
    return True if heavy and config.option.markexpr == "not heavy" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is heavy and put it first, so that the workers end together."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return HEAVY.index(name) if name in HEAVY else len(HEAVY)

    for item in items:
        if place(item) < len(HEAVY):
            item.add_marker(pytest.mark.heavy)
    items.sort(key=place)


@pytest.fixture(autouse=True)
def without_gpus(request, monkeypatch):
    """No CUDA device, but in test_gpu.py all that there are. Torch is not loaded for tests that do without it."""
    if request.module.__name__ == "test_gpu":
        if GPUS is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", GPUS)
    elif torch := sys.modules.get("torch"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    """A folder like config/ with the real experiments and the study `tiny`."""
    folder = tmp_path / "definitions"
    (folder / "studies").mkdir(parents=True)
    shutil.copy(ROOT / "config" / "experiments.yaml", folder)
    (folder / "studies" / "tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY))
    shutil.copy(ROOT / "config" / "studies" / "ilsvrc2010.yaml", folder / "studies")
    return folder


@pytest.fixture
def configure(definitions, tmp_path):
    """Write the config.json of a tiny run, changed by `change` before the fingerprint is made."""

    def write(experiment="alexnet", seed=1, change=lambda config: None):
        resolve.forget()
        config = resolve.resolve("tiny", experiment, seed, str(definitions))
        change(config)
        del config["fingerprint"]
        config["fingerprint"] = resolve.fingerprint(config)
        path = tmp_path / f"{config['fingerprint'][:8]}.json"
        path.write_text(json.dumps(config))
        return path

    return write


def make_packed_set(folder: Path, counts: dict[str, int], classes: int = 6, size: int = 40, seed: int = 0) -> Path:
    """Random images in the packed format; the class sets the mean brightness of a quadrant."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, count in counts.items():
        labels = np.arange(count) % classes
        images = generator.integers(0, 120, (count, size, size, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label) % 4, 2)
            half = size // 2
            image[row * half : (row + 1) * half, column * half : (column + 1) * half, int(label) // 4] += 120
        np.save(folder / f"{split}.npy", images)
        with open(folder / f"{split}.csv", "w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["name", "label", "archive", "width", "height", "repairs"])
            writer.writerows([f"{split}_{i}.JPEG", label, "x.tar", size, size, ""] for i, label in enumerate(labels))
        splits[split] = {"images": count, "per_class": np.bincount(labels, minlength=classes).tolist(), "repaired": []}
        if split == "train":
            np.save(folder / "mean.npy", images.mean(0, dtype=np.float64).astype(np.float32))
    covariance = np.array([[900.0, 300.0, 100.0], [300.0, 800.0, 200.0], [100.0, 200.0, 700.0]])
    values, vectors = np.linalg.eigh(covariance)
    manifest = {
        "format": 2,
        "source": "test",
        "storage": "raw",
        "image_size": size,
        "classes": [{"wnid": f"n{i:08d}", "name": f"class {i}"} for i in range(classes)],
        "splits": splits,
        "archives": [],
        "rgb": {
            "mean": [100.0, 100.0, 100.0],
            "covariance": covariance.tolist(),
            "eigenvalues": values[::-1].tolist(),
            "eigenvectors": vectors[:, ::-1].tolist(),
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    return folder


def seal(folder: Path, stored: dict[str, np.ndarray] | None = None) -> None:
    """Make all hashes of a packed set anew, without this project's code.

    Args:
        stored: pixels by split, where they do not lie in <split>.npy.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    for split in manifest["splits"]:
        images = (stored or {}).get(split)
        images = np.load(folder / f"{split}.npy") if images is None else images
        with open(folder / f"{split}.csv", newline="") as index:
            rows = list(csv.DictReader(index))
        for row, image in zip(rows, images, strict=True):
            row["digest"] = hashlib.sha256(image.tobytes()).hexdigest()[:32]
        with open(folder / f"{split}.csv", "w", newline="") as index:
            writer = csv.DictWriter(index, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        lines = "".join(f"{row['name']}\t{row['label']}\t{row['digest']}\n" for row in rows)
        manifest["splits"][split]["content_sha256"] = hashlib.sha256(lines.encode()).hexdigest()
    same = {
        "classes": manifest["classes"],
        "image_size": manifest["image_size"],
        "splits": {name: record["content_sha256"] for name, record in manifest["splits"].items()},
    }
    manifest["fingerprint"] = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def packed_set(tmp_path: Path) -> Path:
    """48 training and 24 validation images of 6 classes, 40 x 40."""
    return make_packed_set(tmp_path / "ilsvrc2012", {"train": 48, "val": 24})


def shared_data() -> Path | None:
    """The folder of real images, if this machine has one."""
    for folder in filter(
        None, [*os.environ.get("ALEXNET_DATA", "").split(os.pathsep), str(ROOT.parent / "shared" / "data")]
    ):
        if (Path(folder) / "imagenette2-224-val.tar.gz").exists():
            return Path(folder)
    return None


@pytest.fixture(scope="session")
def published_results():
    """The published results, read once by each worker: not to be changed."""
    from analysis.results.evidence import load_results

    return load_results(ROOT / "reports/reference/results")


NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))


def build_report(results: Path, folder: Path) -> Path:
    """The report of a results folder, built by the real commands into `folder`."""
    from analysis.__main__ import main

    claims, out = folder / "verdicts.csv", folder / "reports" / "alexnet.html"
    assert main(["check", "--results", str(results), "--out", str(claims)]) == 0
    copies = [folder / path.name for path in NOTEBOOKS]
    for path, copy in zip(NOTEBOOKS, copies, strict=True):
        options = ["--results", str(results), "--claims", str(claims), "--out", str(copy)]
        assert main(["notebook", str(path), *options]) == 0
    options = ["--claims", str(claims), "--results", str(results), "--out", str(out)]
    assert main(["report", *map(str, copies), *options]) == 0
    return out


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a fabricated campaign, built once for all workers: not to be changed."""
    import fabricate

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "report"
    out = folder / "reports" / "alexnet.html"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            fabricate.campaign(folder / "results", images=300)
            fabricate.describes(folder / "results")
            fabricate.departures(folder / "results")
            build_report(folder / "results", folder)
    assert out.exists(), "another worker could not build it"
    return out
