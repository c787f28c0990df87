"""The settings of an OAuth endpoint that this server asks, and of its own credential there."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    Settings,
)
from authz.core.urls import check_url, is_plaintext

MAX_TIMEOUT_SECONDS: Final = 10.0  # no proxy waits longer for a check
_CREDENTIALS: Final = ("client_secret_file", "private_key_jwt", "tls", "spiffe_jwt_file")


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


class OAuthClientSettings(Settings):
    """An endpoint of the issuer that only known clients may ask, and this server's credential."""

    url: Annotated[str, AfterValidator(check_url)]
    """HTTPS URL of the endpoint."""
    client_id: str | None = Field(default=None, min_length=1, max_length=256)
    """This server's client id at the issuer: required with any credential but spiffe_jwt_file."""
    client_secret_file: FileText | None = None
    """A file with the client's secret, sent as client_secret_basic (RFC 6749 section 2.3.1); read
    at the start and when the config is reloaded.
    """
    private_key_jwt: PrivateKeyJwtSettings | None = None
    """In place of a secret: a signed assertion (RFC 7523 section 2.2)."""
    tls: ClientCertificateSettings | None = None
    """In place of a secret: a client certificate (RFC 8705 section 2.1)."""
    spiffe_jwt_file: LaterFileText | None = None
    """In place of a secret: a file with a JWT-SVID of this server, sent as its assertion
    (draft-ietf-oauth-spiffe-client-auth). Its aud must be the issuer. Read for each call, because
    it is replaced every few minutes.
    """
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

    @property
    def has_credential(self) -> bool:
        """Tell whether this server authenticates to the issuer."""
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
        if given and self.client_id is None and self.spiffe_jwt_file is None:
            raise MisfitError(f"with {given[0]}, client_id is required", given[0])
        if self.client_id is not None and not given:
            words = f"client_id needs one of {', '.join(_CREDENTIALS)} with it"
            raise MisfitError(words, "client_id")
        return self
