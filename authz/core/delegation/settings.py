"""The settings of the issuers that may make delegation tokens."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from authz.core.assertion import ASSERTION_TYPE
from authz.core.choice import Need
from authz.core.delegation.actor_settings import ActorSettings, ClaimText
from authz.core.delegation.algorithms import Algorithm
from authz.core.delegation.exchange_settings import ExchangeSettings
from authz.core.delegation.introspection_settings import IntrospectionSettings
from authz.core.delegation.presets import with_preset
from authz.core.delegation.status_list_settings import StatusListSettings
from authz.core.issuer_kind import IssuerKind
from authz.core.jose import KeySettings
from authz.core.jose.jws import media_type
from authz.core.jose.settings import SpiffeBundleSettings
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.spiffe import TrustDomainText
from authz.core.urls import check_url

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
MAX_CLOCK_SKEW_SECONDS: Final = 120.0
# An identifier (RFC 9396 section 2), collision-resistant ones are URIs.
ApprovalType = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]
# Other kinds of JWT, by their typ: each has its own use and rules, and is never an access
# token (RFC 8725bis section 3.12). ID-JAG, status lists, security events, transaction tokens, WIMSE
# tokens and proofs, DPoP proofs, introspection answers, logout tokens, client assertions, AAuth,
# and this server's own assertions.
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
        ASSERTION_TYPE,
    }
)


# Claims about the user and the sign-in (OIDC Core 2, 5.1), which ID tokens have. If one of them
# could hold the scopes, every ID token would look like an access token.
_OF_ID_TOKENS: Final = frozenset(
    {
        *("iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "acr", "amr", "azp"),
        *("at_hash", "c_hash", "sid", "typ", "name", "given_name", "family_name", "middle_name"),
        *("nickname", "preferred_username", "profile", "picture", "website", "email"),
        *("email_verified", "gender", "birthdate", "zoneinfo", "locale", "phone_number"),
        *("phone_number_verified", "address", "updated_at"),
        *("groups", "roles", "entitlements"),  # RFC 9068 2.2.3.1, and in ID tokens of Entra ID
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


def _audience(text: str) -> str:
    if text == "*":
        raise ValueError(
            '"*" is not a pattern, and a token for anybody is never accepted: list what tokens for'
            " your services have in aud, such as https://orders.corp.example"
        )
    return text


def _scope_claim(name: str) -> str:
    if name in _OF_ID_TOKENS:
        raise ValueError("ID tokens have this claim: it holds no scopes")
    return name


def _empty_is_none(value: object) -> object:
    """Take ``keys: {}`` as keys left out: an issuer of opaque tokens alone has no keys."""
    return None if value == {} else value


class IssuerSettings(Settings):
    """An issuer of delegation tokens, and which of its tokens are accepted."""

    issuer: str = Field(min_length=1, max_length=1024)
    """The token's iss, compared byte for byte. A token without iss, as most JWT-SVIDs are, is of
    the issuer whose keys.spiffe_bundle is that of the trust domain in its sub.
    """
    kind: IssuerKind | None = None
    """The product that it runs: sets the settings that fit the product's tokens; each can be
    overridden here. `authz preset` prints the settings of each kind.
    """
    keys: Annotated[KeySettings | None, BeforeValidator(_empty_is_none)] = None
    """Where the issuer's public keys are: required, except for an issuer with introspection.
    Without keys, only its opaque tokens are accepted.
    """
    introspection: IntrospectionSettings | None = None
    """The endpoint that is asked about the issuer's opaque tokens (RFC 7662)."""
    exchange: ExchangeSettings | None = None
    """The token endpoint where tokens are exchanged for the upstreams' tokens (RFC 8693)."""
    status_list: StatusListSettings | None = None
    """The issuer's status lists: its tokens with a status are checked against these lists. Left
    out, such tokens are refused, unless accept_unchecked has status.
    """
    audiences: tuple[Annotated[str, AfterValidator(_audience)], ...] = Field(min_length=1)
    """A token must be for one of these (RFC 9068 section 4), compared byte for byte. For a token of
    type "JWT" without aud, its client_id counts, as at Cognito.
    """
    algorithms: tuple[Algorithm, ...] = Field(default=("ES256", "PS256", "Ed25519"), min_length=1)
    """Signature algorithms accepted in its tokens (RFC 8725 section 3.1)."""
    typ: tuple[Annotated[str, AfterValidator(_token_type)], ...] = Field(
        default=("at+jwt",), min_length=1
    )
    """Accepted token types. "JWT" admits issuers that do not follow RFC 9068, and tokens without a
    type, but no ID tokens: such a token must have the claim named by scope_claim, unless it is an
    agent's own, and no claim that only another kind of token has.
    """
    scope_claim: Annotated[ClaimText, AfterValidator(_scope_claim)] = "scope"
    """The claim with the scopes: a string of words (RFC 8693 section 4.2), or, at some issuers, a
    list of words.
    """
    proof: Need = Need.OPTIONAL
    """required: a token must be bound to a key (cnf), and the caller must prove that it holds the
    key.
    """
    one_time: bool = False
    """Each of its tokens may be used for one request alone: a second request with it is refused. A
    token then needs jti and iat, and an answer about an opaque token jti, iat and exp. Used tokens
    are remembered until they end, as replay says.
    """
    actor: ActorSettings = ActorSettings()
    """How its tokens name the acting agent."""
    person_shown_by: dict[ClaimText, tuple[str, ...]] | None = Field(default=None, min_length=1)
    """With an actor.claim other than act: the claims that show that a person is behind a token,
    with their values; "*" for any value. A single match is enough, and a token without a match is
    refused. Left out, the claims are those that issuers give to users alone, as the token reference
    lists them. A client's own token never shows a person.
    """
    approval_types: tuple[ApprovalType, ...] = Field(default=(), max_length=64)
    """Types of authorization_details (RFC 9396) by which its tokens approve calls, as rules with
    approval ask for. List a type only if the issuer puts it into tokens that the principal has
    approved: a client must not get it by asking alone. Tokens with other types are refused.
    """
    accept_unchecked: tuple[Unchecked, ...] = ()
    """Restrictions that this server can't check but accepts: a token with one of these is treated
    as if it had no such restriction. status is the token's entry in a status list; with status_list
    that entry is checked all the same, and status is any other way to tell a token's status. cnf is
    any member of its cnf besides a key that is checked.
    """
    actors_from: tuple[TrustDomainText, ...] | None = None
    """Trust domains whose agents it may name as actors. Left out, all of trust_domains; for keys of
    a SPIFFE bundle, the bundle's trust domain alone.
    """
    max_actors: int = Field(default=4, ge=1, le=16)
    """The longest accepted chain of actors. A longer chain is refused, never truncated."""
    max_lifetime: Duration = Field(default=86400.0, ge=1.0)
    """The longest accepted time between a token's iat and exp."""
    clock_skew: Duration = Field(default=30.0, ge=0.0, le=MAX_CLOCK_SKEW_SECONDS)
    """How far the issuer's clock may differ from this server's."""

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, lines: object) -> object:
        return with_preset(lines) if isinstance(lines, Mapping) else lines

    @cached_property
    def media_types(self) -> frozenset[str]:
        """The accepted types in their long form."""
        return frozenset(map(media_type, self.typ))

    @property
    def bundle(self) -> SpiffeBundleSettings | None:
        """The SPIFFE bundle with its keys; None if its keys are another set, or it has no keys."""
        return None if self.keys is None else self.keys.spiffe_bundle

    @cached_property
    def actor_domains(self) -> frozenset[str] | None:
        """The trust domains whose agents it may name as actors; None for all."""
        bundle = self.bundle
        if self.actors_from is None and bundle is not None:
            return frozenset({bundle.trust_domain})
        return None if self.actors_from is None else frozenset(self.actors_from)

    @cached_property
    def claims_read(self) -> frozenset[str]:
        """The claims that these settings name, which are read in any case."""
        return frozenset({self.scope_claim, *self.actor.claim, *(self.person_shown_by or ())})

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
        if self.keys is None and self.exchange is not None and not self.exchange.accept_opaque:
            message = (
                "exchanged tokens are verified with the issuer's keys: set keys, or accept_opaque"
            )
            raise MisfitError(message, "exchange")
        if self.keys is None and self.status_list is not None:
            message = "lists are verified with the issuer's keys: set keys as well"
            raise MisfitError(message, "status_list")
        return self

    @model_validator(mode="after")
    def _is_found_by_its_url(self) -> Self:
        if self.keys is not None and self.keys.discovery:
            try:
                check_url(self.issuer)
            except ValueError as error:
                raise MisfitError(f"with discovery the issuer {error}", "issuer") from None
        return self
