"""Verifies a delegation token, and that the caller may use it.

The order of the checks matters: nothing in a token is trusted before its signature is verified, and
only configured issuers are looked up for it. The core does no I/O: an unknown key is
``Denied(TOKEN_KEY_UNKNOWN)``, and an opaque token without an answer of its issuer, or a token
without the status list that it names, ``Denied(STATUS_UNAVAILABLE)``; the edge decides whether to
fetch or ask, and try again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from authz.core.decision import Agent, Delegation
from authz.core.delegation.authentication import check_authentication
from authz.core.delegation.confirmation import check_confirmation
from authz.core.delegation.credential import (
    Credential,
    find_credential,
    has_credential,
    token_hash,
)
from authz.core.delegation.dpop import DpopVerifier
from authz.core.delegation.header import check_header, check_kind
from authz.core.delegation.jwt_svid import by_trust_domain, trust_domain_of
from authz.core.delegation.one_time import token_uses
from authz.core.delegation.opaque import (
    AnswerLookup,
    NoAnswers,
    OpaqueTokens,
)
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list import NoStatusLists, StatusListChecker, StatusListLookup
from authz.core.delegation.terms import TermsJudge
from authz.core.delegation.token_settings import TokenSettings
from authz.core.delegation.without_token import without_token
from authz.core.jose.jwk import Key, KeyVerifyError
from authz.core.jose.jws import Jws, parse_compact
from authz.core.jose.key_set import KeyLookup, KeySet
from authz.core.needs import KeyNeeded
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route

HeaderCheck = Callable[[Jws, IssuerSettings], None]
"""The check of a token's header by the settings of its issuer; raises Denied."""


class NamedIssuer(Protocol):
    """An issuer, as far as the look-up of a key names it."""

    @property
    def issuer(self) -> str:
        """Its ``iss``."""


class DelegationVerifier:
    """Verifies delegation tokens of the configured issuers."""

    def __init__(
        self,
        token: TokenSettings,
        issuers: Iterable[IssuerSettings],
        keys: KeyLookup,
        proofs: DpopVerifier,
        unread: frozenset[str] = frozenset(),
        *,
        answers: AnswerLookup = NoAnswers(),  # noqa: B008 - it has no state
        lists: StatusListLookup = NoStatusLists(),  # noqa: B008 - likewise
    ) -> None:
        """Index the issuers by ``iss``, and by the trust domain of their bundle.

        ``proofs`` checks DPoP proofs, ``answers`` looks up the issuers' answers about opaque
        tokens, ``lists`` their status lists.

        ``unread`` are those of ``OWN_CLAIMS`` that no later step reads: tokens that differ in them
        alone have the same terms.
        """
        self._token = token
        listed = tuple(issuers)
        self._opaque = OpaqueTokens(listed, answers, token.max_bytes)
        self._signed = SignedTokens(listed, keys, token.max_bytes)
        self._terms = TermsJudge(listed, unread)
        self._proofs = proofs
        self._statuses = StatusListChecker(lists, keys)

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Verify the request's token as one that lets this agent act (RFC 8693 section 4.1).

        Without a credential it returns what the route allows without a token.

        Raises Denied with the reason of the first check that fails, and the token's digest.
        """
        is_bare = not has_credential(request, self._token)
        alone = without_token(request, agent, route) if is_bare else None
        if alone is not None:
            return alone  # for itself, or for nobody yet
        credential = find_credential(request, self._token)  # 1. exactly one credential
        # No digest of what is refused unread: it would be the dearest part of the refusal.
        is_read = len(credential.token) <= self._token.max_bytes
        digest = token_hash(credential.token) if is_read else ""
        try:
            return self._by_token(credential, digest, request, agent, route, now)
        except Denied as denied:
            denied.token_hash = digest
            raise

    def _by_token(  # noqa: PLR0917 - as verify, and what it found
        self,
        credential: Credential,
        digest: str,
        request: Request,
        agent: Agent,
        route: Route,
        now: float,
    ) -> Delegation:
        """Return the delegation of a credential's token. Raises Denied."""
        is_opaque = self._opaque.takes(credential.token)
        if is_opaque:
            # 2. to 7. its issuer answered, over a connection that authenticates the issuer
            issuer, jws, usable_until = self._opaque.read(credential.token, agent, now)
        else:
            # 2. to 7. its issuer signed it
            issuer, jws, usable_until = self._signed.verify(credential.token, now)
        # 8. for this audience, valid now; 9. the caller is the actor, for a principal
        terms, own = self._terms.judge(jws, issuer, agent, route, now)
        proof = check_confirmation(  # 10. and holds the key that the token is bound to
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
        uses = token_uses(issuer, own)
        if not is_opaque:  # whose issuer has just said that it is active
            # 12. and its issuer's list does not revoke it: last, as the list may have to be fetched
            good_until = min(good_until, self._statuses.check(jws.payload, issuer, now))
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
            single_uses=uses if proof is None else (proof, *uses),
            terms=terms,
            token_hash=digest,
        )


class SignedTokens:
    """Verifies the signatures of JWTs of the configured issuers, whoever presents them."""

    def __init__(self, issuers: Iterable[IssuerSettings], keys: KeyLookup, max_bytes: int) -> None:
        """Index the issuers by ``iss``, and by the trust domain of their bundle."""
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._of_bundles = by_trust_domain(self._issuers.values())
        self._keys = keys
        self._max_bytes = max_bytes

    def verify(
        self, token: str, now: float, check: HeaderCheck = check_header
    ) -> tuple[IssuerSettings, Jws, float]:
        """Return a JWT's issuer, its parts, and until when the key may be used. Raises Denied.

        The numbers are those of the steps of ``DelegationVerifier``.
        """
        jws = parse_compact(token, self._max_bytes)  # 2. a JWS, read strictly
        check_kind(jws)  # 3. no other kind of token
        # 4. a configured issuer, by exact name
        issuer = find_issuer(self._issuers, self._of_bundles, jws)
        check(jws, issuer)  # 5. algorithm, type, critical members by the issuer's settings
        # 6. a key of that issuer
        key, usable_until = find_key(self._keys.get(issuer.issuer), issuer, jws, now)
        check_signature(key, jws)  # 7. from here on the claims are the issuer's word
        return issuer, jws, usable_until


def find_issuer(
    issuers: Mapping[str, IssuerSettings], of_bundles: Mapping[str, IssuerSettings], jws: Jws
) -> IssuerSettings:
    """Return the issuer that a token names, or by the workload that a JWT-SVID is for.

    ``issuers`` are by ``iss``, ``of_bundles`` by trust domain. Raises Denied(TOKEN_ISSUER).
    """
    if "iss" not in jws.payload:
        issuer = of_bundles.get(trust_domain_of(jws.payload))
        detail = "it has no iss, and its sub is of no trust domain whose bundle is configured"
    else:
        name = jws.payload["iss"]
        issuer = issuers.get(name) if isinstance(name, str) else None
        detail = "the token's iss is not a configured issuer"
    if issuer is None:
        raise Denied(Reason.TOKEN_ISSUER, detail)
    if issuer.keys is None:
        detail = f"{issuer.issuer} has no keys in the config, so only its opaque tokens count"
        raise Denied(Reason.TOKEN_ISSUER, detail)
    return issuer


def find_key(keys: KeySet | None, issuer: NamedIssuer, jws: Jws, now: float) -> tuple[Key, float]:
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


def check_signature(key: Key, jws: Jws) -> None:
    """Verify the signature. Raises Denied(TOKEN_SIGNATURE)."""
    try:
        key.verify(jws.header.algorithm, jws.signing_input, jws.signature)
    except KeyVerifyError:
        raise Denied(Reason.TOKEN_SIGNATURE, "the signature does not verify") from None
