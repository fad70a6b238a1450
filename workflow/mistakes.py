"""What a user gets wrong ends Snakemake with a sentence; an exception in an input function it would swallow or show as a traceback."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from alexnet.errors import UserError


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, but a user's mistake ends Snakemake with its sentence instead of a traceback."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    return call


class Checked:
    """A plan of which every method is `checked`: Snakemake calls them long after it was made."""

    def __init__(self, plan: object) -> None:
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._plan, name)
        return checked(value) if callable(value) else value


class Named(dict[str, Any]):
    """Records by name; a name that is not there, such as one in the path of an asked file, is a UserError with its `sentence`."""

    def __init__(self, records: dict[str, Any], sentence: Callable[[str], str]) -> None:
        super().__init__(records)
        self._sentence = sentence

    def __missing__(self, name: str) -> Any:
        raise UserError(self._sentence(name))
