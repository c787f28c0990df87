"""Compiled rules, in sets that find the few rules about an operation without a scan.

A set is a tree: protocol, host, method, then path segment by segment. The requirements beside these
are evaluated only for the few rules that were found.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final, Self

from authz.core.conditions import ARGUMENTS
from authz.core.decision import Effect
from authz.core.hosts import cover_all, is_domain_pattern, matching_patterns
from authz.core.pattern_tree import PatternTree, find_in_each
from authz.core.patterns import ANY, path_pattern
from authz.core.policy.added_headers import NONE_ADDED, AddedHeaders
from authz.core.policy.approved import Approved
from authz.core.policy.budget import Budget
from authz.core.policy.call_matchers import CallMatcher
from authz.core.policy.call_settings import KEYS
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.requirement import Requirement, Timeless
from authz.core.policy.requirements import CallMatch, When, build_requirements
from authz.core.policy.settings import ConditionSettings, Grants, RuleSettings
from authz.core.reads import Reads
from authz.core.request import Call, MessageProtocol, Operation


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule.

    Attributes:
        name: ``grant/name``, or ``grant/number`` for a rule without a name.
        settings: the rule as the operator wrote it.
        scopes: the scopes that the token must have.
        added_headers: the headers that it gives to the upstream.
        requirements: everything that it requires beside protocol, host, method and path.
        timed: the requirements whose answer changes with time.
        protocol: of the messages that it applies to; "" for plain requests, or a deny of
            everything.
        is_plain: whether it is an allow, not in shadow, whose answer never changes with time.
        is_of_caller: whether it is plain, and its answer depends on the delegation's terms alone.
        budget: what it allows in a window of time; None without a limit.
        approved: its requirement of an approval; None without it.
    """

    name: str
    settings: RuleSettings
    scopes: frozenset[str]
    added_headers: AddedHeaders
    requirements: tuple[Requirement, ...]
    timed: tuple[Requirement, ...]
    protocol: MessageProtocol
    is_deny: bool
    is_shadow: bool
    is_plain: bool
    is_of_caller: bool
    budget: Budget | None = None
    approved: Approved | None = None

    @classmethod
    def of(cls, name: str, settings: RuleSettings, conditions: ConditionSettings) -> Self:
        """Compile a rule's settings; ``name`` is the full name, with the grant."""
        requirements = tuple(build_requirements(settings, conditions))
        timed = tuple(
            requirement for requirement in requirements if not isinstance(requirement, Timeless)
        )
        is_deny = settings.effect is Effect.DENY
        is_plain = not (is_deny or settings.shadow or timed)
        return cls(
            name,
            settings,
            frozenset(settings.scopes or ()),
            AddedHeaders(settings.add_headers) if settings.add_headers else NONE_ADDED,
            requirements,
            timed,
            settings.protocol,
            is_deny,
            settings.shadow,
            is_plain,
            is_plain and all(requirement.is_of_caller for requirement in requirements),
            Budget.of(name, settings.budget, settings.calls) if settings.budget else None,
            next((part for part in requirements if isinstance(part, Approved)), None),
        )

    @property
    def calls(self) -> CallMatcher | None:
        """The matcher of its ``mcp``, ``a2a`` or ``models``; None for a rule without a protocol."""
        matches = (part for part in self.requirements if isinstance(part, CallMatch))
        return next((match.calls for match in matches), None)

    @property
    def is_of_all(self) -> bool:
        """Tell whether it covers plain requests and the messages of every protocol."""
        return self.is_deny and not self.protocol

    @property
    def reads(self) -> Reads:
        """The inputs that its requirements and its added headers read."""
        parts = [requirement.reads for requirement in self.requirements]
        if self.added_headers is not NONE_ADDED:
            parts.append(self.added_headers.reads)
        return Reads.union(parts)

    @property
    def reads_arguments(self) -> bool:
        """Tell whether its condition, its budget or its approval reads the arguments of calls."""
        counts = self.budget is not None and self.budget.settings.cost is not None
        compares = self.approved is not None and self.approved.settings.arguments != ()
        return counts or compares or self.mentions(ARGUMENTS)

    @property
    def takes_something(self) -> bool:
        """Tell whether it takes something from later requests, so that others allow before it."""
        return self.budget is not None or (
            self.approved is not None and self.approved.settings.once
        )

    def mentions(self, name: str) -> bool:
        """Tell whether its condition reads one of the variables of conditions."""
        conditions = [part.condition for part in self.requirements if isinstance(part, When)]
        return any(condition.mentions(name) for condition in conditions)

    def is_about(self, call: Call | None) -> bool:
        """Tell whether its matcher fits a call; True for a rule without a matcher.

        Looks at the call alone: a set's ``find`` has matched the rest of the operation.
        """
        calls = self.calls
        return calls is None or (call is not None and calls.unmet(call) is None)

    def unmet(self, query: PolicyQuery) -> tuple[UnmetRequirement, ...]:
        """Return its unmet requirements."""
        found = [requirement.unmet(query) for requirement in self.requirements]
        return tuple([missing for missing in found if missing is not None])

    def stable_until(self, query: PolicyQuery) -> float:
        """Return unix seconds until which ``unmet`` surely returns the same."""
        return min([timed.stable_until(query) for timed in self.timed], default=inf)

    def unmet_by_target(self, operation: Operation) -> tuple[UnmetRequirement, ...]:
        """Return which of protocol, host, method and path does not match, as in a set's search.

        For reports only. UNRESTRICTED is in no set, and fits messages too.
        """
        rule, path = self.settings, f"/{'/'.join(operation.path)}"
        found = []
        if operation.protocol != self.protocol and not self.is_of_all and self is not UNRESTRICTED:
            protocols = (operation.protocol, self.protocol)
            asked, own = (KEYS.get(protocol, protocol) for protocol in protocols)
            found.append(
                UnmetRequirement(f"it is for calls of {own}" if own else f"it has no key {asked}")
            )
        if not cover_all(rule.hosts, (operation.host,)):
            found.append(
                UnmetRequirement(f"the host {operation.host} is not one of {', '.join(rule.hosts)}")
            )
        if operation.method not in rule.methods and ANY not in rule.methods:
            found.append(
                UnmetRequirement(
                    f"the method {operation.method} is not one of {', '.join(rule.methods)}"
                )
            )
        if not any(path_pattern(text).matches(operation.path) for text in rule.paths):
            found.append(UnmetRequirement(f"the path {path} is not one of {', '.join(rule.paths)}"))
        return tuple(found)


# The rule of an entry with ``unrestricted: true``: it fits everything, and requires nothing.
UNRESTRICTED = Rule.of(
    "unrestricted",
    RuleSettings(hosts=(ANY,), methods=(ANY,), paths=("/**",), scopes=()),
    ConditionSettings(),
)


class RuleSet:
    """The rules of an entry, as a tree by protocol, host, method and path.

    Attributes:
        rules: all rules of the set.
    """

    __slots__ = ("_denies", "_has_domains", "_trees", "rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Build the tree of the rules."""
        self.rules = tuple(rules)
        self._denies: RuleSet | None = None
        self._has_domains = any(
            is_domain_pattern(host) for rule in self.rules for host in rule.settings.hosts
        )
        self._trees: dict[str, dict[str, dict[str, PatternTree[Rule]]]] = {
            protocol: {} for protocol in _PROTOCOLS
        }
        for rule in self.rules:
            for protocol in _PROTOCOLS if rule.is_of_all else (rule.protocol,):
                self._add(protocol, rule)

    @property
    def denies(self) -> "RuleSet":
        """The set of its denies alone; built once, as many entries share a set."""
        if self._denies is None:
            self._denies = RuleSet(rule for rule in self.rules if rule.is_deny)
        return self._denies

    def _add(self, protocol: MessageProtocol, rule: Rule) -> None:
        patterns = [path_pattern(path) for path in rule.settings.paths]
        for host in rule.settings.hosts:
            methods = self._trees[protocol].setdefault(host, {})
            for method in rule.settings.methods:
                tree = methods.setdefault(method, PatternTree())
                for pattern in patterns:
                    tree.add(pattern, rule)

    def find(self, operation: Operation) -> list[Rule]:
        """Return the rules about an operation, the most exact hosts and methods first."""
        return find_in_each(self.trees(operation), operation.path)

    def trees(self, operation: Operation) -> Iterator[PatternTree[Rule]]:
        """Yield the trees of the paths for an operation's protocol, host and method."""
        hosts = self._trees[operation.protocol]
        for host in self._hosts(operation.host):
            methods = hosts.get(host, {})
            for method in (operation.method, ANY):
                if (tree := methods.get(method)) is not None:
                    yield tree

    def _hosts(self, host: str) -> Iterable[str]:
        """Return the patterns that match a host and that rules may have."""
        return matching_patterns(host) if self._has_domains else (host, ANY)


_PROTOCOLS: Final = (MessageProtocol.NONE, *KEYS)


class RuleSets:
    """The rule sets of entries, each built once: many entries hold the same grants."""

    def __init__(self, rules: Mapping[str, tuple[Rule, ...]]) -> None:
        """Begin with no set; ``rules`` are the rules of each grant, by its name."""
        self._rules = rules
        self._made: dict[frozenset[str], RuleSet] = {}

    def of(self, grants: Iterable[str]) -> RuleSet:
        """Return the set of the rules of these grants, all of which must exist."""
        names = frozenset(grants)
        if names not in self._made:
            rules = chain.from_iterable(self._rules[name] for name in sorted(names))
            self._made[names] = RuleSet(rules)
        return self._made[names]


def compile_rules(grants: Grants, conditions: ConditionSettings) -> dict[str, tuple[Rule, ...]]:
    """Compile every rule of every grant, by the grant's name."""
    return {
        name: tuple(
            Rule.of(f"{name}/{rule.name or number}", rule, conditions)
            for number, rule in enumerate(rules)
        )
        for name, rules in grants.items()
    }
