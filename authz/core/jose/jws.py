"""Parses compact JWS strictly (RFC 7515 section 7.1, RFC 8725), and verifies nothing.

Two readers must never see different tokens in the same text. So only one alphabet is accepted, and
no padding, no spare bits and no doubled members. Keys in the header (jwk, jku, x5u, x5c) are never
used.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.base64url import Base64UrlError, decode_base64url
from authz.core.reason import Denied, Reason

# Usually all tokens of a key have the same header; some issuers write the time or an id into it.
_HEADERS_KEPT: Final = 256
_KEPT_HEADER_BYTES: Final = 1024  # of a header's text; real ones have some 100, with a jwk 300
_PARTS: Final = 3
# Members that change what the signature covers: the text read here might be another (RFC 7797).
_CRITICAL_MEMBERS: Final = ("crit", "b64")
# Members of tokens that are not simply signed: encrypted, compressed, or with a token inside.
_FOREIGN_MEMBERS: Final = ("enc", "zip", "cty")


class JoseHeader(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The header of an unverified token; tokens with the same text of it share it.

    Attributes:
        members: all of its members.
        algorithm: the ``alg``; "" if it is not a string.
        media_type: the ``typ`` in its long form, of a plain JWT if there is none (RFC 7519 section
            5.1 recommends it only); "" if it is not a string.
        is_critical: whether a member may change what the signature covers.
        is_foreign: whether the token is not simply signed.
    """

    members: Mapping[str, Any]
    algorithm: str
    media_type: str
    is_critical: bool
    is_foreign: bool

    @property
    def key_id(self) -> str:
        """The ``kid`` as text; ``check_header`` requires a string."""
        return str(self.members.get("kid", ""))

    def __repr__(self) -> str:
        """Return no part of it, so that no log line can hold one."""
        return "JoseHeader()"


class Jws(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The parts of an unverified token."""

    header: JoseHeader
    payload: Mapping[str, Any]
    payload_text: bytes
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        """Return no part of it, so that no log line can hold one."""
        return "Jws()"


def media_type(typ: object) -> str:
    """Return a ``typ`` in its long form (RFC 7515 section 4.1.9), as "application/at+jwt"."""
    if not isinstance(typ, str):
        return ""
    lower = typ.lower()
    return lower if "/" in lower else f"application/{lower}"


def parse_compact(token: str, max_bytes: int) -> Jws:
    """Parse a token, unverified. Raises Denied(TOKEN_TOO_LARGE | TOKEN_MALFORMED)."""
    if len(token) > max_bytes:
        raise Denied(Reason.TOKEN_TOO_LARGE, f"longer than {max_bytes} bytes")
    text = token.encode() if token.isascii() else b""
    parts = text.split(b".", _PARTS)
    if len(parts) != _PARTS or not parts[0] or not parts[1]:
        raise Denied(Reason.TOKEN_MALFORMED, "not three base64url parts")
    header, payload, signature = parts
    is_kept = len(header) <= _KEPT_HEADER_BYTES
    read_header = _read_header(header) if is_kept else _read_header.__wrapped__(header)
    payload_text = _decode(payload, "payload")
    return Jws(
        read_header,
        _members(payload_text, "payload"),
        payload_text,
        text[: len(header) + 1 + len(payload)],
        _decode(signature, "signature"),
    )


@lru_cache(_HEADERS_KEPT)  # a pure function, which for most tokens is a third of the parsing
def _read_header(part: bytes) -> JoseHeader:
    members = _members(_decode(part, "header"), "header")
    algorithm = members.get("alg")
    return JoseHeader(
        members,
        algorithm if isinstance(algorithm, str) else "",
        media_type(members.get("typ", "JWT")),
        any(name in members for name in _CRITICAL_MEMBERS),
        any(name in members for name in _FOREIGN_MEMBERS),
    )


def _members(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        members = strict_json.loads(data)
    except strict_json.StrictJsonError as error:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name}: {error}") from None
    if not isinstance(members, dict):
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is not a JSON object")
    return members


def _decode(part: bytes, name: str) -> bytes:
    try:
        return decode_base64url(part)
    except Base64UrlError as error:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is {error}") from None
