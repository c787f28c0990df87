"""The events of a connection for its owner: complete and abandoned requests, exceeded limits."""

from enum import Enum
from typing import Generic, TypeVar

import msgspec

from authz.transports.http2.hpack import Field

T = TypeVar("T")

__all__ = ["Abandoned", "Cause", "Ended", "Field", "Refused", "Request", "TurnedAway"]


class Cause(Enum):
    """The time limit that ended a stream, or a connection."""

    HALF_OPEN = "half_open"  # its request, or the connection's first frames, stayed incomplete
    UNREAD = "unread"  # the client did not read its answer


class Refused(msgspec.Struct, frozen=True):
    """The answer to a request that is refused at its headers.

    Attributes:
        block: the HPACK block of the response's header section.
        body: its content; empty for none.
        is_early: whether it is sent before the request's content has arrived. Otherwise an error in
            the rest of the request is still reported as such.
    """

    block: bytes
    body: bytes = b""
    is_early: bool = False


class Request(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A complete request.

    Attributes:
        stream_id: the stream to answer.
        judged: the result of ``judge`` for its headers.
        body: its content.
        since: when its header section arrived, by the owner's time.
    """

    stream_id: int
    judged: T
    body: bytes
    since: float


class TurnedAway(msgspec.Struct, frozen=True):
    """A request that was answered by its headers alone, and is not handed on.

    Attributes:
        refused: the answer.
    """

    refused: Refused


class Abandoned(msgspec.Struct, frozen=True):
    """A request that was handed on, and whose stream ended before a complete answer.

    Attributes:
        stream_id: the stream that is gone; answers to it are ignored.
    """

    stream_id: int


class Ended(msgspec.Struct, frozen=True):
    """A stream, or a connection without its first frames, that a time or size limit ended.

    Attributes:
        cause: the limit.
    """

    cause: Cause
