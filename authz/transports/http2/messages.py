"""Checks that a request's fields are not malformed (RFC 9113 8.1.1, 8.2, 8.3)."""

import re
from collections.abc import Iterable
from typing import Final

from authz.transports.http2.events import Field
from authz.transports.http2.faults import MalformedError

# 8.2.1: no control characters, spaces, upper case, or bytes above ASCII; no colon in a name.
_NAME: Final = re.compile(rb"[!-9;-@\[-~]+")
# 8.2.1: no NUL, LF or CR, and no white space at either end.
_VALUE: Final = re.compile(rb"(?:[^\0\n\r\t ](?:[^\0\n\r]*[^\0\n\r\t ])?)?")
# 8.2.2: fields of a connection. TE may be there, with "trailers" alone.
_OF_CONNECTION: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})  # 8.3.1
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # RFC 9110 8.6; 18 digits fit a 64 bit number


def content_length(fields: tuple[Field, ...]) -> int | None:
    """Check the header section of a request, and return its content-length; None without one.

    Raises MalformedError.
    """
    pseudo = _read_pseudo(fields)
    regular = fields[len(pseudo) :]
    _check_regular(regular)
    _check_request(pseudo)
    _check_host(pseudo, regular)
    return _read_length(regular)


def check_trailers(fields: tuple[Field, ...]) -> None:
    """Check a trailer section, which has no pseudo-header fields (8.1). Raises MalformedError."""
    _check_regular(fields)


def _read_pseudo(fields: tuple[Field, ...]) -> dict[bytes, bytes]:
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in pseudo:
            raise MalformedError("unknown or repeated pseudo-header field")
        if not _VALUE.fullmatch(value):
            raise MalformedError("invalid character in a pseudo-header field")
        pseudo[name] = value
    return pseudo


def _check_regular(fields: Iterable[Field]) -> None:
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise MalformedError("invalid field name, or a pseudo-header field behind others")
        if not _VALUE.fullmatch(value):
            raise MalformedError("invalid field value")
        if name in _OF_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedError("field of a connection")


def _check_request(pseudo: dict[bytes, bytes]) -> None:
    method, scheme, path = (pseudo.get(name) for name in (b":method", b":scheme", b":path"))
    authority = pseudo.get(b":authority", b"")
    if not method:
        raise MalformedError("no :method")
    if method == b"CONNECT":  # 8.5
        if not authority or scheme is not None or path is not None:
            raise MalformedError("CONNECT takes :authority alone")
        return
    if not scheme or not path:
        raise MalformedError("no :scheme or :path")
    if scheme in {b"http", b"https"}:
        _check_target(method, path, authority)


def _check_target(method: bytes, path: bytes, authority: bytes) -> None:
    if not path.startswith(b"/") and (method, path) != (b"OPTIONS", b"*"):
        raise MalformedError(":path without a slash")
    if b"@" in authority:
        raise MalformedError("userinfo in :authority")


def _check_host(pseudo: dict[bytes, bytes], fields: Iterable[Field]) -> None:
    """Refuse a Host that differs from :authority (8.3.1): the two could be routed apart."""
    authority = pseudo.get(b":authority")
    hosts = {value.lower() for name, value in fields if name == b"host"}
    if authority is not None and hosts - {authority.lower()}:
        raise MalformedError("host differs from :authority")


def _read_length(fields: Iterable[Field]) -> int | None:
    lengths = [value for name, value in fields if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError("invalid content-length")
    return int(lengths[0])
