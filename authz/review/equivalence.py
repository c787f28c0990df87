"""Tells whether two policies must agree on a question.

Policies with equal entries and rules about a question give the same answer. So the answers are
equal even if they depend on something that is not recorded, such as a call's arguments.
"""

from collections.abc import Iterable
from typing import Final

from authz.config import Config
from authz.core.policy import RuleSettings
from authz.core.policy.agents import AgentEntry
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import Rule
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import compute_policy_version

_FOR_PEOPLE: Final = {"name": None, "description": "", "owner": ""}
Held = tuple[bool, bool, bool, tuple[RuleSettings, ...]]


class PolicyComparison:
    """A config's policy, to be compared with another's.

    Attributes:
        version: the policy's version, as records name it.
        policy: the compiled rules.
    """

    def __init__(self, config: Config) -> None:
        """Compile the config's policy."""
        self.version = compute_policy_version(config)
        self.policy = build_policy(config)
        self._always = (config.shadow, config.conditions, config.earlier_actors)
        self._said: dict[Rule, RuleSettings] = {}

    def about(self, case: PolicyQuery) -> tuple[object, ...]:
        """Return all that the verdict on a case depends on beside the case, for comparison."""
        policy = self.policy
        agents = policy.agents.of(case.agent.spiffe_id)
        principals = policy.principals.through(case.agent, case.delegation)
        return (
            self._always,
            policy.knows(case.operation),
            policy.flags(case.delegation),
            self._held(agents, case),
            self._held(principals, case),
        )

    def _held(self, entries: Iterable[AgentEntry | PrincipalEntry], case: PolicyQuery) -> Held:
        held = list(entries)
        rules = dict.fromkeys(rule for entry in held for rule in entry.rules.find(case.operation))
        return (
            bool(held),
            any(entry.settings.suspended for entry in held),
            any(entry.settings.unrestricted for entry in held),
            tuple(self._without_words(rule) for rule in rules),
        )

    def _without_words(self, rule: Rule) -> RuleSettings:
        if rule not in self._said:
            self._said[rule] = rule.settings.model_copy(update=_FOR_PEOPLE)
        return self._said[rule]
