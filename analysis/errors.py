"""The error for a user's mistake: one sentence that names the file, row or value and says what to do."""


class UserError(Exception):
    """A mistake the user can mend; its message is one sentence and is printed without a traceback.

    Raised by all that reads or writes what a person names, where it is not there, torn, or breaks a rule.
    """
