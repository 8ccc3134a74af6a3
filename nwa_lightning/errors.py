"""The exception for input that the user can fix, and the text of other exceptions for its message."""


class InputError(ValueError):
    """A file, an option or a score that cannot be used; its message is one line that says how to fix it."""


def one_line(error: Exception) -> str:
    """The first two lines of a message as one line: the first line alone may only say where something failed."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
