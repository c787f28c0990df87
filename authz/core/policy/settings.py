"""What an operator says about rights: grants of rules, and who holds them."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from authz.core.conditions import ARGUMENTS, Condition, ConditionHeader
from authz.core.patterns import ANY, HostText, MethodText, PathText
from authz.core.policy.call_settings import KEYS, A2aKey, CallSettings, McpKey, ModelsKey
from authz.core.policy.claim_names import ClaimName, ClaimValue, WholeClaimName, WrittenValue
from authz.core.policy.time_windows import WindowSettings
from authz.core.reads import Reads
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.spiffe import SCHEME, SpiffePattern, SpiffePatternText

GROUPS: Final = "groups"  # claims of RFC 9068 section 2.2.3.1
ROLES: Final = "roles"
MAX_VALUES: Final = 1000  # of one list in a rule or a match; a longer one belongs into a group
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]  # RFC 6749 section 3.3
Word = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]  # as a scope
GrantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,127}$")]
Effect = Literal["allow", "deny"]


# Few hyphens: each doubles the spellings with "_" that are removed beside it.
AddedHeader = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}$")]
HeaderValues = Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_VALUES)]
ClaimValues = Annotated[tuple[WrittenValue, ...], Field(min_length=1, max_length=MAX_VALUES)]


class RuleSettings(Settings):
    """One line of a grant: operations that it allows, or denies. All that is given must fit."""

    name: RuleName | None = None
    """Its name within the grant, for audit records and reports; its number, from 0, if left out."""
    description: str = ""
    """What it is for, for people."""
    owner: str = ""
    """Who answers for it, for people."""
    effect: Effect = "allow"
    """deny: whoever holds it may not, whatever else allows. A deny wins over every allow. It has
    no scopes, max_actors, max_token_age, acr_values, max_age and add_headers, which limit allows.
    """
    shadow: bool = False
    """Decide without it, and record where it would have changed the decision."""
    hosts: tuple[HostText, ...] = Field(min_length=1)
    """Exact hosts, lower case and without a port; "*" for any."""
    methods: tuple[MethodText, ...] = Field(min_length=1)
    """HTTP methods; "*" for any."""
    paths: tuple[PathText, ...] = Field(min_length=1)
    """Path templates: /orders/{id}, * for one segment, ** at the end for the rest."""
    scopes: tuple[Scope, ...] | None = None
    """Scopes that the token must have, all of them. An allow has to say: [] asks for none."""
    headers: dict[ConditionHeader, HeaderValues] = Field(default={})
    """Request headers, and the values of which each must have one; "*" for any. Clients write
    them: they narrow an allow, but are no proof.
    """
    during: tuple[WindowSettings, ...] | None = Field(default=None, min_length=1)
    """Times at which it counts: one of these must be now."""
    max_actors: int | None = Field(default=None, ge=1, le=16)
    """Longest chain of actors, the calling agent included."""
    max_token_age: Duration | None = Field(default=None, ge=1.0)
    """Longest time since the token was issued (iat)."""
    acr_values: tuple[Word, ...] = ()
    """Authentication contexts of which the token's acr must be one (step-up, RFC 9470)."""
    max_age: Duration | None = Field(default=None, ge=1.0)
    """Longest time since the principal authenticated, by the token's auth_time (RFC 9470)."""
    via: tuple[SpiffePatternText, ...] | None = None
    """Earlier actors. For an allow, each of them must be one of these, and [] is none at all; for
    a deny, one of them is enough.
    """
    when: Condition | None = None
    """A CEL condition. One that fails to evaluate does not allow; in a deny it denies."""
    add_headers: dict[AddedHeader, ClaimName] = Field(default={}, max_length=8)
    """Further headers for the upstream, and the claim from which each comes. Their names begin
    with the prefix of the identity headers, and clients can't set them.
    """
    mcp: McpKey = None
    """Calls of MCP. On a route of this protocol an allow without this key allows nothing, and a
    deny without it denies every message; elsewhere a rule with it never fits. So a2a and models.
    """
    a2a: A2aKey = None
    """Calls of A2A."""
    models: ModelsKey = None
    """Calls of models, in the form of chat/completions and the like."""

    @model_validator(mode="after")
    def _an_allow_says_its_scopes(self) -> Self:
        if self.effect == "allow" and self.scopes is None:
            raise ValueError("say in scopes what the token must have; scopes: [] asks for none")
        return self

    @model_validator(mode="after")
    def _a_deny_is_narrowed_by_matches_only(self) -> Self:
        if self.effect == "allow":
            return self
        limits = ("scopes", "max_actors", "max_token_age", "acr_values", "max_age", "add_headers")
        given = [name for name in limits if getattr(self, name) not in (None, (), {})]
        if given:
            raise MisfitError(
                f"{', '.join(given)} limits an allow, and means nothing in a deny; "
                "put it into the allow, or say it in when",
                given[0],
            )
        if self.via == ():
            raise MisfitError("[] in a deny fits no chain; leave it out to deny any", "via")
        return self

    @model_validator(mode="after")
    def _names_calls_of_one_protocol(self) -> Self:
        given = [name for name in KEYS.values() if getattr(self, name) is not None]
        if len(given) > 1:
            message = f"{' and '.join(given)} are two protocols: write a rule for each"
            raise MisfitError(message, given[1])
        if self.calls is not None:
            try:
                self.calls.check(is_deny=self.effect == "deny")
            except MisfitError as misfit:
                raise MisfitError(str(misfit), given[0], *misfit.place) from None
        return self

    @model_validator(mode="after")
    def _arguments_are_of_calls(self) -> Self:
        is_plain = self.effect == "allow" and self.calls is None
        if is_plain and self.when is not None and self.when.mentions(ARGUMENTS):
            keys = ", ".join(KEYS.values())
            raise MisfitError(f"only calls have {ARGUMENTS}: say which in {keys}", "when")
        return self

    @property
    def calls(self) -> CallSettings | None:
        """What it says of calls; None for plain requests."""
        return self.mcp or self.a2a or self.models

    @property
    def protocol(self) -> str:
        """Of the calls, as a Request names it; "" for plain requests."""
        return next((one for one, key in KEYS.items() if getattr(self, key) is not None), "")


class HolderSettings(Settings):
    """Whoever holds grants."""

    description: str = ""
    """Who or what they are, for people."""
    owner: str = ""
    """Who answers for them, for people."""
    grants: tuple[GrantName, ...] = Field(default=(), min_length=1)
    """Names of grants."""
    unrestricted: bool = False
    """Their side asks for nothing: whatever the rules of the other side allow. Denies count."""
    suspended: bool = False
    """Refuse everything of them, or for them, while keeping the entry."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.grants or self.unrestricted or self.suspended):
            raise ValueError("give it grants, or say unrestricted: true or suspended: true")
        return self


class AgentSettings(HolderSettings):
    """Registered agents, and what they may do at most. An agent has what all its entries grant."""

    id: SpiffePatternText
    """A SPIFFE ID, or a pattern of them: * for one segment, ** at the end for the rest, or none."""


class PrincipalMatch(Settings):
    """Which principals: all members that are given must fit."""

    issuer: str
    """The token's issuer: a subject is unique only within one (RFC 8725 section 3.8)."""
    subjects: tuple[str, ...] | None = None
    """Exact sub values, or patterns of SPIFFE IDs; any when left out. An agent that acts for itself
    has to be listed; an entry for any gives it nothing, but its denies and suspended count.
    """
    groups: tuple[str, ...] | None = None
    """At least one of these in the token's groups claim, a list or one text (RFC 9068 section
    2.2.3.1).
    """
    roles: tuple[str, ...] | None = None
    """At least one of these in the token's roles claim, a list or one text (RFC 9068 section
    2.2.3.1).
    """
    claims: dict[ClaimName, ClaimValues] = Field(default={})
    """Further claims, and the values of which each must be, or hold, one."""

    @property
    def asked(self) -> tuple[tuple[str, tuple[ClaimValue, ...]], ...]:
        """The claims that it names, each with the values of which it must have one."""
        listed = ((GROUPS, self.groups), (ROLES, self.roles))
        given = tuple((name, values) for name, values in listed if values is not None)
        return (*given, *self.claims.items())

    @model_validator(mode="after")
    def _lists_match_somebody(self) -> Self:
        for key in ("subjects", GROUPS, ROLES):
            if getattr(self, key) == ():
                raise MisfitError("an empty list matches nobody; leave it out to match any", key)
        for at, subject in enumerate(self.subjects or ()):
            if subject == ANY:
                message = '"*" is no pattern; leave subjects out to match any'
                raise MisfitError(message, "subjects", at)
            if subject.startswith(SCHEME) and ANY in subject:
                try:
                    SpiffePattern.parse(subject)
                except ValueError as error:
                    raise MisfitError(str(error), "subjects", at) from None
        return self


class PrincipalSettings(HolderSettings):
    """Principals, and what they may do at most. A principal has what all entries grant that fit.

    Its denies and suspended also count for a token whose claim is there in a form that is not
    read, or is said to be elsewhere: nobody can tell then who is meant.
    """

    match: PrincipalMatch
    """Which principals."""
    if_absent: Literal["pass", "deny"] = "pass"
    """What a token without a claim that match names meets. pass: nothing of the entry. deny: its
    denies and suspended, and none of its allows.
    """
    agents: tuple[SpiffePatternText, ...] | None = Field(default=None, min_length=1)
    """Agents through which they hold these grants; through any when left out. With suspended: the
    agents that may not act for them. Either is refused with actor_not_permitted.
    """

    @model_validator(mode="after")
    def _absent_is_what_is_named(self) -> Self:
        if self.if_absent == "deny" and not self.match.asked:
            raise MisfitError(
                "match names no groups, roles or claims, so none is absent", "if_absent"
            )
        return self


class EarlierActorSettings(Settings):
    """Actors before the current one: history, which never allows (RFC 8693 section 4.1)."""

    unregistered: Literal["record", "deny"] = "record"
    """One that is not among agents: flag it in the audit record, or deny. To deny is stricter than
    the RFC, which calls these informational.
    """
    suspended: Literal["record", "deny"] = "record"
    """One that is suspended: flag it, or deny."""


class ConditionSettings(Settings):
    """What conditions may read beside what every request has. It is in audit records as well."""

    headers: tuple[ConditionHeader, ...] = ()
    """Request headers, as request.headers."""
    claims: tuple[WholeClaimName, ...] = ()
    """Claims of the token, as claims: whole ones, realm_access and not /realm_access/roles."""

    @property
    def reads(self) -> Reads:
        """What conditions may read, whether or not one does: records have it all the same."""
        return Reads(headers=frozenset(self.headers), claims=frozenset(self.claims))


Grants = Mapping[str, tuple[RuleSettings, ...]]
