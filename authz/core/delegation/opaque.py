"""Reads opaque tokens: finds the issuer that must be asked, and reads its answer (RFC 7662).

The core sends no request. It looks an answer up; if it is missing, the refusal says what is needed,
and the edge may ask the issuer and decide again. An answer gets the form of a verified JWT without
a ``typ``, so that all later checks are the same for both.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from authz.core.decision import Agent
from authz.core.delegation.settings import IssuerSettings
from authz.core.jose.jws import JoseHeader, Jws
from authz.core.needs import IntrospectionNeeded
from authz.core.reason import Denied, Reason

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_DOTS_OF_JWS: Final = 2  # RFC 7515 section 7.1
_DPOP: Final = "dpop"
_TOKEN_TYPES: Final = frozenset({"bearer", _DPOP})  # RFC 6749 section 7.1: in any case
# Members that an answer about any token may have (RFC 7662 section 2.2, RFC 9449 section 6.2), and
# members that hold grants. None of these names the subject. An answer with another member may be
# about a user, since some servers name users in members of their own.
_OF_ANY_TOKEN: Final = frozenset(
    {
        *("iss", "aud", "exp", "iat", "nbf", "jti", "cnf"),
        *("scope", "client_id", "token_type", "token_use", "grant_type", "gty"),
    }
)
_HEADER: Final = JoseHeader({}, "", "application/jwt", is_critical=False, is_foreign=False)


class IntrospectionAnswer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An issuer's answer about a token, read strictly.

    Attributes:
        is_active: what its ``active`` says (RFC 7662 section 2.2).
        members: all of its other members; empty if the token is not active.
        text: the JSON that they were read from.
        answered_at: unix seconds of the question: the answer may be as old as that.
        usable_until: unix seconds after which it must not be used.
    """

    is_active: bool
    members: Mapping[str, Any]
    text: bytes
    answered_at: float
    usable_until: float

    def __repr__(self) -> str:
        """Return no member, so that no log line can hold one."""
        return f"IntrospectionAnswer(is_active={self.is_active})"


class AnswerLookup(Protocol):
    """Looks up the answers of issuers about opaque tokens.

    Guarantees never to wait, and that the answer came from the issuer's configured endpoint. Does
    not guarantee that it is still fresh: ``usable_until`` says that.
    """

    def get(self, issuer: str, token: str) -> IntrospectionAnswer | None:
        """Return the issuer's last answer about the token; None if there is none."""


class NoAnswers:
    """The look-up without introspection: there is never an answer."""

    def get(self, _issuer: str, _token: str) -> None:
        """Return None."""


class OpaqueTokens:
    """Reads opaque tokens with the answers of their issuers."""

    def __init__(
        self, issuers: Iterable[IssuerSettings], answers: AnswerLookup, max_bytes: int
    ) -> None:
        """Index the issuers with introspection by their prefixes, the longest first."""
        found: dict[str, IssuerSettings] = {}
        for issuer in issuers:
            if issuer.introspection is not None:
                found.update(dict.fromkeys(issuer.introspection.prefixes or ("",), issuer))
        self._issuers = sorted(found.items(), key=lambda item: len(item[0]), reverse=True)
        self._answers = answers
        self._max_bytes = max_bytes

    def takes(self, token: str) -> bool:
        """Tell whether the token is opaque; never without an issuer that has introspection."""
        return bool(self._issuers) and token.count(".") != _DOTS_OF_JWS

    def read(self, token: str, agent: Agent, now: float) -> tuple[IssuerSettings, Jws, float]:
        """Return the token's issuer, the claims in its answer, and until when these may be used.

        The claims are in the form of a token without ``typ``. Where the answer has no ``iat`` or
        ``exp``, these are the times of the answer and of its end.

        Raises Denied(TOKEN_TOO_LARGE | TOKEN_MALFORMED | TOKEN_ISSUER | STATUS_UNAVAILABLE |
        TOKEN_INACTIVE | TOKEN_CLAIM | TOKEN_TYP | CNF_UNSUPPORTED | TOKEN_EXPIRED).
        """
        self._check_form(token)
        issuer = self._issuer(token)
        answer = self._answers.get(issuer.issuer, token)
        if answer is None or not answer.answered_at <= now < answer.usable_until:
            detail = f"{issuer.issuer} has not said what the token means"
            needs = IntrospectionNeeded(issuer.issuer, token, agent.spiffe_id.text)
            raise Denied(Reason.STATUS_UNAVAILABLE, detail, needs=needs)
        if not answer.is_active:
            raise Denied(Reason.TOKEN_INACTIVE, f"{issuer.issuer} says that it is not active")
        claims = _claims(answer, issuer)
        return issuer, Jws(_HEADER, claims, answer.text, b"", b""), answer.usable_until

    def _check_form(self, token: str) -> None:
        """Refuse a text that can't be a token, before any issuer is asked. Raises Denied."""
        if len(token) > self._max_bytes:
            raise Denied(Reason.TOKEN_TOO_LARGE, f"longer than {self._max_bytes} bytes")
        if not _TOKEN.fullmatch(token):
            raise Denied(Reason.TOKEN_MALFORMED, "it has characters that no bearer token has")

    def _issuer(self, token: str) -> IssuerSettings:
        for prefix, issuer in self._issuers:
            if token.startswith(prefix):
                return issuer
        detail = "it is opaque, and begins with none of the prefixes in introspection"
        raise Denied(Reason.TOKEN_ISSUER, detail)


def _claims(answer: IntrospectionAnswer, issuer: IssuerSettings) -> Mapping[str, Any]:
    """Return an active answer's claims.

    Raises Denied(TOKEN_ISSUER | TOKEN_CLAIM | TOKEN_TYP | CNF_UNSUPPORTED | TOKEN_EXPIRED).
    """
    claims = {**answer.members}
    if issuer.one_time:
        _check_once(claims)
    if claims.setdefault("iss", issuer.issuer) != issuer.issuer:
        raise Denied(Reason.TOKEN_ISSUER, "the answer's iss is not the issuer that was asked")
    if claims.get("token_use") == "access_token":  # Ory Hydra's word for it
        claims["token_use"] = "access"
    _check_type(claims)
    if claims.keys() <= _OF_ANY_TOKEN | {issuer.scope_claim} and "client_id" in claims:
        claims["sub"] = claims["client_id"]  # it is the client's own token (RFC 9068 2.2)
    ends = claims.setdefault("exp", answer.usable_until)
    if "iat" not in claims:
        if isinstance(ends, int | float) and ends <= answer.answered_at:
            raise Denied(Reason.TOKEN_EXPIRED, "its exp has passed")
        claims["iat"] = answer.answered_at
    return claims


def _check_once(claims: Mapping[str, Any]) -> None:
    """Require what a token for one request needs. Raises Denied(TOKEN_CLAIM).

    The answer's own times will not do: a later answer has later ones, when the use is forgotten.
    """
    for name in ("jti", "iat", "exp"):
        if name not in claims:
            detail = f"the answer has no {name}, which a token for one request needs"
            raise Denied(Reason.TOKEN_CLAIM, detail)


def _check_type(claims: Mapping[str, Any]) -> None:
    """Refuse a token that is not an access token. Raises Denied(TOKEN_TYP | CNF_UNSUPPORTED)."""
    if "token_type" not in claims:
        if "aud" not in claims:  # the answer about a refresh token, which is active too
            raise Denied(Reason.TOKEN_TYP, "the answer has neither token_type nor aud")
        return
    kind = claims["token_type"]
    if not isinstance(kind, str) or kind.lower() not in _TOKEN_TYPES:
        raise Denied(Reason.TOKEN_TYP, "the answer's token_type is neither Bearer nor DPoP")
    if kind.lower() == _DPOP and not _names_key(claims.get("cnf")):  # else it would be a bearer's
        detail = "its token_type is DPoP, and the answer's cnf names no key (RFC 9449 section 6.2)"
        raise Denied(Reason.CNF_UNSUPPORTED, detail)


def _names_key(cnf: object) -> bool:
    return isinstance(cnf, dict) and "jkt" in cnf
