"""The ``introspection:`` of an issuer's settings: the endpoint for opaque tokens (RFC 7662)."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Need
from authz.core.delegation.oauth_client_settings import OAuthClientSettings
from authz.core.settings import Duration, MisfitError
from authz.core.urls import check_url


class IntrospectionSettings(OAuthClientSettings):
    """The issuer's introspection endpoint, for opaque tokens, and this server's credential there.

    A token is opaque if it is not a JWS in compact form. An answer is remembered by a digest of the
    token, never by the token.
    """

    url: Annotated[str, AfterValidator(check_url)]
    """HTTPS URL of the endpoint, such as https://as.corp.example/oauth2/introspect."""
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

    @model_validator(mode="after")
    def _is_signed_for_a_client(self) -> Self:
        if self.signed is Need.REQUIRED and self.client_id is None:
            raise MisfitError(
                "a signed answer names client_id as its aud: set client_id and a credential",
                "signed",
            )
        return self
