"""Step 2 of the pipeline, on whose behalf: the delegation token, verified and bound to the caller.

The order of the checks matters: nothing of a token is trusted before its signature, and nothing is
looked up for it but what the operator configured. The core does no I/O: an unknown key is
``Denied(TOKEN_KEY_UNKNOWN)``, and the edge decides whether to fetch and try again.
"""

from collections.abc import Iterable
from math import inf
from typing import Protocol

from authz.core.decision import Agent, Delegation, Mode
from authz.core.delegation.actor_settings import ActorSettings
from authz.core.delegation.authentication import check_authentication
from authz.core.delegation.confirmation import check_confirmation
from authz.core.delegation.credential import find_credential, has_credential, token_reads
from authz.core.delegation.dpop import DpopVerifier
from authz.core.delegation.header import check_header, check_kind
from authz.core.delegation.settings import (
    DpopSettings,
    IssuerSettings,
    TokenSettings,
)
from authz.core.delegation.terms import OWN_CLAIMS, TermsJudge
from authz.core.delegation.token_cache import DelegationCache, DelegationStep
from authz.core.jose import Key, KeySet, KeyVerifyError
from authz.core.jose.jws import Jws, parse_compact
from authz.core.needs import KeyNeeded
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route

__all__ = [
    "OWN_CLAIMS",
    "ActorSettings",
    "DelegationCache",
    "DelegationStep",
    "DelegationVerifier",
    "DpopSettings",
    "DpopVerifier",
    "IssuerSettings",
    "KeyLookup",
    "TokenSettings",
    "check_signature",
    "find_key",
    "token_reads",
]


class KeyLookup(Protocol):
    """Looks up the keys of issuers.

    Guarantees never to wait, and that the keys came from the issuer's configured place. Does not
    guarantee that a set is still fresh: ``usable_until`` says that.
    """

    def get(self, issuer: str) -> KeySet | None:
        """Return the issuer's last good key set; None if there never was a good set."""


class DelegationVerifier:
    """Verifies delegation tokens of the configured issuers."""

    def __init__(
        self,
        token: TokenSettings,
        issuers: Iterable[IssuerSettings],
        keys: KeyLookup,
        proofs: DpopVerifier,
        unread: frozenset[str] = frozenset(),
    ) -> None:
        """Index the issuers by ``iss``; ``proofs`` checks DPoP proofs.

        ``unread`` are those of ``OWN_CLAIMS`` that no later step reads: tokens that differ in them
        alone have the same terms.
        """
        self._token = token
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._terms = TermsJudge(self._issuers.values(), unread)
        self._keys = keys
        self._proofs = proofs

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Verify the request's token as one that lets this agent act (RFC 8693 section 4.1).

        Raises Denied with the reason of the first check that fails.
        """
        if route.bootstrap_calls(request) and not has_credential(request, self._token):
            return _BOOTSTRAP  # no principal yet: policy decides what that allows
        credential = find_credential(request, self._token)  # 1. exactly one credential
        jws = parse_compact(credential.token, self._token.max_bytes)  # 2. a JWS, read strictly
        check_kind(jws)  # 3. no other kind of token
        issuer = self._issuer(jws)  # 4. a configured issuer, by exact name
        check_header(jws, issuer)  # 5. algorithm, type, critical members by the issuer's settings
        key, usable_until = self._key(issuer, jws, now)  # 6. a key of that issuer
        check_signature(key, jws)  # 7. from here on the claims are the issuer's word
        # 8. for this audience, now; 9. the caller acts, for whom
        terms, own = self._terms.judge(jws, issuer, agent, route, now)
        single_use = check_confirmation(  # 10. and holds the key that the token is bound to
            jws.payload,
            credential,
            request,
            agent,
            issuer=issuer,
            route=route,
            proofs=self._proofs,
            now=now,
        )
        good_until = check_authentication(
            jws.payload, route, now
        )  # 11. of an authenticated principal
        return Delegation(
            issuer=issuer.issuer,
            subject=terms.subject,
            actors=terms.actors,
            scopes=terms.scopes,
            issued_at=own.issued_at,
            expires_at=min(own.expires_at, good_until, usable_until),
            token_id=own.token_id,
            mode=terms.mode,
            claims=jws.payload,
            single_use=single_use,
            terms=terms,
        )

    def _issuer(self, jws: Jws) -> IssuerSettings:
        name = jws.payload.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Denied(Reason.TOKEN_ISSUER, "the token's iss is not a configured issuer")
        return issuer

    def _key(self, issuer: IssuerSettings, jws: Jws, now: float) -> tuple[Key, float]:
        """Return the key that the token names, and until when its key set may be used.

        Raises Denied(KEYS_UNAVAILABLE | TOKEN_KEY_UNKNOWN | TOKEN_ALG).
        """
        return find_key(self._keys.get(issuer.issuer), issuer, jws, now)


def find_key(
    keys: KeySet | None, issuer: IssuerSettings, jws: Jws, now: float
) -> tuple[Key, float]:
    """Return the key of an issuer's set that the token names, and until when the set may be used.

    Raises Denied(KEYS_UNAVAILABLE | TOKEN_KEY_UNKNOWN | TOKEN_ALG).
    """
    if keys is None or now >= keys.usable_until:
        raise Denied(Reason.KEYS_UNAVAILABLE, f"no usable key set of {issuer.issuer}")
    key_id = jws.header.key_id
    key = keys.keys.get(key_id)
    if key is None:
        detail = f"{issuer.issuer} has no such key"
        needs = KeyNeeded(issuer.issuer, key_id)
        raise Denied(Reason.TOKEN_KEY_UNKNOWN, detail, needs=needs)
    if jws.header.algorithm not in key.algorithms:
        raise Denied(Reason.TOKEN_ALG, "the key is for another algorithm")
    return key, keys.usable_until


_BOOTSTRAP = Delegation(
    issuer="",
    subject="",
    actors=(),
    scopes=frozenset(),
    issued_at=0.0,
    expires_at=inf,
    mode=Mode.BOOTSTRAP,
)


def check_signature(key: Key, jws: Jws) -> None:
    """Verify the signature. Raises Denied(TOKEN_SIGNATURE)."""
    try:
        key.verify(jws.header.algorithm, jws.signing_input, jws.signature)
    except KeyVerifyError:
        raise Denied(Reason.TOKEN_SIGNATURE, "the signature does not verify") from None
