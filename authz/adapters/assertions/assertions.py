"""Signs assertions, once for all decisions that have the same one, for as long as it is good.

A signature takes some 100 us, and decisions that aren't cached are made for each new path. The key
of what is kept holds all that the claims are made of: the route, the agent, and the terms of its
delegation. The times are compared when it is used again. An assertion is kept once its decision is
final: a later step may refuse, and no request may bring the upstream the id of a refused decision.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from secrets import token_urlsafe
from typing import Any, Final, Protocol

from authz.core.assertion import ASSERTION_TYPE, assertion_claims
from authz.core.bounded_map import BoundedMap
from authz.core.decision import Allow
from authz.core.reason import Denied, Reason
from authz.core.upstream_token import Upstream, UpstreamCredential, UpstreamToken

MAX_MARGIN_SECONDS: Final = 30.0  # for the way to the upstream, queues there, and its clock
_KEPT: Final = 10_000  # as many as rendered decisions: one for each agent, principal and route
_KEPT_BYTES: Final = 16 * 1024 * 1024
_OVERHEAD_BYTES: Final = 500  # of an entry without its text
# A header above some 8 KiB is refused by many servers, and a chain or scopes can be long.
MAX_ASSERTION_CHARS: Final = 6 * 1024
_Key = tuple[Upstream, object, str]


class AssertionResult(StrEnum):
    """Whether an assertion was made, or failed, or what the token says is too long for it."""

    SIGNED = "signed"
    FAILED = "failed"
    TOO_LONG = "too_long"


class TokenSigner(Protocol):
    """Signs tokens of ours. Never waits; any thread may call."""

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Return the claims as a JWT of this ``typ``."""


class Assertions:
    """The assertions of one version of the settings. Many threads may sign at once."""

    def __init__(
        self,
        signer: TokenSigner,
        issuer: str,
        header: str,
        lifetime_seconds: float,
        count: Callable[[AssertionResult], None] = lambda _: None,
    ) -> None:
        """Take the signer, ``iss``, the header, and the lifetime; ``count`` counts attempts."""
        self._signer = signer
        self._issuer = issuer
        self._header = header
        self._lifetime = lifetime_seconds
        self._margin = min(lifetime_seconds / 2, MAX_MARGIN_SECONDS)
        self._count = count
        self._kept: BoundedMap[_Key, UpstreamCredential] = BoundedMap(
            _KEPT, _KEPT_BYTES, lambda _, credential: len(credential.value) + _OVERHEAD_BYTES
        )

    def sign(self, allow: Allow, decision_id: str, now: float) -> UpstreamCredential:
        """Return an assertion of this allow, signed now (unix seconds) or shortly before.

        It ends no later than the delegation and the agent's certificate. Raises
        Denied(INTERNAL_ERROR) if it can't be signed, Denied(TOKEN_TOO_LARGE) if it is too long for
        a header.
        """
        ends = min(allow.delegation.expires_at, allow.agent.expires_at)
        kept = self._kept.get(_key(allow))
        # If the clock was set back, one from the future is not used.
        if kept is not None and kept.issued_at <= now < kept.good_until and kept.expires_at <= ends:
            return kept
        return self._signed(allow, decision_id, now, ends)

    def keep(self, allow: Allow) -> None:
        """Keep the assertion of an allow that is given: ``txn`` never names a refusal."""
        credential = allow.credential
        if credential is not None and self._kept.get(_key(allow)) is not credential:
            self._kept.put(_key(allow), credential)

    def _signed(
        self, allow: Allow, decision_id: str, now: float, ends: float
    ) -> UpstreamCredential:
        issued_at = math.floor(now)
        expires_at = math.floor(min(now + self._lifetime, ends))
        claims = {
            "iss": self._issuer,
            "iat": issued_at,
            "exp": expires_at,
            "jti": token_urlsafe(16),
            **assertion_claims(allow.agent, allow.delegation, allow.upstream, decision_id),
        }
        text = self._text(claims)
        # Where the token's own end comes first, another signature would not be good for longer.
        good_until = min(issued_at + self._lifetime - self._margin, expires_at)
        return UpstreamCredential(
            self._header,
            text,
            good_until,
            decision_id,
            UpstreamToken.ASSERT,
            allow.upstream.audience,
            issued_at,
            expires_at,
        )

    def _text(self, claims: dict[str, object]) -> str:
        """Return the signed claims, and count them. Raises Denied as ``sign``."""
        try:
            text = self._signer.sign(ASSERTION_TYPE, claims)
        except Exception as error:  # noqa: BLE001 - whatever fails in it: no assertion, no allow
            self._count(AssertionResult.FAILED)
            detail = f"the assertion can't be signed: {type(error).__name__}"
            raise Denied(Reason.INTERNAL_ERROR, detail) from None
        if len(text) > MAX_ASSERTION_CHARS:
            # The client's doing: no fault of ours, over which anybody could raise the alarm.
            self._count(AssertionResult.TOO_LONG)
            detail = f"the assertion of it would be longer than {MAX_ASSERTION_CHARS} characters"
            raise Denied(Reason.TOKEN_TOO_LARGE, detail)
        self._count(AssertionResult.SIGNED)
        return text


def _key(allow: Allow) -> _Key:
    """Return all that the claims are made of. Terms are compared by identity, and kept alive."""
    return allow.upstream, allow.delegation.terms, allow.agent.spiffe_id.text
