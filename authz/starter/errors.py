"""The error of everything that is made for trying."""


class StarterError(Exception):
    """A folder that can't be written, or a key or token that isn't made; the message says why."""
