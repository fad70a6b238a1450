"""The page on the inside of finished nets: first kernels, neighbours, and how far nets overfit."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures import kernels
from analysis.measures.estimates import NoEstimate
from analysis.measures.probed import to_show
from analysis.measures.registry import EXAMINED
from analysis.report.context import Context
from analysis.report.page import Html, picture, render
from analysis.report.plots import chroma_chart
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
        chroma=chroma(study, seeds),
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


def chroma(study: Study, seeds: dict[int, dict[str, Any]]) -> Html:
    """Share of colour of every kernel of the first layer, a panel a seed and a column a tower."""
    rows = [
        (seed, tower + 1, 100 * share)
        for seed, record in seeds.items()
        for tower, share in zip(record["kernels"]["tower"], record["kernels"]["chroma"], strict=True)
    ]
    title = "Colour in the kernels of the first layer, by tower"
    caption = (
        f"{study.title}: share of each kernel's energy that is colour; the paper's second tower is the colourful one."
    )
    return chroma_chart(pd.DataFrame(rows, columns=["seed", "tower", "colour"]), title, caption)


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
    count, high, wide, _ = kernels.shape
    lines = -(-count // columns)
    out = np.zeros((lines * (high + 1) - 1, columns * (wide + 1) - 1, 4), np.uint8)
    for i, kernel in enumerate(kernels):
        line, column = divmod(i, columns)
        low, top = float(kernel.min()), float(kernel.max())
        scaled = np.rint(255 * (kernel - low) / (top - low)) if top > low else np.full(kernel.shape, 127.0)
        y, x = line * (high + 1), column * (wide + 1)
        out[y : y + high, x : x + wide] = np.concatenate([scaled, np.full((high, wide, 1), 255)], axis=2).astype(
            np.uint8
        )
    return out


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
