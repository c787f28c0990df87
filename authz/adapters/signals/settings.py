"""The ``signals`` section of the config: who may tell us of users and sessions, and how."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.adapters.listener_tls_settings import ListenerTlsSettings
from authz.core.delegation.algorithms import Algorithm
from authz.core.jose import KeySettings
from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    PortExists,
    Settings,
)
from authz.core.urls import check_url, is_plaintext

MAX_INTERVAL_SECONDS: Final = 3600.0
Path = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]{0,255}$")]
_Name = Annotated[str, Field(min_length=1, max_length=1024)]


class PushSettings(Settings):
    """Events that the transmitter posts to us (RFC 8935)."""

    path: Path
    """The path of its requests, such as /events/idp."""
    token_file: LaterFileText
    """A file with the bearer token that its Authorization header must hold; read anew for each
    request. The token keeps others from having us verify signatures; it proves no event.
    """


class PollSettings(Settings):
    """Events that we ask the transmitter for (RFC 8936)."""

    url: Annotated[str, AfterValidator(check_url)]
    """HTTPS URL of its polling endpoint."""
    token_file: LaterFileText | None = None
    """A file with a bearer token to send; read anew for each request."""
    tls: ClientCertificateSettings | None = None
    """A certificate to show to it."""
    ca_file: FileText | None = None
    """A file of PEM certificates to trust for it, in place of the system's."""
    interval: Duration = Field(default=5.0, ge=0.1, le=MAX_INTERVAL_SECONDS)
    """How long to wait after an answer that had all events: how late an event counts, at most."""
    hold: Duration = Field(default=0.0, ge=0.0, le=300.0)
    """How long the transmitter may hold a request until it has an event; 0s asks it to answer at
    once.
    """
    timeout: Duration = Field(default=10.0, ge=0.1, le=60.0)
    """The longest time that an answer may take, beside hold."""
    insecure: bool = False
    """Accept plain http://: anyone on the network path can then withhold events."""
    allow_any_address: bool = False
    """Accept link-local, metadata and multicast addresses, where clouds keep secrets."""

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        if not is_plaintext(self.url):
            return self
        if not self.insecure:
            raise MisfitError(
                "over plain http anyone on the network path can withhold events: use https, or set"
                " insecure: true",
                "url",
            )
        for name in ("token_file", "tls"):
            if getattr(self, name) is not None:
                raise MisfitError("it is only sent over https: use an https:// URL", name)
        return self


class TransmitterSettings(Settings):
    """A transmitter of security events: CAEP and RISC, of the Shared Signals Framework."""

    issuer: _Name
    """The iss of its security event tokens, compared byte for byte."""
    about: _Name | None = None
    """The issuer, one of issuers, whose tokens its events are about. Left out, its own issuer."""
    keys: KeySettings | None = None
    """Where its keys are, if they are not those of the issuer that its events are about."""
    audiences: tuple[_Name, ...] = Field(min_length=1)
    """Its tokens must be for one of these: the aud of the stream."""
    algorithms: tuple[Algorithm, ...] | None = Field(default=None, min_length=1)
    """Signature algorithms of its tokens. Left out, those of the issuer that they are about."""
    push: PushSettings | None = None
    """How it posts events to us."""
    poll: PollSettings | None = None
    """In place of push: how we ask for them."""
    max_age: Duration = Field(default=7 * 86400.0, ge=60.0)
    """How old a token may be, by its iat: as long as the transmitter keeps events for a receiver
    that is away. An old event does no harm: it revokes what was issued before it.
    """
    by_session: bool = False
    """The issuer's tokens have sid, so an event about a session revokes that session's tokens
    alone. Left out, it also revokes all that the user was issued before.
    """

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.push is None) == (self.poll is None):
            raise ValueError("exactly one of push and poll is required")
        return self

    @model_validator(mode="after")
    def _no_workloads(self) -> Self:
        if self.keys is not None and self.keys.spiffe_bundle is not None:
            message = "a bundle has keys of workloads: name the transmitter's JWK Set"
            raise MisfitError(message, "keys", "spiffe_bundle")
        return self


class LogoutSettings(Settings):
    """Logouts that an issuer tells of (OpenID Connect Back-Channel Logout 1.0)."""

    issuer: _Name
    """The OpenID provider, one of issuers."""
    client_ids: tuple[_Name, ...] = Field(min_length=1)
    """The clients whose users' logouts it tells us of: the aud of its logout tokens."""
    path: Path
    """The path of its requests: the client's backchannel_logout_uri ends in it."""
    algorithms: tuple[Algorithm, ...] | None = Field(default=None, min_length=1)
    """Signature algorithms of its logout tokens. Left out, those of the issuer."""
    by_session: bool = False
    """The issuer's tokens have sid, so the logout of a session revokes that session's tokens
    alone. Left out, it also revokes all that the user was issued before.
    """


class SignalSettings(Settings):
    """What issuers tell of users and sessions, which then counts as revocations.

    They are written to the store, or to the revocation file: one of both is required.
    """

    listen: Annotated[str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$"), PortExists] = "127.0.0.1:9193"
    """host:port for what is posted to us; of several workers the first alone listens there."""
    tls: ListenerTlsSettings | None = None
    """The certificate for it."""
    insecure: bool = False
    """Without tls: accept plain HTTP, for a proxy on the way that ends TLS. Anyone on the path
    between can withhold events, and learns the bearer tokens.
    """
    transmitters: tuple[TransmitterSettings, ...] = ()
    """Who tells us of security events."""
    logout: tuple[LogoutSettings, ...] = ()
    """Who tells us of logouts."""

    @property
    def listens(self) -> bool:
        """Tell whether anything is posted to us."""
        pushed = any(transmitter.push is not None for transmitter in self.transmitters)
        return pushed or bool(self.logout)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.transmitters and not self.logout:
            raise ValueError("at least one of transmitters and logout is required")
        return self

    @model_validator(mode="after")
    def _tls_or_insecure(self) -> Self:
        if self.tls is not None and self.insecure:
            raise MisfitError("with tls, leave it out", "insecure")
        if self.listens and self.tls is None and not self.insecure:
            raise MisfitError(
                "tls is required for what is posted to us; set insecure: true if a proxy ends TLS",
                "tls",
            )
        return self
