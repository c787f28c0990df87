"""Who may ask on a connection, as far as the connection has to know."""

import math
from typing import Final, Protocol


class Gate(Protocol):
    """Tells who may ask, from what TLS knows of a client: its certificate and chain in PEM."""

    def __call__(self, certificates: tuple[bytes, ...], /) -> str | None:
        """Return the calling proxy's SPIFFE ID; "" without TLS, None to refuse."""

    def seconds_left(self, certificates: tuple[bytes, ...], /) -> float:
        """Return for how long that holds by the certificates' times; infinite without TLS."""


class _Anyone:
    """Allows every caller, without an ID: there is no TLS, or the file system decides."""

    def __call__(self, _: tuple[bytes, ...]) -> str:
        return ""

    def seconds_left(self, _: tuple[bytes, ...]) -> float:
        return math.inf


ANYONE: Final = _Anyone()
