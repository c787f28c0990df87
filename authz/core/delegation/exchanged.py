"""The check of an exchanged token: it names the same principal and agent, and grants no more.

An issuer's answer is not trusted blindly (RFC 8693 section 5): a fault there, or an attacker who
chooses what is exchanged, must not make this server present somebody else's token to an upstream.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.choice import Need
from authz.core.decision import Actor, Agent, Delegation, Mode
from authz.core.delegation.actor import check_current_actor, read_chain
from authz.core.delegation.claims import PLAIN, check_plain_kind, name_in, read_scopes
from authz.core.delegation.exchange_settings import ExchangeSettings, SubjectNeed
from authz.core.delegation.header import check_header, check_kind
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.times import check_times
from authz.core.delegation.verifier import check_signature, find_key
from authz.core.jose.jws import parse_compact
from authz.core.jose.key_set import KeySet
from authz.core.reason import Denied, Reason

MAX_EXCHANGED_BYTES: Final = 16 * 1024  # proxies and servers refuse longer headers


class ExchangeExpected(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What an exchanged token must be.

    Attributes:
        issuer, settings: of the issuer that exchanges.
        delegation, agent: of the token that is exchanged.
        audiences: the audience and the resource that are asked for.
        scopes: the scopes that are asked for.
        actor: the subject of the actor token that is sent, "" without one.
    """

    issuer: IssuerSettings
    settings: ExchangeSettings
    delegation: Delegation
    agent: Agent
    audiences: tuple[str, ...]
    scopes: frozenset[str]
    actor: str = ""


def check_exchanged(
    token: str, expected: ExchangeExpected, keys: KeySet | None, now: float
) -> float:
    """Verify an exchanged token, and return its ``exp`` in unix seconds.

    Raises Denied with the reason that a client's token with this fault would have, and with
    ``needs`` if its key is unknown.
    """
    issuer = expected.issuer
    jws = parse_compact(token, MAX_EXCHANGED_BYTES)
    check_kind(jws)
    check_header(jws, issuer)
    key, _ = find_key(keys, issuer, jws, now)
    check_signature(key, jws)
    claims = jws.payload
    if jws.header.media_type in PLAIN:
        check_plain_kind(claims)
    if claims.get("iss") != issuer.issuer:
        raise Denied(Reason.TOKEN_ISSUER, "its iss is another issuer")
    _, expires_at = check_times(claims, issuer, now)
    _check_audience(claims, expected)
    _check_subject(claims, expected)
    _check_actors(claims, expected)
    check_exchanged_scopes(read_scopes(claims, issuer.scope_claim), expected)
    if "cnf" in claims:  # the upstream would refuse it without a proof, which only clients have
        raise Denied(Reason.CNF_UNSUPPORTED, "it is bound to a key")
    return expires_at


def check_exchanged_scopes(scopes: frozenset[str], expected: ExchangeExpected) -> None:
    """Require that an answer has no more scopes than were asked for. Raises Denied(TOKEN_CLAIM)."""
    if not scopes <= expected.scopes.union(expected.settings.accept_scopes):
        raise Denied(Reason.TOKEN_CLAIM, "it has scopes that were not asked for")


def _check_audience(claims: Mapping[str, Any], expected: ExchangeExpected) -> None:
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not all(asked in named for asked in expected.audiences):
        raise Denied(Reason.TOKEN_AUDIENCE, "its aud does not have what was asked for")
    known = (*expected.audiences, *expected.settings.accept_audiences)
    if not all(name in known for name in named):  # the upstream could use it elsewhere
        raise Denied(Reason.TOKEN_AUDIENCE, "its aud has more than was asked for")


def _check_subject(claims: Mapping[str, Any], expected: ExchangeExpected) -> None:
    """Require the same principal: by ``sub`` and issuer, or as the settings say."""
    name_in(claims, "sub")
    if expected.settings.subject is SubjectNeed.ANY:
        return
    given = expected.delegation.claims
    for name in expected.settings.subject_claims:
        said, other = given.get(name), claims.get(name)
        if not isinstance(said, str) or not said or said != other:
            raise Denied(Reason.TOKEN_CLAIM, f"its {name} is not that of the client's token")


def _check_actors(claims: Mapping[str, Any], expected: ExchangeExpected) -> None:
    """Require that an ``act`` names the agent, after the same earlier actors; none left out."""
    chain, delegation = read_chain(claims, expected.issuer), expected.delegation
    if chain and expected.actor:
        if chain[0].subject != expected.actor:
            raise Denied(Reason.ACTOR_MISMATCH, "its current actor is not that of the actor token")
        chain = chain[1:]
    if not chain:
        if _owes_agent(claims, expected):
            raise Denied(Reason.ACTOR_MISSING, "it has no act that names the agent")
        return
    check_current_actor(chain[0], expected.issuer, expected.agent)
    before = _names(delegation.actors[1:], delegation.issuer)
    if _names(chain[1:], expected.issuer.issuer) != before:
        detail = "its earlier actors are not those of the client's token"
        raise Denied(Reason.ACTOR_MISMATCH, detail)


def _owes_agent(claims: Mapping[str, Any], expected: ExchangeExpected) -> bool:
    """Tell whether a token that does not name the agent leaves out an actor that it should name.

    An ``act`` with the actor of our actor token alone does, unless the client's token had none.
    """
    mode = expected.delegation.mode
    if mode is Mode.AUTONOMOUS:
        return False
    if "act" in claims and mode is Mode.ACT:
        return True
    return expected.settings.actor is Need.REQUIRED


def _names(actors: tuple[Actor, ...], own: str) -> list[tuple[str, str]]:
    """Return actors by name, with the issuer only of those that another issuer named."""
    return [("" if actor.issuer == own else actor.issuer, actor.subject) for actor in actors]
