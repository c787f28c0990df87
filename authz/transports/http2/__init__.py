"""HTTP/2 for a server (RFC 9113), without I/O: bytes in, bytes out.

The laws of this package:

1. No I/O, no clock, no threads, no log; time is an argument, in seconds. It knows no gRPC, and
   nothing of the rest of authz.
2. ``ServerConnection.receive`` never raises. A client's error ends its stream or the connection, as
   the RFC says, and the owner learns which calls are thereby abandoned.
3. Bytes mean the same, however they are split into pieces.
4. A short cut does exactly the same as the long way, only faster.
5. Each request is handed on once and completely, or not at all. Each answer is sent completely, or
   its stream is reset. No data of a stream reaches another stream.
6. All memory and work that a client can cause is bounded: by a named limit with its reason
(limits.py).

Read codes.py for the numbers, streams.py for the states, receiver.py for the effect of each frame,
sender.py for the output, and connection.py for how these fit together.
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
