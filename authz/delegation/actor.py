"""Who acts, and for whom: the token's actors, held against the caller (RFC 8693 section 4.1).

Only the outermost actor decides. Inner ones are history: recorded, never a reason to allow.
``may_act`` says who may become an actor (section 4.4); it is no actor, and is not looked at.
A token whose subject is the caller itself is no delegation: the agent acts for itself, which only
a route with the autonomous mode allows.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.decision import Actor, Agent
from authz.delegation.claims import MAX_SUBJECT_CHARS, Claims
from authz.delegation.settings import IssuerSettings
from authz.reason import Denied, Reason
from authz.routes import Route
from authz.spiffe import SCHEME

AUTONOMOUS: Final = "autonomous"
DELEGATED: Final = "delegated"


def actors_of(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[str, tuple[Actor, ...]]:
    """The mode of the delegation, and the actors, current one first, who is the caller.

    Raises Denied: ACTOR_MISSING, ACTOR_MALFORMED, CHAIN_TOO_DEEP for what is not there as it should
    be, ACTOR_MISMATCH for a token of another agent, ISSUER_ACTOR_SCOPE for an agent that this
    issuer may not name, ACTOR_NOT_PERMITTED and PRINCIPAL_REQUIRED for one that may act, but not
    in this way.
    """
    is_own = _is_own(claims, issuer, agent)
    actors: tuple[Actor, ...]
    if issuer.actor.claim != "act":
        actors = (_mapped_actor(claims, issuer),)
    elif is_own and claims.members.get("act") is None:
        actors = (Actor(issuer.issuer, agent.spiffe_id.text),)
    else:
        actors = _chain_of(claims, issuer, route)
    _bind(actors[0], issuer, agent)
    if is_own:
        if AUTONOMOUS not in route.modes:
            raise Denied(Reason.PRINCIPAL_REQUIRED, "the token's subject is the agent itself")
        if len(actors) > 1:
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an agent acts for itself, but through others")
        return AUTONOMOUS, actors
    if DELEGATED not in route.modes:
        raise Denied(Reason.ACTOR_NOT_PERMITTED, "agents act only for themselves on this route")
    return ("act" if issuer.actor.claim == "act" else "mapped"), actors


def _is_own(claims: Claims, issuer: IssuerSettings, agent: Agent) -> bool:
    """Whether the principal is the caller: by its SPIFFE ID, or as the issuer's client."""
    if claims.subject == agent.spiffe_id.text:
        return True
    # RFC 9700 section 4.15: a client's own token must not look like a user's.
    is_client = claims.subject == claims.members.get(issuer.actor.claim)
    return is_client or issuer.actor.map.get(claims.subject) == agent.spiffe_id.text


def _chain_of(claims: Claims, issuer: IssuerSettings, route: Route) -> tuple[Actor, ...]:
    act = claims.members.get("act")
    if act is None:
        if AUTONOMOUS in route.modes and claims.subject.startswith(SCHEME):
            raise Denied(Reason.ACTOR_MISMATCH, "the token is another agent's own")
        raise Denied(Reason.ACTOR_MISSING, "it has no act claim")
    actors: list[Actor] = []
    while act is not None:
        if len(actors) == issuer.max_actors:  # refused, never cut: a cut chain is another chain
            raise Denied(Reason.CHAIN_TOO_DEEP, f"more than {issuer.max_actors} actors")
        if not isinstance(act, dict):
            raise Denied(Reason.ACTOR_MALFORMED, "an act is not an object")
        actors.append(Actor(_name(act, "iss", issuer.issuer), _name(act, "sub", "")))
        act = act.get("act")
    return tuple(actors)


def _name(act: Mapping[str, Any], member: str, default: str) -> str:
    value = act.get(member, default)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT_CHARS:
        raise Denied(Reason.ACTOR_MALFORMED, f"an actor's {member} is missing or no short string")
    if not value.isprintable():
        raise Denied(Reason.ACTOR_MALFORMED, f"an actor's {member} has control characters")
    return value


def _mapped_actor(claims: Claims, issuer: IssuerSettings) -> Actor:
    value = claims.members.get(issuer.actor.claim)
    if value is None:
        raise Denied(Reason.ACTOR_MISSING, f"it has no {issuer.actor.claim} claim")
    if not isinstance(value, str):
        raise Denied(Reason.ACTOR_MALFORMED, f"its {issuer.actor.claim} is not a string")
    agent = issuer.actor.map.get(value)
    if agent is None:
        raise Denied(Reason.ACTOR_NOT_PERMITTED, f"its {issuer.actor.claim} is not in the map")
    return Actor(issuer.issuer, agent)


def _bind(current: Actor, issuer: IssuerSettings, agent: Agent) -> None:
    """Hold the current actor, who is an iss and a sub together, against the caller."""
    if current.subject != agent.spiffe_id.text:
        raise Denied(Reason.ACTOR_MISMATCH, "the token's current actor is not the caller")
    domain = agent.spiffe_id.trust_domain.name
    if current.issuer not in (issuer.issuer, SCHEME + domain, *issuer.actor.issuers):
        raise Denied(Reason.ACTOR_MISMATCH, "the current actor's iss is not one that is configured")
    if issuer.actors_from is not None and domain not in issuer.actors_from:
        raise Denied(Reason.ISSUER_ACTOR_SCOPE, f"{issuer.issuer} may not name this trust domain")
