"""The error of everything that is made for trying."""


class StarterError(Exception):
    """Tells why a folder can't be written, or a token can't be made."""
