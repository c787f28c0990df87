"""What of a policy could decide a question: where two policies have the same, they say the same.

So a decision that hangs on what is not recorded, the arguments of a call, is known all the same.
"""

from collections.abc import Iterable
from typing import Final

from authz.config import Config
from authz.core.policy import PolicyQuery, RuleSettings
from authz.core.policy.agents import AgentEntry
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import Rule
from authz.wiring import build_policy, compute_policy_version

_FOR_PEOPLE: Final = {"name": None, "description": "", "owner": ""}
Held = tuple[bool, bool, bool, tuple[RuleSettings, ...]]


class PolicyComparison:
    """A config's policy.

    Attributes:
        version: as records name it.
        policy: the compiled rules.
    """

    def __init__(self, config: Config) -> None:
        """Compile it."""
        self.version = compute_policy_version(config)
        self.policy = build_policy(config)
        self._always = (config.shadow, config.conditions, config.earlier_actors)
        self._said: dict[Rule, RuleSettings] = {}

    def about(self, case: PolicyQuery) -> tuple[object, ...]:
        """All that its verdict comes from, beside the question; to be compared."""
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
        rules = dict.fromkeys(rule for one in held for rule in one.rules.find(case.operation))
        return (
            bool(held),
            any(one.settings.suspended for one in held),
            any(one.settings.unrestricted for one in held),
            tuple(self._without_words(rule) for rule in rules),
        )

    def _without_words(self, rule: Rule) -> RuleSettings:
        if rule not in self._said:
            self._said[rule] = rule.settings.model_copy(update=_FOR_PEOPLE)
        return self._said[rule]
