"""The page on the inside of finished nets: first kernels, neighbours, and how far nets overfit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures import kernels
from analysis.measures.estimates import NoEstimate
from analysis.measures.probed import to_show
from analysis.measures.registry import EXAMINED
from analysis.report import figures
from analysis.report.badges import badge
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.page import Html, folded, heading, joined, listed, picture, render, say, stack, table
from analysis.results.evidence import Study
from analysis.stats.intervals import CONFIDENCE
from analysis.verdicts.table import interval, number

BASE = "alexnet"
KERNEL = 60  # CSS pixels of a kernel's picture
COLUMNS = 6  # kernels side by side in the picture of a tower


def inside(ctx: Context, study: Study) -> Html | None:
    """Everything that was measured inside the finished nets of a study; None if none was examined."""
    seeds = to_show(ctx.results, study.name, BASE)
    if not seeds:
        return None
    first = next(iter(seeds.values()))
    pictures = [part for seed, record in seeds.items() if (part := kernels_picture(seed, record))]
    return stack(
        heading(study.title),
        render("inside_the_net.html.j2", study=study, seeds=seeds, sample=first["sample"], queries=first["queries"]),
        heading("All kernels of the first layer, tower by tower", 4) if pictures else None,
        *pictures,
        colour(study, seeds),
        claims_about(ctx, study),
        folded("Kernels that are oriented or coloured, counted", counts)
        if (counts := kernel_counts(ctx, study))
        else None,
        folded("Nearest neighbours, and halved outputs", neighbours(seeds)),
        folded("Training and validation error of the finished nets", gaps(ctx, study)),
    )


def colour(study: Study, seeds: dict[int, dict[str, Any]]) -> Html | None:
    """How much of the kernels is colour, by tower; None where there are no two towers."""
    chroma = {seed: _chroma(record) for seed, record in seeds.items()}
    if min(len(side) for pair in chroma.values() for side in pair) < 2:
        return None
    means = [
        f"seed {seed}: {100 * a.mean():.1f} % in tower 1, {100 * b.mean():.1f} % in tower 2"
        for seed, (a, b) in chroma.items()
    ]
    before = np.mean([_before(record)["chroma"] for record in seeds.values()])
    kernels_of = [
        (seed, tower, share) for seed, pair in chroma.items() for tower, side in enumerate(pair, 1) for share in side
    ]
    apart = [abs(a.mean() - b.mean()) for a, b in chroma.values()]
    return chart(
        lambda narrow: figures.chroma_by_tower(chroma, narrow),
        f"The towers differ by {100 * min(apart):.0f} to {100 * max(apart):.0f} points in how colourful their kernels are",
        f"A dot a kernel: share of its energy that is colour. {'; '.join(means)}",
        f"{study.title}: colour in the kernels of the first layer, lines: means of the towers. Before training it is {100 * before:.1f} %, as "
        "three independent channels have two thirds.",
        pd.DataFrame(kernels_of, columns=["seed", "tower", "colour"]),
    )


def _chroma(record: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Shares of colour of the kernels of both towers."""
    tower, chroma = (np.array(record["kernels"][key]) for key in ("tower", "chroma"))
    return chroma[tower == 0], chroma[tower == 1]


def _before(record: dict[str, Any]) -> dict[str, list[float]]:
    """What is known of the kernels before training; records of before surrogates have less."""
    known: dict[str, list[float]] = record.get("untrained_kernels") or {"chroma": record["kernels"]["initial_chroma"]}
    return known


def kernel_counts(ctx: Context, study: Study) -> Html | None:
    """How many first kernels are oriented, coloured, or coloured blobs: by seed and tower, and before training; None: no record says so."""
    try:
        tables = kernels.kernel_tables(ctx.results, study.name, BASE)
    except NoEstimate:
        return None
    rows: list[list[object]] = []
    for seed, (after, before) in tables.items():
        rows += [[f"seed {seed}, tower {tower + 1}", *_counts(part)] for tower, part in after.groupby("tower")]
        rows.append([f"seed {seed}, untrained", *_counts(before)])
    heads = ["Net", "Kernels", "Oriented", "Coloured and smooth", "Coloured blobs", "95 % bounds, oriented", "coloured"]
    caption = (
        "First kernels above the 95th percentile of surrogates with their radial spectrum, of which 5 % are by chance; coloured and "
        "smooth: more colour than grey, and above 95 % of kernels of noise; bounds: exact (Clopper and Pearson)"
    )
    return table(heads, rows, caption)


def _counts(part: pd.DataFrame) -> list[str]:
    from scipy.stats import binomtest

    count, columns = len(part), [int(part[key].sum()) for key in ("oriented", "coloured", "blob")]
    bounds = [binomtest(hits, count).proportion_ci(CONFIDENCE, method="exact") for hits in columns[:2]]
    return [str(count), *map(str, columns), *(f"{100 * b.low:.0f} to {100 * b.high:.0f} %" for b in bounds)]


def kernels_picture(seed: int, record: dict[str, Any]) -> Html | None:
    """The first layer's kernels of a seed, each stretched to its own range, a picture a tower (Fig. 3); None where they are not recorded."""
    path = Path(record["folder"]) / "kernels.npy"
    if not path.is_file():
        return None
    from PIL import Image

    stored, towers = np.load(path, allow_pickle=False), np.array(record["kernels"]["tower"])
    parts = []
    for tower in np.unique(towers):
        pixels = grid(stored[towers == tower], COLUMNS)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
        size = f"{stored.shape[1]} by {stored.shape[2]} pixels"
        alt = f"{(towers == tower).sum()} kernels of {size}, tower {tower + 1}, seed {seed}"
        parts.append(picture(buffer.getvalue(), alt, pixels.shape[1] * KERNEL // stored.shape[2]))
    words = f"Seed {seed}: tower 1, then tower 2. Each kernel is stretched to its own range."
    return Html('<figure class="raster towers"><div>{}</div><figcaption>{}</figcaption></figure>').format(
        joined(parts), words
    )


def grid(kernels: np.ndarray, columns: int) -> np.ndarray:
    """(K, rows, columns, 3) weights -> one RGBA picture of uint8: kernels side by side with transparent gaps of a pixel."""
    count, high, wide, _ = kernels.shape
    lines = -(-count // columns)
    out = np.zeros((lines * (high + 1) - 1, columns * (wide + 1) - 1, 4), np.uint8)
    for i, kernel in enumerate(kernels):
        line, column = divmod(i, columns)
        low, top = float(kernel.min()), float(kernel.max())
        scaled = np.rint(255 * (kernel - low) / (top - low)) if top > low else np.full(kernel.shape, 127.0)
        place = (
            slice(line * (high + 1), line * (high + 1) + high),
            slice(column * (wide + 1), column * (wide + 1) + wide),
        )
        out[place] = np.concatenate([scaled, np.full((high, wide, 1), 255)], axis=2).astype(np.uint8)
    return out


SHARES = {
    "same_class": "layer",
    "same_class_codes": "codes of 64 bits",
    "same_class_untrained": "untrained net",
    "same_class_colours": "histograms of colours",
    "same_class_pixels": "pixels",
    "chance": "chance",
}
RANKS = {"pixel_rank": "layer", "untrained_pixel_rank": "untrained net", "class_pixel_rank": "same class"}
NATS = {
    "geometric_halved": "halved net from the geometric mean",
    "geometric_halved_sampled": "the same before extrapolation",
    "arithmetic_halved": "halved net from the arithmetic mean",
    "geometric_arithmetic": "arithmetic from the geometric mean",
    "thinned": "thinned net from the geometric mean",
}
ERRORS = {f"{key}_error": f"{key} mean" for key in ("geometric", "arithmetic")}
ERRORS = {"halved_error": "halved net"} | ERRORS | {"thinned_error": "thinned nets"}


def neighbours(seeds: dict[int, dict[str, Any]]) -> Html:
    """Class agreement and distance in pixels of nearest neighbours by seed, and halved outputs beside means of thinned nets."""
    first = next(iter(seeds.values()))
    of = first["neighbours"]
    words = (
        f"For each validation image the {of['count']} nearest training images, by L2 in {of['layer']} ({of['dimensions']:,} dimensions) and in "
        f"other spaces. Thinned nets: {first['masks']} draws of dropout."
    )
    parts = [
        (SHARES, 100.0, ".1f", "Nearest neighbours of the same class, %, by space"),
        (RANKS, 100.0, ".1f", "Percentile rank in pixels of neighbours; 0 nearest, 50 chance"),
        (NATS, 1.0, ".4f", "Divergence, nats"),
        (ERRORS, 100.0, ".1f", "Top-1 error on the images that were asked, %"),
    ]
    return stack(say(words), *filter(None, (_by_seed(seeds, *part) for part in parts)))


def _by_seed(
    seeds: dict[int, dict[str, Any]], names: dict[str, str], factor: float, digits: str, caption: str
) -> Html | None:
    """A row a seed, a column a mean over the queries that any record has; None where none has one."""
    values = {seed: record["queries"] for seed, record in seeds.items()}
    known = [key for key in names if any(of.get(key) is not None for of in values.values())]
    rows = [
        [f"seed {seed}", *(f"{factor * of[key]:{digits}}" if of.get(key) is not None else "–" for key in known)]
        for seed, of in values.items()
    ]
    return table(["Run", *(names[key] for key in known)], rows, f"{caption}; base network") if known else None


def gaps(ctx: Context, study: Study) -> Html:
    """Training and validation error of the finished nets, beside the running training error, mean over seeds."""
    names = sorted({key[1] for key in ctx.results.examined if key[0] == study.name}, key=lambda n: (n != BASE, n))
    rows = []
    for name in names:
        records = to_show(ctx.results, study.name, name)
        finished = 100 * float(np.mean([record["sample"]["top1_error"] for record in records.values()]))
        held = ctx.results.chosen(study.name, name, study.training_set, "val", "center")
        held = held[held["seed"].isin(records)]
        curves = ctx.results.curves(study.name, name)
        last = [float(curve["train_error"].iloc[-1]) for seed, curve in curves.items() if seed in records]
        validation = 100 * float(held["top1_error"].astype(float).mean()) if len(held) else None
        rows.append(
            [
                name,
                str(len(records)),
                f"{100 * float(np.mean(last)):.1f}" if last else "–",
                f"{finished:.1f}",
                "–" if validation is None else f"{validation:.1f}",
                "–" if validation is None else f"{validation - finished:.1f}".replace("-", "−"),
            ]
        )
    heads = ["Experiment", "Seeds", "Training, running, %", "Training, finished net, %", "Validation, %", "Gap, points"]
    caption = "Top-1 errors; finished net and validation: centre view, no augmentation, no dropout"
    return table(heads, rows, caption)


def claims_about(ctx: Context, study: Study) -> Html | None:
    """The claims that examinations answer, as this study answers them, a line each."""
    lines = []
    for o in ctx.outcomes(study, set(EXAMINED)):
        unit = o.claim.unit
        ours = f"{number(o.ours, unit, 2 if unit in ('%', 'points') else None)} {interval(o.low, o.high, unit)}".strip()
        line = Html('<a href="#claim-{}">{}</a>: {} {}')
        lines.append(
            line.format(o.claim.id, o.claim.statement.partition(" (")[0], ours, badge(o.verdict, o.evidence, o.dataset))
        )
    return listed(lines) if lines else None
