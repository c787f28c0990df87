"""The ``keys:`` of an issuer's settings: where its public keys are, and how often they are fetched.

The same checks apply to the URL that an issuer's discovery document names.
"""

from hashlib import sha256
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from authz.core.choice import Choice
from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    Settings,
)
from authz.core.spiffe import SpiffeIdText, TrustDomainText
from authz.core.urls import check_url, is_plaintext

MAX_DOCUMENT_BYTES: Final = 256 * 1024  # 100 RSA-4096 keys are some 80 KiB
FILE_POLL_SECONDS: Final = 1.0  # looking at a file costs hardly anything
WORKLOAD_API_POLL_SECONDS: Final = 1.0  # looking at what the agent has pushed is no call
_PLACE: Final = (
    "jwks_uri",
    "discovery",
    "discovery_url",
    "file",
    "spiffe_bundle",
    "insecure",
    "allow_any_address",
    "ca_file",
    "token_file",
    "tls",
)


_SOURCES: Final = ("jwks_uri", "discovery", "discovery_url", "file", "spiffe_bundle")


class EndpointProfile(Choice):
    """How a bundle endpoint is authenticated (SPIFFE Federation section 5.2)."""

    HTTPS_WEB = "https_web"
    HTTPS_SPIFFE = "https_spiffe"


class SpiffeBundleSettings(Settings):
    """A trust domain's SPIFFE bundle: exactly one of file, endpoint and workload_api."""

    trust_domain: TrustDomainText
    """The trust domain whose bundle it is; never taken from the bundle or a token."""
    file: FileText | None = None
    """A file with the bundle; read again when it changes."""
    endpoint: Annotated[str, AfterValidator(check_url)] | None = None
    """HTTPS URL of the bundle endpoint."""
    profile: EndpointProfile = EndpointProfile.HTTPS_WEB
    """How the endpoint proves who it is: by the web's CAs (or ca_file), or by its SPIFFE ID."""
    endpoint_spiffe_id: SpiffeIdText | None = None
    """For https_spiffe: the endpoint's SPIFFE ID."""
    bootstrap: FileText | None = None
    """For https_spiffe: a file with the first bundle of the endpoint's trust domain. Its CAs
    authenticate the first fetch, and those of the last bundle the further ones, with
    key_cache.folder also after a restart. If the file is replaced, its own CAs count again, unless
    its spiffe_sequence is not higher than the last bundle's.
    """
    workload_api: str | None = Field(default=None, pattern=r"^unix:/.+")
    """The SPIFFE Workload API's socket, whose agent pushes each change; needs the extra spiffe."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = (self.file, self.endpoint, self.workload_api)
        if len([source for source in given if source is not None]) != 1:
            raise ValueError("exactly one of file, endpoint and workload_api is required")
        if self.endpoint is not None and is_plaintext(self.endpoint):
            raise MisfitError("a bundle endpoint must be https", "endpoint")
        is_spiffe = self.profile is EndpointProfile.HTTPS_SPIFFE
        has_both = self.endpoint_spiffe_id is not None and self.bootstrap is not None
        if is_spiffe and not (has_both and self.endpoint):
            raise MisfitError(
                "https_spiffe requires endpoint, endpoint_spiffe_id and bootstrap", "profile"
            )
        if not is_spiffe and (self.endpoint_spiffe_id or self.bootstrap):
            key = "endpoint_spiffe_id" if self.endpoint_spiffe_id else "bootstrap"
            raise MisfitError(
                "endpoint_spiffe_id and bootstrap are only for profile: https_spiffe", key
            )
        return self

    @property
    def name(self) -> str:
        """The bundle's source, in words for people."""
        return self.file or self.endpoint or str(self.workload_api)


def _not_a_url(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError("must be true or false: the URL of an issuer's metadata is discovery_url")
    return value


class KeySettings(Settings):
    """Where an issuer's keys are: jwks_uri, discovery, discovery_url, file or spiffe_bundle."""

    jwks_uri: Annotated[str, AfterValidator(check_url)] | None = None
    """HTTPS URL of the issuer's JWK Set."""
    discovery: Annotated[bool, BeforeValidator(_not_a_url)] = False
    """Find the JWK Set through the issuer's metadata: /.well-known/openid-configuration, or
    /.well-known/oauth-authorization-server (RFC 8414)."""
    discovery_url: Annotated[str, AfterValidator(check_url)] | None = None
    """HTTPS URL of the issuer's metadata, if they can't be found by the issuer's own URL. Their
    issuer must still be equal to this issuer, letter by letter.
    """
    file: FileText | None = None
    """A file with a JWK Set; read again when it changes."""
    spiffe_bundle: SpiffeBundleSettings | None = None
    """The SPIFFE bundle of a trust domain; only its jwt-svid keys are used. They are trusted for
    that trust domain alone: a token's sub must be a SPIFFE ID of it.
    """
    insecure: bool = False
    """Accept plain http:// in jwks_uri and discovery_url: anyone on the network path can then sign
    tokens.
    """
    allow_any_address: bool = False
    """Accept link-local, metadata and multicast addresses, where clouds keep secrets."""
    ca_file: FileText | None = None
    """A file of PEM certificates to trust for jwks_uri, in place of the system's."""
    token_file: LaterFileText | None = None
    """A file with a bearer token to send with each fetch, for keys that are not public. It is read
    again for each fetch, as such tokens are replaced often. It is sent over https only, and only to
    the origin of jwks_uri, of discovery_url or of the issuer, never to another origin that the
    metadata name.
    """
    tls: ClientCertificateSettings | None = None
    """A certificate to show to the same origins as token_file."""
    refresh: Duration = Field(default=300.0, ge=1.0, le=86400.0)
    """How often keys are fetched; a withdrawn key stays in use for that long at most. An issuer's
    Cache-Control may make fetches more frequent, down to 30s, never less.
    """
    cooldown: Duration = Field(default=10.0, ge=1.0, le=3600.0)
    """The shortest time between fetches that unknown keys cause, and the first pause after a
    failure.
    """
    max_age: Duration = Field(default=86400.0, ge=1.0)
    """How long the last valid keys are used while the issuer can't be reached."""
    timeout: Duration = Field(default=5.0, ge=0.1, le=60.0)
    """The longest time that a complete fetch may take, after the name was resolved."""
    required_at_start: bool = False
    """Listen only when this issuer's keys have been fetched. The server always waits for the keys
    of at least one issuer.
    """

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        local = (self.file, self.spiffe_bundle)
        given = (self.jwks_uri, self.discovery or None, self.discovery_url, *local)
        named = [name for name, source in zip(_SOURCES, given, strict=True) if source is not None]
        if not named:
            raise ValueError(
                "exactly one of jwks_uri, discovery: true, discovery_url, file and spiffe_bundle "
                "is required"
            )
        if len(named) > 1:
            message = f"{' and '.join(named)} both say where the keys are: keep one of them"
            raise MisfitError(message, named[1])
        return self

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        for name in ("jwks_uri", "discovery_url"):
            url = getattr(self, name)
            if url is None or not is_plaintext(url):
                continue
            if not self.insecure:
                raise MisfitError(
                    "over plain http anyone on the network path can sign tokens: use https, "
                    "or set insecure: true",
                    name,
                )
            if self.credential is not None:
                message = "a token or certificate is only sent over https: use an https:// URL"
                raise MisfitError(message, self.credential)
        return self

    @model_validator(mode="after")
    def _credentials_are_for_urls(self) -> Self:
        if self.credential is not None and (self.file or self.spiffe_bundle):
            message = "it is only for keys from jwks_uri, discovery or discovery_url"
            raise MisfitError(message, self.credential)
        return self

    @property
    def credential(self) -> str | None:
        """The config key of the credential that fetches send; None without a credential."""
        return next((name for name in ("token_file", "tls") if getattr(self, name)), None)

    @property
    def place(self) -> tuple[object, ...]:
        """The settings that must be equal for two issuers' keys to have the same trusted origin."""
        return tuple(getattr(self, name) for name in _PLACE)

    @property
    def place_digest(self) -> str:
        """A digest of ``place``, which stands for it on disk."""
        return sha256(self.model_dump_json(include=set(_PLACE)).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The keys' source, in words for people."""
        bundle = self.spiffe_bundle.name if self.spiffe_bundle else None
        return self.jwks_uri or self.discovery_url or self.file or bundle or "discovery"

    @property
    def is_file(self) -> bool:
        """Tell whether the keys are in a file on this machine."""
        bundle = self.spiffe_bundle
        return self.file is not None or (bundle is not None and bundle.file is not None)

    @property
    def has_authorities(self) -> bool:
        """Tell whether the document has the CAs that authenticate its next fetch."""
        bundle = self.spiffe_bundle
        return bundle is not None and bundle.profile is EndpointProfile.HTTPS_SPIFFE

    @property
    def poll_seconds(self) -> float | None:
        """The seconds between reads of a source on this machine; None for a network source."""
        if self.is_file:
            return FILE_POLL_SECONDS
        bundle = self.spiffe_bundle
        return WORKLOAD_API_POLL_SECONDS if bundle is not None and bundle.workload_api else None
