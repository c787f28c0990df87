"""HTTP/2 for a server (RFC 9113), without I/O: bytes in, bytes out.

The laws of this package:

1. No I/O, no clock, no threads, no log; time is an argument, in seconds. It knows no gRPC, and
   nothing of the rest of authz.
2. ``ServerConnection.receive`` never raises. A client's error ends its stream or the connection, as
   the RFC says, and the owner is told which calls are abandoned by that.
3. Bytes mean the same in whatever pieces they come.
4. A short cut does exactly what the long way does, only sooner.
5. Each request is handed on once, whole, or not at all; each answer goes out whole, or its stream
   is reset; nothing of a stream reaches another.
6. All that a client can make us keep or do has a bound: a named limit with its reason (limits.py).

Read codes.py for the numbers, streams.py for the states, receiver.py for what each frame does,
sender.py for what goes out, connection.py for the whole.
"""

from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.connection import Event, ServerConnection
from authz.transports.http2.events import (
    Abandoned,
    Cause,
    Ended,
    Field,
    Refused,
    Request,
    TurnedAway,
)
from authz.transports.http2.limits import Limits, Rate

__all__ = [
    "Abandoned",
    "Cause",
    "Ended",
    "ErrorCode",
    "Event",
    "Field",
    "Limits",
    "Rate",
    "Refused",
    "Request",
    "ServerConnection",
    "TurnedAway",
]
