"""The ``introspection:`` of an issuer's settings: the endpoint for opaque tokens (RFC 7662)."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from authz.core.choice import Need
from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    MisfitError,
    Settings,
)
from authz.core.urls import check_url, is_plaintext

MAX_TIMEOUT_SECONDS: Final = 10.0  # no proxy waits longer for a check
_CREDENTIALS: Final = ("client_secret_file", "private_key_jwt", "tls")


def _of_a_private_key(name: object) -> object:
    """Refuse HMAC, which signs with the client's secret (client_secret_jwt of OIDC Core 9)."""
    if isinstance(name, str) and name.upper().startswith("HS"):
        raise ValueError(
            f"{name} signs with a shared secret: name the private key's algorithm, such as ES256,"
            " or set client_secret_file in place of private_key_jwt"
        )
    return name


AssertionAlgorithm = Annotated[
    Literal[
        "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"
    ],
    BeforeValidator(_of_a_private_key),
]


class PrivateKeyJwtSettings(Settings):
    """A signed assertion as this server's credential: private_key_jwt (RFC 7523 section 2.2)."""

    key_file: FileText
    """A PEM file with the private key; read at the start and when the config is reloaded."""
    algorithm: AssertionAlgorithm = "ES256"
    """The signature algorithm, which must fit the key."""
    key_id: str | None = Field(default=None, min_length=1, max_length=256)
    """The kid of the key, if the issuer knows more than one key of this client."""
    audience: str | None = Field(default=None, min_length=1, max_length=1024)
    """The assertion's aud: the name that the issuer expects there. Left out, it is the issuer; some
    issuers require the URL of their token endpoint.
    """


class IntrospectionSettings(Settings):
    """The issuer's introspection endpoint, for opaque tokens, and this server's credential there.

    A token is opaque if it is not a JWS in compact form. An answer is remembered by a digest of the
    token, never by the token.
    """

    url: Annotated[str, AfterValidator(check_url)]
    """HTTPS URL of the endpoint, such as https://as.corp.example/oauth2/introspect."""
    client_id: str | None = Field(default=None, min_length=1, max_length=256)
    """This server's client id at the issuer: required with any of the three credentials."""
    client_secret_file: FileText | None = None
    """A file with the client's secret, sent as client_secret_basic (RFC 6749 section 2.3.1); read
    at the start and when the config is reloaded.
    """
    private_key_jwt: PrivateKeyJwtSettings | None = None
    """In place of a secret: a signed assertion (RFC 7523 section 2.2)."""
    tls: ClientCertificateSettings | None = None
    """In place of a secret: a client certificate (RFC 8705 section 2.1)."""
    ca_file: FileText | None = None
    """A file of PEM certificates to trust for the endpoint, in place of the system's."""
    insecure: bool = False
    """Accept plain http://: anyone on the network path then sees tokens, and can make them valid.
    """
    allow_any_address: bool = False
    """Accept link-local, metadata and multicast addresses, where clouds keep secrets."""
    timeout: Duration = Field(default=2.0, ge=0.005, le=MAX_TIMEOUT_SECONDS)
    """The longest time that a call may take. A check waits for less time if its proxy's deadline is
    earlier: by default, Envoy waits 200ms for a check.
    """
    max_age: Duration = Field(default=30.0, ge=1.0, le=3600.0)
    """How long an answer is cached, active or not. A token that the issuer revokes is still
    accepted for that long at most. A token's own exp may end the caching sooner.
    """
    prefixes: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._~+/-]{1,64}$")], ...] = ()
    """Prefixes that distinguish this issuer's tokens from those of other issuers with
    introspection; the longest matching prefix decides. Left out, this issuer is asked about all
    opaque tokens that match no prefix.
    """
    signed: Need = Need.OPTIONAL
    """required: only answers that the issuer signed are accepted (RFC 9701), verified with keys.
    optional: they are asked for where keys and client_id are given, and plain JSON is accepted.
    """

    @property
    def has_credential(self) -> bool:
        """Tell whether this server authenticates to the issuer (RFC 7662 section 2.1)."""
        return any(getattr(self, name) is not None for name in _CREDENTIALS)

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        if is_plaintext(self.url) and not self.insecure:
            raise MisfitError(
                "over plain http anyone on the network path sees tokens and can make them valid: "
                "use https, or set insecure: true",
                "url",
            )
        if is_plaintext(self.url) and self.tls is not None:
            raise MisfitError("a client certificate is shown over https only", "url")
        return self

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [name for name in _CREDENTIALS if getattr(self, name) is not None]
        if len(given) > 1:
            raise MisfitError(
                f"only one of {', '.join(_CREDENTIALS)} is sent: leave {given[0]} or this out",
                given[1],
            )
        if given and self.client_id is None:
            raise MisfitError(f"with {given[0]}, client_id is required", given[0])
        if self.client_id is not None and not given:
            words = "client_id needs one of client_secret_file, private_key_jwt and tls with it"
            raise MisfitError(words, "client_id")
        if self.signed is Need.REQUIRED and self.client_id is None:
            raise MisfitError(
                "a signed answer names client_id as its aud: set client_id and a credential",
                "signed",
            )
        return self
