"""The OAuth errors of the token endpoint, and which refusal is told as which."""

from enum import StrEnum
from typing import Final

from authz.core.reason import Denied, Reason


class OAuthError(StrEnum):
    """An ``error`` of the token endpoint (RFC 6749 section 5.2, and those that extend it)."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"  # RFC 8693 section 2.2.2, RFC 8707 section 2
    INVALID_DPOP_PROOF = "invalid_dpop_proof"  # RFC 9449 section 5
    USE_DPOP_NONCE = "use_dpop_nonce"  # RFC 9449 section 8
    INVALID_DETAILS = "invalid_authorization_details"  # RFC 9396 section 5
    CONSENT_REQUIRED = "consent_required"  # OpenID Connect Core 1.0 section 3.1.2.6
    UNAVAILABLE = "temporarily_unavailable"
    SERVER_ERROR = "server_error"  # as at the authorization endpoint, RFC 6749 section 4.1.2.1

    @property
    def http_status(self) -> int:
        """The status of the answer: 401 for an unknown client, 5xx for our own faults, else 400."""
        return _STATUSES.get(self, 400)


_STATUSES: Final = {
    OAuthError.INVALID_CLIENT: 401,
    OAuthError.UNAVAILABLE: 503,
    OAuthError.SERVER_ERROR: 500,
}
# A subject token that is invalid for any reason, or unacceptable by policy, is an invalid_request
# (RFC 8693 section 2.2.2): all reasons that do not stand here.
_ERRORS: Final = {
    Reason.AGENT_MISSING: OAuthError.INVALID_CLIENT,
    Reason.AGENT_INVALID: OAuthError.INVALID_CLIENT,
    Reason.AGENT_UNTRUSTED_DOMAIN: OAuthError.INVALID_CLIENT,
    Reason.IDENTITY_CONFLICT: OAuthError.INVALID_CLIENT,
    Reason.AGENT_UNKNOWN: OAuthError.UNAUTHORIZED_CLIENT,
    Reason.AGENT_SUSPENDED: OAuthError.UNAUTHORIZED_CLIENT,
    Reason.STOPPED: OAuthError.UNAVAILABLE,
    Reason.SCOPE: OAuthError.INVALID_SCOPE,
    Reason.EXCHANGE_REFUSED: OAuthError.INVALID_TARGET,
    Reason.DPOP_PROOF: OAuthError.INVALID_DPOP_PROOF,
    Reason.DPOP_NONCE: OAuthError.USE_DPOP_NONCE,
    Reason.APPROVAL_REQUIRED: OAuthError.CONSENT_REQUIRED,
    Reason.INTERNAL_ERROR: OAuthError.SERVER_ERROR,
}

# Where the reason's own words are about a call.
_WORDS: Final = {OAuthError.CONSENT_REQUIRED: "the principal has not consented to this"}


class TokenRequestDenied(Denied):
    """A refusal with an OAuth error of its own, which its reason alone does not tell."""

    def __init__(self, error: OAuthError, reason: Reason, detail: str) -> None:
        """Refuse for a reason, by this error; ``detail`` is for operators only."""
        super().__init__(reason, detail)
        self.error = error


class BadForm(TokenRequestDenied):
    """A request whose form is wrong. The client is told how: the words quote nothing of it."""

    def __init__(self, error: OAuthError, detail: str) -> None:
        """Refuse by this error; ``detail`` names a parameter and what is wrong with it."""
        super().__init__(error, Reason.MESSAGE_PARAMS, detail)


def words_of(denied: Denied) -> str:
    """Return what the client may read of a refusal: never a rule, nor anything of others."""
    if isinstance(denied, BadForm):
        return denied.detail
    return _WORDS.get(error_of(denied), denied.reason.message)


def error_of(denied: Denied) -> OAuthError:
    """Return the error by which the client is told of a refusal."""
    if isinstance(denied, TokenRequestDenied):
        return denied.error
    other = OAuthError.UNAVAILABLE if denied.reason.is_own_fault else OAuthError.INVALID_REQUEST
    return _ERRORS.get(denied.reason, other)
