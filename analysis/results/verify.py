"""Verifies a results folder that somebody sent; needs no network.

Compared are all hashes in the folder, counts and means (`analysis.results.loading`). If nothing is wrong, the folder is what its
manifest says; whether that is the published manifest, its own sha256 tells.
"""

from pathlib import Path

from analysis.errors import UserError
from analysis.results.evidence import load_results
from analysis.results.integrity import MANIFEST, Unfit, files_below, sha256, write_manifest


def verify(folder: Path) -> tuple[list[str], str]:
    """Compare everything below `folder` that has a hash, a count or a mean: a sentence a problem, and a line on what was compared."""
    results = load_results(folder)
    guard, problems, there = results.guard, list(results.set_aside), files_below(folder)
    heavy = {f"{'/'.join((key[0], 'runs', key[1], str(key[2])))}/model.pt": run for key, run in results.runs.items()}
    for name in there:
        weights = {"files": {"model.pt": heavy[name]["weights_sha256"]}} if name in heavy else None
        try:
            guard.unchanged(folder / name, weights)
        except Unfit as problem:
            if not any(str(problem) in told for told in problems):
                problems.append(str(problem))
        if guard.kept and name not in guard.kept:
            problems.append(f"{name} is not in {MANIFEST}")
    problems += [f"{name} is missing, and is in {MANIFEST}" for name in guard.kept if name not in set(there)]
    manifest = f"{MANIFEST} (sha256 {sha256(folder / MANIFEST)})" if guard.kept else f"no {MANIFEST}"
    kinds = {"run": results.runs, "evaluation": set(results.evals["path"]), "examination": results.examined}
    counted = ", ".join(f"{len(found):,} {kind}s" for kind, found in kinds.items())
    return problems, (
        f"{folder}: {len(problems):,} problems in {len(there):,} files, {counted}; {manifest}; "
        f"{len(guard.bare):,} files of records are not protected by a hash"
    )


def protect(folder: Path) -> None:
    """Write the manifest of results that were kept without one.

    Raises:
        UserError: there is one, or something is wrong already.
    """
    if (folder / MANIFEST).exists():
        raise UserError(f"{folder} has a {MANIFEST}; delete it if it shall be made anew from what is there now")
    if problems := verify(folder)[0]:
        raise UserError(f"{folder} gets no {MANIFEST}: {problems[0]}")
    write_manifest(folder)
