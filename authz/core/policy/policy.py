"""The policy of a config: its agents, principals and rules, compiled, and their evaluation."""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from authz.core.conditions import CLAIMS
from authz.core.decision import Agent, Delegation, Verdict
from authz.core.policy.agents import AgentIndex
from authz.core.policy.holder_settings import AgentSettings, PrincipalSettings
from authz.core.policy.message_evaluation import MethodIndex
from authz.core.policy.principals import PrincipalIndex
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import RuleSets, compile_rules
from authz.core.policy.settings import ConditionSettings, EarlierActorSettings, Grants
from authz.core.policy.standing import Standing, Standings, refused
from authz.core.policy.verdict import reach_verdict
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason
from authz.core.request import Call, Operation

_NO_CONDITIONS: Final = ConditionSettings()
_RECORD: Final = EarlierActorSettings()


class Policy:
    """The compiled rules of one config, and the agents and principals that hold them.

    Attributes:
        agents, principals: the compiled entries, which hold the rules.
        rules: the compiled rules, by grant.
        reads: the headers and claims that its decisions read, and all that conditions may read.
        added_headers: names of the headers that rules give to the upstream.
        uses_approvals: whether a rule uses up approvals.
    """

    def __init__(
        self,
        agents: Iterable[AgentSettings],
        principals: Iterable[PrincipalSettings],
        grants: Grants,
        earlier_actors: EarlierActorSettings = _RECORD,
        conditions: ConditionSettings = _NO_CONDITIONS,
    ) -> None:
        """Compile the rules and the entries. Named grants must exist: the config checked that."""
        self.rules = rules = compile_rules(grants, conditions)
        rule_sets = RuleSets(rules)
        self.agents = AgentIndex(agents, rule_sets)
        self.principals = PrincipalIndex(principals, rule_sets)
        every = list(chain.from_iterable(rules.values()))
        is_reading = any(rule.mentions(CLAIMS) for rule in every)
        of_conditions = conditions.claims if is_reading else ()
        self.uses_approvals = any(
            rule.approved is not None and rule.approved.settings.once for rule in every
        )
        self._standings = Standings(self.agents, self.principals, earlier_actors, of_conditions)
        self._methods = MethodIndex(every)
        of_entries = (entry.reads for entry in self.principals.entries)
        of_rules = (rule.reads for rule in every)
        self.reads = Reads.union((conditions.reads, *of_entries, *of_rules))
        self.added_headers = frozenset[str]().union(
            *(rule.added_headers.claim_of for rule in every)
        )

    def knows(self, operation: Operation) -> bool:
        """Tell whether the call's method is known, or a rule lists it. True without a call."""
        return self._methods.knows(operation)

    def reads_arguments(self, call: Call) -> bool:
        """Tell whether any rule that could fit a call reads its arguments."""
        return self._methods.reads_arguments(call)

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the flags for the audit record: odd earlier actors, claims that can't be read."""
        return self._standings.flags(delegation)

    def standing(self, agent: Agent, delegation: Delegation) -> Standing:
        """Return the rules that agent and principal hold, or why they may do nothing."""
        return self._standings.of(agent, delegation)

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return the permit by rules of the agent and the principal, or the refusal.

        Raises Denied(AGENT_SUSPENDED | ACTOR_NOT_PERMITTED | POLICY_DENIED) for a suspended agent
        or principal and for a refused earlier actor: these are enforced in shadow too.
        """
        query.declared = self.reads
        # Steps 1 to 3, once for each delegation: an agent that is not suspended, acting through a
        # chain that is accepted, for a principal that is not suspended either, or for nobody yet.
        standing = self._standings.of(query.agent, query.delegation)
        if standing.enforced is not None:
            raise refused(standing.enforced)
        if standing.unknown is not None:
            return Verdict(refused(standing.unknown))
        operation = query.operation
        if operation.protocol and not self.knows(operation):
            return Verdict(Denied(Reason.METHOD_UNKNOWN, "no rule lists the method"))
        find, of_principal = self._standings.holdings.find, standing.of_principal
        rules = (  # 4. both allow it, and nothing denies it
            tuple(find(standing.of_agent, operation)),
            None if of_principal is None else tuple(find(of_principal, operation)),
        )
        known = standing.permits.get(rules)
        if known is not None:
            return known
        verdict = reach_verdict(*rules, query)
        standing.remember(rules, verdict)
        if isinstance(verdict.outcome, Denied) and verdict.outcome.reason is Reason.POLICY_DENIED:
            verdict.outcome.detail += standing.unread
        return verdict
