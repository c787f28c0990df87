"""The error of the modules that make things for trying."""


class StarterError(Exception):
    """Tells why a folder can't be written, or a token can't be made."""
