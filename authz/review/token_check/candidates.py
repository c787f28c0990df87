"""Proposes lines of config that may accept a token, narrow ones first: guesses, to be tried."""

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any, Final, get_args

from authz.core.delegation import IssuerSettings
from authz.core.delegation.actor_settings import ACT
from authz.core.delegation.algorithms import AlgorithmName
from authz.core.delegation.settings import Unchecked
from authz.core.jose.jws import media_type
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SCHEME
from authz.review.token_check.asked import Asked
from authz.review.token_check.changes import Change
from authz.review.token_check.shapes import actor_claims, audiences
from authz.review.token_check.shown import is_presentable

# Of access tokens; another type may mean another kind of token.
TYPES: Final = ("JWT", "at+jwt", "JOSE")
SCOPE_CLAIMS: Final = ("scope", "scp")
_PERSON_CLAIMS: Final = ("preferred_username", "email", "upn", "unique_name")
_Find = Callable[[Asked, IssuerSettings], Iterator[Change]]


def candidates(asked: Asked, issuer: IssuerSettings, fault: Denied) -> Iterator[Change]:
    """Yield lines that may remove a refusal."""
    for find in _BY_REASON.get(fault.reason, ()):
        yield from find(asked, issuer)


def _algorithm(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    if asked.jws.header.algorithm in get_args(AlgorithmName):
        yield Change({"algorithms": (*issuer.algorithms, asked.jws.header.algorithm)})


def _type(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    for typ in TYPES:
        if media_type(typ) == asked.jws.header.media_type and typ not in issuer.typ:
            yield Change({"typ": (*issuer.typ, typ)})


def _scope_claim(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    members = asked.jws.payload
    for name in SCOPE_CLAIMS:
        if members.get(name) and name != issuer.scope_claim:
            yield Change({"scope_claim": name})


def _person(asked: Asked, _: IssuerSettings) -> Iterator[Change]:
    members = asked.jws.payload
    for name in _PERSON_CLAIMS:
        value = members.get(name)
        if isinstance(value, str) and is_presentable(value):
            only_if = f"the issuer gives {name} to people alone, and never to a client"
            yield Change({"person_shown_by": {name: (value,)}}, only_if)


def _audience(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    for name in filter(is_presentable, audiences(asked.jws.payload)):
        yield Change({"audiences": (*issuer.audiences, name)}, "it is this server's")


def _lifetime(asked: Asked, _: IssuerSettings) -> Iterator[Change]:
    members = asked.jws.payload
    seconds = ceil(members["exp"] - members["iat"])
    yield Change({"max_lifetime": f"{seconds}s"}, "so long a life is meant")


def _unchecked(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    for name in () if asked.is_cautious else get_args(Unchecked):
        unchecked = {"accept_unchecked": (*issuer.accept_unchecked, name)}
        yield Change(unchecked, "something else checks that")


def _domain(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    domain = asked.caller(issuer).spiffe_id.trust_domain.name
    yield Change({"actors_from": (*(issuer.actors_from or ()), domain)}, "it may name them")


def _chain(asked: Asked, _: IssuerSettings) -> Iterator[Change]:
    yield Change({"max_actors": _depth(asked.jws.payload)}, "so long a chain is meant")


def _depth(members: object) -> int:
    depth = 0
    while isinstance(members, dict) and ACT in members:
        depth, members = depth + 1, members[ACT]
    return depth


def _actor(asked: Asked, issuer: IssuerSettings) -> Iterator[Change]:
    """Yield lines by which the token names the agent in question.

    A value that already stands for an agent is not given to another agent: that would be another
    agent's token.
    """
    members = asked.jws.payload
    if ACT in members and not issuer.actor.is_mapped:
        act = members[ACT]
        yield from _act(asked, issuer, act if isinstance(act, dict) else {})
        return
    claims = actor_claims(members)
    current = [name for name in issuer.actor.claim if name != ACT and name in members]
    for name in current or [name for name in claims if name not in issuer.actor.claim]:
        claim = {} if current else {"claim": name}
        value = members[name]
        if isinstance(value, str) and issuer.actor.agent_of(value) is not None and claim:
            yield Change({"actor": claim})  # a SPIFFE ID, or it stands for an agent already
        yield from _mapped(asked, issuer, value, claim)


def _act(asked: Asked, issuer: IssuerSettings, act: dict[str, Any]) -> Iterator[Change]:
    named_by = act.get("iss", issuer.issuer)
    if named_by == issuer.issuer:
        yield from _mapped(asked, issuer, act.get("sub"), {})
    elif isinstance(named_by, str) and is_presentable(named_by):
        issuers = {"issuers": (*issuer.actor.issuers, named_by)}
        yield Change({"actor": issuers}, "it names its actors as this config does")


def _mapped(
    asked: Asked, issuer: IssuerSettings, value: object, claim: dict[str, Any]
) -> Iterator[Change]:
    is_name = isinstance(value, str) and not value.startswith(SCHEME) and is_presentable(value)
    if is_name and issuer.actor.agent_of(str(value)) is None:
        agent = (asked.agent or asked.placeholder).text
        entry = {**issuer.actor.map, str(value): agent}
        yield Change({"actor": {**claim, "map": entry}}, "the value stands for this agent alone")


_BY_REASON: Final[Mapping[Reason, tuple[_Find, ...]]] = {
    Reason.TOKEN_ALG: (_algorithm,),
    Reason.TOKEN_TYP: (_type, _scope_claim),
    Reason.TOKEN_AUDIENCE: (_audience,),
    Reason.TOKEN_LIFETIME: (_lifetime,),
    Reason.TOKEN_CLAIM: (_unchecked,),
    Reason.CNF_UNSUPPORTED: (_unchecked,),
    Reason.CHAIN_TOO_DEEP: (_chain,),
    Reason.ISSUER_ACTOR_SCOPE: (_domain,),
    Reason.PRINCIPAL_REQUIRED: (_person,),
    Reason.ACTOR_MISSING: (_actor,),
    Reason.ACTOR_MISMATCH: (_actor,),
    Reason.ACTOR_NOT_PERMITTED: (_actor,),
}
