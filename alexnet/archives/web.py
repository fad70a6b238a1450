"""Sends one HTTP request: follows redirects, keeps secrets out of errors.

Download credentials come from the environment; they go to one host, over https alone.
"""

import base64
import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from alexnet.archives.known_files import ACCOUNT_HOST, is_url, public
from alexnet.errors import UserError

HTTPS, REDIRECTS = 443, 5  # port; and how many
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "alexnet-reproducibility-bench"}
T = TypeVar("T")


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or a token, for one host; never shown.

    Attributes:
        host: name and, unless it is 443, port (`mirror.example.org:8443`).
    """

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    host: str = ACCOUNT_HOST

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise UserError("the token (ALEXNET_TOKEN) holds characters that no HTTP header may hold")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Those of ALEXNET_TOKEN, else of ALEXNET_USER and ALEXNET_PASSWORD; None if none is set.

        They are for the host in ALEXNET_HOST, else for the one that gives out accounts. No configuration can
        name another.

        UserError if one of user and password is missing, or the token is no token.
        """
        user, password, token = (environment.get(f"ALEXNET_{n}") for n in ("USER", "PASSWORD", "TOKEN"))
        host = environment.get("ALEXNET_HOST", "").strip().lower() or ACCOUNT_HOST
        if token and token.strip():
            return cls(token=token.strip(), host=host)
        if bool(user) != bool(password):
            raise UserError("of ALEXNET_USER and ALEXNET_PASSWORD only one is set; set both, or neither")
        return cls(user=user, password=password, host=host) if user else None

    def withheld(self, url: str) -> str:
        """Why the credentials do not go to `url`, as a sentence; empty if they do."""
        parts = urlsplit(url)
        port = "" if parts.port in (None, HTTPS) else f":{parts.port}"
        if f"{parts.hostname}{port}" != self.host.removesuffix(f":{HTTPS}"):
            return (
                f"the credentials in the environment are for {self.host} and are not sent to {public(url)}; if they "
                f"belong there, set ALEXNET_HOST={parts.hostname}{port}"
            )
        if parts.scheme != "https":
            return f"credentials are sent over https only, so not to {public(url)}; change the base URL"
        return ""

    def header(self) -> str:
        """The value of the header Authorization."""
        if self.token is not None:
            return f"Bearer {self.token}"
        pair = f"{self.user or ''}:{self.password or ''}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


class Interrupted(Exception):
    """The transfer broke off and may go on: why, and the answer, if one says how long to wait."""

    def __init__(self, reason: str, answer: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


def check_url(name: str, url: str) -> None:
    """Raise UserError unless requests can be sent there, without credentials in the address."""
    if not is_url(url):
        raise UserError(f"{name} is to come from {public(url)}; only http:// and https:// are possible")
    if "@" in urlsplit(url).netloc:
        raise UserError(f"{name}: the address {public(url)} holds a user or a password; put them into the environment")


def tried(call: Callable[[], T], name: str, url: str) -> T:
    """The result of a call to requests or urllib3; Interrupted if it may work later, UserError if it may not.

    Its errors name whole URLs, so that ours are raised outside the handler, and repeat no word of them.
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

    Interrupted if an item took longer than `seconds`, although each read brought something in time.
    """
    queue: Queue[tuple[Any, Exception | None]] = Queue(1)
    stopped, end = Event(), object()

    def work() -> None:
        try:
            for item in chain(items, [end]):
                queue.put((item, None))
                if stopped.is_set():
                    return
        except Exception as error:
            queue.put((None, error))

    Thread(target=work, daemon=True).start()
    try:
        while (made := queue.get(timeout=seconds))[0] is not end:
            if made[1]:
                raise made[1]
            yield made[0]
    except Empty:
        raise Interrupted("the answer comes too slowly") from None
    finally:
        stopped.set()
        with contextlib.suppress(Empty):
            queue.get_nowait()


def ask(
    get: Callable[..., requests.Response], name: str, url: str, headers: dict[str, str], credentials: Credentials | None
) -> requests.Response:
    """The answer at the end of the redirects, its body unread; `get`: of a session; `name`: of the file, for messages.

    Interrupted if there is no answer; UserError for an address that is none, redirects without end, or one from https to http.
    """
    first = url
    for _ in range(REDIRECTS + 1):
        own = {"Authorization": credentials.header()} if credentials and not credentials.withheld(url) else {}
        # some `auth` is always there, so that ~/.netrc is not read
        how = {"headers": HEADERS | headers | own, "auth": lambda request: request, "stream": True}
        answer = tried(partial(get, url, **how), name, url)
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
