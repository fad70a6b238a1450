"""Views of a picture at test time: the centre, or four corners and centre with reflections."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VIEWS = {"center": 1, "ten": 10}


def central_crop(image: NDArray[Any], crop: int) -> NDArray[Any]:
    """The central crop x crop part of (..., S, S, 3) images."""
    start = (image.shape[-2] - crop) // 2
    return image[..., start : start + crop, start : start + crop, :]


def to_batch(pixels: NDArray[np.uint8], mean: NDArray[np.float32], device: torch.device | str = "cpu") -> Tensor:
    """(..., crop, crop, 3) uint8 -> (B, 3, crop, crop) float32 minus `mean`, channels last, on a device, to which bytes go.

    Leading axes become B. `mean` has the shape of `pixels`, or of its last axes: one for all images, or one a view.
    """
    # whole pictures come as the store itself, read-only, which torch warns about
    pixels = np.require(pixels, requirements="W")
    centred = torch.from_numpy(pixels).to(device).float() - torch.from_numpy(mean).to(device)
    return centred.flatten(0, -4).permute(0, 3, 1, 2)


def mean_views(mean: NDArray[np.float32], crop: int, views: str, rule: str) -> NDArray[np.float32]:
    """What is subtracted from each test view: (V, crop, crop, 3), 0-255.

    Args:
        mean: (S, S, 3), the mean image.
        rule: "central_crop", its central crop whatever the view (code convdata_jpeg.py:95, 209-211); or
            "aligned", from each pixel its own mean (s. 2), reflected with the image.
    """
    cut = test_views(mean[None], crop, views)[0]
    if rule == "aligned":
        return np.ascontiguousarray(cut)
    # a copy: of a whole picture it would be read-only
    return np.array(np.broadcast_to(central_crop(mean, crop), cut.shape))


def ten_views(images: NDArray[Any], crop: int) -> NDArray[Any]:
    """Four corners and the centre of each image, then their reflections (s. 4.1).

    Args:
        images: (B, S, S, 3).

    Returns:
        (B, 10, crop, crop, 3).
    """
    far = images.shape[1] - crop
    mid = far // 2
    corners = [(0, 0), (0, far), (far, 0), (far, far), (mid, mid)]
    views = [images[:, top : top + crop, left : left + crop] for top, left in corners]
    return np.stack(views + [view[:, :, ::-1] for view in views], axis=1)


def test_views(images: NDArray[Any], crop: int, views: str) -> NDArray[Any]:
    """(B, V, crop, crop, 3): the central crop, or the paper's ten views."""
    if views == "center":
        return central_crop(images, crop)[:, None]
    return ten_views(images, crop)
