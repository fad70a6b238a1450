"""Measures the claims about the inside of finished nets; shares and errors are fractions."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pandas as pd

from analysis.measures.estimates import Asked, NoEstimate, gains_by_class, images
from analysis.measures.inference import Estimate, of_classes, of_one_net, of_two_nets, with_remark
from analysis.measures.probed import by_image, examined, lacks, of_images
from analysis.results.evidence import Results

CLOSE = 0.1  # percentile rank up to which images count as close in pixels
BASELINES = {
    "same_class_pixels": "pixels",
    "same_class_colours": "histograms of colours",
    "same_class_untrained": "the untrained net",
}


# Training and validation error of the finished net ------------------------------------------------------------------


def generalization_gap(asked: Asked) -> Estimate:
    """Validation minus training error of the finished net (top-1, centre view): experiment minus baseline.

    Both nets saw the same training images. The noise of either choice of images is that of the difference of the two nets
    on each image.
    """
    (train, train_base), (val, val_base) = map(_sample, asked.each()), map(_held_out, asked.each())
    gaps, base = _gaps(asked.experiment, train, val), _gaps(asked.baseline, train_base, val_base)
    noise, floor = of_images(train, train_base, _training_images(asked))
    other, other_floor = of_images(val, val_base)
    found = of_two_nets(gaps, base, [noise, other], len(train) + len(val), floor + other_floor)
    classes = asked.results.classes_by_image(asked.study, asked.record.training_set, "val", val.index)
    if classes is None:
        return found
    labels = by_image(asked, "sample", "label").iloc[:, 0]
    by_class = gains_by_class(val, val_base, classes) - gains_by_class(train, train_base, labels)
    return of_classes(found, by_class.dropna())


def base_gap(results: Results, study: str, base: str) -> float:
    """Validation minus training error of a finished net (top-1, centre view), a fraction: mean over seeds."""
    asked = Asked(results, study, base)
    return fmean(_gaps(base, _sample(asked), _held_out(asked)).values())


def _gaps(net: str, train: pd.DataFrame, held_out: pd.DataFrame) -> dict[str, float]:
    """Validation minus training error of each seed that has both, from errors by image."""
    gaps = (held_out.mean() - train.mean()).dropna()
    if gaps.empty:
        raise NoEstimate(f"{net}: no seed was both examined and evaluated")
    return {str(seed): float(gap) for seed, gap in gaps.items()}


def sample_difference(asked: Asked) -> Estimate:
    """Error of the finished net on the training images that were examined (top-1, centre view): experiment minus baseline."""
    train, train_base = map(_sample, asked.each())
    ours, base = ({str(seed): float(mean) for seed, mean in of.mean().items()} for of in (train, train_base))
    noise, floor = of_images(train, train_base, _training_images(asked))
    return of_two_nets(ours, base, [noise], len(train), floor)


def _sample(asked: Asked) -> pd.DataFrame:
    return by_image(asked, "sample", "top1_error")


def _held_out(asked: Asked) -> pd.DataFrame:
    held_out = replace(asked, dataset=asked.record.training_set, split="val", view="center", metric="top1_error")
    return images(held_out)


def _training_images(asked: Asked) -> int:
    """How many training images the examined ones were drawn from."""
    return int(next(iter(examined(asked.results, asked.study, asked.experiment).values()))["sample"]["of"])


# Neighbours, and thinned nets ---------------------------------------------------------------------------------------


def _of_queries(asked: Asked, column: str, minus: str = "", null: float = 0.0, needs: Sequence[str] = ()) -> Estimate:
    """Mean over the queries of a column, or of the difference of two, over images and the seeds that have all of `needs`."""
    needs = [column, *filter(None, [minus]), *needs]
    table = by_image(asked, "queries", column, needs)
    if minus:
        table = (table - by_image(asked, "queries", minus, needs)).dropna()
    if len(table) < 2:
        raise NoEstimate(lacks(asked.experiment, column))
    noise, floor = of_images(table)
    return of_one_net(table.mean().to_numpy(float), null, [noise], len(table), floor)


def _means(asked: Asked, columns: Sequence[str]) -> dict[str, float]:
    """Mean of each column over images and the seeds that have all of them."""
    return {key: float(by_image(asked, "queries", key, columns).to_numpy().mean()) for key in columns}


def retrieval(asked: Asked) -> Estimate:
    """Share of the nearest images that are of the same class: in the layer, minus in the best of the `BASELINES`."""
    shares = _means(asked, ["same_class", *BASELINES])
    told = ", ".join(f"{100 * shares[key]:.1f} % by {name}" for key, name in BASELINES.items())
    found = _of_queries(asked, "same_class", max(BASELINES, key=shares.__getitem__), needs=list(BASELINES))
    said = f"{100 * shares['same_class']:.1f} % in the layer, {told}; compared with the best of these"
    return with_remark(found, said)


def codes(asked: Asked) -> Estimate:
    """Share of the nearest images that are of the same class: by codes of 64 bits, minus in pixels."""
    return _of_queries(asked, "same_class_codes", "same_class_pixels")


def pixel_ranks(asked: Asked) -> Estimate:
    """Percentile rank in pixels of the nearest images in the layer; "no effect" is `CLOSE`."""
    columns = ["pixel_rank", "untrained_pixel_rank", "class_pixel_rank"]
    _, untrained, of_class = (100 * mean for mean in _means(asked, columns).values())
    return with_remark(
        _of_queries(asked, "pixel_rank", null=CLOSE, needs=columns),
        f"0 is nearest and 50 chance; neighbours in the untrained net have {untrained:.1f}, images of the class {of_class:.1f}",
    )


def halving(asked: Asked) -> Estimate:
    """Divergence of the halved net from the arithmetic mean of thinned nets minus that from the geometric mean."""
    errors = ["halved_error", "geometric_error", "thinned_error"]
    columns = ["geometric_halved", "geometric_halved_sampled", "arithmetic_halved", "geometric_arithmetic", *errors]
    means = _means(asked, columns)
    rates = [100 * means[key] for key in errors]
    return with_remark(
        _of_queries(asked, "arithmetic_halved", "geometric_halved", needs=columns),
        f"halved net from the geometric mean {means['geometric_halved']:.4f} nats "
        f"({means['geometric_halved_sampled']:.4f} before the luck of the sampled masks is taken away), from the arithmetic "
        f"mean {means['arithmetic_halved']:.4f}; the two means from each other {means['geometric_arithmetic']:.4f}; top-1 error "
        f"halved {rates[0]:.1f} %, geometric mean {rates[1]:.1f} %, a thinned net {rates[2]:.1f} %",
    )
