"""Measures the claims about the inside of finished nets; shares and errors are fractions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from analysis.measures.estimates import NoEstimate, gains_by_class, images
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


def generalization_gap(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Validation minus training error of the finished net (top-1, centre view): experiment minus baseline.

    Both nets saw the same training images. The noise of either choice of images is that of the difference of the two nets
    on each image.

    Raises:
        NoEstimate: one of the two has no examination, or no evaluation of the validation split.
    """
    train = _sample_errors(results, study, experiment, baseline)
    set_ = results.studies[study].training_set
    held_out = [images(results, study, name, set_, "val", "center", "top1_error") for name in (experiment, baseline)]
    sides = [_gaps(name, *errors) for name, *errors in zip((experiment, baseline), train, held_out, strict=True)]
    of = _training_images(results, study, experiment)
    (noise, floor), (other, other_floor) = of_images(*train, of), of_images(held_out[0], held_out[1])
    both = len(train[0]) + len(held_out[0])
    found = of_two_nets(sides[0], sides[1], [noise, other], both, floor + other_floor)
    classes = results.classes_by_image(study, set_, "val", held_out[0].index)
    if classes is None:
        return found
    labels = by_image(results, study, experiment, "sample", "label").iloc[:, 0]
    by_class = gains_by_class(held_out[0], held_out[1], classes) - gains_by_class(*train, labels)
    return of_classes(found, by_class.dropna())


def base_gap(results: Results, study: str, base: str) -> float:
    """Validation minus training error of a finished net (top-1, centre view), a fraction: mean over seeds.

    Raises:
        NoEstimate: it has no examination, or no evaluation of the validation split.
    """
    train = by_image(results, study, base, "sample", "top1_error")
    held_out = images(results, study, base, results.studies[study].training_set, "val", "center", "top1_error")
    return fmean(_gaps(base, train, held_out).values())


def _gaps(net: str, train: pd.DataFrame, held_out: pd.DataFrame) -> dict[str, float]:
    """Validation minus training error of each seed that has both, from errors by image."""
    seeds = [seed for seed in train.columns if seed in held_out.columns]
    if not seeds:
        raise NoEstimate(f"{net}: no seed was both examined and evaluated")
    return {str(seed): float(gap) for seed, gap in (held_out[seeds].mean() - train[seeds].mean()).items()}


def sample_difference(results: Results, study: str, experiment: str, baseline: str) -> Estimate:
    """Error of the finished net on the training images that were examined (top-1, centre view): experiment minus baseline.

    Raises:
        NoEstimate: one of the two has no examination.
    """
    ours, base = _sample_errors(results, study, experiment, baseline)
    sides = [{str(seed): float(mean) for seed, mean in table.mean().items()} for table in (ours, base)]
    noise, floor = of_images(ours, base, _training_images(results, study, experiment))
    return of_two_nets(sides[0], sides[1], [noise], len(ours), floor)


def _sample_errors(results: Results, study: str, experiment: str, baseline: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    ours, base = (by_image(results, study, name, "sample", "top1_error") for name in (experiment, baseline))
    return ours, base


def _training_images(results: Results, study: str, experiment: str) -> int:
    """How many training images the examined ones were drawn from."""
    record = next(iter(examined(results, study, experiment).values()))
    sample = record["sample"]
    assert isinstance(sample, dict)
    return int(sample["of"])


# Neighbours, and thinned nets ---------------------------------------------------------------------------------------


def of_queries(
    results: Results, study: str, experiment: str, column: str, minus: str, null: float, needs: Sequence[str] = ()
) -> Estimate:
    """Mean over the queries of a column, or of the difference of two, over images and the seeds that have all of `needs`.

    Raises:
        NoEstimate: no examination, or the column is not measured in this net.
    """
    needs = [column, *filter(None, [minus]), *needs]
    table = by_image(results, study, experiment, "queries", column, needs)
    if minus:
        table = (table - by_image(results, study, experiment, "queries", minus, needs)).dropna()
    if len(table) < 2:
        raise NoEstimate(lacks(experiment, column))
    noise, floor = of_images(table)
    return of_one_net(table.mean().to_numpy(float), null, [noise], len(table), floor)


def _means(results: Results, study: str, experiment: str, columns: Sequence[str]) -> dict[str, float]:
    """Mean of each column over images and the seeds that have all of them."""
    return {
        key: float(by_image(results, study, experiment, "queries", key, columns).to_numpy().mean()) for key in columns
    }


def retrieval(results: Results, study: str, experiment: str) -> Estimate:
    """Share of the nearest images that are of the same class: in the layer, minus in the best of the `BASELINES`."""
    shares = _means(results, study, experiment, ["same_class", *BASELINES])
    best = max(BASELINES, key=lambda key: shares[key])
    told = ", ".join(f"{100 * shares[key]:.1f} % by {name}" for key, name in BASELINES.items())
    found = of_queries(results, study, experiment, "same_class", best, null=0.0, needs=list(BASELINES))
    return with_remark(
        found, f"{100 * shares['same_class']:.1f} % in the layer, {told}; compared with the best of these"
    )


def codes(results: Results, study: str, experiment: str) -> Estimate:
    """Share of the nearest images that are of the same class: by codes of 64 bits, minus in pixels."""
    return of_queries(results, study, experiment, "same_class_codes", "same_class_pixels", null=0.0)


def pixel_ranks(results: Results, study: str, experiment: str) -> Estimate:
    """Percentile rank in pixels of the nearest images in the layer; "no effect" is `CLOSE`."""
    columns = ["pixel_rank", "untrained_pixel_rank", "class_pixel_rank"]
    means = [100 * mean for mean in _means(results, study, experiment, columns).values()]
    found = of_queries(results, study, experiment, "pixel_rank", "", CLOSE, columns)
    return with_remark(
        found,
        f"0 is nearest and 50 chance; neighbours in the untrained net have {means[1]:.1f}, images of the class "
        f"{means[2]:.1f}",
    )


def halving(results: Results, study: str, experiment: str) -> Estimate:
    """Divergence of the halved net from the arithmetic mean of thinned nets minus that from the geometric mean."""
    errors = ["halved_error", "geometric_error", "thinned_error"]
    columns = ["geometric_halved", "geometric_halved_sampled", "arithmetic_halved", "geometric_arithmetic", *errors]
    means = _means(results, study, experiment, columns)
    rates = [100 * means[key] for key in errors]
    found = of_queries(results, study, experiment, "arithmetic_halved", "geometric_halved", 0.0, columns)
    return with_remark(
        found,
        f"halved net from the geometric mean {means['geometric_halved']:.4f} nats "
        f"({means['geometric_halved_sampled']:.4f} before the luck of the sampled masks is taken away), from the arithmetic "
        f"mean {means['arithmetic_halved']:.4f}; the two means from each other {means['geometric_arithmetic']:.4f}; top-1 error "
        f"halved {rates[0]:.1f} %, geometric mean {rates[1]:.1f} %, a thinned net {rates[2]:.1f} %",
    )
