"""Sends one HTTP request: follows redirects, sends credentials to their host alone, keeps secrets out of errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from alexnet.archives.credentials import Credentials
from alexnet.archives.known_files import public
from alexnet.errors import UserError

REDIRECTS = 5
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "alexnet-reproducibility-bench"}
T = TypeVar("T")


class Interrupted(Exception):
    """The transfer broke off and may go on: why, and the answer, if one says how long to wait."""

    def __init__(self, reason: str, answer: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class Session(requests.Session):
    """Follows no redirect; requests would read its body, however long, even when told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def check_url(name: str, url: str) -> None:
    """Raise UserError unless requests can be sent there, without credentials in the address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UserError(f"{name} is to come from {public(url)}; only http:// and https:// are possible")
    if "@" in parts.netloc:
        raise UserError(
            f"{name}: the address {public(url)} holds a user or a password; take them out, credentials come from the "
            "environment"
        )


def tried(call: Callable[[], T], name: str, url: str) -> T:
    """The result of a call to requests or urllib3.

    Its errors name whole URLs, so that ours are raised outside the handler, and repeat no word of them.

    Raises:
        Interrupted: it may work later.
        UserError: it may not.
    """
    try:
        return call()
    except (OSError, HTTPError, ValueError) as error:
        kind, lasting = type(error).__name__, isinstance(error, ValueError)
        unverified = "CERTIFICATE_VERIFY_FAILED" in str(error)
    if unverified:
        raise UserError(f"{name}: the certificate of {public(url)} cannot be verified; nothing was fetched")
    if lasting:
        raise UserError(f"{name} cannot be asked for at {public(url)} ({kind})")
    raise Interrupted(f"the connection failed ({kind})")


def within(seconds: float, items: Iterator[T]) -> Generator[T, None, None]:
    """The items of an iterator, which runs in a thread of its own.

    Raises:
        Interrupted: an item took longer than `seconds`, although each read brought something in time.
    """
    queue: Queue[tuple[str, Any]] = Queue(1)
    stopped = Event()

    def work() -> None:
        try:
            for item in items:
                queue.put(("item", item))
                if stopped.is_set():
                    return
            queue.put(("end", None))
        except Exception as error:
            queue.put(("error", error))

    Thread(target=work, daemon=True).start()
    try:
        while True:
            try:
                kind, value = queue.get(timeout=seconds)
            except Empty:
                kind, value = "error", Interrupted("the answer comes too slowly")
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        with contextlib.suppress(Empty):
            queue.get_nowait()


def ask(
    session: Session, name: str, url: str, headers: dict[str, str], credentials: Credentials | None, timeout: float
) -> requests.Response:
    """The answer at the end of the redirects, its body unread; `name`: of the file, for messages.

    Raises:
        Interrupted: no answer.
        UserError: an address that is none, redirects without end, or one from https to http.
    """
    first = url
    for _ in range(REDIRECTS + 1):
        known = credentials if credentials and not credentials.withheld(url) else None

        def authorize(
            request: requests.PreparedRequest, known: Credentials | None = known
        ) -> requests.PreparedRequest:  # always there, so that ~/.netrc is not read
            if known:
                request.headers["Authorization"] = known.header()
            return request

        more: dict[str, Any] = {"headers": HEADERS | headers, "auth": authorize, "stream": True}
        answer = tried(lambda to=url: session.get(to, timeout=timeout, **more), name, url)  # type: ignore[misc]  # noqa: B023
        if not answer.is_redirect:
            return answer
        answer.close()
        before = url
        try:
            url = urljoin(before, answer.headers["Location"])
        except ValueError:
            url = ""
        check_url(name, url)
        if urlsplit(before).scheme == "https" and urlsplit(url).scheme == "http":
            raise UserError(f"{name}: {public(before)} redirects from https to http ({public(url)}), which is refused")
    raise UserError(f"{name}: {public(first)} redirects more than {REDIRECTS} times")
