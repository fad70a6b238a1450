"""The page on data: manifests, mean images and simple baselines."""

from collections import Counter
from typing import Any

import numpy as np

from analysis.report.context import Context
from analysis.report.page import Html, picture, render
from analysis.report.pages.what_the_net_sees import sample_sheet
from analysis.results.evidence import Results, Study

CLASSIFIERS = {
    "linear_pixels": "linear classifier on pixels",
    "color_histogram": "linear classifier on a colour histogram",
}
REPAIRED = 20  # files that are named


def data(ctx: Context) -> Html:
    """Everything that is known about the data, once for all studies that were run on the same."""
    same: dict[tuple[str, ...], list[Study]] = {}
    for study in ctx.studies:
        key = tuple(str(m.get("fingerprint", of)) for of, m in ctx.results.manifests.items() if of[0] == study.name)
        if key:
            same.setdefault(key, []).append(study)
    return render("data.html.j2", parts=[_part(ctx, studies) for studies in same.values()], most=REPAIRED)


def _part(ctx: Context, studies: list[Study]) -> dict[str, Any]:
    """What the template shows of studies that share their data: manifests, odd files (the rarest kinds first), pictures, baselines."""
    name = studies[0].name
    sets = {set_: manifest for (of, set_), manifest in ctx.results.manifests.items() if of == name}
    repaired = [
        (item["name"], f"{set_} {split}", ", ".join(item["repairs"]))
        for set_, manifest in sets.items()
        for split, record in manifest["splits"].items()
        for item in record["repaired"]
    ]
    kinds = Counter(kind for _, _, kind in repaired)
    return {
        "studies": studies,
        "sets": sets,
        "repaired": sorted(repaired, key=lambda row: (kinds[row[2]], row[1], row[0])),
        "kinds": ", ".join(f"{n:,} {kind}" for kind, n in reversed(kinds.most_common())),
        "left_out": [item for manifest in sets.values() for item in manifest.get("undecodable", [])],
        "sample": sample_sheet(ctx.results, studies[0]),
        "means": {set_: _mean_image(ctx.results, name, set_) for set_ in sets},
        "baselines": [found for study in studies if (found := _baselines(ctx, study))],
    }


def _mean_image(results: Results, study: str, set_: str) -> Html | None:
    """The mean image of a training split, or None if the store is not there."""
    path = results.folder / study / "data" / set_ / "mean.npy"
    if not path.is_file():
        return None
    from PIL import Image

    pixels = np.clip(np.rint(np.load(path)), 0, 255).astype(np.uint8)
    side = pixels.shape[0]
    alt = (
        f"Mean of the training images of {set_}: {side} by {side} pixels, values from {pixels.min()} to {pixels.max()}"
    )
    return picture(Image.fromarray(pixels), alt, 192)


def _baselines(ctx: Context, study: Study) -> tuple[str, list[tuple[str, float, int]]] | None:
    """Classifiers that do not see shapes, beside the base network: their split, and name, error and images of each; None: not computed."""
    record = ctx.results.baselines.get(study.name)
    if not record:
        return None
    rows = [(words, record[k]["top1_error"], record[k]["images"]) for k, words in CLASSIFIERS.items() if k in record]
    e = ctx.results.evals
    e = e[(e["study"] == study.name) & (e["experiment"] == "alexnet") & (e["view"] == "center")]
    for (set_, split), group in e.groupby(["set", "split"]):
        rows.append((f"alexnet, centre view, {set_} {split}", group["top1_error"].mean(), group["images"].iloc[0]))
    return record.get("test_split", "val"), rows
