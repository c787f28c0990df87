"""Verifies subject tokens: as the server verifies delegation tokens, but whoever presents them.

Signature, issuer, type, times, restrictions and status are checked by ``authz.core.delegation``.
That the caller is the token's actor is not: it is another who wants to become the next one. What
takes the place of that check is in ``service``: the rule, the audience, ``may_act``, and the key of
a token that is for the token service itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from authz.core.decision import Actor, Agent
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.delegation.actor import named_actors
from authz.core.delegation.actor_settings import ACT
from authz.core.delegation.claims import PLAIN, Claims, OwnClaims, audiences_in, check_claims
from authz.core.delegation.confirmation import PROOF_KEY, THUMBPRINT, required_bindings
from authz.core.delegation.credential import token_hash
from authz.core.delegation.one_time import token_uses
from authz.core.delegation.opaque import AnswerLookup, OpaqueTokens
from authz.core.delegation.person import is_clients_own, why_no_person
from authz.core.delegation.status_list import StatusListChecker, StatusListLookup
from authz.core.delegation.verifier import SignedTokens
from authz.core.jose.jws import Jws
from authz.core.jose.key_set import KeyLookup
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, RouteMode
from authz.core.single_use import SingleUse
from authz.core.spiffe import SCHEME
from authz.core.spiffe.spiffe_id import is_misspelt
from authz.core.sts import TokenServiceSettings
from authz.core.sts.id_token import check_id_header, check_id_token
from authz.core.sts.outcome import TokenFacts
from authz.core.sts.request import TokenRequest, TokenType

_DELEGATED: Final = Route()
_AUTONOMOUS: Final = Route(modes=frozenset({RouteMode.AUTONOMOUS}))


class Subject(msgspec.Struct, frozen=True):
    """A verified subject token.

    Attributes:
        actors: the agents that act already, first the current one; empty if nobody does.
        audiences: all that its ``aud`` names.
        bindings: the keys that it is bound to, by their names in ``cnf``.
        uses: what no other request may use: the token itself, if it is for one.
        is_id_token: whether it is an ID token, which has no scopes.
    """

    issuer: IssuerSettings
    claims: Claims
    actors: tuple[Actor, ...]
    audiences: frozenset[str]
    bindings: Mapping[str, Any]
    uses: tuple[SingleUse, ...]
    is_id_token: bool = False

    def __repr__(self) -> str:
        """Return no claim, so that no log line can hold one."""
        return "Subject()"


class SubjectTokens:
    """Verifies subject tokens, and the actor tokens of clients."""

    def __init__(
        self,
        settings: TokenServiceSettings,
        token: TokenSettings,
        issuers: Iterable[IssuerSettings],
        *,
        keys: KeyLookup,
        answers: AnswerLookup,
        lists: StatusListLookup,
    ) -> None:
        """Index the issuers; tokens are for the token service, or an audience of its rules."""
        named = (name for rule in settings.rules for name in rule.subject_audiences)
        audiences = tuple(dict.fromkeys((settings.issuer, *named)))
        listed = [issuer.model_copy(update={"audiences": audiences}) for issuer in issuers]
        self._own = settings.issuer
        self._id_tokens = {each.issuer: each for each in settings.id_tokens}
        self._signed = SignedTokens(listed, keys, token.max_bytes)
        self._opaque = OpaqueTokens(listed, answers, token.max_bytes)
        self._max_bytes = token.max_bytes
        self._statuses = StatusListChecker(lists, keys)

    def read(self, request: TokenRequest, facts: TokenFacts, now: float) -> Subject:
        """Verify a subject token, of the type that the client says. Raises Denied."""
        text, kind = request.subject_token, request.subject_type
        if len(text) <= self._max_bytes:
            facts.subject_hash = token_hash(text)
        if kind is TokenType.ID_TOKEN:
            subject = self._id_token(text, now)
        else:
            subject = self._access_token(text, kind, facts.agent, now)
        facts.subject_issuer = subject.issuer.issuer
        facts.subject_id = subject.claims.token_id
        _check_principal(subject)
        return subject

    def _access_token(self, text: str, kind: TokenType, client: Agent, now: float) -> Subject:
        is_opaque = kind is TokenType.ACCESS_TOKEN and self._opaque.takes(text)
        if is_opaque:
            issuer, jws, _ = self._opaque.read(text, client, now)
        else:
            issuer, jws, _ = self._signed.verify(text, now)
        claims = check_claims(jws, issuer, _DELEGATED, now)
        if not is_opaque:  # whose issuer has just said that it is active
            self._statuses.check(jws.payload, issuer, now)
        return _subject(jws, issuer, claims)

    def _id_token(self, text: str, now: float) -> Subject:
        issuer, jws, _ = self._signed.verify(text, now, check_id_header)
        settings = self._id_tokens.get(issuer.issuer)
        if settings is None:
            raise Denied(Reason.TOKEN_TYP, "no ID tokens of this issuer are accepted")
        claims = check_id_token(jws, issuer, settings, now)
        self._statuses.check(jws.payload, issuer, now)
        return _subject(jws, issuer, claims, is_id_token=True)

    def check_actor(self, text: str, client: Agent, now: float) -> tuple[SingleUse, ...]:
        """Require that an actor token is the client's own, for the token service.

        The client is the actor by its certificate; an actor token proves nothing more. Returns
        what no other request may use. Raises Denied.
        """
        issuer, jws, _ = self._signed.verify(text, now)
        claims = check_claims(jws, issuer, _AUTONOMOUS, now)
        actor = _subject(jws, issuer, claims)
        named = issuer.actor.agent_of(claims.subject) or claims.subject
        if named != client.spiffe_id.text or ACT in claims.members:
            raise Denied(Reason.ACTOR_MISMATCH, "the actor token is not the client's own")
        if self._own not in actor.audiences:
            raise Denied(Reason.TOKEN_AUDIENCE, "the actor token is not for the token service")
        check_holder(actor.bindings, client, "")
        self._statuses.check(jws.payload, issuer, now)
        return actor.uses


def _subject(
    jws: Jws, issuer: IssuerSettings, claims: Claims, *, is_id_token: bool = False
) -> Subject:
    own = OwnClaims(claims.issued_at, claims.expires_at, claims.token_id)
    is_plain = jws.header.media_type in PLAIN
    return Subject(
        issuer,
        claims,
        named_actors(claims, issuer),
        frozenset(audiences_in(claims.members, is_plain=is_plain)),
        required_bindings(claims.members, issuer, _DELEGATED),
        token_uses(issuer, own),
        is_id_token,
    )


def _check_principal(subject: Subject) -> None:
    """Require that a token is about a person, and that its actors can be told apart.

    What acts for a person by our token names an actor, so that no server looks for the person again
    (``authz.core.delegation.person``). Raises Denied(PRINCIPAL_REQUIRED | ACTOR_MALFORMED).
    """
    claims, issuer = subject.claims, subject.issuer
    is_agents = claims.subject.startswith(SCHEME) or is_misspelt(claims.subject)
    if is_agents or is_clients_own(claims, issuer):
        raise Denied(Reason.PRINCIPAL_REQUIRED, "it is the own token of an agent or its client")
    if not (subject.actors or subject.is_id_token):
        why_not = why_no_person(claims, issuer)
        if why_not:
            raise Denied(Reason.PRINCIPAL_REQUIRED, why_not)
    if any(is_misspelt(actor.subject) for actor in subject.actors):
        raise Denied(Reason.ACTOR_MALFORMED, "an earlier actor is not a valid SPIFFE ID")


def check_holder(bindings: Mapping[str, Any], client: Agent, proof_key: str) -> None:
    """Require that the client holds every key that a token is bound to.

    ``proof_key`` is the thumbprint of the key of the request's DPoP proof, "" without one. Raises
    Denied(CNF_MISMATCH).
    """
    held = {THUMBPRINT: client.thumbprint, PROOF_KEY: proof_key}
    for name, thumbprint in bindings.items():
        if not held.get(name) or held[name] != thumbprint:
            raise Denied(Reason.CNF_MISMATCH, "the client does not hold the key in its cnf")
