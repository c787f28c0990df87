"""The settings of the holders of grants: agents, and principals by a match of their claims."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from authz.core.choice import Choice
from authz.core.patterns import ANY
from authz.core.policy.claim_names import ClaimName, ClaimValue, WrittenValue
from authz.core.policy.settings import MAX_VALUES
from authz.core.settings import MisfitError, Settings
from authz.core.spiffe import SCHEME, SpiffePattern, SpiffePatternText

GROUPS: Final = "groups"  # claims of RFC 9068 section 2.2.3.1
ROLES: Final = "roles"
GrantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
ClaimValues = Annotated[tuple[WrittenValue, ...], Field(min_length=1, max_length=MAX_VALUES)]


class HolderSettings(Settings):
    """The keys that agents and principals share: their grants and their state."""

    description: str = ""
    """Who or what they are; a note for people."""
    owner: str = ""
    """Who is responsible for them; a note for people."""
    grants: tuple[GrantName, ...] = Field(default=(), min_length=1)
    """Names of the grants that they hold."""
    unrestricted: bool = False
    """This side allows everything that the rules of the other side allow. Denies still apply."""
    suspended: bool = False
    """Refuse every request by them, or for them, while keeping the entry."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.grants or self.unrestricted or self.suspended):
            raise ValueError("give it grants, or set unrestricted: true or suspended: true")
        return self


class AgentSettings(HolderSettings):
    """A registered agent, or a pattern of agents, and the most that they may do.

    If several entries match an agent, their grants add up, and any deny applies.
    """

    id: SpiffePatternText
    """A SPIFFE ID, or a pattern: * for one segment, ** at the end for any number of segments."""


class PrincipalMatch(Settings):
    """The principals that an entry applies to: every key that is given must match."""

    issuer: str
    """The token's issuer: a subject is unique only within its issuer (RFC 8725 section 3.8). For
    agents by their SVID alone it is their trust domain's SPIFFE ID, such as spiffe://corp.example:
    such an agent's own grants suffice, but this entry's denies and its suspension apply.
    """
    subjects: tuple[str, ...] | None = None
    """Exact sub values, or patterns of SPIFFE IDs; left out, any. An agent that acts for itself
    must be listed here: an entry without subjects grants it nothing, but its denies and its
    suspension apply.
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
    """Further claims, each with the accepted values: the claim must be one of them, or a list that
    holds one.
    """

    @property
    def asked(self) -> tuple[tuple[str, tuple[ClaimValue, ...]], ...]:
        """The claims that the match names, each with its accepted values."""
        listed = ((GROUPS, self.groups), (ROLES, self.roles))
        given = tuple((name, values) for name, values in listed if values is not None)
        return (*given, *self.claims.items())

    @model_validator(mode="after")
    def _lists_match_somebody(self) -> Self:
        for key in ("subjects", GROUPS, ROLES):
            if getattr(self, key) == ():
                raise MisfitError("an empty list matches nobody; leave it out to match any", key)
            if ANY in (listed := getattr(self, key) or ()):
                message = f'"*" is not a pattern; leave {key} out to match any'
                raise MisfitError(message, key, listed.index(ANY))
        for at, subject in enumerate(self.subjects or ()):
            if subject.startswith(SCHEME) and ANY in subject:
                try:
                    SpiffePattern.parse(subject)
                except ValueError as error:
                    raise MisfitError(str(error), "subjects", at) from None
        return self


class Absence(Choice):
    """The part of an entry that applies to a token without a claim that the entry names."""

    PASS = "pass"
    DENY = "deny"


class PrincipalSettings(HolderSettings):
    """Principals, and the most that they may do.

    If several entries match a principal, their grants add up, and any deny applies. The denies and
    the suspension of an entry also apply to a token that has a claim of match in an unsupported
    form, or says that the claim is elsewhere, since it is then unknown whether the entry matches.
    """

    match: PrincipalMatch
    """The principals that the entry applies to."""
    if_absent: Absence = Absence.PASS
    """The part of the entry that applies to a token that lacks a claim named in match. pass:
    nothing. deny: its denies and its suspension, but not its allows.
    """
    agents: tuple[SpiffePatternText, ...] | None = Field(default=None, min_length=1)
    """The agents through which the principals hold these grants; left out, any agent. With
    suspended, the agents that may not act for them. A refusal for either has the reason
    actor_not_permitted.
    """

    @model_validator(mode="after")
    def _absent_is_what_is_named(self) -> Self:
        if self.if_absent is Absence.DENY and not self.match.asked:
            raise MisfitError(
                "match names no groups, roles or claims, so none can be absent", "if_absent"
            )
        return self
