"""Every reason to refuse, with its HTTP status, challenge and message.

This closed enum drives the answers, the metric labels, the audit records, the docs and the tests.
A client learns the reason and nothing else: never which rule refused, nor anything about another
agent or principal. ``Denied.detail`` is for operators and stays in the audit log.
"""

from enum import Enum
from typing import Final, Self

from authz.core.approval_request import ApprovalRequest
from authz.core.needs import Need

# google.rpc.Code for ``CheckResponse.status.code``. Anything but 0 refuses; Envoy answers the
# client with the HTTP status of ``denied_response``, so these only tell our own logs the kind of
# refusal.
_GRPC_CODES: Final = {400: 3, 401: 16, 403: 7, 413: 11, 429: 8, 503: 14}


class Reason(Enum):
    """Why a request is refused. The value is the stable code that operators and clients see.

    Attributes:
        http_status: the status that the client receives.
        error: the ``error`` of the ``WWW-Authenticate`` challenge (RFC 6750 section 3.1, RFC 9449,
            RFC 9470); "" for a challenge without one, None for no challenge.
        message: the words that the client may read.
    """

    http_status: int
    error: str | None
    message: str

    def __new__(cls, code: str, http_status: int, error: str | None, message: str) -> Self:
        """Return the member of a row: code, HTTP status, error and message."""
        member = object.__new__(cls)
        member._value_ = code
        member.http_status = http_status
        member.error = error
        member.message = message
        return member

    # The credential: absent, doubled, or not a token.
    TOKEN_MISSING = "token_missing", 401, "", "a delegation token is required"
    AUTH_AMBIGUOUS = "auth_ambiguous", 400, "invalid_request", "two credentials were sent"
    TOKEN_MALFORMED = "token_malformed", 401, "invalid_token", "the token is malformed"
    TOKEN_TOO_LARGE = "token_too_large", 401, "invalid_token", "the token is too large"
    # The signature and its key (RFC 7515, RFC 8725).
    TOKEN_ALG = "token_alg", 401, "invalid_token", "the algorithm is not accepted"
    TOKEN_TYP = "token_typ", 401, "invalid_token", "the token is of the wrong type"
    TOKEN_CRIT = "token_crit", 401, "invalid_token", "a critical header is not understood"
    TOKEN_KEY_UNKNOWN = "token_key_unknown", 401, "invalid_token", "the token's key is not known"
    TOKEN_SIGNATURE = "token_signature", 401, "invalid_token", "the token's signature is wrong"
    # The claims (RFC 7519, RFC 9068).
    TOKEN_EXPIRED = "token_expired", 401, "invalid_token", "the token has expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid", 401, "invalid_token", "the token is not yet valid"
    TOKEN_LIFETIME = "token_lifetime", 401, "invalid_token", "the token is valid for too long"
    TOKEN_ISSUER = "token_issuer", 401, "invalid_token", "the token's issuer is not trusted"
    TOKEN_AUDIENCE = "token_audience", 401, "invalid_token", "the token is for another audience"
    TOKEN_CLAIM = "token_claim", 401, "invalid_token", "a claim of the token is missing or wrong"
    TOKEN_REVOKED = "token_revoked", 401, "invalid_token", "the token was revoked"
    TOKEN_USED = "token_used", 401, "invalid_token", "the token was used before"
    # The issuer's answer about an opaque token (RFC 7662 section 2.2).
    TOKEN_INACTIVE = "token_inactive", 401, "invalid_token", "the token is not active"
    # Delegation (RFC 8693 section 4.1) and proof of possession (RFC 7800, RFC 8705, RFC 9449).
    ACTOR_MISSING = "actor_missing", 401, "invalid_token", "the token names no actor"
    ACTOR_MALFORMED = "actor_malformed", 401, "invalid_token", "the token's actor is malformed"
    CHAIN_TOO_DEEP = "chain_too_deep", 401, "invalid_token", "the delegation chain is too deep"
    CNF_MISMATCH = "cnf_mismatch", 401, "invalid_token", "the token is bound to another key"
    CNF_UNSUPPORTED = "cnf_unsupported", 401, "invalid_token", "the binding is unsupported"
    POP_MISSING = "pop_missing", 401, "invalid_token", "proof of possession is missing"
    DPOP_PROOF = "dpop_proof", 401, "invalid_dpop_proof", "the DPoP proof is not acceptable"
    DPOP_NONCE = "dpop_nonce", 401, "use_dpop_nonce", "the DPoP proof needs a nonce"
    STEP_UP = (
        "step_up",
        401,
        "insufficient_user_authentication",
        "the principal must authenticate again",
    )
    SCOPE = "scope", 403, "insufficient_scope", "the token's scope does not allow this"
    ACTOR_MISMATCH = "actor_mismatch", 403, "actor_unauthorized", "the caller is not the actor"
    ACTOR_NOT_PERMITTED = (
        "actor_not_permitted",
        403,
        "actor_unauthorized",
        "the actor may not act for this principal",
    )
    ISSUER_ACTOR_SCOPE = (
        "issuer_actor_scope",
        403,
        "actor_unauthorized",
        "the issuer may not name this actor",
    )
    # The caller's identity (SPIFFE-ID, X509-SVID).
    AGENT_MISSING = "agent_missing", 403, None, "the caller presented no identity"
    AGENT_INVALID = "agent_invalid", 403, None, "the caller's identity is not acceptable"
    AGENT_UNTRUSTED_DOMAIN = "agent_untrusted_domain", 403, None, "the trust domain is not trusted"
    AGENT_UNKNOWN = "agent_unknown", 403, None, "the agent is not registered"
    AGENT_SUSPENDED = "agent_suspended", 403, None, "the agent is suspended"
    IDENTITY_CONFLICT = "identity_conflict", 403, None, "the caller's identities disagree"
    # Policy.
    PRINCIPAL_REQUIRED = "principal_required", 403, None, "a principal is required"
    POLICY_DENIED = "policy_denied", 403, None, "not allowed"
    APPROVAL_REQUIRED = (
        "approval_required",
        403,
        "insufficient_authorization_details",
        "the principal must approve this call",
    )
    BUDGET_EXHAUSTED = "budget_exhausted", 429, None, "the budget is exhausted"
    EXCHANGE_REFUSED = (
        "exchange_refused",
        403,
        None,
        "the token can't be exchanged for this service",
    )
    STOPPED = "stopped", 403, None, "stopped by an operator"
    # The request itself; and what the proxy sent about it.
    CHECK_MALFORMED = "check_malformed", 400, None, "the check can't be read"
    PATH_AMBIGUOUS = "path_ambiguous", 400, None, "the request's target is ambiguous"
    MCP_HEADER_MISMATCH = "mcp_header_mismatch", 400, None, "headers and body disagree"
    MESSAGE_INVALID = "message_invalid", 400, None, "the message is not a valid request"
    MESSAGE_MALFORMED = "message_malformed", 400, None, "the body is not strict JSON"
    MESSAGE_PARAMS = "message_params", 400, None, "the parameters are not acceptable"
    MCP_UNTRUSTED_HEADERS = "mcp_untrusted_headers", 403, None, "the headers alone are not trusted"
    METHOD_UNKNOWN = "method_unknown", 403, None, "the method is not allowed"
    BODY_UNINSPECTABLE = "body_uninspectable", 403, None, "the body can't be inspected"
    BODY_TRUNCATED = "body_truncated", 413, None, "the body is too large to be inspected"
    # Our own faults: never an allow, and never the client's doing.
    KEYS_UNAVAILABLE = "keys_unavailable", 503, None, "the issuer's keys are unavailable"
    STATUS_UNAVAILABLE = "status_unavailable", 503, None, "the token's status is unavailable"
    STORE_UNAVAILABLE = "store_unavailable", 503, None, "the shared store is unavailable"
    EXCHANGE_UNAVAILABLE = (
        "exchange_unavailable",
        503,
        None,
        "the token service is unavailable",
    )
    PDP_UNAVAILABLE = "pdp_unavailable", 503, None, "the decision point is unavailable"
    OVERLOADED = "overloaded", 503, None, "overloaded"
    INTERNAL_ERROR = "internal_error", 503, None, "internal error"

    @property
    def code(self) -> str:
        """The stable code, as in metrics, audit and docs."""
        return str(self.value)

    @property
    def grpc_code(self) -> int:
        """The google.rpc.Code of ``CheckResponse.status``: never 0, which allows in Envoy."""
        return _GRPC_CODES[self.http_status]

    @property
    def jsonrpc_code(self) -> int:
        """The code of a JSON-RPC error (section 5.1); only MCP sends REFUSED as it is.

        MCP gives HeaderMismatch a code of its own; a refusal has that of AuthZEN's COAZ profile.
        """
        return _JSONRPC_CODES.get(self, -32603 if self.is_own_fault else REFUSED)

    @property
    def is_of_policy(self) -> bool:
        """Tell whether it refuses a known caller's request for which no other token would help."""
        return self in (Reason.POLICY_DENIED, Reason.METHOD_UNKNOWN, Reason.BUDGET_EXHAUSTED)

    @property
    def is_of_token(self) -> bool:
        """Tell whether the token's content is the cause: its other checks may fail too."""
        return self in _OF_TOKENS

    @property
    def is_own_fault(self) -> bool:
        """Tell whether the refusal is this server's fault rather than the request's."""
        return self.http_status == _OWN_FAULT_STATUS


_OF_TOKENS: Final = frozenset(
    {
        Reason.TOKEN_MALFORMED,
        Reason.TOKEN_ALG,
        Reason.TOKEN_TYP,
        Reason.TOKEN_CRIT,
        Reason.TOKEN_KEY_UNKNOWN,
        Reason.TOKEN_SIGNATURE,
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_LIFETIME,
        Reason.TOKEN_ISSUER,
        Reason.TOKEN_AUDIENCE,
        Reason.TOKEN_CLAIM,
        Reason.ACTOR_MISSING,
        Reason.ACTOR_MALFORMED,
    }
)
_OWN_FAULT_STATUS: Final = 503
_JSONRPC_CODES: Final = {
    Reason.MCP_HEADER_MISMATCH: -32020,
    Reason.MESSAGE_INVALID: -32600,
    Reason.BODY_UNINSPECTABLE: -32600,
    Reason.BODY_TRUNCATED: -32600,
    Reason.MESSAGE_MALFORMED: -32700,
    Reason.MESSAGE_PARAMS: -32602,
    Reason.METHOD_UNKNOWN: -32601,
}
REFUSED: Final = -32001  # a refusal, for which JSON-RPC has no code
URL_ELICITATION_REQUIRED: Final = -32042  # of MCP 2025-11-25: the client opens pages, and retries
RETRY_AFTER: Final = "retry-after"  # the header of RFC 9110 section 10.2.3
BEARER: Final = "Bearer"  # authentication schemes: RFC 6750
DPOP_SCHEME: Final = "DPoP"  # RFC 9449 section 7.1


class Denied(Exception):  # noqa: N818 - it is a verdict, not an error
    """A refusal: raised by a step, caught in the pipeline alone.

    Attributes:
        reason: why, from the closed list.
        detail: the cause in words, for the audit log only: never sent to the client, never a
            secret.
        parameters: further auth-params of the challenge, such as ``("scope", "a b")``.
        scheme: of the challenge, if there is one: Bearer, or DPoP if the client uses it.
        headers: further headers of the answer, such as ``("dpop-nonce", "...")``.
        rule: the policy's rule that denied, or that came nearest to an allow; "" for none.
        needs: the missing key or status, if fetching it may change the decision; else None.
        approvals: all that the client must ask for, for APPROVAL_REQUIRED.
        token_hash: the digest of the refused token, as in ``Delegation``; "" if none was read.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        parameters: tuple[tuple[str, str], ...] = (),
        scheme: str = BEARER,
        headers: tuple[tuple[str, str], ...] = (),
        rule: str = "",
        needs: Need | None = None,
        approvals: tuple[ApprovalRequest, ...] = (),
    ) -> None:
        """Refuse for a reason; ``detail`` is for operators only."""
        super().__init__(reason.code, detail)
        self.reason = reason
        self.detail = detail
        self.parameters = parameters
        self.scheme = scheme
        self.headers = headers
        self.rule = rule
        self.needs = needs
        self.approvals = approvals
        self.token_hash = ""
