"""The times of a verified token: when it was issued, begins and ends (RFC 7519 section 4.1)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from authz.core.delegation.faults import attempt, collect
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
    times = _read_times(members, issuer)
    _check_expiry(times, issuer, now)
    _check_begin(times, issuer, now)
    _check_order(times)
    _check_lifetime(times, issuer, now)
    return times.issued_at, times.expires_at


def time_faults(members: Mapping[str, Any], issuer: IssuerSettings, now: float) -> list[Denied]:
    """Return every refusal of ``check_times``; for times that can't be read, only that refusal."""
    times, unread = attempt(lambda: _read_times(members, issuer))
    if times is None:
        return unread
    return collect(
        lambda: _check_expiry(times, issuer, now),
        lambda: _check_begin(times, issuer, now),
        lambda: _check_order(times),
        lambda: _check_lifetime(times, issuer, now),
    )


class _Times(NamedTuple):
    """The times of a token; ``is_dated`` unless it does not say when it was issued."""

    issued_at: float
    not_before: float
    expires_at: float
    is_dated: bool


def _read_times(members: Mapping[str, Any], issuer: IssuerSettings) -> _Times:
    """Return the times. Raises Denied(TOKEN_CLAIM)."""
    expires_at = _time(members, "exp")
    # JWT-SVID section 3 requires no iat: such a token may have any age, which is counted from now.
    is_dated = "iat" in members or issuer.bundle is None or issuer.one_time
    issued_at = _time(members, "iat") if is_dated else 0.0
    not_before = _time(members, "nbf") if "nbf" in members else issued_at
    return _Times(issued_at, not_before, expires_at, is_dated)


def _check_expiry(times: _Times, issuer: IssuerSettings, now: float) -> None:
    if now >= times.expires_at + issuer.clock_skew:  # RFC 7519 section 4.1.4: "on or after"
        raise Denied(Reason.TOKEN_EXPIRED, "its exp has passed")


def _check_begin(times: _Times, issuer: IssuerSettings, now: float) -> None:
    if max(times.issued_at, times.not_before) > now + issuer.clock_skew:
        raise Denied(Reason.TOKEN_NOT_YET_VALID, "its nbf or iat is in the future")


def _check_order(times: _Times) -> None:
    if times.expires_at <= max(times.issued_at, times.not_before):  # no clock skew explains this
        raise Denied(Reason.TOKEN_CLAIM, "its exp is not after its iat and nbf: it never began")


def _check_lifetime(times: _Times, issuer: IssuerSettings, now: float) -> None:
    since = times.issued_at if times.is_dated else now
    if times.expires_at - since > issuer.max_lifetime:
        raise Denied(Reason.TOKEN_LIFETIME, "it is valid for longer than max_lifetime")


def _time(members: Mapping[str, Any], name: str) -> float:
    value: Any = members.get(name)
    if type(value) not in _NUMBER:
        raise Denied(Reason.TOKEN_CLAIM, f"its {name} is missing or not a number")
    if not 0 <= value < MAX_NUMERIC_DATE:
        raise Denied(Reason.TOKEN_CLAIM, f"its {name} is out of range")
    return float(value)
