"""What an issuer is asked for a client's token, as a request of RFC 8693 section 2.1."""

from hashlib import sha256
from typing import Final

import msgspec

from authz.core.delegation.exchange_settings import ExchangeSettings
from authz.core.delegation.exchanged import ExchangeExpected
from authz.core.upstream_token import Upstream

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_encode: Final = msgspec.json.Encoder().encode


class ExchangeQuestion(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A token to exchange, and what for.

    Attributes:
        token: the client's verified token, a secret.
        upstream: whom the exchanged token is for.
        expected: what the answer must be.
        key: a digest of all of this and of the agent: equal questions have equal keys.
        ends_at: unix seconds at which the client's token ends, and so the exchanged token's use.
    """

    token: str
    upstream: Upstream
    expected: ExchangeExpected
    key: bytes
    ends_at: float

    def __repr__(self) -> str:
        """Return no token, so that no log line can hold one."""
        return "ExchangeQuestion()"

    @property
    def agent(self) -> str:
        """The SPIFFE ID of the agent that sent the token."""
        return self.expected.agent.spiffe_id.text


def question_key(place: bytes, token: str, agent: str, upstream: Upstream, scopes: str) -> bytes:
    """Return the digest of a question; ``place`` is that of the settings by which it is asked."""
    parts = (token, agent, upstream.audience, upstream.resource, scopes)
    return sha256(place + _encode(parts)).digest()


def scope_text(scopes: frozenset[str]) -> str:
    """Return scopes as a parameter: words with single spaces between (RFC 6749 section 3.3)."""
    return " ".join(sorted(scopes))


def request_form(question: ExchangeQuestion, settings: ExchangeSettings) -> dict[str, str]:
    """Return the parameters of the request, without the credential and the actor token."""
    asked = {
        "audience": question.upstream.audience,
        "resource": question.upstream.resource,
        "scope": scope_text(question.expected.scopes),
    }
    return {
        "grant_type": GRANT_TYPE,
        "subject_token": question.token,
        "subject_token_type": settings.subject_token_type.urn,
        "requested_token_type": settings.requested_token_type.urn,
        **{name: value for name, value in asked.items() if value},
    }
