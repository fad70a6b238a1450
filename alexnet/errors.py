"""The error for a user's mistake: one sentence that names the file, key or value and says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake the user can mend; its message is one sentence and is printed without a traceback."""


@contextmanager
def told(sentence: Callable[[object], str], *kinds: type[Exception]) -> Iterator[None]:
    """Raise a UserError for errors of these kinds, with the sentence that is made of what they say."""
    try:
        yield
    except kinds as error:
        raise UserError(sentence(getattr(error, "strerror", None) or error)) from error
