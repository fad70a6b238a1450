"""Reads manifest.json of a packed set and computes the hashes in it."""

import hashlib
import json
from pathlib import Path
from threading import Event
from typing import Any

from alexnet.archives.known_files import KnownFile
from alexnet.errors import UserError, told
from alexnet.runtime.files import digests

FORMAT = 2
LARGEST = 64_000_000  # bytes of a manifest


def hash_file(path: Path, published: KnownFile | None = None, stop: Event | None = None) -> dict[str, Any]:
    """Name, size, sha256 of an archive, md5 if one was published, and which hash was compared (`verified`).

    What comes out after `stop` was set is not to be used. UserError if the file cannot be read, or is not what was published.
    """
    kinds = ("sha256", "md5") if published and published.md5 else ("sha256",)
    with told(lambda why: f"{path} cannot be read ({why}); check the disk, or fetch it again", OSError):
        found = digests(path, kinds, stop)
    record = {"file": path.name, "bytes": path.stat().st_size, **found}
    for kind in kinds:
        if expected := getattr(published, kind, None):
            if found[kind] != expected:
                raise UserError(f"{path.name} has {kind} {found[kind]}, but {expected} was published; fetch it again")
            record["verified"] = kind
    return record


def fingerprint(record: dict[str, Any], words: bool = False) -> str:
    """sha256 over contents, classes and image size: the same if training on both is the same.

    `words`: of ILSVRC-2012, too, count those for a class, which some layouts lack; sets that were packed before have this.
    """
    classes = record["classes"]
    if record["source"] == "ilsvrc2012" and not words:
        classes = [{"wnid": entry["wnid"], "name": entry["wnid"]} for entry in classes]
    same = {
        "classes": classes,
        "image_size": record["image_size"],
        "splits": {name: split["content_sha256"] for name, split in record["splits"].items()},
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def record_hash(record: dict[str, Any]) -> str:
    """sha256 over all that a manifest says but this and how long packing took."""
    others = ("record_sha256", "seconds", "images_per_second")
    rest = {key: value for key, value in record.items() if key not in others}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def regular(path: Path, most: int) -> None:
    """Raise UserError unless `path`, if it is there, is a file of 1 to `most` bytes: a hole in it can be as long as a disk."""
    if not path.exists():
        return
    size = path.stat().st_size
    if not path.is_file() or not size:
        raise UserError(f"{path} is empty, a pipe or a device; fetch or pack the set again")
    if size > most:
        raise UserError(f"{path} is larger than the {most:,} bytes that it can have; fetch or pack the set again")


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a packed set; those of sets that were packed before it had a hash of itself are read too.

    Raises:
        UserError: there is none, it is of another format, or was edited.
    """
    path = Path(folder) / "manifest.json"
    regular(path, LARGEST)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run `python -m alexnet pack --out {folder}` first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); pack the data set again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a manifest of format {FORMAT}; pack the data set again")
    try:
        whole = manifest["fingerprint"] in (fingerprint(manifest), fingerprint(manifest, words=True))
        whole &= manifest.get("record_sha256", record_hash(manifest)) == record_hash(manifest)
        _ = [(int(split["images"]), manifest["storage"]) for split in manifest["splits"].values()]
        _ = [entry["wnid"] for entry in manifest["classes"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path} was edited: its hashes are not those of its content; pack the data set again")
    return manifest
