"""Makes answers' HPACK blocks and bodies: constants, since no block uses a dynamic table."""

from typing import Final

from authz.transports.http2 import Field, Refused
from authz.transports.http2.hpack import encode
from authz.transports.status import StatusCode

_GRPC: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))
HEAD: Final = encode(_GRPC)
"""The block that begins each answer with a message."""
OK: Final = encode(((b"grpc-status", b"0"),))
"""The block that ends it."""


def status_answer(
    code: StatusCode, message: str, further: tuple[Field, ...] = (), *, is_early: bool = False
) -> Refused:
    """Return a whole answer without a message: its head is its trailers (Trailers-Only).

    An early one does not wait for the rest of its request.
    """
    return Refused(encode((*_GRPC, *_status(code, message), *further)), is_early=is_early)


def status_trailers(code: StatusCode, message: str) -> bytes:
    """Return the block that ends a stream of messages."""
    return encode(_status(code, message))


def http_answer(status: int, text: str, further: tuple[Field, ...] = ()) -> Refused:
    """Return an answer for clients that do not speak gRPC, with a text for people."""
    body = text.encode("ascii")
    fields = (
        (b":status", str(status).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    )
    return Refused(encode((*fields, *further)), body)


def _status(code: StatusCode, message: str) -> tuple[Field, Field]:
    return (b"grpc-status", str(code.value).encode()), (b"grpc-message", percent_encoded(message))


def percent_encoded(text: str) -> bytes:
    """Return a text as ``grpc-message`` carries it: printable ASCII, all else as %XX of UTF-8."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte  # noqa: PLR2004 - space to tilde, without the percent sign
        for byte in text.encode()
    )
