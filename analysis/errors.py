"""Turns a user's mistake into one sentence: which file, row or value is wrong, and what to do."""


class UserError(Exception):
    """A mistake the user can mend; its message is one sentence and is printed without a traceback."""
