"""The claims of an assertion: what this server decided, for the upstream that acts on it.

The principal and its issuer stay apart from this server, which is ``iss``: ``sub`` alone would make
the same person of two whose issuers gave them the same name, so ``sub_id`` has both (RFC 9493
section 3.2.3). ``act`` is the chain of actors as in RFC 8693 section 4.1; ``txn``, ``req_wl`` and
``tctx`` have the meaning of draft-ietf-oauth-transaction-tokens.
"""

from collections.abc import Sequence
from typing import Final

from authz.core.parties import Actor, Agent, Delegation, Mode
from authz.core.spiffe.spiffe_id import SCHEME
from authz.core.upstream_token import Upstream

# A type of its own (RFC 8725bis section 3.12), which is never accepted as an access token.
ASSERTION_TYPE: Final = "authz-assertion+jwt"


def assertion_claims(
    agent: Agent, delegation: Delegation, upstream: Upstream, decision_id: str
) -> dict[str, object]:
    """Return the claims about a decision, without issuer, times and ``jti``.

    ``decision_id`` is ``txn``, by which the audit log has the decision. Without ``scope``, the
    assertion gives no scopes. Without ``act``, the agent acts for itself, or for nobody yet.
    """
    own = agent.spiffe_id.text
    claims: dict[str, object] = {
        "aud": upstream.audience,
        "txn": decision_id,
        "req_wl": own,
        "tctx": {"route": upstream.route},
    }
    if delegation.mode in (Mode.AUTONOMOUS, Mode.BOOTSTRAP):
        claims |= {"sub": own, "sub_id": {"format": "uri", "uri": own}}
    else:
        claims |= {
            "sub": delegation.subject,
            "sub_id": {
                "format": "iss_sub",
                "iss": delegation.issuer,
                "sub": delegation.subject,
            },
            "act": _chain(own, delegation.actors[1:]),
        }
    if scopes := sorted(upstream.narrowed(delegation.scopes)):
        claims["scope"] = " ".join(scopes)
    return claims


def _chain(own: str, earlier: Sequence[Actor]) -> dict[str, object]:
    """Return ``act``: the calling agent outermost, in it the earlier actors, the first innermost.

    A SPIFFE ID is unique by itself; any other name is so only with its issuer.
    """
    chain: dict[str, object] = {}
    for actor in reversed(earlier):
        named = {"sub": actor.subject}
        if not actor.subject.startswith(SCHEME):
            named["iss"] = actor.issuer
        chain = {**named, **({"act": chain} if chain else {})}
    return {"sub": own, **({"act": chain} if chain else {})}
