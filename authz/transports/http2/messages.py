"""Checks that a request's fields are not malformed (RFC 9113 8.1.1, 8.2, 8.3).

Names and values are checked all at once, joined by a line break, which none of them may contain:
that takes a step in C for each rule instead of for each field.
"""

import re
from typing import Final

from authz.transports.http2.events import Field
from authz.transports.http2.faults import MalformedError

# 8.2.1: no control characters, spaces, upper case, or bytes above ASCII; no colon in a name.
_NAMES: Final = re.compile(rb"[!-9;-@\[-~\n]*")
# 8.2.1: no NUL or CR, and no white space at either end, where a line break stands.
_NOT_IN_VALUES: Final = (b"\0", b"\r", b"\n ", b"\n\t", b" \n", b"\t\n")
# 8.2.2: fields of a connection. TE may be sent, with "trailers" alone.
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
    names = [name for name, _ in fields[len(pseudo) :]]
    _check_names(names)
    _check_values([value for _, value in fields])
    _check_request(pseudo)
    if b"te" in names:
        _check_te(fields)
    if b"host" in names:
        _check_host(pseudo, fields)
    return _read_length(fields) if b"content-length" in names else None


def check_trailers(fields: tuple[Field, ...]) -> None:
    """Check a trailer section, which has no pseudo-header fields (8.1). Raises MalformedError."""
    _check_names([name for name, _ in fields])
    _check_values([value for _, value in fields])
    _check_te(fields)


def _read_pseudo(fields: tuple[Field, ...]) -> dict[bytes, bytes]:
    """Return the pseudo-header fields, which precede all others (8.3)."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in pseudo:
            raise MalformedError("unknown or repeated pseudo-header field")
        pseudo[name] = value
    return pseudo


def _check_names(names: list[bytes]) -> None:
    text = _joined(names)
    if not _NAMES.fullmatch(text) or b"\n\n" in text:
        raise MalformedError("invalid field name, or a pseudo-header field behind others")
    if not _OF_CONNECTION.isdisjoint(names):
        raise MalformedError("field of a connection")


def _check_values(values: list[bytes]) -> None:
    text = _joined(values)
    for octets in _NOT_IN_VALUES:
        if octets in text:
            raise MalformedError("invalid field value")


def _joined(texts: list[bytes]) -> bytes:
    """Return the texts, each between line breaks.

    Raises MalformedError for a text with line breaks.
    """
    text = b"\n".join((b"", *texts, b""))
    if text.count(b"\n") != len(texts) + 1:
        raise MalformedError("line break in a field")
    return text


def _values(fields: tuple[Field, ...], wanted: bytes) -> list[bytes]:
    return [value for name, value in fields if name == wanted]


def _check_te(fields: tuple[Field, ...]) -> None:
    if any(value.lower() != b"trailers" for value in _values(fields, b"te")):
        raise MalformedError("te of a connection")


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


def _check_host(pseudo: dict[bytes, bytes], fields: tuple[Field, ...]) -> None:
    """Refuse a Host that differs from :authority (8.3.1): the two could be routed apart."""
    authority = pseudo.get(b":authority")
    hosts = {value.lower() for value in _values(fields, b"host")}
    if authority is not None and hosts - {authority.lower()}:
        raise MalformedError("host differs from :authority")


def _read_length(fields: tuple[Field, ...]) -> int:
    lengths = _values(fields, b"content-length")
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError("invalid content-length")
    return int(lengths[0])
