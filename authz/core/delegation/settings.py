"""The settings of delegation tokens, and of the issuers that may make them."""

import re
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.delegation.introspection_settings import IntrospectionSettings
from authz.core.jose import KeySettings
from authz.core.jose.jws import media_type
from authz.core.settings import Duration, FileText, MisfitError, Settings
from authz.core.spiffe import SpiffeIdText, TrustDomainText
from authz.core.urls import check_url

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
Unchecked = Literal[
    "status",
    "authorization_details",
    "crit",
    "cdnicrit",
    "cdniip",
    "cdniuc",
    "exi",
    "htm",
    "htu",
    "cnf",
    "act.sub_profile",
    "act.cnf",
]
ACT: Final = "act"  # the claim that names the actor (RFC 8693 section 4.1)
ClaimText = Annotated[str, Field(min_length=1, max_length=64)]
_HEADER_NAME: Final = r"^[a-z0-9-]{1,64}$"
# Other kinds of JWT, by their typ: each has its own use and rules, and is never an access
# token (RFC 8725bis section 3.12). ID-JAG, status lists, security events, transaction tokens, WIMSE
# tokens and proofs, DPoP proofs, introspection answers, logout tokens, client assertions, AAuth.
OTHER_KINDS: Final = frozenset(
    {
        "oauth-id-jag+jwt",
        "statuslist+jwt",
        "secevent+jwt",
        "txntoken+jwt",
        "wit+jwt",
        "wpt+jwt",
        "dpop+jwt",
        "token-introspection+jwt",
        "logout+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "jwk-set+jwt",
        "kb+jwt",
        "dc+sd-jwt",
        "aa-agent+jwt",
        "aa-person+jwt",
        "aa-resource+jwt",
        "aa-auth+jwt",
    }
)


def is_other_kind(typ: object) -> bool:
    """Tell whether a ``typ`` is of another kind of JWT, whatever an issuer's settings."""
    return is_other_media_type(media_type(typ))


def is_other_media_type(media_type: str) -> bool:
    """Tell whether a typ's long form is of another kind of JWT."""
    return media_type.removeprefix("application/") in OTHER_KINDS


def _token_type(typ: str) -> str:
    if is_other_kind(typ):
        raise ValueError(
            "this is the type of another kind of token, which is never accepted as an access token"
        )
    return typ


class NonceNeed(Choice):
    """How nonces of DPoP proofs are treated: not used, or required."""

    OFF = "off"
    REQUIRED = "required"


class DpopSettings(Settings):
    """Proofs of possession by DPoP (RFC 9449)."""

    algorithms: tuple[Algorithm, ...] = Field(default=("ES256", "PS256", "Ed25519"), min_length=1)
    """Signature algorithms of proofs."""
    max_age: Duration = Field(default=60.0, ge=1.0, le=600.0)
    """How old a proof may be, by its iat. The server remembers each proof for that long, against
    replay.
    """
    clock_skew: Duration = Field(default=5.0, ge=0.0, le=60.0)
    """How far in the future a proof's iat may be."""
    nonce: NonceNeed = NonceNeed.OFF
    """required: a proof must hold a nonce of this server (section 9), which expires after
    nonce_lifetime.
    """
    nonce_lifetime: Duration = Field(default=300.0, ge=10.0, le=86400.0)
    """How long a nonce is valid, at least."""
    nonce_secret: FileText | None = None
    """A file of 32 or more random bytes, from which nonces are made, the same for all replicas.
    Left out, each process makes its own at its start.
    """


class TokenSettings(Settings):
    """Where a request carries the delegation token, and how its possession is proved."""

    header: str = Field(default="authorization", pattern=_HEADER_NAME)
    """Lower-case name of the header that carries the token."""
    scheme: str = Field(default="Bearer", pattern=r"^[A-Za-z0-9-]{0,32}$")
    """Authentication scheme before the token, in upper or lower case (RFC 9110 section 11.1); "" if
    the header holds only the token.
    """
    forward: bool = False
    """Forward the token to the upstream. The upstream could then act as the agent: rarely right."""
    max_bytes: int = Field(default=8192, ge=512, le=65536)
    """The longest accepted token, in bytes."""
    dpop: DpopSettings = DpopSettings()
    """Proofs of possession by DPoP (RFC 9449)."""


class ActorSettings(Settings):
    """How an issuer's tokens name the acting agent."""

    claim: str = Field(default=ACT, min_length=1, max_length=64)
    """The claim that names the agent: act (RFC 8693 section 4.1), or, for an issuer without act,
    another claim such as azp.
    """
    map: dict[str, SpiffeIdText] = Field(default={})
    """For a claim other than act: the SPIFFE ID of the agent that each value of the claim stands
    for.
    """
    issuers: tuple[str, ...] = ()
    """For act: further accepted values of an actor's iss. The token's own iss and the agent's trust
    domain, such as spiffe://corp.example, are always accepted. An actor is identified by its iss
    and sub together.
    """

    @property
    def is_mapped(self) -> bool:
        """Tell whether a mapped claim names the agent, and not act."""
        return self.claim != ACT

    @cached_property
    def names(self) -> frozenset[str]:
        """The claim's values in the map, in lower case, as some issuers write accounts."""
        return frozenset(map(str.lower, self.map))

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of ``names``, and of the last segments of the agents' IDs."""
        agents = (agent.rpartition("/")[2].lower() for agent in self.map.values())
        return frozenset(re.findall("[a-z]+", " ".join([*self.names, *agents])))

    @model_validator(mode="after")
    def _map_goes_with_other_claims(self) -> Self:
        if not self.is_mapped and self.map:
            raise MisfitError(
                "map is only for a claim other than act: an act claim names agents itself", "map"
            )
        if self.is_mapped and self.issuers:
            raise MisfitError(
                "issuers is only for the claim act, whose actors have an iss", "issuers"
            )
        if self.is_mapped and not self.map:
            raise MisfitError(
                f"map must say which agent each value of {self.claim} stands for", "claim"
            )
        return self


def _empty_is_none(value: object) -> object:
    """Take ``keys: {}`` as keys left out: an issuer of opaque tokens alone has no keys."""
    return None if value == {} else value


class IssuerSettings(Settings):
    """An issuer of delegation tokens, and which of its tokens are accepted."""

    issuer: str = Field(min_length=1, max_length=1024)
    """The token's iss, compared byte for byte."""
    keys: Annotated[KeySettings | None, BeforeValidator(_empty_is_none)] = None
    """Where the issuer's public keys are: required, but for an issuer with introspection. Without
    keys only its opaque tokens are accepted.
    """
    introspection: IntrospectionSettings | None = None
    """The endpoint that is asked what the issuer's opaque tokens mean (RFC 7662)."""
    audiences: tuple[str, ...] = Field(min_length=1)
    """A token must be for one of these (RFC 9068 section 4), compared byte for byte."""
    algorithms: tuple[Algorithm, ...] = Field(default=("ES256", "PS256", "Ed25519"), min_length=1)
    """Signature algorithms accepted in its tokens (RFC 8725 section 3.1)."""
    typ: tuple[Annotated[str, AfterValidator(_token_type)], ...] = Field(
        default=("at+jwt",), min_length=1
    )
    """Accepted token types. "JWT" admits issuers that do not follow RFC 9068, but no ID tokens: a
    token of that type must have the claim named by scope_claim, and no claim that only another kind
    of token has.
    """
    scope_claim: str = Field(default="scope", min_length=1, max_length=64)
    """The claim with the scopes: a string of words (RFC 8693 section 4.2). In a claim other than
    scope, such as scp, a list of words is accepted too.
    """
    proof: Need = Need.OPTIONAL
    """required: a token must be bound to a key (cnf), and the caller must prove that it holds the
    key.
    """
    actor: ActorSettings = ActorSettings()
    """How its tokens name the acting agent."""
    person_shown_by: dict[ClaimText, tuple[str, ...]] | None = Field(default=None, min_length=1)
    """With an actor.claim other than act: the claims that show that a person is behind a token,
    with their values; "*" for any value. A single match is enough, and a token without a match is
    refused. Left out, the claims are those that issuers give to users alone, as the token reference
    lists them. A client's own token never shows a person.
    """
    accept_unchecked: tuple[Unchecked, ...] = ()
    """Restrictions that this server can't check and accepts unchecked: a token with one of these is
    treated as if it had no such restriction. status is the token's place in a status list; cnf is
    what its cnf holds besides a key that is checked.
    """
    actors_from: tuple[TrustDomainText, ...] | None = None
    """Trust domains whose agents it may name as actors; left out, all of trust_domains."""
    max_actors: int = Field(default=4, ge=1, le=16)
    """The longest accepted chain of actors. A longer chain is refused, never cut."""
    max_lifetime: Duration = Field(default=86400.0, ge=1.0)
    """The longest accepted time between a token's iat and exp."""
    clock_skew: Duration = Field(default=30.0, ge=0.0, le=120.0)
    """How far the issuer's clock may differ from this server's."""

    @cached_property
    def media_types(self) -> frozenset[str]:
        """The accepted types in their long form."""
        return frozenset(map(media_type, self.typ))

    @cached_property
    def claims_read(self) -> frozenset[str]:
        """The claims that these settings name: they are read whatever else they say."""
        return frozenset({self.scope_claim, self.actor.claim, *(self.person_shown_by or ())})

    @model_validator(mode="after")
    def _act_needs_no_person(self) -> Self:
        if self.person_shown_by is not None and not self.actor.is_mapped:
            message = "it is only for an actor.claim other than act: act itself says who delegated"
            raise MisfitError(message, "person_shown_by")
        for name, values in (self.person_shown_by or {}).items():
            if not values:
                message = 'an empty list shows nobody; "*" is any value'
                raise MisfitError(message, "person_shown_by", name)
        return self

    @model_validator(mode="after")
    def _keys_or_introspection(self) -> Self:
        asked = self.introspection
        if self.keys is None and asked is None:
            raise MisfitError(
                "keys are required, as in keys: {jwks_uri: https://as.corp.example/jwks}; "
                "only an issuer with introspection can be without",
                "keys",
            )
        if asked is not None and self.keys is None and asked.signed is Need.REQUIRED:
            message = "signed answers are verified with the issuer's keys: set keys as well"
            raise MisfitError(message, "introspection", "signed")
        return self

    @model_validator(mode="after")
    def _is_found_by_its_url(self) -> Self:
        if self.keys is not None and self.keys.discovery:
            try:
                check_url(self.issuer)
            except ValueError as error:
                raise MisfitError(f"with discovery the issuer {error}", "issuer") from None
        return self
