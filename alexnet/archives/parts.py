"""Keeps the fetched part of a file and its hashes, so that a later call can resume it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from alexnet.runtime.files import write_json

HASH_BLOCK = 1 << 20
RECORD = {"url": str, "etag": str | None, "last_modified": str | None, "bytes": int | None}


class Part:
    """The bytes fetched so far, their hashes, and what the server said about the whole."""

    def __init__(self, path: Path, url: str, kinds: Sequence[str]) -> None:
        self.path, self.record, self.url, self.kinds = path, path.with_name(path.name + ".json"), url, kinds
        self._forget({})

    def _forget(self, said: dict[str, Any]) -> None:
        self.have, self.said = 0, said
        self.hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in self.kinds}

    def take(self, block: bytes) -> None:
        self.have += len(block)
        for digest in self.hashes.values():
            digest.update(block)

    def read(self, path: Path) -> None:
        """Take the bytes of a file into the hashes."""
        with open(path, "rb") as file:
            while block := file.read(HASH_BLOCK):
                self.take(block)

    def begin(self, said: dict[str, Any] | None = None) -> None:
        """Start from zero: the record is there before the first byte. Without one, leave nothing."""
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        self._forget(said or {})
        if said:
            write_json(self.record, {"url": self.url, **said})
            self.path.touch()

    def load(self) -> None:
        """Take up what an earlier call left of the same address."""
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(self.record.read_text())
            sound = isinstance(said, dict) and all(isinstance(said.get(k), t) for k, t in RECORD.items())
            if sound and said["url"] == self.url and self.path.is_file():
                self.said = said
                self.read(self.path)
                return
        self.begin()

    @property
    def validator(self) -> str:
        """What If-Range is to hold; weak tags do not identify bytes."""
        tag = self.said.get("etag") or ""
        return tag if tag and not tag.startswith("W/") else self.said.get("last_modified") or ""

    def goes_on(self, answer: requests.Response) -> bool:
        """Whether an answer is the rest."""
        total = self.said["bytes"] or "[0-9]+"
        place = rf"bytes {self.have}-[0-9]+/({total}|\*)"
        return bool(answer.status_code == 206 and re.fullmatch(place, answer.headers.get("Content-Range", "")))
