"""Numbers and names as text, for records, terminals and pages alike."""

from __future__ import annotations


def plural(count: int, word: str) -> str:
    """The count with thousands separated, and the noun in the number that goes with it."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
