"""The page on speed: what was measured in turn, and what packing ILSVRC would take."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.page import Html, note, render
from analysis.text import plural

REFERENCE = Path(__file__).resolve().parents[3] / "reports" / "reference"
# training, validation and, of 2010, test
IMAGES = {"ILSVRC-2010": 1_261_406 + 50_000 + 150_000, "ILSVRC-2012": 1_281_167 + 50_000}
INGEST, LANCZOS, TWO = "ingest on one core", "Pillow: open, resize LANCZOS", "two workers on two cores"
RAW_BYTES = 256 * 256 * 3
PARTS = {  # heading -> how the benchmark's name begins
    "Packing": ("ingest", "fidelity", "processor time", "size of an image", "peak memory"),
    "Training batches": ("training batches",),
    "Training step": ("training step", "arithmetic of the step", "response normalisation", "peak memory,"),
    "Other": ("",),
}
LAYERS = "time of a layer"


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


def part_of(name: str) -> str:
    """The heading under which a benchmark stands: of those whose beginning fits, the longest one's."""
    fits = [(len(start), head) for head, starts in PARTS.items() for start in starts if name.startswith(start)]
    return max(fits)[1]


def speed(results: Path) -> Html:
    """The whole page: pairs by part of the bench, shares of the layers in a step, and all of ILSVRC."""
    found = read_bench(results)
    if not found:
        return note("Nothing was measured yet: run `make bench`, then make the report again.")
    bench, machine, own = found
    layers, pairs = (bench[bench["benchmark"].str.startswith(LAYERS) == of] for of in (True, False))
    heads = pairs["benchmark"].map(part_of)
    return render(
        "speed.html.j2",
        short=number,
        own=own,
        machine=machine,
        commit=str(machine.get("git_commit") or "?")[:7],
        parts=[(head, pairs[heads == head].to_dict("records")) for head in PARTS if (heads == head).any()],
        layers=layer_shares(layers),
        packing=packing(bench, int(machine.get("cores") or 2)),
    )


def layer_shares(bench: pd.DataFrame) -> list[dict[str, Any]]:
    """For each net: its share of the step by layer, the time of the step in ms, and the share that no layer has."""
    return [
        {
            "what": str(name).partition(", ")[2],
            "step": number(group["peer_value"].iloc[0]),
            "shares": [(row.subject.replace("_", " "), 100 * row.ratio) for row in group.itertuples()],
            "rest": 100 * (1 - group["ratio"].sum()),
        }
        for name, group in bench.groupby("benchmark", sort=False)
    ]


def hours(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def packing(bench: pd.DataFrame, cores: int) -> dict[str, Any]:
    """What packing all of ILSVRC would take here and on sixteen cores; empty if ingest was not measured."""
    single = bench[bench["benchmark"].str.startswith(INGEST) & bench["peer"].str.startswith(LANCZOS)]
    double = bench[bench["subject"].str.contains(TWO)]
    size = bench[bench["benchmark"].str.startswith("size of an image")]
    if single.empty or double.empty or size.empty:
        return {}
    rate = float(single["subject_value"].iloc[0])
    efficiency = float(double["ratio"].iloc[0]) / 2
    jpeg_bytes = 1000 * float(size["subject_value"].iloc[0])
    rows = []
    for name, images in IMAGES.items():
        for of, count in ((f"this machine, {plural(cores, 'core')}", cores), ("16 such cores", 16)):
            seconds = images / (rate * count * (efficiency if count > 1 else 1.0))
            sizes = {"raw": images * RAW_BYTES, "jpeg": images * jpeg_bytes}
            rows.append({"on": f"{name}, {of}", "images": images, "seconds": seconds, "time": hours(seconds), **sizes})
    return {"rows": rows, "rate": number(rate), "efficiency": efficiency}
