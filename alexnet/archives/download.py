"""Downloads a file completely and verifies it.

The bytes go to `<target>.part`, what the server said about them to `<target>.part.json`, so that a later call goes on
where this one stopped.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from alexnet.archives.known_files import CREDENTIALS, KNOWN, human_size, public
from alexnet.archives.web import Credentials, Interrupted, ask, check_url, tried, within
from alexnet.errors import UserError
from alexnet.runtime.files import locked, write_json
from alexnet.runtime.progress import clock

BLOCK = 1 << 17
PROGRESS_SECONDS = 2.0
ENOUGH = 100_000  # bytes that an attempt must bring, or it counts as a failure
SLOW = "the server is too slow"
RETRIED = (408, 429, 500, 502, 503, 504)
HASH_BLOCK = 1 << 20
RECORD = {"url": str, "etag": str | None, "last_modified": str | None, "bytes": int | None}  # of what the server said
LONGEST_WAIT = 120  # seconds that a server may have us wait


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


@dataclass
class Fetch:
    """One file on its way from one URL; `size`, `md5` and `sha256` are what is known of it.

    Attributes:
        requested, resumed_from: how many requests were sent, and where the last one began.
    """

    url: str
    target: Path
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    most: int = 1_000_000_000_000  # bytes that it may have, whatever the server says
    credentials: Credentials | None = None  # sent to their own host alone
    progress: TextIO | None = None  # where lines go
    attempts: int = 8  # bound on the requests in a row that bring little
    backoff: float = 1.0  # the first pause between them in seconds
    timeout: float = 30.0  # the longest silence of the server in seconds
    slowest: float = 10_000.0  # bytes a second that must come in each window
    window: float = 60.0  # seconds

    def __post_init__(self) -> None:
        self.name = self.target.name
        check_url(self.name, self.url)
        self.resumed_from = self.requested = 0
        self.session = requests.Session()
        # `ask` follows redirects: requests would read their bodies, however long, even when told not to follow
        self.session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        path, kinds = self.target.with_name(f"{self.name}.part"), ("sha256", *["md5"] * bool(self.md5))
        self.part = Part(path, public(self.url), kinds)

    def note(self, words: str) -> None:
        if self.progress:
            print(f"download {self.name}  {words}", file=self.progress, flush=True)

    def _check(self, answer: requests.Response) -> int | None:
        """The length of a whole answer, if it says so; an error for one that is not the file."""
        status, where = answer.status_code, public(answer.url)
        if status in RETRIED:
            raise Interrupted(f"the server answers {status}", answer)
        if status in (401, 403):
            wrong = (
                self.credentials.withheld(answer.url) if self.credentials else f"set {CREDENTIALS} in the environment"
            )
            advice = wrong or f"check the values of {CREDENTIALS} in the environment, and accept the terms there"
            raise UserError(f"{self.name}: {where} refuses access ({status}); {advice}")
        if status in (404, 410):
            raise UserError(f"{self.name} is not at {where} ({status}); check the base URL")
        if status != 200:
            raise UserError(f"{self.name}: {where} answers with status {status}, not with the file")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise UserError(
                f"{self.name}: {where} answers with a web page, not with the file; an account may be needed: check "
                f"{CREDENTIALS} in the environment"
            )
        length = answer.headers.get("Content-Length", "")
        said = int(length) if length.isascii() and length.isdigit() else None
        if said is not None and (said > self.most or self.size not in (None, said)):
            expected = self.size or f"at most {self.most}"
            raise UserError(f"{self.name} has {said} bytes at {where}, expected are {expected}")
        return self.size if said is None else said

    def attempt(self) -> None:
        """One request, which ends with the whole part, or raises Interrupted or UserError."""
        part = self.part
        if part.have and not (part.validator or self.md5 or self.sha256):
            part.begin()  # nothing would tell whether the rest is of the same file
        self.resumed_from = part.have
        if part.have and part.have == part.said["bytes"]:
            return
        headers = {"Range": f"bytes={part.have}-"} if part.have else {}
        if part.have and part.validator:
            headers["If-Range"] = part.validator
        self.requested += 1
        with contextlib.closing(within(max(self.timeout, self.window), self._stream(headers))) as stream:
            answer = next(stream)
            if part.have and answer.status_code in (206, 416) and not part.goes_on(answer):
                part.begin()
                raise Interrupted("the file there is not the one that was begun")
            if not (part.have and answer.status_code == 206):
                length = self._check(answer)
                tag, date = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
                part.begin({"etag": tag, "last_modified": date, "bytes": length})
            self.resumed_from = part.have
            self._receive(stream, part.said["bytes"])
        if part.said["bytes"] and part.have < part.said["bytes"]:
            raise Interrupted("the body ended early")

    def _stream(self, headers: dict[str, str]) -> Iterator[Any]:
        """The answer, then its body as it is sent, undecoded."""
        answer = ask(partial(self.session.get, timeout=self.timeout), self.name, self.url, headers, self.credentials)
        with contextlib.closing(answer):
            yield answer
            while block := tried(lambda: answer.raw.read1(BLOCK, decode_content=False), self.name, answer.url):
                yield block

    def _receive(self, blocks: Iterator[bytes], total: int | None) -> None:
        """Append the body; what a full disk or a broken connection leaves is kept."""
        part = self.part
        rest, free = (total or 0) - part.have, shutil.disk_usage(part.path.parent).free
        if rest > free:
            raise UserError(
                f"{self.name} needs {human_size(rest)} more ({rest} bytes), but {part.path.parent} has "
                f"{human_size(free)} ({free} bytes) free"
            )
        first, began = part.have, time.monotonic()
        shown, watched, mark = began, began, first
        with open(part.path, "ab") as file:
            for block in blocks:
                file.write(block)
                part.take(block)
                if part.have > (self.size or self.most):
                    return  # `fault` has a sentence
                now = time.monotonic()
                if now - shown >= PROGRESS_SECONDS:
                    rate, shown = (part.have - first) / (now - began), now
                    whole = f"/{total / 1e6:.1f}" if total else ""
                    left = f"  ETA {clock((total - part.have) / rate)}" if total else ""
                    self.note(f"{part.have / 1e6:.1f}{whole} MB  {rate / 1e6:.1f} MB/s{left}")
                if now - watched >= self.window:
                    if part.have - mark < self.slowest * (now - watched):
                        raise Interrupted(f"{SLOW}: fewer than {human_size(int(self.slowest))} a second")
                    watched, mark = now, part.have

    def persist(self) -> None:
        """Attempt until the part is whole; an attempt that brings little is a failure, and so many end it."""
        failures, most = 0, self.part.have
        while True:
            try:
                self.attempt()
                return
            except Interrupted as interruption:
                reason, answer = str(interruption), interruption.answer
            enough = self.part.have >= most + ENOUGH and not reason.startswith(SLOW)
            failures, most = 1 if enough else failures + 1, max(most, self.part.have)
            where = human_size(self.part.have)
            if failures >= self.attempts:
                raise UserError(
                    f"{self.name} cannot be fetched from {self.part.url}: {reason}, after {self.requested} attempts; "
                    f"run the same again later: it goes on at {where}"
                )
            self.note(f"{reason} at {where}; tries again")
            pause = min(60.0, self.backoff * (2**failures + random.random()) / 2)
            with contextlib.suppress(HTTPError, ValueError, OverflowError):  # a Retry-After that is none
                pause = (Retry().get_retry_after(answer.raw) if answer is not None else None) or pause
            time.sleep(min(pause, LONGEST_WAIT))

    def fault(self) -> str:
        """How the bytes differ from what was expected; empty if they do not."""
        if self.size is not None and self.part.have != self.size:
            return f"has {self.part.have} bytes, expected are {self.size}"
        if self.part.have > self.most:
            return f"goes on after {human_size(self.most)}, the most that it may have"
        for kind, expected in (("sha256", self.sha256), ("md5", self.md5)):
            if expected and (found := self.part.hashes[kind].hexdigest()) != expected.lower():
                return f"has {kind} {found}, expected is {expected}"
        return ""

    def run(self) -> None:
        """Fetch, check and rename."""
        part = self.part
        if self.target.exists():
            part.read(self.target)
            if fault := self.fault():
                raise UserError(f"{self.target} is there already, but {fault}; move it away to fetch it again")
            self.resumed_from = part.have
            return
        part.load()
        self.persist()
        if self.resumed_from and (fault := self.fault()):
            self.note(f"{fault}; starts from zero once")
            part.begin()
            self.persist()
        if fault := self.fault():
            part.begin()
            raise UserError(f"{self.name} from {part.url} {fault}; it was deleted")
        with open(part.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part.path, self.target)
        part.record.unlink(missing_ok=True)


def fetch(url: str, target: Path, **more: Any) -> Fetch:
    """Download to `target`, going on with what an earlier call left, and check it before it gets that name.

    A target that exists is checked, not fetched. `more`: see `Fetch`.

    UserError: refused, absent, not the expected size or checksum, too much, too slow, no room, or no progress.
    """
    job = Fetch(url, target, **more)
    lock = target.with_name(target.name + ".part.lock")
    waits = "waits for another process that fetches it"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with job.session, locked(lock, -1, lambda: job.note(waits)), contextlib.ExitStack() as stack:
            stack.callback(lock.unlink, missing_ok=True)
            job.run()
    except OSError as error:
        raise UserError(
            f"{target.name} cannot be written to {target.parent}: {error.strerror or type(error).__name__}; "
            "what was fetched is kept, and the same call goes on there"
        ) from error
    compared = "sha256" if job.sha256 else "md5" if job.md5 else ""
    own = f"sha256 {job.part.hashes['sha256'].hexdigest()}, nothing to compare"
    checked = f"{compared} as expected" if compared else own
    job.note(f"complete, {human_size(job.part.have)}, {checked}")
    return job


def fetch_missing(
    names: list[str], base: str, folder: Path, credentials: Credentials | None = None, progress: TextIO | None = None
) -> list[Path]:
    """Download published archives into a folder, in turn; their paths. UserError if one is unknown, or as `fetch`."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise UserError(f"{', '.join(unknown)} cannot be downloaded: nothing is known about it; put it into {folder}")
    check_url(names[0] if names else "the archive", base)
    if credentials and progress and (why := credentials.withheld(base)):
        print(f"download {names[0]}  {why}", file=progress, flush=True)
    for file in (KNOWN[name] for name in names):
        parts = urlsplit(base)
        url = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(file.path)}"))
        known = {"size": file.bytes, "md5": file.md5, "sha256": file.sha256, "most": file.most}
        fetch(url, folder / file.name, credentials=credentials, progress=progress, **known)
    return [folder / name for name in names]
