"""Turns examinations of finished nets into a page: first kernels of the towers, neighbours, and how far nets overfit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from analysis.measures import examinations
from analysis.measures.estimates import NoEstimate
from analysis.report import figures
from analysis.report.badges import badge
from analysis.report.context import Context
from analysis.report.page import Html, figure, heading, image, note, say, stack, table
from analysis.results.evidence import Study
from analysis.verdicts.table import interval, number, paper_value

BASE = "alexnet"
WIDE = 560  # CSS pixels of the picture of kernels, at most


def inside(ctx: Context, study: Study) -> Html:
    """Everything that was measured inside the finished nets of a study."""
    seeds = _records(ctx, study, BASE)
    if not seeds:
        return stack(
            heading(study.title),
            note("No finished net of this study was examined yet (`python -m alexnet examine`)."),
        )
    return stack(
        heading(study.title),
        say(f"{study.data.rstrip('.')}.", *_samples(seeds)),
        heading("First layer, tower by tower", 4),
        *towers(ctx, study, seeds),
        heading("Nearest neighbours, and halved outputs", 4),
        neighbours(seeds),
        heading("Training and validation error of the finished nets", 4),
        gaps(ctx, study),
        heading("What the paper says about it", 4),
        verdicts(ctx, study),
    )


def _records(ctx: Context, study: Study, experiment: str) -> dict[int, dict[str, Any]]:
    found = {
        key[2]: record for key, record in ctx.results.examined.items() if key[:2] == (study.name, experiment)
    }
    return dict(sorted(found.items()))


def _samples(seeds: dict[int, dict[str, Any]]) -> list[str]:
    first = next(iter(seeds.values()))
    sample, queries = first["sample"], first["queries"]
    return [
        f"{len(seeds)} finished {'net was' if len(seeds) == 1 else 'nets were'} examined with {sample['images']:,} of {sample['of']:,} training "
        f"images and {queries['images']:,} of {queries['of']:,} validation images, the same for all."
    ]


def towers(ctx: Context, study: Study, seeds: dict[int, dict[str, Any]]) -> list[Html]:
    """Kernels of the first layer as pictures, and the share of colour in each by tower."""
    parts = [kernels_picture(study, seeds)]
    try:
        found = examinations.tower_chroma(ctx.results, study.name, BASE)
    except NoEstimate as reason:
        return [part for part in parts if part] + [note(f"{reason}.")]
    runs = dict(zip(seeds, zip(found.first, found.second, strict=True), strict=True))
    spoken = "; ".join(
        f"seed {seed}: {100 * a.mean():.1f} % in tower 1, {100 * b.mean():.1f} % in tower 2, p = {p:.2g}"
        for (seed, (a, b)), p in zip(runs.items(), found.p, strict=True)
    )
    before = np.mean([record["kernels"]["initial_chroma"] for record in seeds.values()])
    words = (
        f"Share of a kernel's energy that is colour, mean over kernels: {spoken} (permutation of kernels between towers). "
        f"Before training it is {100 * before:.1f} %: three independent channels have two thirds."
    )
    alt = f"A dot a kernel: share of its energy that is colour, by tower and seed. {spoken}"
    caption = f"{study.title}: colour in the kernels of the first layer; lines: means of the towers."
    drawn = figure(figures.chroma_by_tower(runs), alt, caption)
    return [say(words), *(part for part in parts if part), drawn]


def kernels_picture(study: Study, seeds: dict[int, dict[str, Any]]) -> Html | None:
    """The first layer's kernels of the first seed, each stretched to its own range, tower 1 above tower 2 (Fig. 3)."""
    seed, record = next(iter(seeds.items()))
    path = Path(record["folder"]) / "kernels.npy"
    if not path.is_file():
        return None
    from PIL import Image

    kernels = np.load(path, allow_pickle=False)
    towers = np.array(record["kernels"]["tower"])
    columns = min(16, max(1, int(np.max(np.bincount(towers)))))
    bands = [grid(kernels[towers == tower], columns) for tower in np.unique(towers)]
    gap = np.full((3, bands[0].shape[1], 4), 0, np.uint8)
    pixels = np.concatenate([part for band in bands for part in (band, gap)][:-1])
    zoom = max(1, WIDE // pixels.shape[1])
    picture = Image.fromarray(pixels).resize(
        (pixels.shape[1] * zoom, pixels.shape[0] * zoom), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    side = kernels.shape[1]
    alt = (
        f"{len(kernels)} kernels of {side} by {kernels.shape[2]} pixels, in {len(bands)} groups, one a tower"
    )
    caption = f"{study.title}: kernels of the first layer, seed {seed}; the upper group is tower 1. Each is stretched to its own range."
    return image(buffer.getvalue(), alt, caption, picture.width)


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


def neighbours(seeds: dict[int, dict[str, Any]]) -> Html:
    """Class agreement of nearest neighbours by seed, and how near halved outputs are to the mean of thinned nets."""
    rows = []
    for seed, record in seeds.items():
        of = record["queries"]
        shares = [of[key] for key in ("same_class", "same_class_pixels", "chance", "far_in_pixels")]
        nats = [of["halved"], of["thinned"]]
        rows.append(
            [
                f"seed {seed}",
                *(f"{100 * share:.1f}" for share in shares),
                *("–" if value is None else f"{value:.4f}" for value in nats),
            ]
        )
    first = next(iter(seeds.values()))
    of = first["neighbours"]
    words = (
        f"For each validation image the {of['count']} nearest training images, by L2 in {of['layer']} ({of['dimensions']:,} dimensions) and "
        f"between pixels. Thinned nets: {first['masks']} draws of dropout."
    )
    heads = [
        *("Run", "Same class, layer, %", "Same class, pixels, %", "By chance, %", "Not near in pixels, %"),
        *("Halved net from the geometric mean, nats", "Thinned net from it, nats"),
    ]
    return stack(say(words), table(heads, rows, "Nearest neighbours and thinned nets, base network"))


def gaps(ctx: Context, study: Study) -> Html:
    """Training and validation error of the finished nets, beside the running training error, mean over seeds."""
    names = sorted(
        {key[1] for key in ctx.results.examined if key[0] == study.name}, key=lambda n: (n != BASE, n)
    )
    rows = []
    for name in names:
        records = _records(ctx, study, name)
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
    heads = [
        "Experiment",
        "Seeds",
        "Training, running, %",
        "Training, finished net, %",
        "Validation, %",
        "Gap, points",
    ]
    caption = "Top-1 errors; finished net and validation: centre view, no augmentation, no dropout"
    return table(heads, rows, caption)


def verdicts(ctx: Context, study: Study) -> Html:
    """The claims that examinations answer, as this study answers them."""
    rows = []
    for o in ctx.outcomes(study, set(examinations.HOWS)):
        unit = o.claim.unit
        span = interval(o.low, o.high, unit) if o.low is not None and o.high is not None else "–"
        rows.append(
            [
                Html('<a href="#claim-{0}">{0}</a>').format(o.claim.id),
                o.claim.statement,
                paper_value(o.claim.paper, unit, o.claim.relation),
                number(o.ours, unit, 2) if unit in ("%", "points") else number(o.ours, unit),
                span or "–",
                f"{o.seeds} vs {o.baseline_seeds}" if o.baseline_seeds else str(o.seeds),
                badge(o.verdict, o.evidence, o.dataset),
                o.why,
            ]
        )
    heads = ["Claim", "What the paper says", "Paper", "Ours", "95 % interval", "Seeds", "Verdict", "Why"]
    return (
        table(heads, rows, "Claims about the finished net; shares and errors in points or %")
        if rows
        else note("None yet.")
    )
