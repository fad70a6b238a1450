"""Turns packed images into small pictures for the report: a sample sheet, what a net says about images, what it finds alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.context import Context
from analysis.report.page import Html, heading, joined, note, picture, say, stack, table
from analysis.results.evidence import Results, Study
from analysis.results.integrity import frame
from analysis.text import plural

BASE = "alexnet"
SIDE = 64  # pixels of a picture in a row
LARGE = 112  # pixels of a picture alone
SHOWN = 8  # images with their five labels (Fig. 4, left)
ASKED = 5  # images with their neighbours (Fig. 4, right)
CLASSES, OF_CLASS = 10, 6  # rows and pictures of the sample sheet
Image = NDArray[np.uint8]


# Packed images ----------------------------------------------------------------------------------------------------


def read_index(folder: Path, split: str) -> pd.DataFrame | None:
    """The table of a packed split (name, label and, in a JPEG store, where each file lies); None if it is not there."""
    path = folder / f"{split}.csv"
    stored = [folder / f"{split}.{kind}" for kind in ("npy", "jpegs")]
    if not path.is_file() or not any(file.is_file() for file in stored):
        return None
    wanted = {"name", "label", "offset", "bytes"}
    return pd.read_csv(path, usecols=lambda column: column in wanted)


def read_images(folder: Path, split: str, index: pd.DataFrame, places: list[int]) -> list[Image]:
    """Images (rows, columns, RGB) at these rows of the index."""
    from PIL import Image as Pillow

    if (folder / f"{split}.npy").is_file():
        stored = np.load(folder / f"{split}.npy", mmap_mode="r")
        return [np.asarray(stored[place]) for place in places]
    out = []
    with (folder / f"{split}.jpegs").open("rb") as store:
        for place in places:
            store.seek(int(index["offset"].iloc[place]))
            file = store.read(int(index["bytes"].iloc[place]))
            out.append(np.asarray(Pillow.open(io.BytesIO(file)).convert("RGB")))
    return out


def strip(images: list[Image], side: int = SIDE, gap: int = 3) -> bytes:
    """Images side by side, each of `side` pixels, as one JPEG; the gaps are mid-grey."""
    from PIL import Image as Pillow

    wide = len(images) * (side + gap) - gap
    sheet = Pillow.new("RGB", (wide, side), (128, 128, 128))
    for i, image in enumerate(images):
        small = Pillow.fromarray(image).resize((side, side), Pillow.Resampling.LANCZOS)
        sheet.paste(small, (i * (side + gap), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=88, optimize=True)
    return buffer.getvalue()


def _strip(images: list[Image], alt: str, side: int = SIDE) -> Html:
    width = len(images) * (side + 3) - 3
    return picture(strip(images, side), alt, width, "jpeg")


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` positions spread evenly over `count`; all of them if there are fewer."""
    if count <= wanted:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, wanted)]


def short_name(manifest: dict[str, Any], label: int) -> str:
    """The first name of a class; its number where the manifest does not name it."""
    classes = manifest.get("classes", [])
    if not 0 <= label < len(classes):
        return f"class {label}"
    return str(classes[label].get("name") or classes[label].get("wnid") or label).split(",")[0]


def _folder(results: Results, study: Study, set_: str) -> Path:
    return results.folder / study.name / "data" / set_


# Sample sheet -----------------------------------------------------------------------------------------------------


def sample_sheet(results: Results, study: Study) -> Html | None:
    """A row a class, spread over all classes, with the first training images of each; None where the store is not there."""
    set_ = study.training_set
    manifest, folder = results.manifests.get((study.name, set_)), _folder(results, study, set_)
    index = read_index(folder, "train") if manifest else None
    if manifest is None or index is None:
        return None
    classes = len(manifest["classes"])
    rows: list[list[object]] = []
    for label in spread(classes, CLASSES):
        places = list(np.flatnonzero(index["label"].to_numpy() == label)[:OF_CLASS])
        name = short_name(manifest, label)
        if not places:
            rows.append([name, "0", "no image"])
            continue
        images = read_images(folder, "train", index, places)
        count = int((index["label"] == label).sum())
        shown = _strip(images, f"{plural(len(images), 'training image')} of the class {name}")
        rows.append([name, f"{count:,}", shown])
    caption = f"Sample of {set_} train: the first images of {len(rows)} of {classes:,} classes, as packed"
    return table(["Class", "Images", "First images"], rows, caption, "pictures")


# Fig. 4, left: five labels ----------------------------------------------------------------------------------------


def what_the_net_sees(ctx: Context, study: Study) -> Html:
    """Eight validation images with the five labels that the net finds most probable, and nearest training images."""
    return stack(
        heading(study.title),
        heading("Five most probable labels", 4),
        five_labels(ctx, study),
        heading("Nearest training images", 4),
        neighbours(ctx, study),
    )


def five_labels(ctx: Context, study: Study) -> Html:
    """Eight validation images, chosen by position and not by result, with bars of the five most probable labels."""
    results, set_ = ctx.results, study.training_set
    found = results.chosen(study.name, BASE, set_, "val", "center")
    folder, manifest = _folder(results, study, set_), results.manifests.get((study.name, set_), {})
    index = read_index(folder, "val")
    if found.empty:
        return note("The base network was not evaluated on the validation images yet.")
    if index is None:
        return note("The packed validation images are not here, so none can be shown.")
    row = found.iloc[0]
    columns = ["name", "label", "center_top5", "center_top5_probability"]
    try:
        said = frame(row["path"], columns)
    except (KeyError, ValueError):  # the predictions were not kept
        return note("This evaluation did not keep its five labels.")
    said = said[said["name"].isin(set(index["name"]))].sort_values("name", ignore_index=True)
    said = said.iloc[spread(len(said), SHOWN)]
    place = {name: i for i, name in enumerate(index["name"])}
    cards, first, among = [], 0, 0
    for image in said.itertuples():
        truth = int(image.label)
        labels = [int(label) for label in image.center_top5]
        first, among = first + (labels[0] == truth), among + (truth in labels)
        (pixels,) = read_images(folder, "val", index, [place[image.name]])
        bars = list(zip(labels, image.center_top5_probability, strict=True))
        cards.append(_card(pixels, manifest, truth, bars))
    words = (
        f"{plural(len(cards), 'image')} of {set_} val, spread evenly over the file names, so not chosen by how well they went. The right "
        f"label is the most probable one in {first} and among the five in {among}. Over all {row['images']:,} images the errors are "
        f"{100 * row['top1_error']:.1f} % (top-1) and {100 * row['top5_error']:.1f} % (top-5); alexnet, seed {row['seed']}, centre view."
    )
    return stack(say(words), Html('<div class="seen">{}</div>').format(joined(cards)))


def _card(pixels: Image, manifest: dict[str, Any], truth: int, bars: list[tuple[int, float]]) -> Html:
    """A picture, its label, and five bars; the right one is marked in a word and a colour."""
    name = short_name(manifest, truth)
    lines = []
    for label, probability in bars:
        right = label == truth
        mark = Html(' <span class="right">right</span>' if right else "")
        line = Html(
            '<li><span class="bar{0}" style="width:{1:.1f}%"></span><span>{2}{3} {1:.0f}\u00a0%</span></li>'
        )
        shown = [" good" if right else "", 100 * float(probability), short_name(manifest, label), mark]
        lines.append(line.format(*shown))
    image = picture(strip([pixels], LARGE), f"Validation image of the class {name}", LARGE, "jpeg")
    return Html('<figure class="picture">{}<figcaption><b>{}</b><ol>{}</ol></figcaption></figure>').format(
        image, name, joined(lines)
    )


# Fig. 4, right: neighbours ----------------------------------------------------------------------------------------


def neighbours(ctx: Context, study: Study) -> Html:
    """A few validation images, each with its nearest training images by the last hidden layer."""
    results, set_ = ctx.results, study.training_set
    keys = sorted(key for key in results.examined if key[:2] == (study.name, BASE))
    if not keys:
        return note("No finished net of this study was examined yet (`python -m alexnet examine`).")
    record = results.examined[keys[0]]
    queries = frame(Path(record["folder"]) / "queries.parquet")
    folder, manifest = _folder(results, study, set_), results.manifests.get((study.name, set_), {})
    held, trained = read_index(folder, "val"), read_index(folder, "train")
    if "neighbours" not in queries:
        return note(
            "This examination did not keep which images are near; run `python -m alexnet examine` again."
        )
    if held is None or trained is None:
        return note("The packed images are not here, so none can be shown.")
    queries = queries.sort_values("name", ignore_index=True).iloc[spread(len(queries), ASKED)]
    at = {
        split: {name: i for i, name in enumerate(of["name"])}
        for split, of in (("val", held), ("train", trained))
    }
    rows = []
    for query in queries.itertuples():
        name = short_name(manifest, int(query.label))
        found = [at["train"][near] for near in query.neighbours if near in at["train"]]
        if query.name not in at["val"] or not found:
            continue
        labels = [int(trained["label"].iloc[place]) for place in found]
        classes = [short_name(manifest, label) for label in labels]
        own = read_images(folder, "val", held, [at["val"][query.name]])
        near = read_images(folder, "train", trained, found)
        rows.append(
            [
                name,
                _strip(own, f"Validation image of the class {name}"),
                _strip(near, f"Its nearest training images, of the classes {', '.join(classes)}"),
                f"{sum(label == query.label for label in labels)} of {len(labels)}",
            ]
        )
    if not rows:
        return note("The images that were examined are not among the packed ones.")
    of = record["neighbours"]
    words = (
        f"{plural(len(rows), 'validation image')}, spread evenly over the file names, with the {of['count']} training images nearest in {of['layer']} "
        f"(L2, {of['dimensions']:,} dimensions), nearest first; alexnet, seed {keys[0][2]}. Of all {record['queries']['images']:,} images asked, "
        f"{100 * record['queries']['same_class']:.1f} % of the neighbours are of the same class, {100 * record['queries']['same_class_pixels']:.1f} % by pixels, "
        f"{100 * record['queries']['chance']:.1f} % by chance."
    )
    heads = ["Class", "Image", "Nearest in the layer", "Of its class"]
    return stack(say(words), table(heads, rows, "Nearest training images", "pictures"))
