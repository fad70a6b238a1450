"""Records what a net says of a few images, with thumbnails where the images may be passed on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from alexnet.packed.packed_set import Split

SHOWN, ASKED = 16, 8  # images with their five labels; those among them with their neighbours
TILE, ACROSS = 64, 8  # pixels of a thumbnail at most; thumbnails in a row
LIMIT = 240_000  # bytes of all thumbnails of a net
GENERATED = (
    "n9"  # how the wnids of generated classes begin (`alexnet.synthetic.synsets`); those of WordNet end far below
)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` positions spread evenly over `count`; all of them if there are fewer."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, wanted))]


def may_travel(manifest: dict[str, Any]) -> bool:
    """Whether a packed set's images may be passed on: CIFAR-10's and generated ones; ImageNet's may not."""
    wnids = [str(entry["wnid"]) for entry in manifest["classes"]]
    return manifest.get("source") == "cifar10" or all(wnid.startswith(GENERATED) for wnid in wnids)


def thumbnails(images: Sequence[NDArray[np.uint8]]) -> bytes:
    """Images (S, S, RGB) as tiles of one JPEG, `ACROSS` in a row, of at most `LIMIT` bytes."""
    side = min(TILE, len(images[0]))
    sheet = np.zeros((-(-len(images) // ACROSS), side, ACROSS, side, 3), np.uint8)
    for place, pixels in enumerate(images):
        tile = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
        sheet[place // ACROSS, :, place % ACROSS] = np.asarray(tile)
    for quality in (92, 80, 65, 50, 35, 20, 5):
        encoded: bytes = simplejpeg.encode_jpeg(sheet.reshape(-1, ACROSS * side, 3), quality)
        if len(encoded) <= LIMIT:
            break
    return encoded


def record(
    asked: Split,
    places: NDArray[np.int64],
    said: list[tuple[list[int], list[float]]],
    trained: Split,
    neighbours: NDArray[np.int64],
) -> tuple[list[dict[str, Any]], bytes | None]:
    """A few of the images that were asked: where they lie in the packed set, five labels, and the nearest training images.

    Args:
        places: (Q,), rows of the images in their split.
        said: five labels and their probabilities, an image each.
        neighbours: (Q, k), rows of the nearest images in the training split.

    Returns:
        An entry an image, and thumbnails (images first, then the neighbours of each), None where they may not be passed on.
    """
    entries: list[dict[str, Any]] = []
    shown = spread(len(places), SHOWN)
    with_neighbours = {shown[place] for place in spread(len(shown), ASKED)}
    for query in shown:
        row = int(places[query])
        labels, probabilities = said[query]
        entry = {"index": row, "name": asked.names[row], "label": int(asked.labels[row])}
        entry |= {"top5": labels, "probabilities": [round(p, 4) for p in probabilities]}
        if query in with_neighbours:
            near = [int(place) for place in neighbours[query]]
            entry["neighbours"] = [{"index": i, "label": int(trained.labels[i])} for i in near]
        entries.append(entry)
    if not may_travel(asked.manifest):
        return entries, None
    images = [np.asarray(asked.images[entry["index"]]) for entry in entries]
    images += [np.asarray(trained.images[near["index"]]) for e in entries for near in e.get("neighbours", [])]
    return entries, thumbnails(images)
