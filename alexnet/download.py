"""Turns a URL into a complete, verified file.

The bytes go to `<target>.part`; what the server said about them to `<target>.part.json`, so that a later call
goes on where this one stopped. Credentials and queries stay out of messages and files: errors are raised outside the handlers of the errors that they replace, since
those name whole URLs.
"""

from __future__ import annotations

import contextlib
import email.utils
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from alexnet.credentials import Credentials, advice
from alexnet.errors import UserError
from alexnet.files import write_json
from alexnet.known_files import CREDENTIALS, KNOWN, human_size, public
from alexnet.progress import clock

BLOCK = 1 << 17  # what is lost at most when a connection breaks off
HASH_BLOCK = 1 << 20
PROGRESS_SECONDS = 2.0
REDIRECTS = 5
REDIRECTED = (301, 302, 303, 307, 308)
RETRIED = (408, 429, 500, 502, 503, 504)
LONGEST_WAIT, LONGEST_BACKOFF = 120.0, 60.0


@dataclass(frozen=True)
class Download:
    """A file that was fetched: `resumed_from` is where the last request began."""

    bytes: int
    sha256: str
    md5: str | None
    resumed_from: int
    attempts: int


class _Interrupted(Exception):
    """The transfer broke off and may go on: why, and after how many seconds at the earliest."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Lines:
    """Lines about one file, those about its progress every two seconds."""

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name, self.stream = name, stream
        self.start(0)

    def start(self, done: int) -> None:
        """Measure the rate from here."""
        self.first, self.began = done, time.monotonic()
        self.last = self.began

    def note(self, words: str) -> None:
        if self.stream:
            print(f"download {self.name}  {words}", file=self.stream, flush=True)

    def show(self, done: int, total: int | None, verb: str = "") -> None:
        now = time.monotonic()
        if now - self.last < PROGRESS_SECONDS:
            return
        self.last = now
        rate = (done - self.first) / (now - self.began)
        words = human_size(done)
        if total:
            amount, unit = human_size(total).split()
            factor = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}.get(unit, 1)
            words = f"{done / factor:.{0 if unit == 'bytes' else 1}f}/{amount} {unit}"
        eta = f"  ETA {clock((total - done) / rate)}" if total and rate > 0 else ""
        self.note(f"{verb}{words}  {rate / 1e6:.{0 if rate >= 1e7 else 1}f} MB/s{eta}")


class _Part:
    """The bytes fetched so far, their hashes, and what the server said about the whole."""

    def __init__(self, target: Path, url: str, with_md5: bool) -> None:
        self.path, self.record = (target.with_name(target.name + end) for end in (".part", ".part.json"))
        self.url, self.with_md5 = public(url), with_md5
        self.said: dict[str, Any] = {}
        self.total: int | None = None
        self._forget()

    def _forget(self) -> None:
        self.have = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False) if self.with_md5 else None

    def _hash(self, block: bytes) -> None:
        self.have += len(block)
        self.sha256.update(block)
        if self.md5:
            self.md5.update(block)

    def load(self, checked: bool, lines: _Lines) -> None:
        """Take up what an earlier call left; without a validator only if a checksum will tell (`checked`)."""
        said: Any = None
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(self.record.read_text())
        usable = isinstance(said, dict) and said.get("url") == self.url and self.path.is_file()
        if usable:
            self.said, self.total = said, said.get("bytes")
        if not usable or not (self.validator() or checked):
            self.remove()
            return
        self.read(self.path, lines)

    def read(self, path: Path, lines: _Lines) -> None:
        """Take the bytes of a file into the hashes."""
        size = path.stat().st_size
        with open(path, "rb") as file:
            while block := file.read(HASH_BLOCK):
                self._hash(block)
                lines.show(self.have, size, "reads what is there  ")

    def validator(self) -> str:
        """What If-Range is to hold; weak tags do not identify bytes."""
        tag = self.said.get("etag") or ""
        return tag if tag and not tag.startswith("W/") else self.said.get("last_modified") or ""

    def headers(self) -> dict[str, str]:
        """What asks for the rest."""
        if not self.have:
            return {}
        condition = {"If-Range": self.validator()} if self.validator() else {}
        return {"Range": f"bytes={self.have}-", **condition}

    def goes_on(self, response: requests.Response, size: int | None) -> bool:
        """Whether a partial answer is the rest of the same file."""
        found = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip(), re.ASCII
        )
        if found is None or int(found[1]) != self.have:
            return False
        for key, header in (("etag", "ETag"), ("last_modified", "Last-Modified")):
            before, now = self.said.get(key), response.headers.get(header)
            if before and now and before != now:
                return False
        total = None if found[3] == "*" else int(found[3])
        if total is not None and any(known not in (None, total) for known in (size, self.total)):
            return False
        self.total = self.total or size or total
        return True

    def begin(self, response: requests.Response, size: int | None) -> None:
        """Start from zero. The record is there before the first byte, and no byte of another file with it."""
        self.remove()
        self.total = size if size is not None else _length(response)
        self.said = {
            "url": self.url,
            "etag": response.headers.get("ETag"),
            "last_modified": response.headers.get("Last-Modified"),
            "bytes": self.total,
        }
        write_json(self.record, self.said)
        self.path.touch()

    def write(self, blocks: Iterator[bytes], lines: _Lines) -> None:
        """Append; what a full disk or a broken connection leaves behind is kept."""
        with open(self.path, "ab") as file:
            for block in blocks:
                file.write(block)
                self._hash(block)
                lines.show(self.have, self.total)
                if self.total is not None and self.have > self.total:
                    return

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        self.said, self.total = {}, None
        self._forget()

    def fault(self, size: int | None, md5: str | None, sha256: str | None) -> str:
        """How the bytes differ from what was expected; empty if they do not."""
        known = self.total if size is None else size
        if known is not None and known != self.have:
            return f"has {self.have} bytes, expected are {known}"
        for kind, expected, digest in (("sha256", sha256, self.sha256), ("md5", md5, self.md5)):
            if expected and digest and digest.hexdigest() != expected.lower():
                return f"has {kind} {digest.hexdigest()}, expected is {expected}"
        return ""

    def publish(self, target: Path) -> None:
        """Rename to the target, all on disk."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.record.unlink(missing_ok=True)


def _length(response: requests.Response) -> int | None:
    """Content-Length, if it is there and a number."""
    words = response.headers.get("Content-Length", "")
    return int(words) if words.isascii() and words.isdigit() else None


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server wants us to wait, at most two minutes."""
    words = response.headers.get("Retry-After", "").strip()
    seconds = 0.0
    if words.isascii() and words.isdigit():
        seconds = float(words)
    elif words:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            moment = email.utils.parsedate_to_datetime(words)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _check_url(name: str, url: str) -> None:
    """Raise UserError unless requests can be sent there."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good and "@" in parts.netloc:
        raise UserError(
            f"{name}: the address {public(url)} holds a user or a password; take them out, credentials come from the "
            "environment"
        )
    if not good:
        raise UserError(f"{name} is to come from {public(url)}; only http:// and https:// are possible")


def _failure(error: Exception, name: str, url: str) -> Exception:
    """What to raise for an error of requests, urllib3 or the system; it repeats no word of theirs."""
    kind = type(error).__name__
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UserError(f"{name}: the certificate of {public(url)} cannot be verified; nothing was fetched")
    if isinstance(error, requests.Timeout):
        return _Interrupted(f"no answer in time ({kind})")
    passing = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, HTTPError)
    if isinstance(error, passing) or not isinstance(error, requests.RequestException | ValueError):
        return _Interrupted(f"the connection failed ({kind})")
    return UserError(f"{name} cannot be asked for at {public(url)} ({kind})")


def _blocks(response: requests.Response, name: str) -> Iterator[bytes]:
    """The body as it was sent, undecoded."""
    source = response.raw.stream(BLOCK, decode_content=False)
    while True:
        failure: Exception | None = None
        block = b""
        try:
            block = next(source, b"")
        except (OSError, HTTPError, ValueError) as error:
            failure = _failure(error, name, response.url)
        if failure:
            raise failure
        if not block:
            return
        yield block


class _Session(requests.Session):
    """Looks at no redirect; requests would read its body, and ~/.netrc, even when told not to follow."""

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Generator[requests.Response, None, None]:
        yield from ()


class _Fetch:
    """One file on its way from one URL."""

    def __init__(
        self, name: str, url: str, size: int | None, credentials: Credentials | None, timeout: float
    ) -> None:
        _check_url(name, url)
        self.url, self.name, self.size, self.timeout = url, name, size, timeout
        self.credentials = credentials
        self.session = _Session()
        self.resumed_from = 0

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """One request; no redirect is followed, and ~/.netrc is not read since there always is an `auth`."""
        known = self.credentials
        trusted = known if known and not known.withheld(url) else None

        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if trusted:
                request.headers["Authorization"] = trusted.header()
            return request

        wanted = {"Accept-Encoding": "identity", "User-Agent": "alexnet-reproducibility-bench", **headers}
        try:
            return self.session.get(
                url,
                headers=wanted,
                auth=authorize,
                stream=True,
                timeout=self.timeout,
                allow_redirects=False,
            )
        except (OSError, HTTPError, ValueError) as error:
            failure = _failure(error, self.name, url)
        raise failure

    def _follow(self, headers: Mapping[str, str]) -> requests.Response:
        """The answer at the end of the redirects."""
        url = self.url
        for _ in range(REDIRECTS + 1):
            response = self._ask(url, headers)
            location = response.headers.get("Location")
            if response.status_code not in REDIRECTED or not location:
                return response
            response.close()
            before = url
            try:
                url = urljoin(before, location.encode("latin-1").decode("utf-8", "replace"))
            except ValueError:
                url = ""
            _check_url(self.name, url)
            if urlsplit(before).scheme == "https" and urlsplit(url).scheme == "http":
                raise UserError(
                    f"{self.name}: {public(before)} redirects from https to http ({public(url)}), which is "
                    "refused"
                )
        raise UserError(f"{self.name}: {public(self.url)} redirects more than {REDIRECTS} times")

    def _refusal(self, response: requests.Response) -> Exception:
        """What to raise for an answer without the file."""
        status, where = response.status_code, public(response.url)
        if status in RETRIED:
            return _Interrupted(f"the server answers {status}", _retry_after(response))
        if status in (401, 403):
            return UserError(
                f"{self.name}: {where} refuses access ({status}); {advice(self.credentials, response.url)}"
            )
        if status in (404, 410):
            return UserError(f"{self.name} is not at {where} ({status}); check the base URL")
        return UserError(f"{self.name}: {where} answers with status {status}, not with the file")

    def _check_whole(self, response: requests.Response) -> None:
        """Raise UserError if an answer from zero cannot be the file, before its body is read."""
        where = public(response.url)
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind == "text/html" and not self.name.endswith((".html", ".htm")):
            raise UserError(
                f"{self.name}: {where} answers with a web page, not with the file; an account may be needed: "
                f"check {CREDENTIALS} in the environment"
            )
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        packed = self.name.endswith((".gz", ".tgz")) and coding in ("gzip", "x-gzip")
        if coding not in ("", "identity") and not packed:
            raise UserError(
                f"{self.name}: {where} sends it with the encoding {coding}, which was not asked for"
            )
        length = _length(response)
        if self.size is not None and length is not None and length != self.size:
            raise UserError(f"{self.name} has {length} bytes at {where}, expected are {self.size}")

    def attempt(self, part: _Part, lines: _Lines) -> bool:
        """One request: True if the part is whole, False if the next one has to start from zero.

        Raises:
            _Interrupted: it may go on later.
            UserError: it may not.
        """
        response = self._follow(part.headers())
        with contextlib.closing(response):
            status = response.status_code
            if part.have and status == 416:
                said = response.headers.get("Content-Range", "").strip().removeprefix("bytes */")
                total = int(said) if said.isascii() and said.isdigit() else self.size or part.total
                if total == part.have:
                    self.resumed_from = part.have
                    return True
            if part.have and (status == 416 or (status == 206 and not part.goes_on(response, self.size))):
                part.remove()
                return False
            if status == 206 and part.have:
                lines.note(f"goes on at {human_size(part.have)}")
            elif status == 200:
                self._check_whole(response)
                part.begin(response, self.size)
            else:
                raise self._refusal(response)
            self.resumed_from = part.have
            check_room(self.name, part)
            lines.start(part.have)
            part.write(_blocks(response, self.name), lines)
        if part.total is not None and part.have < part.total:
            raise _Interrupted("the body ended early")
        return True


def check_room(name: str, part: _Part) -> None:
    """Raise UserError if the rest does not fit on the disk."""
    if part.total is None:
        return
    rest, free = part.total - part.have, shutil.disk_usage(part.path.parent).free
    if rest > free:
        raise UserError(
            f"{name} needs {human_size(rest)} more ({rest} bytes), but {part.path.parent} has "
            f"{human_size(free)} ({free} bytes) free"
        )


@contextlib.contextmanager
def _locked(path: Path, lines: _Lines) -> Iterator[None]:
    """Hold a lock on a file that exists as long as the lock; wait for whoever holds it."""
    told = False
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file in between: then this lock is on nothing.
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                break
        except BlockingIOError:
            if not told:
                lines.note("waits for another process that fetches it")
            told = True
            time.sleep(0.2)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _persist(job: _Fetch, part: _Part, lines: _Lines, attempts: int, backoff: float) -> int:
    """Attempt until the part is whole; the number of requests. Only failures without progress are counted."""
    failures, requested, most = 0, 0, part.have
    while True:
        requested += 1
        reason, wait = "", 0.0
        try:
            if job.attempt(part, lines):
                return requested
        except _Interrupted as interruption:
            reason, wait = str(interruption), interruption.wait
        if not reason:
            lines.note("starts from zero: the file there is not the one that was begun")
            continue
        # A server that always starts from zero makes progress only beyond where it came before.
        failures = 1 if part.have > most else failures + 1
        most = max(most, part.have)
        if failures >= attempts:
            raise UserError(
                f"{job.name} cannot be fetched from {public(job.url)}: {reason}, after {requested} attempts; "
                f"run the same again later: it goes on at {human_size(part.have)}"
            )
        pause = min(backoff * 2 ** min(failures - 1, 30), LONGEST_BACKOFF) * random.uniform(0.5, 1.5)
        pause = max(pause, wait)
        lines.note(f"{reason} at {human_size(part.have)}; tries again in {pause:.1f} s")
        time.sleep(pause)


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    credentials: Credentials | None = None,
    progress: TextIO | None = None,
    attempts: int = 8,
    backoff: float = 1.0,
    timeout: float = 30.0,
) -> Download:
    """Download to `target`, going on with what an earlier call left, and check it before it gets that name.

    A target that exists is checked, not fetched. `attempts` bounds the requests in a row without progress,
    `backoff` is the first pause between them in seconds, `timeout` the longest silence of the server.

    Raises:
        UserError: refused, absent, not the expected size or checksum, no room, or no progress.
    """
    name = target.name
    job = _Fetch(name, url, size, credentials, timeout)
    lines = _Lines(name, progress)
    part = _Part(target, job.url, bool(md5))

    def done(requested: int) -> Download:
        hashes = part.sha256.hexdigest(), part.md5.hexdigest() if part.md5 else None
        return Download(part.have, *hashes, job.resumed_from, requested)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with job.session, _locked(target.with_name(name + ".part.lock"), lines):
            if target.exists():
                part.read(target, lines)
                fault = part.fault(size, md5, sha256)
                if fault:
                    raise UserError(f"{target} is there already, but {fault}; move it away to fetch it again")
                job.resumed_from = part.have
                return done(0)
            part.load(bool(md5 or sha256), lines)
            requested = _persist(job, part, lines, attempts, backoff)
            fault = part.fault(size, md5, sha256)
            if fault and job.resumed_from:
                lines.note(f"{fault}; starts from zero once")
                part.remove()
                requested += _persist(job, part, lines, attempts, backoff)
                fault = part.fault(size, md5, sha256)
            if fault:
                part.remove()
                raise UserError(f"{name} from {public(job.url)} {fault}; it was deleted")
            part.publish(target)
    except OSError as error:
        raise UserError(
            f"{name} cannot be written to {target.parent}: {error.strerror or type(error).__name__}; "
            "what was fetched is kept, and the same call goes on there"
        ) from error
    compared = "sha256" if sha256 else "md5" if md5 else ""
    checked = (
        f"{compared} as expected" if compared else f"sha256 {part.sha256.hexdigest()}, nothing to compare"
    )
    lines.note(f"complete, {human_size(part.have)}, {checked}")
    return done(requested)


def fetch_missing(
    names: list[str],
    base_url: str,
    folder: Path,
    credentials: Credentials | None = None,
    progress: TextIO | None = None,
) -> list[Path]:
    """Download published archives into a folder, one after another; their paths.

    Raises:
        UserError: nothing is known about a name, or as `fetch`.
    """
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise UserError(
            f"{', '.join(unknown)} cannot be downloaded: nothing is known about it; put it into {folder}"
        )
    _check_url(names[0] if names else "the archive", base_url)
    if credentials and progress and (why := credentials.withheld(base_url)):
        print(f"download {names[0]}  {why}", file=progress, flush=True)
    paths = []
    for file in (KNOWN[name] for name in names):
        parts = urlsplit(base_url)
        url = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(file.path)}"))
        path = folder / file.name
        fetch(
            url,
            path,
            size=file.bytes,
            md5=file.md5,
            sha256=file.sha256,
            credentials=credentials,
            progress=progress,
        )
        paths.append(path)
    return paths
