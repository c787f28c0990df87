"""The ``assertions`` section of the config: what this server signs for upstreams."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.adapters.listener_tls_settings import ListenerTlsSettings
from authz.adapters.signing import SigningSettings
from authz.core.settings import Duration, MisfitError, PortExists
from authz.core.urls import check_url, is_plaintext

HEADER: Final = "assertion"  # its name after the prefix of the identity headers
# What requests have a use for of their own, whoever sends them, and what proxies write or obey.
_TAKEN: Final = frozenset(
    {
        *("host", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
        *("accept", "cookie", "user-agent", "origin", "referer", "date", "range", "expect", "via"),
        *("cache-control", "dpop", "traceparent", "tracestate", "baggage", "x-request-id"),
        *("forwarded", "x-real-ip", "last-event-id"),
    }
)
_TAKEN_BEGINNINGS: Final = (
    *("accept-", "content-", "if-", "proxy-", "sec-", "mcp-", "x-forwarded-", "x-envoy-"),
    *("x-original-", "x-rewrite-", "x-http-method", "x-b3-", "grpc-"),
)


def _issuer(text: str) -> str:
    """Return the text if it is an issuer identifier (RFC 8414 section 2). Raises ValueError."""
    check_url(text)
    if re.search(r"[?#\"\\]", text):
        raise ValueError("must be a URL without query and fragment (RFC 8414)")
    return text


class AssertionSettings(SigningSettings):
    """The assertions of decisions, which routes with ``upstream_token: assert`` give upstreams."""

    issuer: Annotated[str, AfterValidator(_issuer)]
    """This server's name in them: iss, an https URL, the same for all replicas. Upstreams compare
    it byte for byte, and find the keys below it.
    """
    header: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}$")] | None = (
        None
    )
    """The header that carries them. No client can send it, on any route. Left out, assertion with
    headers.prefix: x-agent-assertion.
    """
    lifetime: Duration = Field(default=60.0, ge=10.0, le=600.0)
    """How long an assertion is valid. It is signed once and used again for the same agent and
    principal, until half of its lifetime, at most 30s, is left for the way and other clocks.
    """
    listen: Annotated[str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$"), PortExists] = "127.0.0.1:9194"
    """host:port for the public keys and the metadata; of several workers the first alone listens
    there.
    """
    tls: ListenerTlsSettings | None = None
    """The certificate for it."""
    insecure: bool = False
    """Without tls: serve the keys over plain HTTP, for a proxy on the way that ends TLS, or for
    trying. Anyone on the path between can give upstreams other keys.
    """

    @model_validator(mode="after")
    def _is_free(self) -> Self:
        if self.header is not None and has_another_use(self.header):
            raise MisfitError("requests have another use for it: choose another name", "header")
        return self

    @model_validator(mode="after")
    def _tls_or_insecure(self) -> Self:
        if self.tls is not None and self.insecure:
            raise MisfitError("with tls, leave it out", "insecure")
        if self.tls is None and not self.insecure:
            raise MisfitError(
                "tls is required to publish the keys; set insecure: true if a proxy ends TLS",
                "tls",
            )
        if is_plaintext(self.issuer) and not self.insecure:
            raise MisfitError("must be an https:// URL, or set insecure: true", "issuer")
        return self


def has_another_use(name: str) -> bool:
    """Tell whether a header of this name means something to servers or proxies already."""
    return name in _TAKEN or name.startswith(_TAKEN_BEGINNINGS)


def assertion_header(settings: AssertionSettings | None, prefix: str) -> str:
    """Return the name of the header that carries assertions, "" if the config has none.

    ``prefix`` is that of the identity headers.
    """
    return "" if settings is None else settings.header or prefix + HEADER
