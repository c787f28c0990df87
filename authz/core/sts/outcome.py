"""The outcomes of a token request: a token's claims, or a refusal; with facts for the record."""

from collections.abc import Mapping
from typing import Any

import msgspec

from authz.core.decision import Actor, Agent
from authz.core.needs import Need
from authz.core.reason import Reason
from authz.core.single_use import SingleUse
from authz.core.sts.consent import ConsentFound
from authz.core.sts.errors import OAuthError
from authz.core.sts.request import TokenType


class TokenFacts(msgspec.Struct):
    """What was established about a token request, as far as it came: facts for the audit record.

    Attributes:
        agent: the client, who would become the actor.
        subject_hash: digest of the subject token; "" before it was read.
        subject_id: ``jti`` of the subject token, or "".
        subject_issuer: ``iss`` of the subject token, once it is verified.
        issuer, subject: the principal, as the first issuer names it.
        actors: the chain of the new token, the client first.
        rule: the name of the rule that fits.
        audiences, scopes, expires_at: of the new token; ``expires_at`` in unix seconds.
        consent: the id of the principal's consent, "" if none was needed.
        flags: odd earlier actors, and claims that can't be read, as in records of decisions.
    """

    agent: Agent
    subject_hash: str = ""
    subject_id: str = ""
    subject_issuer: str = ""
    issuer: str = ""
    subject: str = ""
    actors: tuple[Actor, ...] = ()
    rule: str = ""
    audiences: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    expires_at: float = 0.0
    consent: str = ""
    flags: tuple[str, ...] = ()


class Issue(msgspec.Struct, frozen=True):
    """A token to sign, with the type ``at+jwt``. Made by ``TokenService`` only.

    Before it signs, the caller must mark all of ``uses``, and have the consents used up that may be
    used once; if another request has used one, it refuses by ``refusal`` of ``service``.

    Attributes:
        claims: all claims of the token, ``jti`` included.
        issued_type: ``issued_token_type`` of the answer.
        token_type: ``token_type`` of the answer: Bearer, or DPoP.
        scope: ``scope`` of the answer; "" if the token has none.
        expires_in: seconds.
        details: ``authorization_details`` of the answer (RFC 9396 section 7).
        uses: what no other request may use: a one-time subject token, a DPoP proof.
        consent: the principal's consent, None if none was needed: that for one call is used up
            before the token is signed, as ``uses`` are.
    """

    claims: Mapping[str, Any]
    issued_type: TokenType
    token_type: str
    scope: str
    expires_in: int
    details: tuple[Mapping[str, Any], ...]
    uses: tuple[SingleUse, ...]
    facts: TokenFacts
    consent: ConsentFound | None = None

    def answer(self, token: str) -> Mapping[str, Any]:
        """Return the members of the answer with the signed token (RFC 8693 section 2.2.1)."""
        members: dict[str, Any] = {
            "access_token": token,
            "issued_token_type": self.issued_type.value,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
        }
        if self.scope:
            members["scope"] = self.scope
        if self.details:
            members["authorization_details"] = list(self.details)
        return members


class Refuse(msgspec.Struct, frozen=True):
    """A refusal.

    Attributes:
        error, words: what the client is told.
        reason, detail: for the record alone.
        headers: further headers of the answer, such as a DPoP nonce.
        needs: the missing key or status, if fetching it may change the decision; else None.
    """

    error: OAuthError
    words: str
    reason: Reason
    detail: str
    headers: tuple[tuple[str, str], ...]
    needs: Need | None
    facts: TokenFacts

    def answer(self) -> Mapping[str, str]:
        """Return the members of the answer (RFC 6749 section 5.2)."""
        return {"error": self.error.value, "error_description": self.words}


Outcome = Issue | Refuse
