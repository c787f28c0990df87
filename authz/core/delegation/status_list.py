"""Token status lists (draft-ietf-oauth-status-list-20): their parsing, and the check of a token.

An issuer publishes a list with a small number for each of its tokens, which says whether the token
still counts. A token names its list and its place in the list; the list is a JWT that the issuer
signs. The core fetches nothing: if a list is missing or too old, the refusal says which list is
needed, and the edge may fetch it and decide again.

The check comes last, when the token itself is good (section 8.3), and refuses whatever is not
certain: only the number 0 counts.
"""

import re
import zlib
from collections.abc import Mapping
from math import inf
from typing import Any, Final, Protocol

import msgspec

from authz.core.base64url import Base64UrlError, decode_base64url
from authz.core.delegation.header import check_signing_header
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list_settings import ANY_BELOW, StatusListSettings
from authz.core.delegation.times import MAX_NUMERIC_DATE
from authz.core.jose.jws import Jws, parse_compact
from authz.core.jose.key_set import KeyLookup, KeySet
from authz.core.needs import StatusListNeeded
from authz.core.reason import Denied, Reason

LIST_TYPE: Final = "application/statuslist+jwt"  # section 5.1, and of the answer, section 8.1
MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024  # 134 million tokens with a bit each
VALID: Final = 0  # section 7.1, as are the next two
_INVALID: Final = 1
_SUSPENDED: Final = 2
_BITS: Final = frozenset({1, 2, 4, 8})
_BITS_OF_BYTE: Final = 8
_NUMBER: Final = frozenset({int, float})  # the types that JSON's numbers have here: no bool
_MECHANISM: Final = "status_list"
# What may follow a place that ends in /*: names without dots in front, so that no server reads it
# as another place, and no escapes.
_NAME: Final = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*+"
_BELOW: Final = re.compile(f"{_NAME}(?:/{_NAME})*+")
_MAX_URI_CHARS: Final = 2048


class StatusListError(Exception):
    """Signals a list that can't be trusted; the message says why, and quotes nothing of it."""


class StatusReference(msgspec.Struct, frozen=True, gc=False):
    """A token's place in a list (section 6.2).

    Attributes:
        index: from 0.
        uri: where the list is.
    """

    index: int
    uri: str


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


class StatusListLookup(Protocol):
    """Looks up the status lists of issuers.

    Guarantees never to wait, and that a list came from that place, signed by its issuer. Does not
    guarantee that it is still fresh: ``usable_until`` says that.
    """

    def get(self, issuer: str, uri: str) -> StatusList | None:
        """Return the issuer's last good list of the place; None if there is none."""


class NoStatusLists:
    """The look-up without lists: there is never a list."""

    def get(self, _issuer: str, _uri: str) -> None:
        """Return None."""


class StatusListChecker:
    """Checks tokens against the lists of their issuers."""

    def __init__(self, lists: StatusListLookup, keys: KeyLookup) -> None:
        """Take the lists, and the keys, which must still have the key that signed a list."""
        self._lists = lists
        self._keys = keys

    def check(self, members: Mapping[str, Any], issuer: IssuerSettings, now: float) -> float:
        """Require that a token's list says that it counts; return until when that holds.

        In unix seconds; infinite for a token without a list. Raises Denied(TOKEN_CLAIM |
        STATUS_UNAVAILABLE | TOKEN_REVOKED).
        """
        reference = read_reference(members, issuer)
        if reference is None:
            return inf
        name, uri = issuer.issuer, reference.uri
        found = usable_list(self._lists.get(name, uri), self._keys.get(name), issuer, now)
        if found is None:
            detail = f"the status list {uri} is missing or too old"
            raise Denied(Reason.STATUS_UNAVAILABLE, detail, needs=StatusListNeeded(name, uri))
        _check_number(found.number(reference.index))
        return found.usable_until


def _check_number(number: int) -> None:
    if number == VALID:
        return
    told = {_INVALID: "that it was revoked", _SUSPENDED: "that it is suspended"}
    says = told.get(number, f"{number} of it, which has no meaning here")
    raise Denied(Reason.TOKEN_REVOKED, f"its status list says {says}")


def usable_list(
    found: StatusList | None, keys: KeySet | None, issuer: IssuerSettings, now: float
) -> StatusList | None:
    """Return a list if it may be used now, else None.

    Its key must still be the issuer's. A list from the future is not used: the clock was set back,
    and its age is unknown.
    """
    if found is None or keys is None:
        return None
    key = keys.keys.get(found.key_id)
    if key is None or key.thumbprint != found.thumbprint:
        return None
    is_fresh = found.fetched_at - issuer.clock_skew <= now < found.usable_until
    return found if is_fresh else None


def read_reference(members: Mapping[str, Any], issuer: IssuerSettings) -> StatusReference | None:
    """Return a token's place in a list; None if it has no ``status`` that is checked here.

    Without settings for lists, ``check_restrictions`` refuses a token with ``status``. With them,
    other ways to tell a token's status are refused, unless accepted unchecked.

    Raises Denied(TOKEN_CLAIM).
    """
    settings = issuer.status_list
    if settings is None or "status" not in members:
        return None
    status = members["status"]
    if not isinstance(status, dict):
        raise Denied(Reason.TOKEN_CLAIM, "its status is not an object")
    if status.keys() != {_MECHANISM} and "status" not in issuer.accept_unchecked:
        raise Denied(Reason.TOKEN_CLAIM, "its status has a mechanism that this server can't check")
    if _MECHANISM not in status:
        return None
    return _reference(status[_MECHANISM], settings)


def _reference(entry: object, settings: StatusListSettings) -> StatusReference:
    """Read a ``status_list`` (section 6.2). Raises Denied(TOKEN_CLAIM)."""
    if not isinstance(entry, dict):
        raise Denied(Reason.TOKEN_CLAIM, "its status_list is not an object")
    index, uri = entry.get("idx"), entry.get("uri")
    if type(index) is not int or index < 0:  # no bool, and no 1.0
        raise Denied(Reason.TOKEN_CLAIM, "its idx is not a whole number from 0")
    if not isinstance(uri, str) or len(uri) > _MAX_URI_CHARS or not _is_listed(uri, settings):
        raise Denied(Reason.TOKEN_CLAIM, "its status list is at none of status_list.uris")
    return StatusReference(index, uri)


def _is_listed(uri: str, settings: StatusListSettings) -> bool:
    """Tell whether a list is at one of the configured places."""
    for place in settings.uris:
        if not place.endswith(ANY_BELOW):
            if uri == place:
                return True
            continue
        above = place.removesuffix("*")
        if uri.startswith(above) and _BELOW.fullmatch(uri, len(above)):
            return True
    return False


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
    bits, numbers = _numbers(members.get(_MECHANISM))
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
