"""Step 2, on whose behalf: a request's delegation token, verified and bound to the caller.

The order of the checks is the argument: nothing of a token is believed before its signature, and
nothing is looked up for it but what the operator configured. The core does no I/O: a key that is
not known is ``Denied(TOKEN_KEY_UNKNOWN)``, and the edge decides whether to fetch and try again.
"""

from collections.abc import Iterable
from typing import Protocol

from authz.decision import Agent, Delegation
from authz.delegation.actor import bind, chain_of, check_confirmation
from authz.delegation.claims import check_claims
from authz.delegation.credential import bearer_token
from authz.delegation.jws import Jws, check_header, parse_compact
from authz.delegation.settings import ActorSettings, IssuerSettings, TokenSettings
from authz.keys import Key, KeySet, KeyVerifyError
from authz.reason import Denied, Reason
from authz.request import Request

__all__ = [
    "ActorSettings",
    "Delegations",
    "IssuerSettings",
    "KeySource",
    "TokenSettings",
]


class KeySource(Protocol):
    """Where verified keys come from: a look-up that never waits."""

    def get(self, issuer: str) -> KeySet | None:
        """The issuer's last good key set, None when there never was one."""


class Delegations:
    """Verifies delegation tokens of the configured issuers."""

    def __init__(
        self, token: TokenSettings, issuers: Iterable[IssuerSettings], keys: KeySource
    ) -> None:
        """Take the settings, and a source of keys."""
        self._token = token
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys = keys

    def verify(self, request: Request, agent: Agent, now: float) -> Delegation:
        """Verify the request's token as one that lets this agent act (RFC 8693 section 4.1).

        Raises Denied with the first rule that the token breaks.
        """
        token = bearer_token(request, self._token)  # 1. exactly one credential
        jws = parse_compact(token, self._token.max_bytes)  # 2. a compact JWS, read one way only
        issuer = self._issuer(jws)  # 3. an issuer that we know, by exact name
        check_header(jws, issuer)  # 4. algorithm, type, critical members: the issuer's, not its own
        key = self._key(issuer, jws, now)  # 5. a key of that issuer
        _check_signature(key, jws)  # 6. from here on the claims are the issuer's word
        claims = check_claims(jws, issuer, now)  # 7. for us, now
        actors = chain_of(claims, issuer)  # 8. who acts
        bind(actors, claims, issuer, agent)  # 9. the current actor is the caller
        check_confirmation(claims, agent)  # 10. and holds the key that the token is bound to
        return Delegation(
            issuer=issuer.issuer,
            subject=claims.subject,
            actors=actors,
            scopes=claims.scopes,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            token_id=claims.token_id,
            mode="act" if issuer.actor.claim == "act" else "mapped",
            claims=claims.members,
        )

    def _issuer(self, jws: Jws) -> IssuerSettings:
        name = jws.payload.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Denied(Reason.TOKEN_ISSUER, "the token's iss is not a configured issuer")
        return issuer

    def _key(self, issuer: IssuerSettings, jws: Jws, now: float) -> Key:
        keys = self._keys.get(issuer.issuer)
        if keys is None or now >= keys.usable_until:
            raise Denied(Reason.KEYS_UNAVAILABLE, f"no usable key set of {issuer.issuer}")
        key = keys.keys.get(jws.key_id)
        if key is None:
            detail = f"{issuer.issuer} has no such key"
            raise Denied(
                Reason.TOKEN_KEY_UNKNOWN,
                detail,
                issuer=issuer.issuer,
                key_id=jws.key_id,
            )
        if jws.algorithm not in key.algorithms:
            raise Denied(Reason.TOKEN_ALG, "the key is for another algorithm")
        return key


def _check_signature(key: Key, jws: Jws) -> None:
    try:
        key.verify(jws.algorithm, jws.signing_input, jws.signature)
    except KeyVerifyError:
        raise Denied(Reason.TOKEN_SIGNATURE, "the signature does not verify") from None
