"""Parses a status list's JWT (draft-ietf-oauth-status-list-20 section 5.1) into its numbers."""

import zlib
from collections.abc import Mapping
from math import inf
from typing import Any, Final

import msgspec

from authz.core.base64url import Base64UrlError, decode_base64url
from authz.core.delegation.header import check_signing_header
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.times import MAX_NUMERIC_DATE
from authz.core.jose.jws import Jws, parse_compact
from authz.core.reason import Denied, Reason

LIST_TYPE: Final = "application/statuslist+jwt"  # section 5.1, and of the answer, section 8.1
MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024  # 134 million tokens with a bit each
MECHANISM: Final = "status_list"  # in a token's status, and in a list (sections 4.2 and 6.2)
_BITS: Final = frozenset({1, 2, 4, 8})
_BITS_OF_BYTE: Final = 8
_NUMBER: Final = frozenset({int, float})  # the types that JSON's numbers have here: no bool


class StatusListError(Exception):
    """Signals a list that can't be trusted; the message says why, and quotes nothing of it."""


class StatusList(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A list whose signature was verified.

    Attributes:
        bits: of each token's number: 1, 2, 4 or 8.
        numbers: the numbers, packed into bytes, the first in the lowest bits (section 4.1).
        issued_at: unix seconds, as the issuer says.
        fetched_at: unix seconds of the fetch.
        usable_until: unix seconds after which it must not be used.
        ttl_seconds: after which it should be fetched again, None if the issuer does not say.
        key_id, thumbprint: the key that signed it.
    """

    bits: int
    numbers: bytes
    issued_at: float
    fetched_at: float
    usable_until: float
    ttl_seconds: float | None
    key_id: str
    thumbprint: str

    def number(self, index: int) -> int:
        """Return the number of a token's place. Raises Denied(TOKEN_CLAIM) if there is no place."""
        at, place = divmod(index * self.bits, _BITS_OF_BYTE)
        if at >= len(self.numbers):  # section 8.3: it must be refused
            raise Denied(Reason.TOKEN_CLAIM, "its idx is not in its status list")
        return self.numbers[at] >> place & ((1 << self.bits) - 1)


def parse_list_token(body: bytes, issuer: IssuerSettings, max_bytes: int) -> Jws:
    """Parse a list's JWT and check its header, unverified (section 5.1).

    Raises StatusListError.
    """
    try:
        jws = parse_compact(body.decode("ascii", "replace").strip(), max_bytes)
        if jws.header.media_type != LIST_TYPE:
            raise StatusListError("its typ is not statuslist+jwt")
        check_signing_header(jws.header, issuer)
    except Denied as denied:
        raise StatusListError(denied.detail) from None
    return jws


def read_list(
    jws: Jws, thumbprint: str, uri: str, issuer: IssuerSettings, now: float
) -> StatusList:
    """Read a verified list of the place ``uri``, fetched ``now`` (unix seconds); section 5.1.

    ``thumbprint`` is its key's. Raises StatusListError.
    """
    members, settings = jws.payload, issuer.status_list
    if settings is None:
        raise StatusListError("the issuer has no settings for lists")
    if members.get("sub") != uri:  # else the list of other tokens would count for these
        raise StatusListError("its sub is not its URL")
    if members.get("iss", issuer.issuer) != issuer.issuer:
        raise StatusListError("its iss is another issuer")
    issued_at = _number(members, "iat")
    if issued_at > now + issuer.clock_skew:
        raise StatusListError("its iat is in the future")
    if "nbf" in members and _number(members, "nbf") > now + issuer.clock_skew:
        raise StatusListError("its nbf is in the future")
    ends = _number(members, "exp") if "exp" in members else inf
    if now >= ends:
        raise StatusListError("its exp has passed")
    bits, numbers = _numbers(members.get(MECHANISM))
    return StatusList(
        bits,
        numbers,
        issued_at,
        now,
        min(ends, now + settings.max_age),
        _ttl(members),
        jws.header.key_id,
        thumbprint,
    )


def _ttl(members: Mapping[str, Any]) -> float | None:
    ttl = _number(members, "ttl") if "ttl" in members else None
    if ttl == 0:
        raise StatusListError("its ttl is not positive")
    return ttl


def _number(members: Mapping[str, Any], name: str) -> float:
    """Return a number of seconds. Raises StatusListError."""
    value: Any = members.get(name)
    if type(value) not in _NUMBER or not 0 <= value < MAX_NUMERIC_DATE:
        raise StatusListError(f"its {name} is missing or not a number of seconds")
    return float(value)


def _numbers(entry: object) -> tuple[int, bytes]:
    """Return the bits of each number, and the packed numbers (section 4.2). Raises StatusListError.

    The text must be the only one of its bytes, and the bytes a single zlib stream, to its end.
    """
    if not isinstance(entry, dict):
        raise StatusListError("its status_list is not an object")
    bits, text = entry.get("bits"), entry.get("lst")
    if type(bits) is not int or bits not in _BITS:
        raise StatusListError("its bits are not 1, 2, 4 or 8")
    if not isinstance(text, str) or not text.isascii():
        raise StatusListError("its lst is not base64url")
    try:
        return bits, _inflated(decode_base64url(text.encode()))
    except Base64UrlError as error:
        raise StatusListError(f"its lst is {error}") from None


def _inflated(data: bytes) -> bytes:
    """Return the bytes of a zlib stream, ``MAX_INFLATED_BYTES`` at most. Raises StatusListError."""
    stream = zlib.decompressobj()
    try:
        numbers = stream.decompress(data, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        raise StatusListError("its lst is not compressed by zlib") from None
    if len(numbers) > MAX_INFLATED_BYTES:
        raise StatusListError(f"its lst has more than {MAX_INFLATED_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise StatusListError("its lst is not a single complete zlib stream")
    return numbers
