"""Estimates from first kernels: how many are selective beyond their smoothness, and in which tower.

A kernel counts as oriented, or as a blob, where fewer than one in twenty of its surrogates is as much so (`alexnet.evaluation.probe_kernels`),
and as coloured where it is more colour than grey and smoother than noise.
"""

import numpy as np
import pandas as pd

from analysis.measures.estimates import Asked, NoEstimate
from analysis.measures.inference import Estimate, inconclusive, of_one_net, with_remark
from analysis.measures.probed import examined, lacks
from analysis.measures.towers import ALPHA, Towers
from analysis.results.evidence import Results

# Share of energy in one pattern of one colour, from which on planted blobs of a quarter of the side are seen in 4 of 5 kernels
CLEAN = 0.97


def kernel_table(record: dict[str, object], key: str = "kernels") -> pd.DataFrame | None:
    """One row a kernel of the first layer with what was measured, and booleans; None in a record without surrogates.

    Columns added: `oriented` and `blob` (both above the 95th percentile of their surrogates, the blob coloured), and
    `coloured`.
    """
    stored = record.get(key)
    if not isinstance(stored, dict) or "patch_p" not in stored:
        return None
    table = pd.DataFrame(stored)
    colour = table["colourfulness"] > 0.5
    return table.assign(
        oriented=table["orientation_p"] <= ALPHA,
        blob=colour & (table["blob_p"] <= ALPHA),
        coloured=colour & (table["patch_p"] <= ALPHA),
    )


def kernel_tables(results: Results, study: str, experiment: str) -> dict[int, tuple[pd.DataFrame, pd.DataFrame]]:
    """By seed, the kernels of the finished net and of the untrained one."""
    found = {}
    for seed, record in examined(results, study, experiment).items():
        after, before = kernel_table(record), kernel_table(record, "untrained_kernels")
        if after is not None and before is not None:
            found[seed] = after, before
    if not found:
        raise NoEstimate(lacks(experiment, "kernels beside their surrogates"))
    return found


def tower_counts(asked: Asked) -> Towers:
    """Coloured kernels of the towers of all examined seeds."""
    found = kernel_tables(asked.results, asked.study, asked.experiment)
    tables = [after for after, _ in found.values()]
    sides = [[table.loc[table["tower"] == tower, "coloured"] for tower in (0, 1)] for table in tables]
    sizes = {(len(first), len(second)) for first, second in sides}
    if len(sizes) > 1 or not min(min(sizes)):
        raise NoEstimate(f"{asked.experiment} has no two towers whose kernels could be compared")
    return Towers(np.array([[int(side.sum()) for side in pair] for pair in sides]), sizes.pop())


def selective_kernels(asked: Asked) -> Estimate:
    """Share of first kernels that are `oriented`, or a coloured `blob`, as the metric says, after minus before training.

    Nothing is concluded on blobs where the kernels are too noisy for one to be seen.
    """
    kind, tables = asked.metric, list(kernel_tables(asked.results, asked.study, asked.experiment).values())
    shares = np.array([[after[kind].mean(), before[kind].mean()] for after, before in tables])
    change, (now, then) = shares[:, 0] - shares[:, 1], 100 * shares.mean(axis=0)
    found = of_one_net(change)
    told = f"{now:.1f} % of {len(tables[0][0])} kernels, {then:.1f} % before training, 5 % or less by chance"
    if kind == "blob":
        coloured = pd.concat([after[after["coloured"]] for after, _ in tables])
        if coloured["one_colour"].mean() < CLEAN:
            shows = f"a blob shows where one colour holds {100 * CLEAN:.0f} % of the energy of a kernel"
            found = inconclusive(found, f"the kernels are too noisy: {shows}")
        told += f"; {100 * np.mean([after['coloured'].mean() for after, _ in tables]):.1f} % are coloured and smooth, blobs or not"
    return with_remark(found, told)
