"""Reads the token's actors, and requires that the current actor is the caller (RFC 8693 4.1).

Only the outermost actor decides. Inner actors are history: recorded, never a reason to allow.
``may_act`` says who may become an actor (section 4.4); it names no actor, and is not read. If a
token has ``act`` beside a mapped claim, both must name the same agent. A token whose subject is the
caller itself, or its client, is not a delegation: the agent acts for itself, which only a route
with the autonomous mode allows.
"""

from collections.abc import Mapping
from typing import Any

from authz.core.decision import Actor, Agent, Mode
from authz.core.delegation.actor_settings import ACT, ActorSettings
from authz.core.delegation.claims import Claims, name_in
from authz.core.delegation.faults import attempt, collect
from authz.core.delegation.person import is_clients_own, is_surely_clients_own, why_no_person
from authz.core.delegation.restrictions import check_actor
from authz.core.delegation.settings import IssuerSettings
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError


def resolve_actors(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[Mode, tuple[Actor, ...]]:
    """Return the mode of the delegation, and its actors: first the current actor, the caller.

    Raises Denied: ACTOR_MISSING, ACTOR_MALFORMED and CHAIN_TOO_DEEP for a missing or invalid chain,
    ACTOR_MISMATCH for a token of another agent, ISSUER_ACTOR_SCOPE for an agent that this issuer
    may not name, ACTOR_NOT_PERMITTED and PRINCIPAL_REQUIRED for an agent that may not act in this
    way, TOKEN_CLAIM and CNF_UNSUPPORTED for restrictions of the actor that are not checked,
    TOKEN_TYP for a token without scopes that is not the agent's own.
    """
    actors = _name_actors(claims, issuer, agent, route)
    check_current_actor(actors[0], issuer, agent)
    mode = _mode(claims, issuer, agent, route)
    _check_alone(mode, actors)
    return mode, actors


def actor_faults(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[list[Denied], Mode | None]:
    """Return every refusal of ``resolve_actors``, in its order, and the mode if it is known."""
    actors, faults = attempt(lambda: _name_actors(claims, issuer, agent, route))
    if actors:
        faults = collect(lambda: check_current_actor(actors[0], issuer, agent))
    mode, unclear = attempt(lambda: _mode(claims, issuer, agent, route))
    last = collect(lambda: _check_alone(mode, actors or ())) if mode else []
    return [*faults, *unclear, *last], mode


def named_agent(claims: Claims, issuer: IssuerSettings) -> str | None:
    """Return the ID of the agent that a token names as its actor or as itself, None for none."""
    try:
        if issuer.actor.is_mapped:
            named = _mapped_actors(claims, issuer)[0].subject
        elif ACT in claims.members:
            named = read_chain(claims.members, issuer)[0].subject
        else:
            named = issuer.actor.agent_of(claims.subject) or claims.subject
    except Denied:
        return None
    return named if named.startswith(SCHEME) else None


def named_actors(claims: Claims, issuer: IssuerSettings) -> tuple[Actor, ...]:
    """Return the actors that a token names, whoever presents it, first the current one.

    None for a token of a client that is not an agent: nobody acts for the principal yet. Raises
    Denied(ACTOR_MALFORMED | ACTOR_MISMATCH | CHAIN_TOO_DEEP | ISSUER_ACTOR_SCOPE | TOKEN_CLAIM |
    CNF_UNSUPPORTED).
    """
    settings = issuer.actor
    values = [claims.members.get(name) for name in settings.claim if settings.is_mapped]
    is_agent = any(isinstance(value, str) and settings.agent_of(value) for value in values)
    actors = _mapped_actors(claims, issuer) if is_agent else read_chain(claims.members, issuer)
    if actors and actors[0].subject.startswith(SCHEME):
        _check_may_name(actors[0], issuer, domain_of(actors[0].subject))
    return actors


def domain_of(text: str) -> str:
    """Return the name of a SPIFFE ID's trust domain. Raises Denied(ACTOR_MALFORMED)."""
    try:
        return SpiffeId.parse(text).trust_domain.name
    except SpiffeIdError as error:
        raise Denied(Reason.ACTOR_MALFORMED, f"an actor's sub: {error}") from None


def _mode(claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route) -> Mode:
    """Return how the agent acts. Raises Denied(TOKEN_TYP | PRINCIPAL_REQUIRED | ...)."""
    names_caller = agent.spiffe_id.text in (claims.subject, issuer.actor.agent_of(claims.subject))
    if not claims.has_scopes and not (names_caller or is_surely_clients_own(claims)):
        detail = f"it has no {issuer.scope_claim}, as an ID token has none, and is no agent's own"
        raise Denied(Reason.TOKEN_TYP, detail)
    if not names_caller and not is_clients_own(claims, issuer):
        return _delegated(claims, issuer, route)
    if RouteMode.AUTONOMOUS not in route.modes:
        raise Denied(Reason.PRINCIPAL_REQUIRED, "it is the own token of the agent or its client")
    return Mode.AUTONOMOUS


def _check_alone(mode: Mode, actors: tuple[Actor, ...]) -> None:
    if mode is Mode.AUTONOMOUS and len(actors) > 1:
        raise Denied(
            Reason.ACTOR_NOT_PERMITTED, "an agent acts for itself, but through other agents"
        )


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


def _name_actors(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[Actor, ...]:
    """Return the actors that the token names, first the current one."""
    if issuer.actor.is_mapped:
        return _mapped_actors(claims, issuer)
    if ACT in claims.members:
        return read_chain(claims.members, issuer)
    named = issuer.actor.agent_of(claims.subject) or claims.subject
    if named == agent.spiffe_id.text:
        return (Actor(issuer.issuer, named),)
    if RouteMode.AUTONOMOUS in route.modes and named.startswith(SCHEME):
        raise Denied(Reason.ACTOR_MISMATCH, "the token is another agent's own")
    raise Denied(Reason.ACTOR_MISSING, "it has no act claim")


def read_chain(holder: Mapping[str, Any], issuer: IssuerSettings) -> tuple[Actor, ...]:
    """Return the actors of the ``act`` in a token's claims, none without an ``act``.

    The issuer's own actors become the agents that they stand for.
    Raises Denied(CHAIN_TOO_DEEP | ACTOR_MALFORMED | TOKEN_CLAIM | CNF_UNSUPPORTED).
    """
    actors: list[Actor] = []
    while ACT in holder:
        if len(actors) == issuer.max_actors:  # never truncated: that would be another chain
            raise Denied(Reason.CHAIN_TOO_DEEP, f"more than {issuer.max_actors} actors")
        act = holder[ACT]
        if not isinstance(act, dict):
            raise Denied(Reason.ACTOR_MALFORMED, "an act is not an object")
        if not actors:
            check_actor(act, issuer)
        actors.append(_actor(act, issuer))
        holder = act
    return tuple(actors)


def _actor(act: Mapping[str, Any], issuer: IssuerSettings) -> Actor:
    """Return an actor. Only the issuer's own names are mapped.

    Elsewhere they mean something else.
    """
    named_by, subject = _name(act, "iss", issuer.issuer), _name(act, "sub")
    if named_by == issuer.issuer:
        subject = issuer.actor.agent_of(subject) or subject
    return Actor(named_by, subject)


def _name(act: Mapping[str, Any], member: str, default: str = "") -> str:
    reason = Reason.ACTOR_MALFORMED
    return name_in(act, member, default=default, of="an actor's", reason=reason)


def _mapped_actors(claims: Claims, issuer: IssuerSettings) -> tuple[Actor, ...]:
    """Return the agent that the mapped claims name, and earlier actors of an ``act``."""
    mapped = Actor(issuer.issuer, _mapped_agent(claims, issuer.actor))
    if ACT not in claims.members:
        return (mapped,)
    current, *earlier = read_chain(claims.members, issuer)
    if current.subject != mapped.subject:
        detail = f"its act names an agent other than its {' or '.join(issuer.actor.claim)}"
        raise Denied(Reason.ACTOR_MISMATCH, detail)
    return (current, *earlier)


def _mapped_agent(claims: Claims, settings: ActorSettings) -> str:
    """Return the single agent that the claims' values stand for.

    Raises Denied(ACTOR_MISSING | ACTOR_MALFORMED | ACTOR_NOT_PERMITTED | ACTOR_MISMATCH).
    """
    names = [name for name in settings.claim if claims.members.get(name) is not None]
    if not names:
        raise Denied(Reason.ACTOR_MISSING, f"it has no {' or '.join(settings.claim)} claim")
    agents = {_agent_in(claims.members[name], name, settings) for name in names}
    if len(agents) > 1:
        raise Denied(Reason.ACTOR_MISMATCH, f"its {' and '.join(names)} name different agents")
    return agents.pop()


def _agent_in(value: object, name: str, settings: ActorSettings) -> str:
    if not isinstance(value, str):
        raise Denied(Reason.ACTOR_MALFORMED, f"its {name} is not a string")
    agent = settings.agent_of(value)
    if agent is None:
        is_listed = settings.map or settings.patterns
        lists = "fits neither actor.map nor actor.patterns"
        fault = lists if is_listed else "is not a SPIFFE ID, and actor has neither map nor patterns"
        raise Denied(Reason.ACTOR_NOT_PERMITTED, f"its {name} {fault}")
    return agent


def check_current_actor(current: Actor, issuer: IssuerSettings, agent: Agent) -> None:
    """Require that the current actor, an iss and a sub together, is the caller.

    Raises Denied(ACTOR_MISMATCH | ISSUER_ACTOR_SCOPE).
    """
    if current.subject != agent.spiffe_id.text:
        is_agent = current.subject.startswith(SCHEME)
        unknown = "" if is_agent else ": it is no SPIFFE ID, and fits neither map nor patterns"
        detail = f"the token's current actor is not the caller{unknown}"
        raise Denied(Reason.ACTOR_MISMATCH, detail)
    _check_may_name(current, issuer, agent.spiffe_id.trust_domain.name)


def _check_may_name(current: Actor, issuer: IssuerSettings, domain: str) -> None:
    """Require that the issuer may name this actor, of this trust domain, as the current one.

    Raises Denied(ACTOR_MISMATCH | ISSUER_ACTOR_SCOPE).
    """
    own = current.issuer == issuer.issuer
    if not own and current.issuer not in (SCHEME + domain, *issuer.actor.issuers):
        raise Denied(
            Reason.ACTOR_MISMATCH, "the issuer's config does not accept the current actor's iss"
        )
    if issuer.actor_domains is not None and domain not in issuer.actor_domains:
        raise Denied(Reason.ISSUER_ACTOR_SCOPE, f"{issuer.issuer} may not name this trust domain")
