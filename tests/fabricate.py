"""Fabricates a results folder from chosen numbers, byte for byte in the format of the real one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONFIG = str(Path(__file__).resolve().parent.parent / "config")
EXPERIMENTS = ["alexnet", "one_gpu", "no_lrn", "non_overlapping_pooling", "tanh", "no_dropout", "no_pca_color"]
ABOUT: dict[str, dict[str, Any]] = {
    "alexnet": {"kind": "base"},
    **{name: {"kind": "ablation", "difference": {"model.x": [1, 2]}} for name in EXPERIMENTS[1:]},
    "ensemble": {"kind": "ablation", "members": ["alexnet"]},
    "lrn_within_channel": {"kind": "variant", "difference": {"model.lrn.mode": ["across", "within"]}},
    "paper": {"kind": "recipe", "difference": {"model.x": [1, 3]}},
    "text_weight_std": {"kind": "departure", "difference": {"model.layers.conv3.weight_std": [0.03, 0.01]}},
    "text_reshuffle": {"kind": "departure"},
    **{f"no_conv{n}": {"kind": "ablation", "difference": {f"model.layers.conv{n}": [{}, None]}} for n in (2, 3, 4, 5)},
    "no_weight_decay": {"kind": "ablation", "difference": {"optimizer.weight_decay": [5e-4, 0.0]}},
    "zero_biases": {"kind": "ablation", "difference": {"model.layers.fc7.bias": [1.0, 0.0]}},
    "text_no_spatial_norm": {"kind": "departure", "difference": {"model.x": [1, 4]}},
    "text_color_undivided": {"kind": "departure", "difference": {"augmentation.color_divisor": [1.1, 1.0]}},
}


def write_json(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1))


def study(folder: Path, name: str, tier: str = "demo", threshold: float = 0.5, **more: Any) -> None:
    record = {
        "study": name,
        "title": more.pop("title", name.capitalize()),
        "tier": tier,
        "data": "Fabricated numbers for a test",
        "convergence_threshold": threshold,
        "classes": 12,
        "evaluate": [{"set": "ilsvrc2012", "split": "val"}, {"set": "ilsvrc2010", "split": "test"}],
        "experiments": [
            {"name": e, "about": f"About <{e}>", "seeds": [1, 2], "baseline": "alexnet", "difference": {}} | about
            for e, about in ABOUT.items()
        ],
        "training_set": "ilsvrc2012",
        "fingerprints": {e: {str(s): f"{name}-{e}-{s}" for s in range(1, 11)} for e in ABOUT},
        "command": f"snakemake --cores all --config studies=[{name}]",
    }
    write_json(folder / name / "study.json", record | more)


def run(
    folder: Path,
    study: str,
    experiment: str,
    seed: int,
    train: list[float],
    validation: list[float] | None = None,
    losses: list[float] | None = None,
    fingerprint: str = "",
    tier: str = "demo",
) -> str:
    """A finished run with these running training errors (fractions), one an epoch; returns its fingerprint."""
    fingerprint = fingerprint or f"{study}-{experiment}-{seed}"
    where = folder / study / "runs" / experiment / str(seed)
    config = {
        "study": study,
        "experiment": experiment,
        "seed": seed,
        "tier": tier,
        "data": {"set": "ilsvrc2012", "train_split": "train", "validation_split": "val", "image_size": 64, "crop": 56},
        "model": {},
        "training": {"epochs": len(train)},
        "rate": {"factor": 1.0},
        "fingerprint": fingerprint,
    }
    write_json(where / "config.json", config)
    validation = validation or [error + 0.05 for error in train]
    losses = losses or [3 * error for error in validation]
    columns = [
        "epoch",
        "images",
        "learning_rate",
        "bias_learning_rate",
        "train_loss",
        "train_error",
        "train_top5_error",
        "validation_loss",
        "validation_error",
        "validation_top5_error",
        "seconds",
        "images_per_second",
    ]
    rows: list[list[float]] = []
    for i, error in enumerate(train):
        row = [
            i + 1,
            3600,
            0.01,
            0.02,
            3 * error,
            error,
            error / 4,
            losses[i],
            validation[i],
            validation[i] / 4,
            9.5,
            380.0,
        ]
        rows.append(row)
    with (where / "metrics.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(rows)
    record = {
        "format": 1,
        "study": study,
        "experiment": experiment,
        "seed": seed,
        "tier": tier,
        "config_fingerprint": fingerprint,
        "data_fingerprint": "d" * 64,
        "status": "finished",
        "epochs": len(train),
        "parameters": 12345,
        "weights_sha256": "e" * 64,
        "final": dict(zip(columns, rows[-1], strict=True)),
        "wall_seconds": 190.0,
        "peak_memory_mb": 512.0,
        "threads": 1,
        "devices": ["cpu"],
        "precision": "fp32",
        "rate_changes": [
            {
                "epoch": 1,
                "reason": "stage 1 of 1",
                "weights": 0.01,
                "biases": 0.02,
                "layers": {"conv1": {"weights": 0.0}},
                "color_noise": True,
            }
        ],
        "sessions": [{"started": "2026-01-01T00:00:00", "finished": "2026-01-01T00:03:10"}],
        "provenance": {
            "git_commit": "0123456789abcdef",
            "git_dirty": False,
            "code_sha256": "c" * 64,
            "python": "3.11.7",
            "packages": {"torch": "2.14.1", "numpy": "2.4.6"},
            "platform": "Linux",
            "cpu": "A <fast> & cheap processor",
            "cores": 2,
        },
    }
    write_json(where / "run.json", record)
    return fingerprint


def evaluation(
    folder: Path,
    study: str,
    experiment: str,
    seed: int,
    set_: str,
    split: str,
    center: np.ndarray,
    ten: np.ndarray | None = None,
    fingerprint: str = "",
    tier: str = "demo",
    lean: bool = False,
) -> None:
    """An evaluation whose per-image top-1 errors are `center` and `ten`.

    The top-5 error is that of every second image, else 0. `lean`: without the predictions, for many images. A net whose run
    is not there yet gets one.
    """
    single = "members" not in ABOUT.get(experiment, {})
    if single and not (folder / study / "runs" / experiment / str(seed) / "run.json").exists():
        run(folder, study, experiment, seed, [0.6, 0.5], fingerprint=fingerprint, tier=tier)
    ten = center if ten is None else ten
    where = folder / study / "evals" / experiment / str(seed)
    where.mkdir(parents=True, exist_ok=True)
    n = len(center)
    table: dict[str, Any] = {"name": [f"{set_}_{split}_{i:08d}.JPEG" for i in range(n)], "label": np.arange(n) % 12}
    views = {}
    for view, errors in (("center", center), ("ten", ten)):
        top5 = np.asarray(errors, float) * (np.arange(n) % 2)
        table[f"{view}_top1_error"] = np.asarray(errors, float)
        table[f"{view}_top5_error"] = top5
        table[f"{view}_loss"] = np.where(np.asarray(errors) > 0, 2.0, 0.2)
        views[view] = {
            metric: float(np.mean(table[f"{view}_{metric}"])) for metric in ("top1_error", "top5_error", "loss")
        }
        if lean:
            continue
        table[f"{view}_prediction"] = (table["label"] + np.asarray(errors, int)) % 12
        table[f"{view}_top5"] = [[int(label), 1, 2, 3, 4] for label in table["label"]]
        table[f"{view}_top5_probability"] = [[0.5, 0.2, 0.1, 0.1, 0.1]] * n
    pd.DataFrame(table).to_parquet(where / f"{set_}-{split}.parquet", index=False)
    record = {
        "format": 1,
        "study": study,
        "experiment": experiment,
        "seed": seed,
        "tier": tier,
        "set": set_,
        "split": split,
        "images": n,
        "config_fingerprint": fingerprint or f"{study}-{experiment}-{seed}",
        "data_fingerprint": "d" * 64,
        "weights_sha256": "e" * 64,
        "views": views,
        "seconds": 1.0,
    }
    write_json(where / f"{set_}-{split}.json", record)


def manifest(folder: Path, study: str, set_: str, counts: dict[str, int], classes: int = 12) -> None:
    """A packed set without its images; one repaired file, one class with markup in its name."""
    splits = {}
    for split, count in counts.items():
        per_class = [len(range(i, count, classes)) for i in range(classes)]
        repaired = [{"name": "n0001_2.JPEG", "repairs": ["grayscale"]}] if split == "train" else []
        splits[split] = {
            "images": count,
            "per_class": per_class,
            "content_sha256": f"of {set_}/{split}, no sha256: the fingerprint below is made up",
            "repaired": repaired,
        }
    rgb = {
        "mean": [120.0, 115.5, 101.25],
        "covariance": [[3600.0, 3000.0, 2500.0], [3000.0, 3500.0, 3000.0], [2500.0, 3000.0, 4000.0]],
        "eigenvalues": [9376.0, 1225.0, 389.0],
        "eigenvectors": [[0.55, -0.75, 0.4], [0.58, -0.01, -0.81], [0.6, 0.66, 0.42]],
    }
    record = {
        "format": 1,
        "source": set_,
        "storage": "raw",
        "image_size": 64,
        "interpolation": "bicubic, antialiased (Pillow)",
        "classes": [
            {"wnid": f"n{i:08d}", "name": "<b>striped</b> & dotted" if i == 0 else f"class {i}"} for i in range(classes)
        ],
        "splits": splits,
        "archives": [{"file": f"{set_}.tar", "bytes": 123456, "sha256": "a" * 64}],
        "rgb": rgb if "train" in counts else None,
        "fingerprint": "d" * 64,
        "tools": {"pillow": "13.0.0"},
        "seconds": 3.0,
        "images_per_second": 1200.0,
    }
    write_json(folder / study / "data" / set_ / "manifest.json", record)
    if "train" in counts:
        ramp = np.linspace(90, 150, 64, dtype=np.float32)
        np.save(folder / study / "data" / set_ / "mean.npy", np.stack([np.tile(ramp, (64, 1))] * 3, axis=-1))


def examination(
    folder: Path,
    study: str,
    experiment: str,
    seed: int,
    sample: np.ndarray,
    queries: dict[str, np.ndarray] | None = None,
    chroma: tuple[np.ndarray, np.ndarray] | None = None,
    fingerprint: str = "",
    tier: str = "demo",
    of: int = 3600,
    queries_of: int = 1200,
) -> None:
    """An examination whose sample, of `of` images, has these top-1 errors; `chroma`: shares of the kernels of both towers, coloured above 1/2."""
    where = folder / study / "examined" / experiment / str(seed)
    where.mkdir(parents=True, exist_ok=True)
    n = len(sample)
    table = {"name": [f"train_{i}.JPEG" for i in range(n)], "label": np.arange(n) % 12}
    errors = np.asarray(sample, float)
    frame = pd.DataFrame(table | {"top1_error": errors, "top5_error": errors / 2, "loss": 1 + errors})
    frame.to_parquet(where / "sample.parquet", index=False)
    if queries is None:
        rng = np.random.default_rng(seed)
        queries = {
            "same_class": rng.integers(2, 7, 40) / 6,
            **{f"same_class_{key}": rng.integers(0, 4, 40) / 6 for key in ("pixels", "colours", "untrained")},
            "same_class_codes": rng.integers(1, 6, 40) / 6,
            "pixel_rank": rng.uniform(0.1, 0.6, 40),
            "untrained_pixel_rank": rng.uniform(0.0, 0.2, 40),
            "class_pixel_rank": rng.uniform(0.4, 0.5, 40),
            "geometric_halved": rng.uniform(0.001, 0.003, 40),
            "geometric_halved_sampled": rng.uniform(0.002, 0.004, 40),
            "geometric_arithmetic": rng.uniform(0.001, 0.003, 40),
            "arithmetic_halved": rng.uniform(0.003, 0.006, 40),
            "thinned": rng.uniform(0.05, 0.2, 40),
            **{f"{key}_error": rng.integers(0, 2, 40) for key in ("halved", "geometric", "arithmetic", "thinned")},
        }
    asked = len(next(iter(queries.values())))
    columns: dict[str, Any] = {"name": [f"val_{i}.JPEG" for i in range(asked)], "label": np.arange(asked) % 12}
    columns |= {"chance": np.full(asked, 1 / 12)} | queries
    pd.DataFrame(columns).to_parquet(where / "queries.parquet", index=False)
    if chroma is None:
        rng = np.random.default_rng(100 + seed)
        chroma = (rng.uniform(0.05, 0.3, 6), rng.uniform(0.4, 0.9, 6))
    shares = np.concatenate(chroma)
    rng = np.random.default_rng(seed)
    np.save(where / "kernels.npy", rng.normal(0, 1, (len(shares), 7, 7, 3)).astype(np.float32))
    record = {
        "format": 1,
        "study": study,
        "experiment": experiment,
        "seed": seed,
        "tier": tier,
        "config_fingerprint": fingerprint or f"{study}-{experiment}-{seed}",
        "set": "ilsvrc2012",
        "train_split": "train",
        "validation_split": "val",
        "data_fingerprint": "d" * 64,
        "weights_sha256": "e" * 64,
        "sample": {
            "images": n,
            "of": of,
            "top1_error": float(errors.mean()),
            "top5_error": float((errors / 2).mean()),
            "loss": float((1 + errors).mean()),
        },
        "queries": {"images": asked, "of": queries_of, "chance": 1 / 12}
        | {key: float(np.mean(values)) for key, values in queries.items()},
        "neighbours": {"count": 6, "layer": "fc7", "dimensions": 512},
        "masks": 64,
        "kernels": {"tower": [0] * len(chroma[0]) + [1] * len(chroma[1])} | selectivity(shares),
        "untrained_kernels": selectivity(np.full(len(shares), 2 / 3), 0.5),
        "pictures": [],
        "seconds": 1.0,
    }
    write_json(where / "examination.json", record)


def selectivity(chroma: np.ndarray, p: float = 0.01) -> dict[str, list[float]]:
    """What is recorded of kernels: grey ones are oriented and coloured ones are blobs, each with this p-value."""
    coloured = chroma > 0.5
    return {
        "chroma": chroma.tolist(),
        "one_colour": [0.98] * len(chroma),
        "colourfulness": chroma.tolist(),
        "orientation_p": np.where(coloured, 0.5, p).tolist(),
        "blob_p": np.where(coloured, p, 0.5).tolist(),
        "patch_p": [p] * len(chroma),
    }


def describes(folder: Path) -> None:
    """Layer tables of the full-size nets, made by the real code."""
    from alexnet.experiments.describe import describe_experiment

    for name in EXPERIMENTS:
        write_json(folder / "describe" / f"{name}.json", describe_experiment("ilsvrc2010", name, CONFIG))


def departures(folder: Path) -> None:
    """The list of departures and the recipes, made by the real code."""
    from alexnet.experiments import describe

    write_json(folder / "departures.json", describe.departures(CONFIG))


def correct_share(rng: np.random.Generator, hardness: np.ndarray, error: float) -> np.ndarray:
    """Errors (0 or 1) of one net: an image's chance of error follows its own hardness, the mean is about `error`."""
    score = hardness + rng.normal(0, 0.8, len(hardness))
    return (score > np.quantile(score, 1 - error)).astype(float)


TRUE_ERROR = {
    "alexnet": 0.30,
    "one_gpu": 0.36,
    "no_lrn": 0.33,
    "non_overlapping_pooling": 0.302,
    "tanh": 0.40,
    "no_dropout": 0.34,
    "no_pca_color": 0.27,
    "ensemble": 0.28,
    "lrn_within_channel": 0.31,
    "paper": 0.92,
    "text_weight_std": 0.45,
    "text_reshuffle": 0.30,
    "zero_biases": 0.31,
    "text_no_spatial_norm": 0.31,
    "text_color_undivided": 0.30,
}


def campaign(folder: Path, name: str = "demo", tier: str = "demo", seeds: int = 5, images: int = 1200) -> None:
    """A whole study with plausible numbers: every experiment, `seeds` runs, two evaluated splits."""
    rng = np.random.default_rng(7)
    study(folder, name, tier)
    manifest(folder, name, "ilsvrc2012", {"train": 3600, "val": images})
    manifest(folder, name, "ilsvrc2010", {"test": images})
    hardness = {pair: rng.normal(0, 1, images) for pair in (("ilsvrc2012", "val"), ("ilsvrc2010", "test"))}
    for experiment, error in TRUE_ERROR.items():
        single = "members" in ABOUT[experiment]
        for seed in range(1, 2 if single else seeds + 1):
            slow = 3.0 if experiment == "tanh" else 1.0
            luck = rng.normal(0, 0.008)
            epochs = np.arange(1, 21)
            train = list(0.15 * slow**0.5 + 0.8 * np.exp(-epochs / (4 * slow)) + luck)
            validation = list(
                error
                + 0.6 * np.exp(-epochs / (4 * slow))
                + luck
                + (0.002 * epochs if experiment == "no_dropout" else 0)
            )
            loss = [3 * v for v in validation]
            if experiment == "no_dropout":
                loss = [1.0 + 0.01 * (e - 8 - seed) ** 2 for e in epochs]
            elif experiment == "alexnet":
                loss = [1.0 + 0.01 * (e - 15 - seed) ** 2 for e in epochs]
            if experiment == "paper":
                train = validation = [0.92 + 0.001 * seed] * 20
            if not single:
                run(folder, name, experiment, seed, train, validation, loss, tier=tier)
            if experiment in ("alexnet", "no_dropout", "non_overlapping_pooling"):
                own = np.random.default_rng([seed, len(experiment)])  # leaves the draws of everything else alone
                seen = (own.random(400) < error - 0.1 + luck).astype(float)
                examination(folder, name, experiment, seed, seen, tier=tier, queries_of=images)
            for (set_, split), hard in hardness.items():
                everywhere = experiment == "text_color_undivided"  # a claim compares it on both
                if split == "test" and not everywhere and ABOUT[experiment]["kind"] not in ("base", "ablation"):
                    continue
                center = correct_share(rng, hard, error + luck + 0.015)
                ten = correct_share(rng, hard, error + luck)
                evaluation(folder, name, experiment, seed, set_, split, center, ten, tier=tier)
    simple = {
        "linear_pixels": {"top1_error": 0.71, "images": images},
        "color_histogram": {"top1_error": 0.66, "images": images},
    }
    write_json(folder / name / "baselines.json", simple)


def in_memory(
    errors: dict[tuple[str, str, str, str], np.ndarray],
    tier: str = "demo",
    metric: str = "top1_error",
    curves: dict[tuple[str, int], list[float]] | None = None,
    threshold: float = 0.25,
    training_set: str = "ilsvrc2012",
    classes: int | None = None,
    tuned: bool = True,
    first: dict[str, int] | None = None,
) -> Any:
    """Results of one study `s` without files: (experiment, set, split, view) -> errors (images, seeds); training curves.

    `tuned`: each net has a rate that was chosen for it. `first`: number of the first seed of a net (else 1).
    """
    from analysis.results.evidence import EVAL_COLUMNS, METRIC_COLUMNS, Results, Study

    rows, read = [], {}
    for (experiment, set_, split, view), table in errors.items():
        start = (first or {}).get(experiment, 1)
        frame = pd.DataFrame(table, columns=range(start, start + table.shape[1]))
        read["s", experiment, set_, split, view, metric] = frame
        for seed in frame.columns:
            mean = float(frame[seed].mean())
            rows.append(["s", experiment, seed, set_, split, len(frame), view, mean, mean, 1.0, 1.0, "unread"])
    epochs = []
    for (experiment, seed), curve in (curves or {}).items():
        for i, error in enumerate(curve):
            epochs.append(["s", experiment, seed, i + 1, error, 3 * error, error + 0.05, 3 * error])
    names = {key[0] for key in (*errors, *(curves or {}))}
    return Results(
        folder=Path(),
        studies={"s": Study("s", "S", tier, "", threshold, training_set, {"classes": classes})},
        layers={},
        manifests={},
        runs={},
        configs={("s", name, 1): {"rate": {"factor": 1.0}} for name in names if tuned},
        metrics=pd.DataFrame(epochs, columns=METRIC_COLUMNS),
        evals=pd.DataFrame(rows, columns=EVAL_COLUMNS),
        baselines={},
        _read=read,
    )


def store(
    folder: Path,
    study: str,
    set_: str,
    split: str,
    names: list[str],
    labels: list[int],
    side: int = 16,
    kind: str = "npy",
) -> np.ndarray:
    """A packed split with images of random noise, raw or as JPEG files; returns the images as they were before packing."""
    import io

    from PIL import Image

    where = folder / study / "data" / set_
    where.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(len(names)).integers(0, 256, (len(names), side, side, 3), dtype=np.uint8)
    index = pd.DataFrame({"name": names, "label": labels})
    if kind == "npy":
        np.save(where / f"{split}.npy", images)
    else:
        files = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="JPEG", quality=95)
            files.append(buffer.getvalue())
        (where / f"{split}.jpegs").write_bytes(b"".join(files))
        index["bytes"] = [len(file) for file in files]
        index["offset"] = np.cumsum([0, *index["bytes"]])[:-1]
    index.to_csv(where / f"{split}.csv", index=False)
    return images


def log(folder: Path, study: str, experiment: str, seed: int, text: str) -> None:
    """What a training wrote to its log."""
    path = folder / "logs" / study / experiment / str(seed) / "train.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
