"""The base of errors whose text says to an operator what is wrong, and what would be right.

A command prints the text and fails. Any other error that escapes is a fault of ours.
"""

from collections.abc import Iterator


class ToldError(Exception):
    """An error in words for an operator; they hold no secret."""

    def lines(self) -> Iterator[str]:
        """Yield the lines that a command prints."""
        yield f"authz: {self}"
