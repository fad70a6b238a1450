"""Reads download credentials from the environment; they go to one host, over https alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from alexnet.archives.known_files import ACCOUNT_HOST, CREDENTIALS, public
from alexnet.errors import UserError

HTTPS = 443


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
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Credentials | None:
        """Those of ALEXNET_TOKEN, else of ALEXNET_USER and ALEXNET_PASSWORD; None if none is set.

        They are for the host in ALEXNET_HOST, else for the one that gives out accounts. No configuration can
        name another.

        Raises:
            UserError: one of user and password is missing, or the token is no token.
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


def advice(credentials: Credentials | None, url: str) -> str:
    """What to do about an address that refuses access."""
    if credentials is None:
        return f"set {CREDENTIALS} in the environment"
    return credentials.withheld(url) or (
        f"check the values of {CREDENTIALS} in the environment, and accept the terms there"
    )
