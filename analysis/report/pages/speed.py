"""The page on speed: what was measured in turn, and what ILSVRC would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report import speed_figures
from analysis.report.page import Html, figure, heading, note, say, stack, table

REFERENCE = Path(__file__).resolve().parents[3] / "reports" / "reference"
IMAGES = {
    "ILSVRC-2010": 1_261_406 + 50_000 + 150_000,
    "ILSVRC-2012": 1_281_167 + 50_000,
}  # training, validation and, of 2010, test
INGEST, LANCZOS, TWO = "ingest on one core", "Pillow: open, resize LANCZOS", "two workers on two cores"
RAW_BYTES = 256 * 256 * 3


def read_bench(results: Path) -> tuple[pd.DataFrame, dict[str, Any], bool] | None:
    """The table, its machine, and whether it is of this checkout; else the published one; None if there is none."""
    for folder, own in ((results / "bench", True), (REFERENCE, False)):
        path = folder / "bench.csv"
        if path.is_file():
            machine = path.with_suffix(".json")
            return pd.read_csv(path), json.loads(machine.read_text()) if machine.is_file() else {}, own
    return None


def number(value: float) -> str:
    """Three significant digits or whole numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


PARTS = (  # heading, how the benchmark's name begins, what it says
    ("Packing", ("ingest", "fidelity", "size of an image", "peak memory"), ""),
    ("Training batches", ("training batches",), ""),
    (
        "Training step",
        ("training step", "arithmetic of the step", "response normalisation", "peak memory,"),
        "Each program has a process of its own. The arithmetic of a step is that of the layers, forward and both "
        "gradients, by the time of the whole step; its limits are one product of matrices and one convolution alone.",
    ),
)
LAYERS = "time of a layer"


def part_of(name: str) -> str:
    """The heading under which a benchmark stands: of those whose beginning fits, the longest one's."""
    fits = [(len(start), head) for head, starts, _ in PARTS for start in starts if name.startswith(start)]
    return max(fits)[1] if fits else ""


def measured(bench: pd.DataFrame, caption: str) -> Html:
    """One line for each pair."""
    rows = [
        [
            row["benchmark"],
            f"{row['subject']}: {number(row['subject_value'])} {row['unit']}",
            f"{row['peer']}: {number(row['peer_value'])}",
            f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
            str(row["n"]),
        ]
        for _, row in bench.iterrows()
    ]
    return table(["What", "This bench", "Beside it", "Ratio [least, most]", "n"], rows, caption)


def parts(bench: pd.DataFrame) -> Html:
    """The table by parts of the bench, each with the ratios of speeds drawn."""
    pieces: list[Html | None] = []
    where = bench["benchmark"].map(part_of)
    for head, _, words in [*PARTS, ("Other", (), "")]:
        rows = bench[(where == head) | ((where == "") & (head == "Other"))]
        rows = rows[~rows["benchmark"].str.startswith(LAYERS)]
        if rows.empty:
            continue
        speeds = rows[rows["unit"].isin(["images/s", "GFLOP/s"])]
        alt = "; ".join(f"{r.subject} against {r.peer}: {r.ratio:.2f}" for r in speeds.itertuples())
        drawn = figure(
            speed_figures.ratios(speeds), f"Ratios of speeds: {alt}", "Dots: median ratio; lines: least and most."
        )
        caption = (
            "Medians of alternating runs (A B A B) on one machine; the ratio is the median over pairs of neighbours, not the quotient of the "
            "two medians; of fidelity and size, over n images"
        )
        pieces += [heading(head, 3), say(words) if words else None, drawn if len(speeds) else None]
        pieces.append(measured(rows, caption))
    return stack(*pieces)


def layers(bench: pd.DataFrame) -> Html | None:
    """Where the time of a step goes; None if that was not measured."""
    rows = bench[bench["benchmark"].str.startswith(LAYERS)]
    if rows.empty:
        return None
    pieces: list[Html | None] = [heading("Where the time of a step goes", 3)]
    for name, group in rows.groupby("benchmark", sort=False):
        what = str(name).partition(", ")[2]
        alt = ", ".join(f"{row.subject} {100 * row.ratio:.0f} %" for row in group.itertuples())
        rest = 1 - group["ratio"].sum()
        caption = (
            f"{what}: each layer alone, forward and backward, as a share of the whole step "
            f"({number(group['peer_value'].iloc[0])} ms); update, loss and what adding up single layers leaves out or counts twice: {100 * rest:.0f} %."
        )
        pieces.append(figure(speed_figures.layer_times(group), f"Bars: {alt}", caption))
    return stack(*pieces)


def hours(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def extrapolation(bench: pd.DataFrame, cores: int) -> Html | None:
    """What packing all of ILSVRC would take here and on sixteen cores; None if ingest was not measured."""
    single = bench[bench["benchmark"].str.startswith(INGEST) & bench["peer"].str.startswith(LANCZOS)]
    double = bench[bench["subject"].str.contains(TWO)]
    size = bench[bench["benchmark"].str.startswith("size of an image")]
    if single.empty or double.empty or size.empty:
        return None
    rate = float(single["subject_value"].iloc[0])
    efficiency = float(double["ratio"].iloc[0]) / 2
    jpeg_bytes = 1000 * float(size["subject_value"].iloc[0])
    rows = []
    for name, images in IMAGES.items():
        for of, count in ((f"this machine, {cores} cores", cores), ("16 such cores", 16)):
            seconds = images / (rate * count * (efficiency if count > 1 else 1.0))
            rows.append(
                [
                    f"{name}, {of}",
                    f"{images:,}",
                    hours(seconds),
                    f"{images * RAW_BYTES / 1e9:,.0f} GB",
                    f"{images * jpeg_bytes / 1e9:,.0f} GB",
                    f"{images * RAW_BYTES / seconds / 1e6:,.0f} MB/s",
                ]
            )
    how = (
        f"Computed, not measured: images / ({number(rate)} images/s on one core × cores × {efficiency:.2f}), where "
        f"{efficiency:.2f} is the measured gain of two workers on two cores, halved. That sixteen cores keep this "
        "efficiency is an assumption, and so is a disk that reads the archives and takes the raw store at the rate of the last column."
    )
    columns = ["Data set", "Images", "Time to pack", "Raw store", "JPEG store", "Raw bytes written"]
    return stack(table(columns, rows, "What packing all of ILSVRC would take"), say(how))


def speed(results: Path) -> Html:
    """The whole page."""
    found = read_bench(results)
    if not found:
        return note("Nothing was measured yet: run `make bench`, then make the report again.")
    bench, machine, own = found
    commit = str(machine.get("git_commit") or "?")[:7]
    where = f"{machine.get('cpu', 'an unknown processor')}, {machine.get('cores', '?')} cores, commit {commit}"
    origin = "Measured here" if own else "Published with the bench, not measured here"
    return stack(
        say(f"{origin}: {where}. A ratio above 1 means that the bench has more of the unit, be it images/s or MB."),
        parts(bench),
        layers(bench),
        heading("All of ILSVRC", 3),
        extrapolation(bench, int(machine.get("cores") or 2)) or note("Ingest was not measured."),
    )
