"""Compiles Python loops with numba, without the interpreter's lock."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: numba's, with the machine code kept on disk where there is a place that can be written.

    Where neither the package's nor the user's folder can be written and NUMBA_CACHE_DIR is not set, each process
    compiles for itself (seconds).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function ...: no locator available"
            return njit(nogil=True, **options)(function)

    return decorate
