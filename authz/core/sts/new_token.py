"""Writes the claims of a new token (RFC 9068 section 2.2, RFC 8693 section 4)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.approval import DETAILS
from authz.core.decision import Agent
from authz.core.delegation.confirmation import PROOF_KEY, THUMBPRINT
from authz.core.reason import Denied, Reason
from authz.core.sts.chain import act_claim
from authz.core.sts.outcome import TokenFacts
from authz.core.sts.principal import Principal
from authz.core.sts.settings import Binding, TokenServiceSettings

# Header and signature of a signed token: with a thumbprint as kid they take some 230.
_OVERHEAD_CHARS: Final = 400


def new_claims(
    settings: TokenServiceSettings,
    principal: Principal,
    facts: TokenFacts,
    details: tuple[Mapping[str, Any], ...],
    *,
    proof_key: str,
    token_id: str,
    now: float,
) -> dict[str, Any]:
    """Return the claims of a token with these facts; ``now`` is in unix seconds.

    ``proof_key`` is the thumbprint of a DPoP key, or "". Raises Denied(AGENT_MISSING) for a client
    without a certificate to bind it to.
    """
    audiences = list(facts.audiences)
    scope = " ".join(sorted(facts.scopes))
    cnf = _binding(settings.bind, facts.agent, proof_key)
    return {
        **principal.claims,  # first: they replace none of the others
        "iss": settings.issuer,
        "sub": principal.name,
        "sub_id": principal.sub_id,
        "aud": audiences[0] if len(audiences) == 1 else audiences,
        "client_id": facts.agent.spiffe_id.text,
        "iat": int(now),
        "exp": int(facts.expires_at),
        "jti": token_id,
        "act": act_claim(facts.actors),
        **({"scope": scope} if scope else {}),
        **({"cnf": cnf} if cnf else {}),
        **({DETAILS: list(details)} if details else {}),
    }


def _binding(bind: Binding, client: Agent, proof_key: str) -> dict[str, str]:
    """Return the ``cnf``: the client's certificate (RFC 8705), a DPoP key (RFC 9449), or both."""
    cnf: dict[str, str] = {}
    if bind is Binding.CERTIFICATE:
        if not client.thumbprint:  # else it would be a bearer's token
            raise Denied(Reason.AGENT_MISSING, "the client's certificate is unknown")
        cnf[THUMBPRINT] = client.thumbprint
    if proof_key:
        cnf[PROOF_KEY] = proof_key
    return cnf


def check_size(claims: Mapping[str, Any], max_chars: int) -> None:
    """Refuse a token that no server with these settings would take.

    Raises Denied(TOKEN_TOO_LARGE).
    """
    if _OVERHEAD_CHARS + len(msgspec.json.encode(claims)) * 4 // 3 > max_chars:
        raise Denied(Reason.TOKEN_TOO_LARGE, "the new token would be longer than token.max_bytes")
