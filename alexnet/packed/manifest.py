"""Reads manifest.json of a packed set and computes the hashes in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from threading import Event
from typing import Any

from alexnet.errors import UserError
from alexnet.runtime.files import digests

FORMAT = 2


def hash_file(path: Path, with_md5: bool = False, stop: Event | None = None) -> dict[str, Any]:
    """Name, size, sha256 and if asked md5 of an archive; what comes out after `stop` was set is not to be used.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        found = digests(path, ("sha256", "md5") if with_md5 else ("sha256",), stop)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}); check the disk, or fetch it again"
        ) from error
    return {"file": path.name, "bytes": path.stat().st_size, **found}


def fingerprint(record: dict[str, Any]) -> str:
    """sha256 over contents, classes and image size: the same if training on both is the same."""
    same = {
        "classes": record["classes"],
        "image_size": record["image_size"],
        "splits": {name: split["content_sha256"] for name, split in record["splits"].items()},
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def record_hash(record: dict[str, Any]) -> str:
    """sha256 over all that a manifest says but this and how long packing took."""
    others = ("record_sha256", "seconds", "images_per_second")
    rest = {key: value for key, value in record.items() if key not in others}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a packed set; those of sets that were packed before it had a hash of itself are read too.

    Raises:
        UserError: there is none, it is of another format, or was edited.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run `python -m alexnet pack --out {folder}` first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); pack the data set again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a manifest of format {FORMAT}; pack the data set again")
    try:
        whole = fingerprint(manifest) == manifest["fingerprint"]
        whole &= manifest.get("record_sha256", record_hash(manifest)) == record_hash(manifest)
        _ = [(int(split["images"]), manifest["storage"]) for split in manifest["splits"].values()]
        _ = [entry["wnid"] for entry in manifest["classes"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path} was edited: its hashes are not those of its content; pack the data set again")
    return manifest
