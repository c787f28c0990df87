"""The terms of a token: all of its claims except its id and times. They are checked once.

Most new tokens have the terms of an earlier token: a session was renewed, or a token exchanged for
a single task. Results that depend on the terms alone, here and in policy, are cached by them and
serve all later tokens. Signature, times, revocation and proof are checked for each token, and each
has its own record.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from authz.core.bounded_map import BoundedMap
from authz.core.decision import Actor, Agent, Mode
from authz.core.delegation.actor import resolve_actors
from authz.core.delegation.claims import Claims, OwnClaims, check_claims, check_own_claims
from authz.core.delegation.machine_marks import may_name_credentials, token_context
from authz.core.delegation.settings import IssuerSettings
from authz.core.jose.jws import Jws
from authz.core.routes import Route

_STATUS: Final = "status"
OWN_CLAIMS: Final = frozenset({"jti", "iat", "nbf", "exp", _STATUS})
"""The claims that differ from token to token (RFC 7519 sections 4.1.4 to 4.1.7).

With them a token's place in a status list, where lists are checked.
"""
_KNOWN: Final = 10_000  # the principals in use within seconds, as for rendered decisions
_KNOWN_BYTES: Final = 16 * 1024 * 1024
_OVERHEAD_BYTES: Final = 1000  # measured: the key without its texts, dict slots, the terms
_Key = tuple[bytes, str, str, str]
_encode: Final = msgspec.json.Encoder().encode


class Terms(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The parts of a delegation that follow from a token's terms; compared by identity."""

    subject: str
    actors: tuple[Actor, ...]
    scopes: frozenset[str]
    mode: Mode

    def __repr__(self) -> str:
        """Return no part of it, so that no log line can hold one."""
        return "Terms()"


class TermsJudge:
    """Checks the claims of tokens, and caches the terms that it accepted."""

    def __init__(self, issuers: Iterable[IssuerSettings], unread: frozenset[str]) -> None:
        """Begin with nothing accepted.

        ``unread`` are those of ``OWN_CLAIMS`` that no later step reads; the others are terms too.
        """
        self._own = {issuer.issuer: _own_claims(issuer, unread) for issuer in issuers}
        self._accepted: BoundedMap[_Key, Terms] = BoundedMap(_KNOWN, _KNOWN_BYTES, _bytes)

    def judge(
        self, jws: Jws, issuer: IssuerSettings, agent: Agent, route: Route, now: float
    ) -> tuple[Terms, OwnClaims]:
        """Return a verified token's terms, and what it says of itself alone.

        Raises Denied as ``check_claims`` and ``resolve_actors`` do.
        """
        own = self._own[issuer.issuer]
        # Any claim, even the id, may hold the grant that makes the token its client's own.
        if not own or may_name_credentials(jws.payload_text):
            return _judged(check_claims(jws, issuer, route, now), issuer, agent, route)
        said = {name: value for name, value in jws.payload.items() if name not in own}
        if "jti" in own and (context := token_context(jws.payload.get("jti"))):
            said["jti"] = context  # how it was obtained is not unique to a token
        key = (_encode(said), jws.header.media_type, agent.spiffe_id.text, route.name)
        terms = self._accepted.get(key)
        if terms is not None:
            return terms, check_own_claims(jws, issuer, now)
        claims = check_claims(jws, issuer, route, now)
        # The check of the actors gets the terms alone, so that it can't depend on anything else.
        claims = msgspec.structs.replace(claims, members=said, may_name_credentials=False)
        found = _judged(claims, issuer, agent, route)
        self._accepted.put(key, found[0])
        return found


def _own_claims(issuer: IssuerSettings, unread: frozenset[str]) -> frozenset[str]:
    """Return the claims of an issuer's tokens that are no terms.

    Without lists, ``status`` restricts a token, which decides whether the terms are accepted.
    """
    own = unread - issuer.claims_read
    return own if issuer.status_list is not None else own - {_STATUS}


def _judged(
    claims: Claims, issuer: IssuerSettings, agent: Agent, route: Route
) -> tuple[Terms, OwnClaims]:
    """Return the terms in checked claims, if they let this agent act. Raises Denied."""
    mode, actors = resolve_actors(claims, issuer, agent, route)
    own = OwnClaims(claims.issued_at, claims.expires_at, claims.token_id)
    return Terms(claims.subject, actors, claims.scopes, mode), own


def _bytes(key: _Key, _: Terms) -> int:
    return _OVERHEAD_BYTES + 2 * len(key[0])  # the names in the terms are separate texts
