"""What a rule requires beside host, method and path: one small class for each of its keys.

Each returns what is unmet, or None, and how long its answer is valid, since some depend on time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from authz.core.conditions import ARGUMENTS, CLAIMS, HEADERS, Condition, ConditionFailedError
from authz.core.decision import Effect
from authz.core.patterns import ANY
from authz.core.policy.approved import Approved
from authz.core.policy.budget import Cost, CostError
from authz.core.policy.call_matchers import CallMatcher, build_matcher
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.requirement import Requirement, Timeless
from authz.core.policy.settings import ConditionSettings, RuleSettings
from authz.core.policy.time_windows import TimeWindow
from authz.core.reads import NOTHING, Reads
from authz.core.reason import Reason
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern
from authz.core.spiffe.spiffe_id import is_misspelt
from authz.core.step_up import StepUp


@dataclass(frozen=True, slots=True)
class Scopes(Timeless):
    """Requires that the token has all of these scopes."""

    scopes: frozenset[str]
    reads: ClassVar[Reads] = NOTHING
    is_of_caller: ClassVar[bool] = True

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return the scopes that the token lacks."""
        lacking = self.scopes - query.delegation.scopes
        if not lacking:
            return None
        return UnmetRequirement(
            f"the scope {' '.join(sorted(lacking))} is missing",
            Reason.SCOPE,
            (("scope", " ".join(sorted(self.scopes))),),
        )


@dataclass(frozen=True, slots=True)
class CallMatch(Timeless):
    """Requires a call that the rule names. Without a read message it is unmet in an allow only."""

    calls: CallMatcher
    is_deny: bool
    reads: ClassVar[Reads] = NOTHING

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return why the call does not match."""
        call = query.operation.call
        if call is None:
            return None if self.is_deny else UnmetRequirement("no message was read")
        return self.calls.unmet(call)


@dataclass(frozen=True, slots=True)
class Header(Timeless):
    """Requires that a request header has one of these values.

    In a deny, one of several values that a client sent is enough: otherwise a second value would
    hide the denied one.
    """

    name: str
    values: frozenset[str]
    is_deny: bool

    @property
    def reads(self) -> Reads:
        """The header."""
        return Reads(headers=frozenset({self.name}))

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return which header does not match. Its value is the client's, and is not repeated."""
        value = query.header(self.name)
        if value is None:
            return UnmetRequirement(f"the header {self.name} is missing")
        parts = {value, *(map(str.strip, value.split(",")) if self.is_deny else ())}
        if ANY in self.values or not parts.isdisjoint(self.values):
            return None
        return UnmetRequirement(
            f"the header {self.name} is not one of {', '.join(sorted(self.values))}"
        )


@dataclass(frozen=True, slots=True)
class During(Requirement):
    """Requires that one of these windows is open."""

    windows: tuple[TimeWindow, ...]
    reads: ClassVar[Reads] = NOTHING

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return a text if no window is open."""
        is_open = any(window.is_open(query.now) for window in self.windows)
        return None if is_open else UnmetRequirement("the time is outside the rule's times")

    def stable_until(self, query: PolicyQuery) -> float:
        """Return the end of the current minute, or an earlier end of a window."""
        return min(window.stable_until(query.now) for window in self.windows)


@dataclass(frozen=True, slots=True)
class MaxActors(Timeless):
    """Requires that the chain of actors has at most ``count`` actors."""

    count: int
    reads: ClassVar[Reads] = NOTHING
    is_of_caller: ClassVar[bool] = True

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return a text if the chain is longer."""
        actors = len(query.delegation.actors)
        if actors <= self.count:
            return None
        return UnmetRequirement(f"the chain has {actors} actors, more than {self.count}")


@dataclass(frozen=True, slots=True)
class MaxTokenAge(Requirement):
    """Requires that the token was issued at most so many seconds ago."""

    seconds: float
    reads: ClassVar[Reads] = NOTHING

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return a text if the token is older."""
        if query.now < self._ends(query):
            return None
        return UnmetRequirement(f"the token was issued more than {self.seconds:g} s ago")

    def stable_until(self, query: PolicyQuery) -> float:
        """Return the moment at which the token becomes too old."""
        ends = self._ends(query)
        return ends if ends > query.now else inf

    def _ends(self, query: PolicyQuery) -> float:
        return query.delegation.issued_at + self.seconds


@dataclass(frozen=True, slots=True)
class Authenticated(Requirement):
    """Requires how and how recently the principal authenticated (RFC 9470)."""

    step_up: StepUp

    @property
    def reads(self) -> Reads:
        """The claims that step-up reads."""
        return self.step_up.reads

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return how the principal has to authenticate."""
        if query.now < self.step_up.good_until(query.delegation.claims):
            return None
        parameters = self.step_up.parameters
        asked = ", ".join(f"{name} {value}" for name, value in parameters)
        return UnmetRequirement(
            f"the principal must authenticate again: {asked}", Reason.STEP_UP, parameters
        )

    def stable_until(self, query: PolicyQuery) -> float:
        """Return the moment at which the authentication becomes too old."""
        until = self.step_up.good_until(query.delegation.claims)
        return until if until > query.now else inf


@dataclass(frozen=True, slots=True)
class Via(Timeless):
    """Requires that each earlier actor is listed; in a deny, that any is listed, or misspelt."""

    patterns: tuple[SpiffePattern, ...]
    is_deny: bool
    reads: ClassVar[Reads] = NOTHING
    is_of_caller: ClassVar[bool] = True

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return a text if an actor is not listed; in a deny, if no actor is listed."""
        found = [self._is_listed(actor.subject) for actor in query.delegation.actors[1:]]
        if self.is_deny:
            return None if any(found) else UnmetRequirement("no earlier actor is listed in via")
        return None if all(found) else UnmetRequirement("an earlier actor is not listed in via")

    def _is_listed(self, subject: str) -> bool:
        try:
            spiffe_id = SpiffeId.parse(subject)
        except SpiffeIdError:
            return self.is_deny and is_misspelt(subject)
        return any(pattern.matches(spiffe_id) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class When(Timeless):
    """Requires that a condition holds. A failed evaluation is unmet in an allow, met in a deny."""

    condition: Condition
    is_deny: bool
    headers: tuple[str, ...]
    claims: tuple[str, ...]

    @property
    def reads(self) -> Reads:
        """All that the config lists for conditions, if the condition mentions the variable."""
        headers = self.headers if self.condition.mentions(HEADERS) else ()
        claims = self.claims if self.condition.mentions(CLAIMS) else ()
        return Reads(headers=frozenset(headers), claims=frozenset(claims))

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return a text if the condition does not hold or could not be evaluated."""
        try:
            holds = self.condition.holds(query.facts(self.headers, self.claims))
        except ConditionFailedError as error:
            return None if self.is_deny else UnmetRequirement(f"the condition failed: {error}")
        return None if holds else UnmetRequirement("the condition does not hold")


@dataclass(frozen=True, slots=True)
class Affordable(Timeless):
    """Requires that a call says what it costs, and that this is not more than the whole budget."""

    cost: Cost
    reads: ClassVar[Reads] = NOTHING

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return why the cost can't be spent, whatever was spent before."""
        try:
            self.cost.in_call(query.operation.call)
        except CostError as error:
            return UnmetRequirement(str(error))
        return None


def build_requirements(rule: RuleSettings, conditions: ConditionSettings) -> Iterator[Requirement]:
    """Yield the requirements of a rule, the cheapest first."""
    is_deny = rule.effect is Effect.DENY
    if rule.calls is not None:
        reads = _reads_arguments(rule)
        yield CallMatch(build_matcher(rule.calls, is_deny=is_deny, reads_arguments=reads), is_deny)
    yield from _of_token(rule)
    for name, values in rule.headers.items():
        yield Header(name, frozenset(values), is_deny)
    if rule.via is not None:
        yield Via(tuple(map(SpiffePattern.parse, rule.via)), is_deny)
    if rule.during is not None:
        yield During(tuple(map(TimeWindow.of, rule.during)))
    yield from _of_budget(rule)
    if rule.when is not None:
        yield When(rule.when, is_deny, conditions.headers, conditions.claims)
    if rule.approval is not None:
        yield Approved.of(rule.approval, _step_up(rule))


def _reads_arguments(rule: RuleSettings) -> bool:
    """Tell whether it allows no messages of sessions, as these have nothing to look at."""
    mentions = rule.when is not None and rule.when.mentions(ARGUMENTS)
    return mentions or rule.approval is not None


def _of_token(rule: RuleSettings) -> Iterator[Requirement]:
    """Yield what a rule requires of the token alone."""
    if rule.scopes:
        yield Scopes(frozenset(rule.scopes))
    if rule.max_actors is not None:
        yield MaxActors(rule.max_actors)
    if rule.max_token_age is not None:
        yield MaxTokenAge(rule.max_token_age)
    if rule.acr_values or rule.max_age is not None:
        yield Authenticated(_step_up(rule))


def _step_up(rule: RuleSettings) -> StepUp:
    return StepUp(rule.acr_values, rule.max_age)


def _of_budget(rule: RuleSettings) -> Iterator[Requirement]:
    """Yield what a budget requires of the call alone; one in shadow requires nothing."""
    budget = rule.budget
    if budget is not None and budget.cost is not None and not budget.shadow:
        yield Affordable(Cost.of(budget, rule.calls))
