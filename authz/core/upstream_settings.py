"""The settings of what a route's upstream gets in place of the client's token."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.settings import MisfitError, Settings
from authz.core.urls import check_url

_NAME: Final = r"^[\x21\x23-\x5b\x5d-\x7e]{1,512}$"  # visible ASCII, without quotes
Target = Annotated[str, Field(pattern=_NAME)]
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]  # RFC 6749 section 3.3


def _resource(text: str) -> str:
    """Return the text if it is an absolute URL without a fragment (RFC 8707 section 2)."""
    check_url(text)
    if re.search(r"[?#\"\\]", text):
        raise ValueError("a resource must be a URL without a query or fragment (RFC 8707)")
    return text


class RouteAssertionSettings(Settings):
    """The assertion that this route's upstream gets."""

    audience: Target | None = None
    """For whom the assertion is: its aud, which the upstream must compare with its own name. Left
    out, the route's resource.
    """
    scopes: tuple[Scope, ...] | None = Field(default=None, min_length=1)
    """The most that the assertion's scope may hold: those of the decision's scopes that are listed
    here. Left out, all of the decision's scopes.
    """


class RouteExchangeSettings(Settings):
    """The token that this route's upstream gets for the client's (RFC 8693)."""

    issuer: Annotated[str, Field(min_length=1, max_length=1024)]
    """The issuer that exchanges the token: one of issuers, which has exchange. Tokens of other
    issuers are refused on this route if that issuer exchanges its own tokens alone.
    """
    audience: Target | None = None
    """The audience to ask for: the upstream's name at the issuer, such as its client_id."""
    resource: Annotated[str, AfterValidator(_resource)] | None = None
    """The resource to ask for: the upstream's URL (RFC 8707)."""
    scopes: tuple[Scope, ...] | None = Field(default=None, min_length=1)
    """The scopes to ask for: those of the decision's scopes that are listed here. Left out, all of
    the decision's scopes.
    """

    @model_validator(mode="after")
    def _has_a_target(self) -> Self:
        if self.audience is None and self.resource is None:
            raise MisfitError("audience or resource is required: whom the token is for", "audience")
        return self
