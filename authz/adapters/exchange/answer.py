"""Reads a token endpoint's answer to an exchange, and its refusals (RFC 8693 section 2.2)."""

import re
from typing import Final

import msgspec

from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import StatusError
from authz.core import strict_json
from authz.core.delegation.exchange_settings import ExchangeSettings
from authz.core.delegation.exchanged import MAX_EXCHANGED_BYTES

MAX_ANSWER_BYTES: Final = 64 * 1024  # the token, and a refresh or ID token that is thrown away
_MAX_SECONDS: Final = 2**31
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1: fit for a header
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*+")
_BEARER: Final = "bearer"
# The errors that are about the tokens or what is asked for (RFC 6749 section 5.2, RFC 8693 section
# 2.2.2, RFC 9396 section 5, OIDC Core 3.1.2.6 for Keycloak's access_denied).
_ABOUT_THE_TOKEN: Final = frozenset(
    {
        *("invalid_request", "invalid_grant", "invalid_scope", "invalid_target", "access_denied"),
        *("invalid_authorization_details", "insufficient_user_authentication"),
        *("interaction_required", "consent_required", "login_required", "invalid_token"),
    }
)
# The errors that are about this server as a client, or about the issuer itself.
_ABOUT_US: Final = frozenset(
    {
        *("invalid_client", "unauthorized_client", "unsupported_grant_type"),
        *("server_error", "temporarily_unavailable", "slow_down"),
    }
)


class AnswerError(Exception):
    """Signals an answer that is not used; the message says why, and quotes nothing of it."""


class RefusedError(Exception):
    """Signals that the issuer refuses to exchange this token for this target."""


class TokenAnswer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An answer, read and not yet verified.

    Attributes:
        token: the issued token, a secret.
        seconds: how long it is good from now on, None if the answer does not say.
        scopes: its scopes, None if the answer does not say; they are then those asked for.
    """

    token: str
    seconds: float | None
    scopes: frozenset[str] | None

    def __repr__(self) -> str:
        """Return no token, so that no log line can hold one."""
        return "TokenAnswer()"


def read_answer(body: bytes, settings: ExchangeSettings) -> TokenAnswer:
    """Read an answer with status 200. Raises AnswerError."""
    members = _object(body)
    token = members.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise AnswerError("its access_token is missing or not a token")
    if len(token) > MAX_EXCHANGED_BYTES:
        raise AnswerError(f"its access_token is longer than {MAX_EXCHANGED_BYTES} bytes")
    if members.get("issued_token_type") != settings.requested_token_type.urn:
        raise AnswerError("its issued_token_type is not the type that was asked for")
    kind = members.get("token_type")
    if not isinstance(kind, str) or kind.lower() != _BEARER:  # DPoP, or N_A
        raise AnswerError("its token_type is not Bearer, so that the upstream can't use it")
    return TokenAnswer(token, _seconds(members), _scopes(members))


def read_refusal(status: int, body: bytes) -> RefusedError | FetchError:
    """Return the error that the body of a refusal tells (RFC 6749 section 5.2).

    A code that is not known is not repeated: it could hold anything.
    """
    try:
        code = _object(body).get("error")
    except AnswerError:
        return StatusError(status, "without an error code")
    if isinstance(code, str) and code in _ABOUT_THE_TOKEN:
        return RefusedError(code)
    if isinstance(code, str) and code in _ABOUT_US:
        return FetchError(f"status {status}: {code}")
    return StatusError(status, "an unknown error code")


def _object(body: bytes) -> dict[str, object]:
    try:
        members = strict_json.loads(body)
    except strict_json.StrictJsonError as error:
        raise AnswerError(str(error)) from None
    if not isinstance(members, dict):
        raise AnswerError("it is not an object")
    return members


def _seconds(members: dict[str, object]) -> float | None:
    value = members.get("expires_in")
    if value is None:  # recommended only
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value > _MAX_SECONDS:
        raise AnswerError("its expires_in is not a number of seconds")
    return float(value)


def _scopes(members: dict[str, object]) -> frozenset[str] | None:
    value = members.get("scope")
    if value is None:
        return None
    if not isinstance(value, str) or (value and not _SCOPE.fullmatch(value)):
        raise AnswerError("its scope is not a line of words")
    return frozenset(value.split())
