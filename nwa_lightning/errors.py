"""The exception for input that the user can fix."""


class InputError(ValueError):
    """A file, an option or a score that cannot be used; its message is one line that says how to fix it."""
