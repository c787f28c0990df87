"""Who acts: the token's chain of actors, and its binding to the caller (RFC 8693 section 4.1).

Only the outermost actor decides. Inner ones are history: recorded, never a reason to allow.
``may_act`` says who may become an actor (section 4.4); it is no actor, and is not looked at.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.decision import Actor, Agent
from authz.delegation.claims import MAX_SUBJECT_CHARS, Claims
from authz.delegation.settings import IssuerSettings
from authz.reason import Denied, Reason

_THUMBPRINT: Final = "x5t#S256"
_KEY_MEMBERS: Final = frozenset({"jwk", "jkt", "jku", "kid", "jwe"})


def chain_of(claims: Claims, issuer: IssuerSettings) -> tuple[Actor, ...]:
    """The actors, current one first. Raises Denied(ACTOR_MISSING | ACTOR_MALFORMED | CHAIN_...)."""
    if issuer.actor.claim != "act":
        return (_mapped_actor(claims, issuer),)
    actors: list[Actor] = []
    act = claims.members.get("act")
    if act is None:
        raise Denied(Reason.ACTOR_MISSING, "it has no act claim")
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


def bind(actors: tuple[Actor, ...], claims: Claims, issuer: IssuerSettings, agent: Agent) -> None:
    """Hold the current actor against the caller of the mTLS connection.

    Raises Denied(ACTOR_MISMATCH) for a token of another agent, Denied(ISSUER_ACTOR_SCOPE) for an
    agent that this issuer may not name, Denied(PRINCIPAL_REQUIRED) for an agent that "acts" for
    itself, which is no delegation.
    """
    if actors[0].subject != agent.spiffe_id.text:
        raise Denied(Reason.ACTOR_MISMATCH, "the token's current actor is not the caller")
    if (
        issuer.actors_from is not None
        and agent.spiffe_id.trust_domain.name not in issuer.actors_from
    ):
        raise Denied(Reason.ISSUER_ACTOR_SCOPE, f"{issuer.issuer} may not name this trust domain")
    if claims.subject == agent.spiffe_id.text:
        raise Denied(Reason.PRINCIPAL_REQUIRED, "the token's subject is the agent itself")


def check_confirmation(claims: Claims, agent: Agent) -> None:
    """Hold ``cnf`` against the caller's certificate (RFC 7800 section 3.1, RFC 8705 section 3).

    A binding that can't be checked refuses: to ignore one is to take a bound token as a bearer one.
    Raises Denied(CNF_UNSUPPORTED | POP_MISSING | CNF_MISMATCH).
    """
    if "cnf" not in claims.members:
        return
    cnf = claims.members["cnf"]
    if not isinstance(cnf, dict) or not cnf.keys() & {_THUMBPRINT, *_KEY_MEMBERS}:
        raise Denied(Reason.CNF_UNSUPPORTED, "its cnf has no member that is understood")
    if cnf.keys() & _KEY_MEMBERS:
        raise Denied(Reason.POP_MISSING, "its cnf names a key of which nothing proves possession")
    if not agent.thumbprint:
        raise Denied(Reason.POP_MISSING, "the proxy sent no certificate to compare with its cnf")
    if cnf[_THUMBPRINT] != agent.thumbprint:
        raise Denied(Reason.CNF_MISMATCH, "the caller's certificate is not the one in its cnf")
