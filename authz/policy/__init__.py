"""Step 3, may they: default-deny allow-lists, compiled at load, matched without a scan.

An operation is allowed when a rule that the agent holds and one that the principal holds both fit,
with the scopes that both ask; and no deny that either of them holds fits. Nothing else allows.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from authz.decision import Delegation, Verdict
from authz.policy.case import BOOTSTRAP, Case, Miss
from authz.policy.claims import root_of
from authz.policy.holders import AgentEntry, Agents, PrincipalEntry, Principals
from authz.policy.messages import Messages, judge_all
from authz.policy.rules import UNRESTRICTED, Rule, RuleSet, compiled
from authz.policy.settings import (
    GROUPS,
    ROLES,
    AgentSettings,
    ConditionSettings,
    EarlierActorSettings,
    GrantName,
    Grants,
    PrincipalMatch,
    PrincipalSettings,
    RuleSettings,
)
from authz.policy.shadow import NotEnforced, PolicyStep, WithCandidate
from authz.policy.verdict import verdict_of
from authz.reason import Denied, Reason
from authz.stepup import ACR, AUTH_TIME

__all__ = [
    "AgentSettings",
    "Case",
    "ConditionSettings",
    "EarlierActorSettings",
    "GrantName",
    "Grants",
    "Miss",
    "NotEnforced",
    "Policy",
    "PolicyStep",
    "PrincipalMatch",
    "PrincipalSettings",
    "RuleSettings",
    "WithCandidate",
    "judge_all",
]
UNREGISTERED: Final = "earlier_actor_unregistered"
SUSPENDED: Final = "earlier_actor_suspended"
_NO_CONDITIONS: Final = ConditionSettings()
_RECORD: Final = EarlierActorSettings()


class Policy:
    """The compiled rules.

    Attributes:
        agents, principals: who holds them.
        headers: names of the request headers that decisions read.
        claims: names of the claims that decisions read, for the audit record.
        added_headers: names of the headers that rules give to the upstream.
        reads_arguments: whether any rule that could fit a call reads its arguments.
        knows: whether an operation is no call of a method that nobody knows.
    """

    def __init__(
        self,
        agents: Iterable[AgentSettings],
        principals: Iterable[PrincipalSettings],
        grants: Grants,
        earlier_actors: EarlierActorSettings = _RECORD,
        conditions: ConditionSettings = _NO_CONDITIONS,
    ) -> None:
        """Compile. Every grant that is named must exist; the config has checked that."""
        rules = compiled(grants, conditions)
        sets: dict[frozenset[str], RuleSet] = {}

        def rule_set(names: tuple[str, ...]) -> RuleSet:
            key = frozenset(names)
            if key not in sets:  # many hold the same
                sets[key] = RuleSet(chain.from_iterable(rules[name] for name in sorted(key)))
            return sets[key]

        self.agents = Agents(agents, rule_set)
        self.principals = Principals(principals, rule_set)
        self._earlier_actors = earlier_actors
        self._messages = Messages(one for of_grant in rules.values() for one in of_grant)
        self.reads_arguments = self._messages.reads_arguments  # of a call
        self.knows = self._messages.knows
        written = [rule.settings for of_grant in rules.values() for rule in of_grant]
        self.headers = frozenset(conditions.headers).union(*(one.headers for one in written))
        self.claims = _claims_of(self.principals.entries, written, conditions)
        self.added_headers = frozenset[str]().union(*(one.add_headers for one in written))

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """What is odd about the earlier actors of a chain: "unregistered", "suspended" ones."""
        if len(delegation.actors) < 2:  # noqa: PLR2004 - the current one, as nearly always
            return ()
        earlier = [self.agents.of_text(actor.subject) for actor in delegation.actors[1:]]
        flags: list[str] = []
        if [] in earlier:
            flags.append(UNREGISTERED)
        if any(entry.settings.suspended for entries in earlier for entry in entries):
            flags.append(SUSPENDED)
        return tuple(flags)

    def judge(self, case: Case) -> Verdict:
        """A rule of the agent and one of the principal that allow the operation, or why not.

        Raises Denied(AGENT_SUSPENDED | ACTOR_NOT_PERMITTED | POLICY_DENIED) for whoever may nothing
        at all: that holds in shadow as well.
        """
        agents = self._agent_entries(case)  # 1. an agent that is not suspended
        self._check_earlier_actors(case.delegation)  # 2. by a chain that may be
        principals = self._principal_entries(case)  # 3. likewise the principal, or nobody yet
        if not agents:
            return Verdict(Denied(Reason.AGENT_UNKNOWN, "no entry of agents is about the agent"))
        if principals == []:
            detail = "no entry of principals is about the principal, through this agent"
            return Verdict(Denied(self._why_none(case.delegation), detail))
        if case.operation.protocol and not self.knows(case.operation):
            return Verdict(Denied(Reason.MCP_UNKNOWN_METHOD, "no rule lists the method"))
        return verdict_of(  # 4. what both may, and nothing denies
            _rules_of(agents, case),
            None if principals is None else _rules_of(principals, case),
            case,
        )

    def _agent_entries(self, case: Case) -> list[AgentEntry]:
        entries = self.agents.of(case.agent.spiffe_id)
        if any(entry.settings.suspended for entry in entries):
            raise Denied(Reason.AGENT_SUSPENDED, "the agent is suspended in the config")
        return entries

    def _check_earlier_actors(self, delegation: Delegation) -> None:
        flags = self.flags(delegation)
        settings = self._earlier_actors
        if UNREGISTERED in flags and settings.unregistered == "deny":
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not registered")
        if SUSPENDED in flags and settings.suspended == "deny":
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is suspended")

    def _principal_entries(self, case: Case) -> list[PrincipalEntry] | None:
        if case.delegation.mode == BOOTSTRAP:
            return None
        entries = self.principals.through(case.agent, case.delegation)
        suspended = [entry for entry in entries if entry.settings.suspended]
        if suspended:
            is_agents = all(entry.agents is not None for entry in suspended)
            reason = Reason.ACTOR_NOT_PERMITTED if is_agents else Reason.POLICY_DENIED
            raise Denied(reason, "the principal is suspended in the config")
        return entries

    def _why_none(self, delegation: Delegation) -> Reason:
        """Why no entry counts: the principal may nothing, or something through other agents."""
        through_others = any(not one.settings.suspended for one in self.principals.of(delegation))
        return Reason.ACTOR_NOT_PERMITTED if through_others else Reason.POLICY_DENIED


def _claims_of(
    entries: Iterable[PrincipalEntry], rules: Iterable[RuleSettings], conditions: ConditionSettings
) -> frozenset[str]:
    names = set(conditions.claims)
    for entry in entries:
        match = entry.settings.match
        names.update(map(root_of, match.claims))
        names.update([GROUPS] if match.groups is not None else [])
        names.update([ROLES] if match.roles is not None else [])
    for rule in rules:
        names.update(map(root_of, rule.add_headers.values()))
        names.update([ACR] if rule.acr_values else [])
        names.update([AUTH_TIME] if rule.max_age is not None else [])
    return frozenset(names)


def _rules_of(entries: Iterable[AgentEntry | PrincipalEntry], case: Case) -> list[Rule]:
    """The rules about the operation that the entries hold, each once.

    What is unrestricted comes last: a rule that was written counts first, in whichever entry.
    """
    found: list[Rule] = []
    last: list[Rule] = []
    for entry in entries:
        found += entry.rules.find(case.operation)
        if entry.settings.unrestricted:
            last = [UNRESTRICTED]
    found += last
    return found if len(found) <= 1 else list(dict.fromkeys(found))
