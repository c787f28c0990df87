"""The ``exchange:`` of an issuer's settings: its token endpoint, for token exchange (RFC 8693)."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.delegation.actor_settings import ClaimText
from authz.core.delegation.oauth_client_settings import OAuthClientSettings
from authz.core.settings import Duration, LaterFileText, MisfitError, Settings
from authz.core.urls import check_url

_TYPE: Final = "urn:ietf:params:oauth:token-type:"


class ExchangeTokenType(Choice):
    """The types of tokens that are sent and asked for, by the end of their URNs."""

    ACCESS_TOKEN = "access_token"
    JWT = "jwt"

    @property
    def urn(self) -> str:
        """The identifier of RFC 8693 section 3."""
        return f"{_TYPE}{self.value}"


class SubjectNeed(Choice):
    """Whom an exchanged token must name: the same principal as the client's token, or anybody."""

    SAME = "same"
    ANY = "any"


class ActorTokenSettings(Settings):
    """A token of this server, sent as the actor token (RFC 8693 section 2.1)."""

    file: LaterFileText
    """A file with the token, such as a JWT-SVID; read for each call, because it is replaced every
    few minutes. It must be a JWT: an answer's act must name its sub before the agent.
    """
    type: ExchangeTokenType = ExchangeTokenType.JWT
    """Its type, as the issuer expects it."""


class ExchangeSettings(OAuthClientSettings):
    """The issuer's token endpoint, where a verified token is exchanged for the upstream's token.

    Routes with upstream_token: exchange name the issuer. The issuer's own tokens are exchanged, and
    those of the issuers in subjects_from.
    """

    url: Annotated[str, AfterValidator(check_url)]
    """HTTPS URL of the token endpoint, such as https://as.corp.example/oauth2/token."""
    subject_token_type: ExchangeTokenType = ExchangeTokenType.ACCESS_TOKEN
    """The type that is told of the client's token."""
    requested_token_type: ExchangeTokenType = ExchangeTokenType.ACCESS_TOKEN
    """The type that is asked for; an answer of another type is refused."""
    actor_token: ActorTokenSettings | None = None
    """A token of this server that is sent beside the client's, for an issuer that takes one."""
    actor: Need = Need.OPTIONAL
    """required: the exchanged token must have an act. An act must always name the calling agent,
    and the whole chain of earlier actors.
    """
    subject: SubjectNeed = SubjectNeed.SAME
    """same: the exchanged token must name the principal of the client's token, by subject_claims.
    any: it may name anybody, so that the issuer alone decides as whom the upstream sees the call.
    """
    subject_claims: tuple[ClaimText, ...] = Field(default=("sub",), min_length=1)
    """The claims that must be equal in the client's token and the exchanged token, such as
    [tid, oid] for an issuer whose sub differs from audience to audience.
    """
    subjects_from: tuple[str, ...] = ()
    """Other configured issuers whose tokens are exchanged there. Their subjects must be this
    issuer's too: it is compared by subject_claims alone.
    """
    accept_audiences: tuple[str, ...] = ()
    """Audiences that an exchanged token may have without being asked for. Any other is refused: the
    upstream could use the token there.
    """
    accept_scopes: tuple[str, ...] = ()
    """Scopes that an exchanged token may have without being asked for, such as profile and email,
    which Keycloak gives to all. Any other scope that was not asked for is refused.
    """
    accept_opaque: bool = False
    """Accept an exchanged token that is not a JWT of the issuer: nobody can check whom it names,
    and for whom it is.
    """
    max_lifetime: Duration = Field(default=7200.0, ge=10.0, le=86400.0)
    """The longest accepted time until an exchanged token ends."""

    @model_validator(mode="after")
    def _has_a_credential(self) -> Self:
        if not self.has_credential:
            raise MisfitError(
                "only known clients may exchange tokens: set client_id with client_secret_file,"
                " private_key_jwt or tls, or spiffe_jwt_file",
            )
        return self
