"""The settings of rules, of earlier actors, and of the inputs that conditions may read."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from authz.core.choice import Choice
from authz.core.conditions import ARGUMENTS, Condition, ConditionHeader
from authz.core.decision import Effect
from authz.core.hosts import HostText
from authz.core.patterns import MethodText, PathText
from authz.core.policy.approval_settings import ApprovalSettings
from authz.core.policy.budget_settings import BudgetSettings
from authz.core.policy.call_settings import KEYS, A2aKey, CallSettings, McpKey, ModelsKey
from authz.core.policy.claim_names import ClaimName, WholeClaimName
from authz.core.policy.time_windows import WindowSettings
from authz.core.reads import Reads
from authz.core.request import MessageProtocol
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.spiffe import SpiffePatternText

MAX_VALUES: Final = 1000  # of a list in a rule or a match; more than that should be a group
SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
Scope = Annotated[str, Field(pattern=f"^{SCOPE.pattern}$")]
Word = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]  # as a scope
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,127}$")]
# Few hyphens: each doubles the number of spellings with "_" that must be removed too.
AddedHeader = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}$")]
HeaderValues = Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_VALUES)]


class RuleSettings(Settings):
    """A rule of a grant: it allows, or denies, the operations that match all of its keys."""

    name: RuleName | None = None
    """The rule's name within the grant, for audit records and reports; left out, its number, from
    0.
    """
    description: str = ""
    """What the rule is for; a note for people."""
    owner: str = ""
    """Who is responsible for the rule; a note for people."""
    effect: Effect = Effect.ALLOW
    """allow, or deny: forbids the operation to a holder of the rule. A deny overrides every allow.
    It can't have scopes, max_actors, max_token_age, acr_values, max_age, add_headers, budget or
    approval, which limit allows.
    """
    shadow: bool = False
    """Leave this rule out of the decision, and record each decision that it would have changed."""
    hosts: tuple[HostText, ...] = Field(min_length=1)
    """Exact host names, in lower case and without a port; *.corp.example for one label in front of
    a domain, **.corp.example for one or more; "*" for any.
    """
    methods: tuple[MethodText, ...] = Field(min_length=1)
    """HTTP methods; "*" for any."""
    paths: tuple[PathText, ...] = Field(min_length=1)
    """Path templates: /orders/{id}, * for one segment, ** at the end for the rest."""
    scopes: tuple[Scope, ...] | None = None
    """Scopes, all of which the token must have. Required in an allow; [] requires no scope."""
    headers: dict[ConditionHeader, HeaderValues] = Field(default={})
    """Request headers that must be present, each with one of the listed values; "*" for any.
    Clients write headers: they can narrow an allow, but prove nothing.
    """
    during: tuple[WindowSettings, ...] | None = Field(default=None, min_length=1)
    """The times at which the rule applies: the time of the request must be in one of these."""
    max_actors: int | None = Field(default=None, ge=1, le=16)
    """The longest chain of actors that the rule allows, the calling agent included."""
    max_token_age: Duration | None = Field(default=None, ge=1.0)
    """The longest time since the token was issued (iat)."""
    acr_values: tuple[Word, ...] = ()
    """The token's acr must be one of these authentication contexts (step-up, RFC 9470)."""
    max_age: Duration | None = Field(default=None, ge=1.0)
    """The longest time since the principal authenticated, by the token's auth_time (RFC 9470)."""
    via: tuple[SpiffePatternText, ...] | None = None
    """SPIFFE IDs (* for a segment) of earlier actors. In an allow, every earlier actor must be
    listed, and [] admits no earlier actor. In a deny, a single listed actor is enough.
    """
    when: Condition | None = None
    """A CEL condition. If its evaluation fails, an allow does not allow, and a deny denies."""
    add_headers: dict[AddedHeader, ClaimName] = Field(default={}, max_length=8)
    """Further headers for the upstream, and the claim that each takes its value from. Their names
    must begin with the prefix of the identity headers, so that clients can't set them.
    """
    budget: BudgetSettings | None = None
    """How often, or how much, the rule allows in a window of time; then budget_exhausted. Of
    several rules that allow, one without a budget is taken first, and nothing is spent.
    """
    approval: ApprovalSettings | None = None
    """Requires that the principal has approved the very call; else approval_required. Of several
    rules that allow, one that needs no approval is taken first, and no approval is used up.
    """
    mcp: McpKey = None
    """MCP calls. On a route of this protocol, an allow without this key allows nothing, and a deny
    without it denies every message. On other routes, a rule with this key never matches. The same
    is true of a2a and models.
    """
    a2a: A2aKey = None
    """A2A calls."""
    models: ModelsKey = None
    """Model calls, in the form of OpenAI's chat/completions and the like."""

    @model_validator(mode="after")
    def _an_allow_says_its_scopes(self) -> Self:
        if self.effect is Effect.ALLOW and self.scopes is None:
            message = "an allow must list the scopes that the token must have; [] requires none"
            raise MisfitError(message, "scopes")
        return self

    @model_validator(mode="after")
    def _a_deny_is_narrowed_by_matches_only(self) -> Self:
        if self.effect is Effect.ALLOW:
            return self
        limits = (
            *("scopes", "max_actors", "max_token_age", "acr_values", "max_age"),
            *("add_headers", "budget", "approval"),
        )
        given = [name for name in limits if getattr(self, name) not in (None, (), {})]
        if given:
            raise MisfitError(
                f"{', '.join(given)} limits an allow, and means nothing in a deny: "
                "put it into the allow, or write it in when",
                given[0],
            )
        if self.via == ():
            raise MisfitError("[] in a deny matches no chain; leave it out to deny any", "via")
        return self

    @model_validator(mode="after")
    def _names_calls_of_one_protocol(self) -> Self:
        given = [name for name in KEYS.values() if getattr(self, name) is not None]
        if len(given) > 1:
            message = f"{' and '.join(given)} are two protocols: write a rule for each"
            raise MisfitError(message, given[1])
        if self.calls is not None:
            try:
                self.calls.check(is_deny=self.effect is Effect.DENY)
            except MisfitError as misfit:
                raise MisfitError(str(misfit), given[0], *misfit.place) from None
        return self

    @model_validator(mode="after")
    def _arguments_are_of_calls(self) -> Self:
        is_plain = self.effect is Effect.ALLOW and self.calls is None
        if is_plain and self.when is not None and self.when.mentions(ARGUMENTS):
            keys = ", ".join(KEYS.values())
            raise MisfitError(f"only calls have {ARGUMENTS}: name the calls in {keys}", "when")
        return self

    @model_validator(mode="after")
    def _a_cost_is_of_calls(self) -> Self:
        if self.budget is not None and self.budget.cost is not None and self.calls is None:
            keys = ", ".join(KEYS.values())
            message = f"only calls have {ARGUMENTS}: name the calls in {keys}, or leave cost out"
            raise MisfitError(message, "budget", "cost")
        return self

    @model_validator(mode="after")
    def _an_approval_names_what_is_read(self) -> Self:
        if self.approval is None:
            return self
        names, place = self.approval.arguments, ("approval", "arguments")
        if self.calls is None and names != ():
            message = "the query and the body of plain requests are not read: write [], or name "
            raise MisfitError(f"{message}the calls in {', '.join(KEYS.values())}", *place)
        mcp = self.mcp
        if names is None and (mcp is None or mcp.methods or mcp.tasks):
            told = "only calls of MCP's tools, resources and prompts show all they say in arguments"
            raise MisfitError(f"{told}: list those to approve, or write [] for none", *place)
        return self

    @property
    def needs_token(self) -> bool:
        """Tell whether only a token can meet the rule, as by scopes or an authentication."""
        parts = (self.max_token_age, self.max_age, self.approval)
        return bool(self.scopes or self.acr_values) or any(part is not None for part in parts)

    @property
    def calls(self) -> CallSettings | None:
        """Its settings for calls; None for plain requests."""
        return self.mcp or self.a2a or self.models

    @property
    def protocol(self) -> MessageProtocol:
        """The protocol of the calls, as a Request names it; NONE for plain requests."""
        named = (one for one, key in KEYS.items() if getattr(self, key) is not None)
        return next(named, MessageProtocol.NONE)


class EarlierActor(Choice):
    """The action on an earlier actor that may not act itself."""

    RECORD = "record"
    DENY = "deny"


class EarlierActorSettings(Settings):
    """Actors before the current actor: history, which never allows (RFC 8693 section 4.1)."""

    unregistered: EarlierActor = EarlierActor.RECORD
    """What to do about an earlier actor that is not among agents: record a flag in the audit
    record, or deny. To deny is stricter than the RFC, which calls earlier actors informational.
    """
    suspended: EarlierActor = EarlierActor.RECORD
    """What to do about a suspended or revoked earlier actor: record a flag, or deny."""


class ConditionSettings(Settings):
    """The headers and claims that conditions may read. Audit records hold them too."""

    headers: tuple[ConditionHeader, ...] = ()
    """Request headers, for conditions to read as request.headers."""
    claims: tuple[WholeClaimName, ...] = ()
    """Claims of the token, for conditions to read as claims; whole claims only: realm_access, not
    /realm_access/roles.
    """

    @property
    def reads(self) -> Reads:
        """The inputs that conditions may read.

        Records hold them even if no condition reads them.
        """
        return Reads(headers=frozenset(self.headers), claims=frozenset(self.claims))


Grants = Mapping[str, tuple[RuleSettings, ...]]
