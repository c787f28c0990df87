"""Tells by its header fields which call a request is, or how to refuse it.

The same proxy sends the same fields again and again, so that the result is remembered with them:
nothing here depends on anything else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from authz.transports.grpc.answers import http_answer, status_answer
from authz.transports.http2 import Field, Refused
from authz.transports.status import StatusCode

# PROTOCOL-HTTP2.md: at most 8 digits and a unit.
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_CONTENT_TYPE: Final = re.compile(rb"application/grpc([+;].*)?", re.IGNORECASE | re.DOTALL)
_NO_ENCODING: Final = b"identity"
_IDENTITY_ONLY: Final = ((b"grpc-accept-encoding", _NO_ENCODING),)
NOT_POST: Final = http_answer(405, "this is a gRPC server: use POST\n", ((b"allow", b"POST"),))
NOT_GRPC: Final = http_answer(415, "this is a gRPC server: use content-type application/grpc\n")
NO_SUCH_METHOD: Final = status_answer(StatusCode.UNIMPLEMENTED, "no such method", is_early=True)
NOT_COMPRESSED: Final = status_answer(
    StatusCode.UNIMPLEMENTED, "compressed messages are not taken", _IDENTITY_ONLY, is_early=True
)
BAD_TIMEOUT: Final = status_answer(StatusCode.INTERNAL, "malformed grpc-timeout", is_early=True)
_Method = TypeVar("_Method")


@dataclass(frozen=True, slots=True)
class Call(Generic[_Method]):
    """A call as its headers ask for it.

    Attributes:
        method: what answers it.
        timeout: seconds that the client waits from its headers on, None for no deadline.
    """

    method: _Method
    timeout: float | None


def read_call(
    fields: tuple[Field, ...], methods: Mapping[bytes, _Method]
) -> Call[_Method] | Refused:
    """Return the call of a request, whose methods are known by their path.

    Messages are taken uncompressed only: they come from the next process, and to unpack what a
    client packed is work and memory that nobody has asked for.
    """
    headers = dict(fields)
    if headers.get(b":method") != b"POST":
        return NOT_POST
    if not _CONTENT_TYPE.fullmatch(headers.get(b"content-type", b"")):
        return NOT_GRPC
    method = methods.get(headers.get(b":path", b""))
    if method is None:
        return NO_SUCH_METHOD
    if headers.get(b"grpc-encoding", _NO_ENCODING) != _NO_ENCODING:
        return NOT_COMPRESSED
    try:
        return Call(method, _timeout(headers.get(b"grpc-timeout")))
    except ValueError:
        return BAD_TIMEOUT


def _timeout(text: bytes | None) -> float | None:
    """Return the seconds of a grpc-timeout, None for none. Raises ValueError."""
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNIT_SECONDS[match[2]]
