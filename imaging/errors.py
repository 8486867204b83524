"""The one exception for input that a user can mend, and messages of others in one line."""


class InputError(ValueError):
    """Bad input: the message is one line that says what, where and what was expected.

    The command line prints the message alone and ends with exit status 2.
    """


def one_line(error: Exception) -> str:
    """Gives the message of an exception without line breaks and runs of spaces."""
    return " ".join(str(error).split())
