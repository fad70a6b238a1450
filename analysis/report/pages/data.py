"""The page on data: manifests, mean images and simple baselines."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from analysis.report import figures
from analysis.report.chart import chart
from analysis.report.context import Context
from analysis.report.page import Html, folded, heading, image, note, say, stack, table
from analysis.report.pages.what_the_net_sees import sample_sheet
from analysis.results.evidence import Results, Study


def data(ctx: Context) -> Html:
    """Everything that is known about the data, once for all studies that were run on the same."""
    same: dict[tuple[str, ...], list[Study]] = {}
    for study in ctx.studies:
        key = tuple(str(m.get("fingerprint", of)) for of, m in ctx.results.manifests.items() if of[0] == study.name)
        if key:
            same.setdefault(key, []).append(study)
    return stack(*(_of_one(ctx, studies) for studies in same.values()))


def _of_one(ctx: Context, studies: list[Study]) -> Html:
    """Everything about the data of studies that share them."""
    results, study = ctx.results, studies[0]
    sets = {name: manifest for (of, name), manifest in results.manifests.items() if of == study.name}
    details = [make(results, study) for make in (repairs_table, undecodable_table, archives_table)]
    return stack(
        heading(" and ".join(each.title for each in studies)),
        say(f"{study.data.rstrip('.')}.", *filter(None, map(source_of, sets.values()))),
        split_table(results, study),
        empty_classes(results, study),
        sample_sheet(results, study),
        *(baselines_table(ctx, each) for each in studies),
        *(mean_image(results, study, name) for name, manifest in sets.items() if manifest.get("rgb")),
        *(_color_axes(name, manifest["rgb"]) for name, manifest in sets.items() if manifest.get("rgb")),
        folded("Archives and odd files", stack(*details)) if any(details) else None,
    )


def _color_axes(name: str, rgb: dict[str, Any]) -> Html:
    spread = ", ".join(f"{max(value, 0) ** 0.5:.1f}" for value in rgb["eigenvalues"])
    mean = ", ".join(f"{value:.1f}" for value in rgb["mean"])
    vectors = pd.DataFrame(rgb["eigenvectors"], index=["red", "green", "blue"]).rename(
        columns=lambda i: f"axis {i + 1}"
    )
    return chart(
        lambda narrow: figures.color_axes(rgb, narrow),
        f"Principal axes of colour of {name}",
        f"Principal axes of colour of {name}: standard deviations {spread} grey levels; mean colour {mean}",
        "Colour noise moves images along them, a tenth of their standard deviation at a time (grey levels, 0 to 255). "
        f"Mean red, green, blue: {mean}.",
        vectors.reset_index(names="weight of"),
    )


def split_table(results: Results, study: Study) -> Html:
    """Images, classes and repaired files of every packed split."""
    rows = []
    for (of, name), manifest in results.manifests.items():
        for split, record in manifest["splits"].items() if of == study.name else ():
            low, high = min(record["per_class"] or [0]), max(record["per_class"] or [0])
            balance = f"{low:,}" if low == high else f"{low:,} – {high:,}"
            counts = [f"{record['images']:,}", str(len(manifest["classes"])), balance, str(len(record["repaired"]))]
            rows.append([f"{name} {split}", *counts, storage(manifest), f"{manifest['image_size']} px"])
    heads = ["Split", "Images", "Classes", "Images a class", "Repaired files", "Storage", "Side"]
    return table(heads, rows, f"Packed data of {study.name}")


def empty_classes(results: Results, study: Study) -> Html | None:
    """Which splits have classes without an image, and how many; None if there are none."""
    said = []
    for (of, name), manifest in results.manifests.items():
        for split, record in manifest["splits"].items() if of == study.name else ():
            if empty := sum(count == 0 for count in record["per_class"]):
                many = "1 class" if empty == 1 else f"{empty:,} classes"
                said.append(f"{many} of {name} {split} {'has' if empty == 1 else 'have'} no image.")
    return note(" ".join(said)) if said else None


def storage(manifest: dict[str, Any]) -> str:
    """How the images are kept; a second encoding is a deviation, with its error if that is known."""
    if manifest["storage"] != "jpeg":
        return str(manifest["storage"])
    return f"JPEG, quality {manifest['jpeg']['quality']} (deviation: encoded twice)"


def source_of(manifest: dict[str, Any]) -> str:
    """Which form of the data was read, and how pictures were made smaller; nothing if the manifest does not say."""
    if not manifest.get("interpolation"):
        return ""
    form = f"; form: {manifest['variant']}" if manifest.get("variant") else ""
    known = [e for record in manifest["splits"].values() if (e := record.get("mean_squared_error")) is not None]
    again = (
        f" The second JPEG encoding changes pixels by {max(known) ** 0.5:.1f} grey levels (root mean square)."
        if known
        else ""
    )
    return f"Read by the adapter {manifest['source']}{form}. Resized: {manifest['interpolation']}.{again}"


def undecodable_table(results: Results, study: Study) -> Html | None:
    """Images that were left out because they could not be decoded; None if there are none."""
    rows = [
        [item["name"], item["archive"], item["problem"]]
        for (of, _), manifest in results.manifests.items()
        if of == study.name
        for item in manifest.get("undecodable", [])
    ]
    return table(["File", "Archive", "Problem"], rows, f"Left out: {len(rows)} images") if rows else None


def repairs_table(results: Results, study: Study, most: int = 20) -> Html | None:
    """Files that were not plain colour JPEGs, the rarest kinds first, with counts; None if there are none."""
    rows = [
        [item["name"], f"{name} {split}", ", ".join(item["repairs"])]
        for (of, name), manifest in results.manifests.items()
        if of == study.name
        for split, record in manifest["splits"].items()
        for item in record["repaired"]
    ]
    if not rows:
        return None
    kinds = Counter(kind for _, _, kind in rows)
    rows.sort(key=lambda row: (kinds[row[2]], row[1], row[0]))
    counted = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: item[1]))
    more = f"; the first {most} are shown" if len(rows) > most else ""
    return table(["File", "Split", "Was"], rows[:most], f"Repaired files: {counted}{more}")


def archives_table(results: Results, study: Study) -> Html | None:
    """Archives that were read, with size and hash."""
    rows = [
        [
            record["file"],
            f"{record['bytes']:,}",
            Html("<code>{}…</code>").format(str(record["sha256"])[:16]),
            "no: packed again, allowed by the configuration"
            if record.get("repacked")
            else f"yes, by {record['verified']}"
            if record.get("verified")
            else "no checksum to compare",
        ]
        for (of, _), manifest in results.manifests.items()
        if of == study.name
        for record in manifest["archives"]
    ]
    return table(["Archive", "Bytes", "sha256", "As published"], rows, "Archives that were read") if rows else None


def mean_image(results: Results, study: Study, set_: str) -> Html | None:
    """The mean image of a training split, or None if the store is not there."""
    path = results.folder / study.name / "data" / set_ / "mean.npy"
    if not path.is_file():
        return None
    from PIL import Image

    pixels = np.clip(np.rint(np.load(path)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    side = pixels.shape[0]
    low, high = pixels.min(), pixels.max()
    alt = f"Mean of the training images of {set_}: {side} by {side} pixels, values from {low} to {high}"
    return image(buffer.getvalue(), alt, f"Mean training image of {set_}; it is subtracted from every image.", 192)


def baselines_table(ctx: Context, study: Study) -> Html | None:
    """Classifiers that do not see shapes, beside the base network; None if they were not computed."""
    record = ctx.results.baselines.get(study.name)
    if not record:
        return None
    names = {
        "linear_pixels": "linear classifier on pixels",
        "color_histogram": "linear classifier on a colour histogram",
    }
    rows = [[names[k], f"{100 * v['top1_error']:.1f} %", f"{v['images']:,}"] for k, v in record.items() if k in names]
    e = ctx.results.evals
    e = e[(e["study"] == study.name) & (e["experiment"] == "alexnet") & (e["view"] == "center")]
    for (set_, split), group in e.groupby(["set", "split"]):
        error = f"{100 * group['top1_error'].mean():.1f} %"
        rows.append([f"alexnet, centre view, {set_} {split}", error, f"{group['images'].iloc[0]:,}"])
    where = f"{record.get('test_split', 'val')} split"
    return table(
        ["Classifier", "Top-1 error", "Images"],
        rows,
        f"Do the images need vision? Simple classifiers ({where}) and the network",
    )
