"""The values of steps 1 and 2: the agent, and the delegation by which it acts for a principal.

Structs, as ``authz.core.decision`` says.
"""

from collections.abc import Mapping
from math import inf

import msgspec

from authz.core.choice import Choice
from authz.core.single_use import SingleUse, UseKind
from authz.core.spiffe import SpiffeId


class Mode(Choice):
    """How an agent acts: by a token's ``act``, by a mapped claim, for itself, or for nobody yet."""

    ACT = "act"
    MAPPED = "mapped"
    AUTONOMOUS = "autonomous"
    BOOTSTRAP = "bootstrap"


class Agent(msgspec.Struct, frozen=True, gc=False):
    """The caller, authenticated by the proxy's mTLS connection.

    Attributes:
        spiffe_id: its SPIFFE ID, in a trusted domain.
        thumbprint: base64url SHA-256 of its certificate's DER (RFC 8705 ``x5t#S256``), or "".
        expires_at: ``notAfter`` of its certificate in unix seconds; infinite if unknown.
    """

    spiffe_id: SpiffeId
    thumbprint: str = ""
    expires_at: float = inf


class Actor(msgspec.Struct, frozen=True, gc=False):
    """One actor of a delegation chain: a subject, unique together with its issuer."""

    issuer: str
    subject: str


class Delegation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The principal for whom the agent acts, proven by a verified token that names the agent.

    Without a token, the agent acts for nobody yet, or for itself where its route takes its SVID.

    Compared by identity, so that caches can use a delegation as their key.

    Attributes:
        issuer, subject: the principal, who is unique only as this pair (RFC 8725 section 3.8).
        actors: current actor first, then earlier ones (RFC 8693 section 4.1).
        scopes: what the token allows at most.
        issued_at, expires_at: unix seconds. It ends when its token, the key set with the token's
            key, or the authentication that the route requires does, whichever is first.
        token_id: ``jti``, or "".
        mode: ACT or MAPPED, by how the token names the actor; AUTONOMOUS if the agent acts for
            itself; BOOTSTRAP if it acts for nobody yet, without a token: then issuer and subject
            are "".
        by_svid: whether the agent acts for itself by its SVID alone, without a token: then issuer
            is its trust domain's SPIFFE ID.
        claims: the verified claims, for rules on groups, roles and the like.
        single_uses: what the request uses that no other request may use: its proof of possession,
            and the token itself if it is for one request.
        terms: compared by identity, and shared by delegations to the same agent that differ in
            times, ``token_id``, ``token_hash``, ``single_uses`` and claims that policy does
            not read, and in nothing else. Caches use it as the key of values that do not depend
            on these.
        token_hash: the token's digest (``ath`` of RFC 9449 section 4.1), "" without a token.
    """

    issuer: str
    subject: str
    actors: tuple[Actor, ...]
    scopes: frozenset[str]
    issued_at: float
    expires_at: float
    token_id: str = ""
    mode: Mode = Mode.ACT
    claims: Mapping[str, object] = msgspec.field(default_factory=dict)
    single_uses: tuple[SingleUse, ...] = ()
    terms: object = msgspec.field(default_factory=object)
    by_svid: bool = False
    token_hash: str = ""

    @property
    def has_token(self) -> bool:
        """Tell whether a token proves the delegation, rather than the agent's SVID alone."""
        return self.mode is not Mode.BOOTSTRAP and not self.by_svid

    @property
    def has_proof(self) -> bool:
        """Tell whether a DPoP proof was sent with the token."""
        return any(use.kind is UseKind.PROOF for use in self.single_uses)
