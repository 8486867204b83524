"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input: the message is one line that says what, where and what was expected.

    The command line prints the message alone and ends with exit status 2.
    """
