"""The delegation of an agent without a token: for itself by its SVID, or for nobody yet.

Both are for requests without any credential. A credential that was sent must be valid: it is never
ignored, or a client could choose the rules that apply to it.
"""

from functools import lru_cache
from math import inf
from typing import Final

from authz.core.decision import Actor, Agent, Delegation, Mode
from authz.core.request import Request
from authz.core.routes import Route

_AGENTS: Final = 10_000  # in use within seconds, as for the standing of callers


def without_token(request: Request, agent: Agent, route: Route) -> Delegation | None:
    """Return the delegation of a request without a credential; None if the route needs a token.

    Policy decides what it allows.
    """
    if route.takes_svid_alone:
        return by_svid(agent)
    return _BOOTSTRAP if route.bootstrap_calls(request) else None


def by_svid(agent: Agent) -> Delegation:
    """Return the delegation of an agent to itself, for which its trust domain vouches."""
    issuer, own = agent.spiffe_id.trust_domain.spiffe_id, agent.spiffe_id.text
    return Delegation(
        issuer=issuer,
        subject=own,
        actors=(Actor(issuer, own),),
        scopes=frozenset(),
        issued_at=0.0,  # the time of issue is unknown: each limit on a token's age refuses it
        expires_at=agent.expires_at,
        mode=Mode.AUTONOMOUS,
        terms=_terms(own),
        by_svid=True,
    )


@lru_cache(_AGENTS)
def _terms(_: str) -> object:
    """Return the terms of an agent by its SVID alone, the same for all its requests."""
    return object()


_BOOTSTRAP: Final = Delegation(
    issuer="",
    subject="",
    actors=(),
    scopes=frozenset(),
    issued_at=0.0,
    expires_at=inf,
    mode=Mode.BOOTSTRAP,
)
