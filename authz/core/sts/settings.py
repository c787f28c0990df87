"""The settings of the token service: whose tokens it takes, and who may become whose actor."""

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice
from authz.core.policy import PrincipalMatch
from authz.core.policy.settings import RuleName, Scope
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.spiffe import SCHEME, SpiffePatternText
from authz.core.urls import check_url

TOKEN_TYPE: Final = "at+jwt"  # of the tokens that it signs, RFC 9068 section 2.1
MAX_RULES: Final = 1000  # each is tried in turn for a request
MAX_TARGETS: Final = 100  # of a rule; more than that should be several rules
_Text = Annotated[str, Field(pattern=r"^[!-~]{1,1024}$")]
# Claims that the service itself writes, or that mean something for the one token alone, or would
# let it pass for another kind of token.
_NEVER_PASSED_ON: Final = frozenset(
    {
        *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "azp", "scope", "scp"),
        *("act", "may_act", "cnf", "sub_id", "txn", "status", "authorization_details", "crit"),
        *("nonce", "at_hash", "c_hash", "s_hash", "events", "status_list", "token_introspection"),
        *("req_wl", "tctx", "rctx", "htm", "htu", "wth", "cdnicrit", "cdniip", "cdniuc", "exi"),
        *("_claim_names", "_claim_sources", "typ", "token_use", "auth_time"),
    }
)


def _passed_on(name: str) -> str:
    if name in _NEVER_PASSED_ON:
        raise ValueError("the token service writes this claim itself, or must not pass it on")
    return name


_PassedOn = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_passed_on)]


class Binding(Choice):
    """The key that tokens are bound to: that of the client's certificate, or none."""

    CERTIFICATE = "certificate"
    NONE = "none"


class Loops(Choice):
    """What to do if an earlier actor of the chain would become its current actor again."""

    DENY = "deny"
    ACCEPT = "accept"


class ConsentNeed(Choice):
    """Whether a rule needs the principal's consent."""

    NONE = "none"
    REQUIRED = "required"


class IdTokenSettings(Settings):
    """ID tokens that are accepted as subject tokens: by the token service, and nowhere else."""

    issuer: str
    """The OpenID provider, one of issuers."""
    client_ids: tuple[_Text, ...] = Field(min_length=1, max_length=MAX_TARGETS)
    """The clients for which it makes them: every aud of an ID token must be one of these. A rule
    takes an ID token only if its subject_audiences list the client too.
    """
    max_age: Duration = Field(default=600.0, ge=1.0, le=86_400.0)
    """How old an ID token may be, by its iat."""


class SubjectSettings(Settings):
    """An issuer whose tokens may be subject tokens, and how its users are called in ours."""

    issuer: str
    """One of issuers. Tokens of an issuer that is not listed are refused."""
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9._~-]{1,63}[:/|])?$")
    """What stands before its users' subjects in our tokens, such as "partner:". Our tokens have our
    own issuer, so with several issuers each needs a prefix, and none may be the beginning of
    another: else two people could become one.
    """
    claims: tuple[_PassedOn, ...] = Field(default=(), max_length=32)
    """Claims of its tokens that ours get as well, such as groups; acr and amr too, where there are
    several issuers. No two issuers may pass on the same claim: nobody could tell whose it is.
    """

    @model_validator(mode="after")
    def _no_agents(self) -> Self:
        if SCHEME.startswith(self.prefix.lower()) and self.prefix:
            raise MisfitError("subjects that begin with it could pass for agents", "prefix")
        return self


class TokenRuleSettings(Settings):
    """A rule of the token service: who may become the actor, for whom, and to do what."""

    name: RuleName
    """The rule's name, for audit records."""
    description: str = ""
    """What the rule is for; a note for people."""
    agents: tuple[SpiffePatternText, ...] = Field(min_length=1, max_length=MAX_TARGETS)
    """SPIFFE IDs (* for a segment, ** at the end for the rest) of those who may become the actor.
    They must be registered agents, too.
    """
    principals: tuple[PrincipalMatch, ...] | None = Field(default=None, min_length=1)
    """For whom; left out, for everybody to whom an entry of principals grants something through
    the agent, which is required in any case.
    """
    subject_audiences: tuple[_Text, ...] = Field(default=(), max_length=MAX_TARGETS)
    """The subject token must be for one of these, such as the agents' own URL, or for the token
    service itself. For an ID token it is the client. Only agents that are this audience should be
    listed in agents: others could use tokens that they were never meant to hold.
    """
    via: tuple[SpiffePatternText, ...] = Field(default=(), max_length=MAX_TARGETS)
    """SPIFFE IDs (* for a segment) of the current actors of the subject tokens. Left out, only
    tokens without an actor are taken: the first hop.
    """
    audiences: tuple[_Text, ...] = Field(min_length=1, max_length=MAX_TARGETS)
    """What the client may ask for, by audience or resource; compared byte for byte. If there is
    only one, it need not be asked for.
    """
    scopes: tuple[Scope, ...] = Field(max_length=1000)
    """The scopes that a token may have at most. It never has more than the subject token, nor any
    that no rule in the agent's own grants names.
    """
    lifetime: Duration | None = Field(default=None, ge=1.0, le=86_400.0)
    """The longest life of a token; left out, that of the token service."""
    consent: ConsentNeed = ConsentNeed.NONE
    """required: the principal must have consented, to this agent, audience and these scopes."""
    authorization_details: tuple[_Text, ...] = Field(default=(), max_length=MAX_TARGETS)
    """Types of authorization_details (RFC 9396) that may be asked for. Each needs the principal's
    consent to that very call.
    """


class TokenServiceSettings(Settings):
    """The part of ``sts`` that decides."""

    issuer: Annotated[str, AfterValidator(check_url)]
    """The iss of its tokens, and the base of its endpoints: an https:// URL without a query. Give
    it an entry in issuers as well, so that its tokens are accepted, here and by the server.
    """
    lifetime: Duration = Field(default=300.0, ge=1.0, le=86_400.0)
    """The longest life of a token. It never outlives the subject token."""
    bind: Binding = Binding.CERTIFICATE
    """certificate: tokens are for the client with this certificate alone (cnf.x5t#S256, RFC 8705).
    none: anybody can use them, unless the client sends a DPoP proof with its request, to whose key
    they are then bound as well.
    """
    max_actors: int = Field(default=4, ge=1, le=16)
    """The longest chain of actors, the new one included: a longer one is refused, never cut."""
    loops: Loops = Loops.DENY
    """What to do if an agent would become the actor a second time, after others. An agent that is
    the current actor already may always narrow its token; the chain then stays as it is.
    """
    subjects: tuple[SubjectSettings, ...] = Field(default=(), max_length=MAX_TARGETS)
    """The issuers whose tokens may be subject tokens. It may be left out with a single one of
    issuers beside the token service itself: then its users keep their subjects.
    """
    id_tokens: tuple[IdTokenSettings, ...] = Field(default=(), max_length=MAX_TARGETS)
    """ID tokens that are accepted as subject tokens; left out, none are."""
    rules: tuple[TokenRuleSettings, ...] = Field(min_length=1, max_length=MAX_RULES)
    """Who may become the actor, for whom, and to do what. The first rule that fits counts; without
    one there is no token.
    """

    @property
    def token_endpoint(self) -> str:
        """Return the URL of the token endpoint, which DPoP proofs name."""
        return self.issuer.rstrip("/") + "/token"

    @model_validator(mode="after")
    def _issuer_is_plain(self) -> Self:
        if not self.issuer.startswith("https://") or "?" in self.issuer:
            raise MisfitError("must be an https:// URL without a query (RFC 8414)", "issuer")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for key, name in (("rules", "name"), ("subjects", "issuer"), ("id_tokens", "issuer")):
            seen: set[str] = set()
            for at, item in enumerate(getattr(self, key)):
                if (value := getattr(item, name)) in seen:
                    raise MisfitError(f"{value!r} is listed twice", key, at, name)
                seen.add(value)
        return self

    @model_validator(mode="after")
    def _nobody_is_merged(self) -> Self:
        for (_, one), (at, other) in combinations(enumerate(self.subjects), 2):
            for message, name in _alike(one, other):
                raise MisfitError(message, "subjects", at, name)
        return self


def _alike(one: SubjectSettings, other: SubjectSettings) -> Iterator[tuple[str, str]]:
    """Yield why two issuers' users could pass for each other, and by which key."""
    if one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix):
        message = (
            f"{one.prefix!r} and {other.prefix!r}: neither may be the beginning of the other, or"
            " users of two issuers could have the same name in our tokens; give each issuer a"
            " prefix of its own"
        )
        yield message, "prefix"
    if both := ", ".join(sorted(set(one.claims) & set(other.claims))):
        message = f"{both} would be passed on from {one.issuer} too: nobody could tell whose it is"
        yield message, "claims"
