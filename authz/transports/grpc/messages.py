"""Frames and unframes messages: a flag, a length of four bytes, and the message."""

from typing import Final

from authz.transports.grpc.answers import status_answer
from authz.transports.http2 import Refused
from authz.transports.status import StatusCode

PREFIX_BYTES: Final = 5
_UNCOMPRESSED: Final = 0
NO_MESSAGE: Final = status_answer(StatusCode.UNIMPLEMENTED, "the call has no message")
SEVERAL: Final = status_answer(StatusCode.UNIMPLEMENTED, "the call has more than one message")
CUT_OFF: Final = status_answer(StatusCode.INTERNAL, "the call ends within its message")
COMPRESSED: Final = status_answer(
    StatusCode.INTERNAL, "a message is marked as compressed, and grpc-encoding names no way"
)


def frame(message: bytes) -> bytes:
    """Return a message as it goes into DATA frames."""
    return len(message).to_bytes(PREFIX_BYTES, "big") + message  # the flag is 0: not compressed


def fault_of(body: bytes) -> Refused | None:
    """Return the answer to a unary call whose body is not one message, None where it is one.

    The message is then ``body[PREFIX_BYTES:]``.
    """
    if not body:
        return NO_MESSAGE
    if body[0] != _UNCOMPRESSED:
        return COMPRESSED
    promised = int.from_bytes(body[1:PREFIX_BYTES], "big")
    there = len(body) - PREFIX_BYTES
    if there == promised:
        return None
    return CUT_OFF if there < promised else SEVERAL
