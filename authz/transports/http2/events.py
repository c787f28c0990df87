"""What a connection tells its owner: whole requests, abandoned ones, limits that were reached."""

from enum import Enum
from typing import Generic, TypeVar

import msgspec

from authz.transports.http2.hpack import Field

T = TypeVar("T")

__all__ = ["Abandoned", "Cause", "Ended", "Field", "Refused", "Request"]


class Cause(Enum):
    """Which limit of time ended a stream, or a connection."""

    HALF_OPEN = "half_open"  # its request, or the connection's first frames, did not come whole
    UNREAD = "unread"  # its answer was not taken


class Refused(msgspec.Struct, frozen=True):
    """The answer to a request that is refused at its headers.

    Attributes:
        block: the HPACK block of the response's header section.
        body: its content; empty for none.
        waits: whether it waits for the request's end, as is right for clients that write all before
            they read. Others are answered once some content came, since a call that streams may
            wait for the answer before it goes on. Content is not kept in either case.
    """

    block: bytes
    body: bytes = b""
    waits: bool = False


class Request(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A request that has come whole.

    Attributes:
        stream_id: the stream to answer.
        judged: what ``judge`` made of its headers.
        body: its content.
    """

    stream_id: int
    judged: T
    body: bytes


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
