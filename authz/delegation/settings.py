"""What an operator says about delegation tokens and the issuers that may make them."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from authz.keys import KeySettings
from authz.settings import Duration, Settings
from authz.spiffe import SpiffeId, TrustDomain

Algorithm = Literal[
    "ES256",
    "ES384",
    "ES512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "Ed25519",
    "EdDSA",
]
_HEADER_NAME: Final = r"^[a-z0-9-]{1,64}$"


def _spiffe_id(text: str) -> str:
    return SpiffeId.parse(text).text


def _trust_domain(text: str) -> str:
    return TrustDomain.parse(text).name


class TokenSettings(Settings):
    """Where the delegation token stands in a request."""

    header: str = Field(default="authorization", pattern=_HEADER_NAME)
    """Lower-case name of the header that carries the token."""
    scheme: str = Field(default="Bearer", pattern=r"^[A-Za-z0-9-]{0,32}$")
    """Authentication scheme in front of the token; "" when the header holds the bare token."""
    forward: bool = False
    """Whether the upstream may see the token. It could use it as the agent; so, rarely."""
    max_bytes: int = Field(default=8192, ge=512, le=65536)
    """The longest token that is looked at, in bytes."""


class ActorSettings(Settings):
    """How an issuer names the acting agent."""

    claim: str = Field(default="act", min_length=1, max_length=64)
    """"act" (RFC 8693 section 4.1), or the claim of an issuer that has none, such as azp."""
    map: dict[str, Annotated[str, AfterValidator(_spiffe_id)]] = Field(default={})
    """For a claim other than act: its values, and the SPIFFE ID of the agent each stands for."""

    @model_validator(mode="after")
    def _map_goes_with_other_claims(self) -> Self:
        if self.claim == "act" and self.map:
            raise ValueError("map goes with a claim other than act, which names agents itself")
        if self.claim != "act" and not self.map:
            raise ValueError(f"say in map which agent each value of {self.claim} stands for")
        return self


class IssuerSettings(Settings):
    """An issuer of delegation tokens, and what of its tokens is accepted."""

    issuer: str = Field(min_length=1, max_length=1024)
    """The token's iss, compared byte for byte."""
    keys: KeySettings
    """Where its public keys are."""
    audiences: tuple[str, ...] = Field(min_length=1)
    """A token must be for one of these (RFC 9068 section 4), compared byte for byte."""
    algorithms: tuple[Algorithm, ...] = Field(default=("ES256", "PS256", "Ed25519"), min_length=1)
    """Signature algorithms accepted from it (RFC 8725 section 3.1)."""
    typ: tuple[str, ...] = Field(default=("at+jwt",), min_length=1)
    """Token types accepted from it. "JWT" admits issuers before RFC 9068, but no ID token."""
    actor: ActorSettings = ActorSettings()
    """How it names the acting agent."""
    actors_from: tuple[Annotated[str, AfterValidator(_trust_domain)], ...] | None = None
    """Trust domains whose agents it may name as actors; all trusted ones when left out."""
    max_actors: int = Field(default=4, ge=1, le=16)
    """Longest chain of actors; a longer one is refused, never cut."""
    max_lifetime: Duration = Field(default=86400.0, ge=1.0)
    """Longest time between a token's iat and exp."""
    clock_skew: Duration = Field(default=30.0, ge=0.0, le=120.0)
    """How far its clock may be from ours."""
