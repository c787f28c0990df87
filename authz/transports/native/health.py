"""The methods of grpc.health.v1: Check and Watch."""

from collections.abc import Callable, Mapping
from typing import Final

from authz.transports.health import Health


class HealthMethod:
    """A method that is answered at once. Its ``begin`` raises StatusError."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        """Take the function that answers."""
        self._answer = answer

    def begin(self, data: bytes, _: str = "", /) -> bytes:
        """Answer a message, as ``Method.begin``. Raises StatusError."""
        return self._answer(data)


class Watch:
    """The method that sends each change of status: its calls last (``watches``)."""


WATCH: Final = Watch()


def health_methods(health: Health) -> "Mapping[str, HealthMethod | Watch]":
    """Return the methods of health by name."""
    return {
        "Check": HealthMethod(health.check),
        "List": HealthMethod(health.list),
        "Watch": WATCH,
    }
