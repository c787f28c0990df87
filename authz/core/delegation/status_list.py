"""Checks a token against its status list (draft-ietf-oauth-status-list-20).

An issuer publishes a list with a small number for each of its tokens, which says whether the token
still counts. A token names its list and its place in the list; the list is a JWT that the issuer
signs (``status_list_token``). The core fetches nothing: if a list is missing or too old, the
refusal says which list is needed, and the edge may fetch it and decide again.

The check comes last, when the token itself is good (section 8.3), and refuses whatever is not
certain: only the number 0 counts.
"""

import re
from collections.abc import Mapping
from math import inf
from typing import Any, Final, Protocol

import msgspec

from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list_settings import ANY_BELOW, StatusListSettings
from authz.core.delegation.status_list_token import MECHANISM, StatusList
from authz.core.jose.key_set import KeyLookup, KeySet
from authz.core.needs import StatusListNeeded
from authz.core.reason import Denied, Reason

VALID: Final = 0  # section 7.1, as are the next two
_INVALID: Final = 1
_SUSPENDED: Final = 2
# What may follow a place that ends in /*: names without dots in front, so that no server reads it
# as another place, and no escapes.
_NAME: Final = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*+"
_BELOW: Final = re.compile(f"{_NAME}(?:/{_NAME})*+")
_MAX_URI_CHARS: Final = 2048


class StatusReference(msgspec.Struct, frozen=True, gc=False):
    """A token's place in a list (section 6.2).

    Attributes:
        index: from 0.
        uri: where the list is.
    """

    index: int
    uri: str


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
    if status.keys() != {MECHANISM} and "status" not in issuer.accept_unchecked:
        raise Denied(Reason.TOKEN_CLAIM, "its status has a mechanism that this server can't check")
    if MECHANISM not in status:
        return None
    return _reference(status[MECHANISM], settings)


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
