"""The times of a verified token: when it was issued, begins and ends (RFC 7519 section 4.1)."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.delegation.faults import collect, fault_of
from authz.core.delegation.settings import IssuerSettings
from authz.core.reason import Denied, Reason

MAX_NUMERIC_DATE: Final = 2**53  # exact in a float; beyond, comparisons would round
_NUMBER: Final = frozenset({int, float})  # the types that JSON's numbers have here


def check_times(
    members: Mapping[str, Any], issuer: IssuerSettings, now: float
) -> tuple[float, float]:
    """Return ``iat`` and ``exp`` of a token that is valid now, in unix seconds.

    Raises Denied(TOKEN_CLAIM | TOKEN_EXPIRED | TOKEN_NOT_YET_VALID | TOKEN_LIFETIME).
    """
    issued_at, not_before, expires_at = _read_times(members)
    _check_expiry(expires_at, issuer, now)
    _check_begin(issued_at, not_before, issuer, now)
    _check_order(issued_at, not_before, expires_at)
    _check_lifetime(issued_at, expires_at, issuer)
    return issued_at, expires_at


def time_faults(members: Mapping[str, Any], issuer: IssuerSettings, now: float) -> list[Denied]:
    """Return all that ``check_times`` refuses; of times that can't be read, only that."""
    unread = fault_of(lambda: _read_times(members))
    if unread is not None:
        return [unread]
    issued_at, not_before, expires_at = _read_times(members)
    return collect(
        lambda: _check_expiry(expires_at, issuer, now),
        lambda: _check_begin(issued_at, not_before, issuer, now),
        lambda: _check_order(issued_at, not_before, expires_at),
        lambda: _check_lifetime(issued_at, expires_at, issuer),
    )


def _read_times(members: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return ``iat``, ``nbf`` and ``exp``. Raises Denied(TOKEN_CLAIM)."""
    expires_at = _time(members, "exp")
    issued_at = _time(members, "iat")
    return issued_at, _time(members, "nbf") if "nbf" in members else issued_at, expires_at


def _check_expiry(expires_at: float, issuer: IssuerSettings, now: float) -> None:
    if now >= expires_at + issuer.clock_skew:  # RFC 7519 section 4.1.4: "on or after"
        raise Denied(Reason.TOKEN_EXPIRED, "its exp has passed")


def _check_begin(issued_at: float, not_before: float, issuer: IssuerSettings, now: float) -> None:
    if max(issued_at, not_before) > now + issuer.clock_skew:
        raise Denied(Reason.TOKEN_NOT_YET_VALID, "its nbf or iat is in the future")


def _check_order(issued_at: float, not_before: float, expires_at: float) -> None:
    if expires_at <= max(issued_at, not_before):  # no clock skew explains this
        raise Denied(Reason.TOKEN_CLAIM, "its exp is not after its iat and nbf: it never began")


def _check_lifetime(issued_at: float, expires_at: float, issuer: IssuerSettings) -> None:
    if expires_at - issued_at > issuer.max_lifetime:
        raise Denied(Reason.TOKEN_LIFETIME, "it is valid for longer than max_lifetime")


def _time(members: Mapping[str, Any], name: str) -> float:
    value: Any = members.get(name)
    if type(value) not in _NUMBER:
        raise Denied(Reason.TOKEN_CLAIM, f"its {name} is missing or not a number")
    if not 0 <= value < MAX_NUMERIC_DATE:
        raise Denied(Reason.TOKEN_CLAIM, f"its {name} is out of range")
    return float(value)
