"""The page on the inside of finished nets: first kernels, neighbours, and how far nets overfit."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from analysis.measures import kernels
from analysis.measures.estimates import NoEstimate
from analysis.measures.probed import to_show
from analysis.measures.registry import EXAMINED
from analysis.report.context import Context
from analysis.report.page import Html, picture, render
from analysis.results.evidence import Study
from analysis.stats.intervals import CONFIDENCE

BASE = "alexnet"
KERNEL = 60  # CSS pixels of a kernel's picture
COLUMNS = 6  # kernels side by side in the picture of a tower


def inside(ctx: Context, study: Study) -> Html | None:
    """Everything that was measured inside the finished nets of a study; None if none was examined."""
    seeds = to_show(ctx.results, study.name, BASE)
    if not seeds:
        return None
    return render(
        "inside_the_net.html.j2",
        study=study,
        seeds=seeds,
        asked={key for record in seeds.values() for key, value in record["queries"].items() if value is not None},
        pictures={seed: parts for seed, record in seeds.items() if (parts := kernel_pictures(seed, record))},
        colours=colour(seeds),
        chroma=[
            (seed, tower + 1, 100 * share)
            for seed, record in seeds.items()
            for tower, share in zip(record["kernels"]["tower"], record["kernels"]["chroma"], strict=True)
        ],
        outcomes=ctx.outcomes(study, set(EXAMINED)),
        counts=kernel_counts(ctx, study),
        gaps=gaps(ctx, study),
    )


def colour(seeds: dict[int, dict[str, Any]]) -> dict[int, tuple[float, float, float]]:
    """Mean share of colour (%) in the kernels of both towers, and of all before training; nothing where there are no two towers."""
    found = {}
    for seed, record in seeds.items():
        tower, chroma = (np.array(record["kernels"][key]) for key in ("tower", "chroma"))
        sides = chroma[tower == 0], chroma[tower == 1]
        if min(map(len, sides)) > 1:
            # records of before surrogates have the shares before training elsewhere
            untrained = record.get("untrained_kernels", {}).get("chroma") or record["kernels"]["initial_chroma"]
            first, second, before = (100 * float(np.mean(of)) for of in (*sides, untrained))
            found[seed] = first, second, before
    return found


def kernel_counts(ctx: Context, study: Study) -> list[tuple[str, list[int], list[tuple[float, float]]]]:
    """Kernels by seed and tower, and before training: all, oriented, coloured, blobs; 95 % bounds (%) of the second and third.

    Nothing where no record says so.
    """
    from scipy.stats import binomtest

    parts = []
    with suppress(NoEstimate):
        for seed, (after, before) in kernels.kernel_tables(ctx.results, study.name, BASE).items():
            parts += [(f"seed {seed}, tower {tower + 1}", part) for tower, part in after.groupby("tower")]
            parts.append((f"seed {seed}, untrained", before))
    found = []
    for name, part in parts:
        hits = [int(part[key].sum()) for key in ("oriented", "coloured", "blob")]
        exact = [binomtest(n, len(part)).proportion_ci(CONFIDENCE, method="exact") for n in hits[:2]]
        found.append((name, [len(part), *hits], [(100 * bounds.low, 100 * bounds.high) for bounds in exact]))
    return found


def kernel_pictures(seed: int, record: dict[str, Any]) -> list[Html]:
    """The first layer's kernels of a seed, each stretched to its own range, a picture a tower (Fig. 3); none where they are not recorded."""
    path = Path(record["folder"]) / "kernels.npy"
    if not path.is_file():
        return []
    from PIL import Image

    stored, towers = np.load(path, allow_pickle=False), np.array(record["kernels"]["tower"])
    parts = []
    for tower in np.unique(towers):
        pixels = grid(stored[towers == tower], COLUMNS)
        size = f"{stored.shape[1]} by {stored.shape[2]} pixels"
        alt = f"{(towers == tower).sum()} kernels of {size}, tower {tower + 1}, seed {seed}"
        parts.append(picture(Image.fromarray(pixels), alt, pixels.shape[1] * KERNEL // stored.shape[2]))
    return parts


def grid(kernels: np.ndarray, columns: int) -> np.ndarray:
    """(K, rows, columns, 3) weights -> one RGBA picture of uint8: kernels side by side with transparent gaps of a pixel."""
    low, top = kernels.min((1, 2, 3), keepdims=True), kernels.max((1, 2, 3), keepdims=True)
    span = top - low
    shades = np.where(span > 0, np.rint(255 * (kernels - low) / (span + (span == 0))), 127)
    count, high, wide, _ = kernels.shape
    lines = -(-count // columns)
    tiles = np.zeros((lines * columns, high + 1, wide + 1, 4), np.uint8)
    tiles[:count, :high, :wide, :3], tiles[:count, :high, :wide, 3] = shades, 255
    rows = tiles.reshape(lines, columns, high + 1, wide + 1, 4).swapaxes(1, 2)
    return rows.reshape(lines * (high + 1), columns * (wide + 1), 4)[:-1, :-1]


def gaps(ctx: Context, study: Study) -> list[dict[str, Any]]:
    """Mean errors over seeds, %: of the running training, and of the finished nets on training and validation images; None: unknown."""
    rows = []
    for name in sorted({key[1] for key in ctx.results.examined if key[0] == study.name}, key=lambda n: (n != BASE, n)):
        records = to_show(ctx.results, study.name, name)
        held = ctx.results.chosen(study.name, name, study.training_set, "val", "center")
        held = held[held["seed"].isin(records)]
        curves = ctx.results.curves(study.name, name)
        last = [float(curve["train_error"].iloc[-1]) for seed, curve in curves.items() if seed in records]
        rows.append(
            {
                "name": name,
                "seeds": len(records),
                "running": 100 * float(np.mean(last)) if last else None,
                "finished": 100 * float(np.mean([record["sample"]["top1_error"] for record in records.values()])),
                "held": 100 * float(held["top1_error"].astype(float).mean()) if len(held) else None,
            }
        )
    return rows
