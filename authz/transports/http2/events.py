"""What a connection tells its owner: whole requests, abandoned ones, limits that were reached."""

from enum import Enum
from typing import Generic, TypeVar

import msgspec

from authz.transports.http2.hpack import Field

T = TypeVar("T")

__all__ = ["Abandoned", "Cause", "Ended", "Field", "Refused", "Request", "TurnedAway"]


class Cause(Enum):
    """Which limit of time ended a stream, or a connection."""

    HALF_OPEN = "half_open"  # its request, or the connection's first frames, did not come whole
    UNREAD = "unread"  # its answer was not taken


class Refused(msgspec.Struct, frozen=True):
    """The answer to a request that is refused at its headers.

    Attributes:
        block: the HPACK block of the response's header section.
        body: its content; empty for none.
        is_early: whether it goes out before the request's content is there. Otherwise an error in
            the rest of the request is still told as such.
    """

    block: bytes
    body: bytes = b""
    is_early: bool = False


class Request(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A request that has come whole.

    Attributes:
        stream_id: the stream to answer.
        judged: what ``judge`` made of its headers.
        body: its content.
        since: when its header section came, as the owner gave the time.
    """

    stream_id: int
    judged: T
    body: bytes
    since: float


class TurnedAway(msgspec.Struct, frozen=True):
    """A request that was answered as its headers were judged, and is not handed on.

    Attributes:
        refused: the answer.
    """

    refused: Refused


class Abandoned(msgspec.Struct, frozen=True):
    """A request that was handed on, not answered in full, and whose stream has ended.

    Attributes:
        stream_id: the stream that is gone; answers to it are ignored.
    """

    stream_id: int


class Ended(msgspec.Struct, frozen=True):
    """A stream, or a connection without its first frames, that a limit of time or bytes ended.

    Attributes:
        cause: which limit it was.
    """

    cause: Cause
