"""The token's actors, of whom the current must be the caller (RFC 8693 section 4.1).

Only the outermost actor decides. Inner actors are history: recorded, never a reason to allow.
``may_act`` says who may become an actor (section 4.4); it names no actor, and is not read. If a
token has ``act``, it counts beside a mapped claim too: both must name the same agent. A token whose
subject is the caller itself, or its client, is not a delegation: the agent acts for itself, which
only a route with the autonomous mode allows.
"""

from collections.abc import Mapping
from typing import Any

from authz.core.decision import Actor, Agent, Mode
from authz.core.delegation.claims import Claims, name_in
from authz.core.delegation.person import is_clients_own, why_no_person
from authz.core.delegation.restrictions import check_actor
from authz.core.delegation.settings import ACT, ActorSettings, IssuerSettings
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SCHEME


def resolve_actors(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[Mode, tuple[Actor, ...]]:
    """Return the mode of the delegation, and its actors: first the current actor, the caller.

    Raises Denied: ACTOR_MISSING, ACTOR_MALFORMED and CHAIN_TOO_DEEP for a missing or invalid chain,
    ACTOR_MISMATCH for a token of another agent, ISSUER_ACTOR_SCOPE for an agent that this issuer
    may not name, ACTOR_NOT_PERMITTED and PRINCIPAL_REQUIRED for an agent that may not act in this
    way, TOKEN_CLAIM and CNF_UNSUPPORTED for restrictions of the actor that are not checked.
    """
    actors: tuple[Actor, ...]
    if issuer.actor.is_mapped:
        actors = _mapped_actors(claims, issuer, route)
    elif ACT not in claims.members and claims.subject == agent.spiffe_id.text:
        actors = (Actor(issuer.issuer, agent.spiffe_id.text),)
    else:
        actors = _read_chain(claims, issuer, route)
    _bind(actors[0], issuer, agent)
    if not _is_own(claims, issuer, agent):
        return _delegated(claims, issuer, route), actors
    if RouteMode.AUTONOMOUS not in route.modes:
        raise Denied(Reason.PRINCIPAL_REQUIRED, "it is the own token of the agent or its client")
    if len(actors) > 1:
        raise Denied(
            Reason.ACTOR_NOT_PERMITTED, "an agent acts for itself, but through other agents"
        )
    return Mode.AUTONOMOUS, actors


def _is_own(claims: Claims, issuer: IssuerSettings, agent: Agent) -> bool:
    """Tell whether the principal is the caller, by its SPIFFE ID or as the issuer's client."""
    own = agent.spiffe_id.text
    if own in (claims.subject, issuer.actor.map.get(claims.subject)):
        return True
    return is_clients_own(claims, issuer)


def _delegated(claims: Claims, issuer: IssuerSettings, route: Route) -> Mode:
    """Return the mode of a token by which a principal delegates to the caller.

    Raises Denied(ACTOR_NOT_PERMITTED | PRINCIPAL_REQUIRED).
    """
    if RouteMode.DELEGATED not in route.modes:
        raise Denied(Reason.ACTOR_NOT_PERMITTED, "on this route agents act only for themselves")
    if not issuer.actor.is_mapped:
        return Mode.ACT
    why_not = why_no_person(claims, issuer)
    if why_not:
        raise Denied(Reason.PRINCIPAL_REQUIRED, why_not)
    return Mode.MAPPED


def _read_chain(claims: Claims, issuer: IssuerSettings, route: Route) -> tuple[Actor, ...]:
    if ACT not in claims.members:
        if RouteMode.AUTONOMOUS in route.modes and claims.subject.startswith(SCHEME):
            raise Denied(Reason.ACTOR_MISMATCH, "the token is another agent's own")
        raise Denied(Reason.ACTOR_MISSING, "it has no act claim")
    actors: list[Actor] = []
    holder = claims.members
    while ACT in holder:
        if len(actors) == issuer.max_actors:  # refused, never cut: a cut chain is another chain
            raise Denied(Reason.CHAIN_TOO_DEEP, f"more than {issuer.max_actors} actors")
        act = holder[ACT]
        if not isinstance(act, dict):
            raise Denied(Reason.ACTOR_MALFORMED, "an act is not an object")
        if not actors:
            check_actor(act, issuer)
        actors.append(Actor(_name(act, "iss", issuer.issuer), _name(act, "sub")))
        holder = act
    return tuple(actors)


def _name(act: Mapping[str, Any], member: str, default: str = "") -> str:
    reason = Reason.ACTOR_MALFORMED
    return name_in(act, member, default=default, of="an actor's", reason=reason)


def _mapped_actors(claims: Claims, issuer: IssuerSettings, route: Route) -> tuple[Actor, ...]:
    """Return the agent that the map has for the claim, and earlier actors of an ``act``."""
    name = _mapped_name(claims, issuer.actor)
    mapped = Actor(issuer.issuer, issuer.actor.map[name])
    if ACT not in claims.members:
        return (mapped,)
    current, *earlier = _read_chain(claims, issuer, route)
    if current == Actor(issuer.issuer, name):  # the issuer's own name for the agent
        current = mapped
    if current.subject != mapped.subject:
        detail = f"its act names an agent other than its {issuer.actor.claim}"
        raise Denied(Reason.ACTOR_MISMATCH, detail)
    return (current, *earlier)


def _mapped_name(claims: Claims, settings: ActorSettings) -> str:
    """Return the claim's value, a key of the map.

    Raises Denied(ACTOR_MISSING | ACTOR_MALFORMED | ACTOR_NOT_PERMITTED).
    """
    name = claims.members.get(settings.claim)
    if name is None:
        raise Denied(Reason.ACTOR_MISSING, f"it has no {settings.claim} claim")
    if not isinstance(name, str):
        raise Denied(Reason.ACTOR_MALFORMED, f"its {settings.claim} is not a string")
    if name not in settings.map:
        raise Denied(Reason.ACTOR_NOT_PERMITTED, f"its {settings.claim} is not in the map")
    return name


def _bind(current: Actor, issuer: IssuerSettings, agent: Agent) -> None:
    """Require that the current actor, an iss and a sub together, is the caller.

    Raises Denied(ACTOR_MISMATCH | ISSUER_ACTOR_SCOPE).
    """
    if current.subject != agent.spiffe_id.text:
        raise Denied(Reason.ACTOR_MISMATCH, "the token's current actor is not the caller")
    domain = agent.spiffe_id.trust_domain.name
    own = current.issuer == issuer.issuer
    if not own and current.issuer not in (SCHEME + domain, *issuer.actor.issuers):
        raise Denied(
            Reason.ACTOR_MISMATCH, "the issuer's config does not accept the current actor's iss"
        )
    if issuer.actors_from is not None and domain not in issuer.actors_from:
        raise Denied(Reason.ISSUER_ACTOR_SCOPE, f"{issuer.issuer} may not name this trust domain")
