"""Small pictures for the report: a sample sheet, what a net says about images, what it finds alike."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.probed import to_show
from analysis.report.context import Context
from analysis.report.page import Html, picture, render
from analysis.results.evidence import Results, Study
from analysis.text import plural

BASE = "alexnet"
SIDE = 64  # pixels of a picture in a row
LARGE = 112  # pixels of a picture alone
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


def strip(images: list[Image], alt: str, side: int = SIDE, gap: int = 3) -> Html:
    """Images side by side, each of `side` pixels, as one JPEG; the gaps are mid-grey."""
    from PIL import Image as Pillow

    wide = len(images) * (side + gap) - gap
    sheet = Pillow.new("RGB", (wide, side), (128, 128, 128))
    for i, image in enumerate(images):
        small = Pillow.fromarray(image).resize((side, side), Pillow.Resampling.LANCZOS)
        sheet.paste(small, (i * (side + gap), 0))
    return picture(sheet, alt, wide, "jpeg", quality=88)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` positions spread evenly over `count`; all of them if there are fewer."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, wanted))]


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
    rows: list[tuple[str, int, Html | None]] = []
    for label in spread(len(manifest["classes"]), CLASSES):
        places, name = np.flatnonzero(index["label"].to_numpy() == label).tolist(), short_name(manifest, label)
        images = read_images(folder, "train", index, places[:OF_CLASS])
        alt = f"{plural(len(images), 'training image')} of the class {name}"
        rows.append((name, len(places), strip(images, alt) if images else None))
    return render("sample_sheet.html.j2", rows=rows, set=set_, classes=len(manifest["classes"]))


# Fig. 4 -----------------------------------------------------------------------------------------------------------


def what_the_net_sees(ctx: Context, study: Study) -> Html | None:
    """Validation images with the five labels that the base net, else another one, finds most probable, and nearest training images.

    None where no examination recorded pictures.
    """
    nets = {key[1] for key in ctx.results.examined if key[0] == study.name}
    told = [
        record
        for name in sorted(nets, key=lambda name: (name != BASE, name))
        for record in to_show(ctx.results, study.name, name).values()
        if record.get("pictures")
    ]
    if not told:
        return None
    record = told[0]
    pixels = pixels_of(ctx.results, study, record)
    manifest = ctx.results.manifests.get((study.name, study.training_set), {})
    cards = [_card(record, entry, manifest, pixels) for entry in record["pictures"]]
    return render("single_images.html.j2", study=study, record=record, here=bool(pixels), cards=cards)


def _card(
    record: dict[str, Any], entry: dict[str, Any], manifest: dict[str, Any], pixels: dict[tuple[str, int], Image]
) -> dict[str, Any]:
    """An image with the bars of its five most probable labels and its nearest training images; pictures only where they are here.

    `right` is the place of the true label among the five, `near` the classes of the neighbours and `same` how many are of its own.
    """
    truth, neighbours = int(entry["label"]), entry.get("neighbours", [])
    name, labels = short_name(manifest, truth), [int(label) for label in entry["top5"]]
    names, shares = [short_name(manifest, label) for label in labels], entry["probabilities"]
    near = [short_name(manifest, int(one["label"])) for one in neighbours]
    card = {
        "name": name,
        "bars": [(known, 100 * float(share)) for known, share in zip(names, shares, strict=True)],
        "right": labels.index(truth) if truth in labels else None,
        "near": near,
        "same": sum(one["label"] == entry["label"] for one in neighbours),
        "large": None,
    }
    if not pixels:
        return card
    own, alt = [pixels[record["validation_split"], entry["index"]]], f"Validation image of the class {name}"
    found = [pixels[record["train_split"], one["index"]] for one in neighbours]
    alike = strip(found, f"Its nearest training images, of the classes {', '.join(near)}") if found else None
    return card | {"large": strip(own, alt, LARGE), "small": strip(own, alt), "strip": alike}


def pixels_of(results: Results, study: Study, record: dict[str, Any]) -> dict[tuple[str, int], Image]:
    """The images of `pictures` by split and row: from the packed set, else thumbnails of the record; empty where neither is here."""
    held, trained = record["validation_split"], record["train_split"]
    places = [(held, int(entry["index"])) for entry in record["pictures"]]
    places += [(trained, int(near["index"])) for entry in record["pictures"] for near in entry.get("neighbours", [])]
    folder, sheet = _folder(results, study, record["set"]), Path(record["folder"]) / "thumbnails.jpg"
    manifest = results.manifests.get((study.name, record["set"]), {})
    indices = {split: read_index(folder, split) for split in (held, trained)}
    if manifest.get("fingerprint") != record["data_fingerprint"] or any(x is None for x in indices.values()):
        there = sheet.is_file()
        return dict(zip(places, results.guard.tiles(sheet, len(places), record), strict=True)) if there else {}
    found: dict[tuple[str, int], Image] = {}
    for split, index in indices.items():
        assert index is not None
        rows = [row for of, row in places if of == split]
        images = read_images(folder, split, index, rows)
        found |= {(split, row): image for row, image in zip(rows, images, strict=True)}
    return found
