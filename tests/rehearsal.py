"""A data set of ILSVRC-2012's size, of small pictures, packed, indexed, drawn and evaluated: what grows with the number of images.

    python tests/rehearsal.py FOLDER --images 1281167 --validation 50000      # some GB in FOLDER and in TMPDIR, six minutes of two cores

The pictures are 32 x 32 noise in a thousand classes, as Hugging Face's parquet in 294 shards. Each stage is a process of its own; the table
says its seconds, images/s and peak memory, also for a hundredth of the images, so that what is not linear shows. Not a part of `make test`:
tests/test_rehearsal.py runs it with a few hundred images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import yaml

ROOT = Path(__file__).resolve().parent.parent
SIDE = 32
TYPES = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
# Run in a process of its own; the last line that it prints is its record.
STAGE = """
import json, resource, sys, time
from rehearsal import {stage}
began = time.monotonic()
images = {stage}(*{arguments!r})
seconds = time.monotonic() - began
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
print(json.dumps([images, seconds, peak]))
"""


def generate(folder: str, images: int, validation: int, classes: int, shards: int) -> int:
    """Write the shards: noise, each class in a brightness of its own, labels in no order."""
    for split, count, of in (("train", images, shards), ("validation", validation, max(1, shards // 20))):
        labels = np.random.default_rng([2012, count]).permutation(np.arange(count) % classes)
        for number, part in enumerate(np.array_split(np.arange(count), of)):
            rows = []
            for k in part.tolist():
                rng, label = np.random.default_rng([2012, count, k]), int(labels[k])
                small = (rng.integers(0, 128, (8, 8, 3)) + 127 * label // classes).astype(np.uint8)
                data = simplejpeg.encode_jpeg(np.repeat(np.repeat(small, 4, 0), 4, 1), quality=85)
                name = f"{wnid(label)}_{k}" if split == "train" else f"ILSVRC2012_val_{k + 1:08d}"
                rows.append({"image": {"bytes": data, "path": f"{name}_{wnid(label)}.JPEG"}, "label": label})
            table = pa.Table.from_pylist(rows, schema=TYPES)
            pq.write_table(table, Path(folder) / f"{split}-{number:05d}-of-{of:05d}.parquet", row_group_size=100)
    return images + validation


def wnid(label: int) -> str:
    return f"n{10_000_000 + 7 * label:08d}"


def pack(source: str, out: str, images: int) -> int:
    """The verb, as the workflow calls it."""
    command = [sys.executable, "-m", "alexnet", "pack", "--source", "ilsvrc2012", "--stand-ins", "--archives", source]
    subprocess.run([*command, "--out", out, "--storage", "jpeg", "--image-size", str(SIDE)], check=True, cwd=ROOT)
    return images


def index(out: str) -> int:
    """Open the training split: its index is read and compared with its hash."""
    from alexnet.packed.packed_set import open_split

    return len(open_split(Path(out), "train"))


def draw(out: str) -> int:
    """Order, crops, reflections and colours of an epoch."""
    from alexnet.batches.augment import color_axes, draw_epoch, epoch_order
    from alexnet.packed.manifest import read_manifest

    manifest = read_manifest(Path(out))
    count = manifest["splits"]["train"]["images"]
    settings: Any = {"images_per_crop": 32, "random_crop": True, "horizontal_flip": True, "color_noise": 0.1}
    order = epoch_order(count, 1, 0, True)
    draws = draw_epoch(count, settings, 8, color_axes(manifest["rgb"], "standard_deviation"), 1, 0)
    assert len(draws.flip) == len(np.unique(order)) == count
    return count


def load(out: str, config_path: str) -> int:
    """One epoch of minibatches, without a net."""
    from alexnet.batches.loader import TrainingBatches
    from alexnet.experiments.resolve import read_config
    from alexnet.packed.packed_set import open_split

    split = open_split(Path(out), "train")
    batches = TrainingBatches(split, read_config(Path(config_path)), np.load(Path(out) / "mean.npy"), workers=2)
    return sum(len(labels) for _, labels in batches.epoch(0))


def evaluate(out: str, config_path: str, scores: str) -> int:
    """Ten views of the validation split, by a net whose weights are only drawn."""
    import torch

    from alexnet.experiments.resolve import read_config
    from alexnet.net import tensors
    from alexnet.net.model import build
    from alexnet.packed.manifest import read_manifest

    config, manifest = read_config(Path(config_path)), read_manifest(Path(out))
    weights = {"config_fingerprint": config["fingerprint"], "data_fingerprint": manifest["fingerprint"]}
    weights |= {"wnids": [entry["wnid"] for entry in manifest["classes"]], "state_dict": build(config).state_dict()}
    weights["mean"] = torch.from_numpy(np.load(Path(out) / "mean.npy"))
    tensors.save_tensors(Path(scores) / "model.pt", weights)
    command = [
        sys.executable,
        "-m",
        "alexnet",
        "evaluate",
        config_path,
        "--data",
        out,
        "--weights",
        f"{scores}/model.pt",
    ]
    subprocess.run([*command, "--out", scores, "--threads", "2", "--devices", "0"], check=True, cwd=ROOT)
    (table,) = Path(scores).glob("*.parquet")
    return int(pq.read_metadata(table).num_rows)


def configuration(folder: Path, classes: int) -> Path:
    """The configuration of the 18 % net of CIFAR-10 on the generated set."""
    study = yaml.safe_load((ROOT / "config/studies/cifar10.yaml").read_text())
    kept = {key: study[key] for key in ("recipe", "crop", "epochs", "threads", "tier", "width") if key in study}
    place = {"set": "ilsvrc2012", "split": "train"}
    study = kept | {"title": "rehearsal", "data": "generated", "image_size": SIDE, "classes": classes, "seeds": [1]}
    study |= {
        "sets": {"ilsvrc2012": {"source": "ilsvrc2012", "splits": ["train", "val"]}},
        "experiments": ["cifar_18pct"],
    }
    study |= {"train": place, "validate": place | {"split": "val"}, "evaluate": [place | {"split": "val"}]}
    definitions = folder / "config"
    (definitions / "studies").mkdir(parents=True, exist_ok=True)
    (definitions / "experiments.yaml").write_text((ROOT / "config/experiments.yaml").read_text())
    (definitions / "studies/rehearsal.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "alexnet", "configure", "--study", "rehearsal", "--experiment", "cifar_18pct"]
    out = folder / "config.json"
    subprocess.run(
        [*command, "--seed", "1", "--definitions", str(definitions), "--out", str(out)], check=True, cwd=ROOT
    )
    return out


def rehearse(folder: Path, images: int, validation: int, classes: int, shards: int) -> list[dict[str, Any]]:
    """All stages in a folder; what is generated or packed already stays."""
    source, out, scores = folder / "archives", folder / "packed", folder / "scores"
    for path in (source, scores):
        path.mkdir(parents=True, exist_ok=True)
    config = str(configuration(folder, classes))
    stages: list[tuple[Callable[..., int], tuple[Any, ...]]] = [
        (generate, (str(source), images, validation, classes, shards)),
        (pack, (str(source), str(out), images + validation)),
        (index, (str(out),)),
        (draw, (str(out),)),
        (load, (str(out), config)),
        (evaluate, (str(out), config, str(scores))),
    ]
    rows = []
    for stage, arguments in stages:
        code = STAGE.format(stage=stage.__name__, arguments=arguments)
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, stdout=subprocess.PIPE, check=True)
        count, seconds, peak = json.loads(done.stdout.splitlines()[-1])
        rows.append({"stage": stage.__name__, "images": count, "seconds": seconds, "peak_mb": peak})
        print(
            f"{stage.__name__:10} {count:>10,} images {seconds:9.1f} s {count / seconds:11,.0f} images/s {peak:8,.0f} MB",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--validation", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=294)
    options = parser.parse_args()
    small = options.images // 100, options.validation // 100, options.classes // 10, max(2, options.shards // 100)
    rehearse(options.folder / "hundredth", *small)  # of a tenth of the classes, so that none is without an image
    rehearse(options.folder / "whole", options.images, options.validation, options.classes, options.shards)
