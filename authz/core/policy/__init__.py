"""Step 3 of the pipeline, may they: default-deny allow-lists, compiled at load, found by index.

An operation is allowed when a rule of the agent and a rule of the principal both fit, each with
the scopes that it requires, and no deny of either fits. Nothing else allows.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from authz.core.conditions import CLAIMS
from authz.core.decision import Delegation, Mode, Verdict
from authz.core.distributed_claims import external_claims, is_external
from authz.core.policy.agents import AgentEntry, AgentIndex
from authz.core.policy.claim_match import FIT_TEXTS, Fit, HeldClaims
from authz.core.policy.message_evaluation import MethodIndex, evaluate_all
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.principals import PrincipalIndex
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.rules import UNRESTRICTED, Rule, RuleSets, compile_rules
from authz.core.policy.settings import (
    AgentSettings,
    ConditionSettings,
    EarlierActor,
    EarlierActorSettings,
    GrantName,
    Grants,
    PrincipalMatch,
    PrincipalSettings,
    RuleSettings,
)
from authz.core.policy.shadow import PolicyStep, PolicyWithCandidate, ShadowedPolicy
from authz.core.policy.verdict import reach_verdict
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason
from authz.core.request import Call, Operation
from authz.core.spiffe.spiffe_id import is_misspelt

__all__ = [
    "AgentSettings",
    "ConditionSettings",
    "EarlierActorSettings",
    "GrantName",
    "Grants",
    "Policy",
    "PolicyQuery",
    "PolicyStep",
    "PolicyWithCandidate",
    "PrincipalMatch",
    "PrincipalSettings",
    "RuleSettings",
    "ShadowedPolicy",
    "UnmetRequirement",
    "evaluate_all",
]
UNREGISTERED: Final = "earlier_actor_unregistered"
SUSPENDED: Final = "earlier_actor_suspended"
UNREADABLE: Final = "earlier_actor_unreadable"
_NO_CONDITIONS: Final = ConditionSettings()
_RECORD: Final = EarlierActorSettings()


class Policy:
    """The compiled rules of one config, and the agents and principals that hold them.

    Attributes:
        agents, principals: the compiled entries, which hold the rules.
        reads: the headers and claims that its decisions read, and all that conditions may read.
        added_headers: names of the headers that rules give to the upstream.
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
        rules = compile_rules(grants, conditions)
        rule_sets = RuleSets(rules)
        self.agents = AgentIndex(agents, rule_sets)
        self.principals = PrincipalIndex(principals, rule_sets)
        self._earlier_actors = earlier_actors
        every = list(chain.from_iterable(rules.values()))
        is_reading = any(rule.mentions(CLAIMS) for rule in every)
        self._of_conditions = conditions.claims if is_reading else ()
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
        unknown = self._unknown(delegation)
        return (
            *self._flags_of_chain(delegation),
            *(f"claim_{fit.value}:{name}" for name, fit in unknown.items()),
        )

    def _flags_of_chain(self, delegation: Delegation) -> tuple[str, ...]:
        if len(delegation.actors) < 2:  # noqa: PLR2004 - the current one, as nearly always
            return ()
        subjects = [actor.subject for actor in delegation.actors[1:]]
        earlier = [self.agents.of_text(subject) for subject in subjects]
        flags: list[str] = []
        if [] in earlier:
            flags.append(UNREGISTERED)
        if any(entry.settings.suspended for entries in earlier for entry in entries):
            flags.append(SUSPENDED)
        if any(map(is_misspelt, subjects)):
            flags.append(UNREADABLE)
        return tuple(flags)

    def _unknown(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that rules need and that can't be read, and why."""
        unknown = self.principals.unknown(delegation)
        if self._of_conditions:
            elsewhere = external_claims(delegation.claims)
            gone = [name for name in self._of_conditions if is_external(name, elsewhere)]
            unknown |= dict.fromkeys(gone, Fit.ELSEWHERE)
        return unknown

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return the permit by rules of the agent and the principal, or the refusal.

        Raises Denied(AGENT_SUSPENDED | ACTOR_NOT_PERMITTED | POLICY_DENIED) for a suspended agent
        or principal and for a refused earlier actor: these are enforced in shadow too.
        """
        query.declared = self.reads
        agents = self._agent_entries(query)  # 1. an agent that is not suspended
        self._check_earlier_actors(query.delegation)  # 2. acting through a chain that is accepted
        principals = self._principal_entries(query)  # 3. likewise the principal, or nobody yet
        if not agents:
            return Verdict(Denied(Reason.AGENT_UNKNOWN, "no entry of agents matches the agent"))
        if principals == []:
            detail = "no entry of principals matches the principal through this agent"
            detail += self._why_unknown(query.delegation, [])
            return Verdict(Denied(self._why_none(query.delegation), detail))
        if query.operation.protocol and not self.knows(query.operation):
            return Verdict(Denied(Reason.METHOD_UNKNOWN, "no rule lists the method"))
        verdict = reach_verdict(  # 4. what both may, and nothing denies
            _rules_of(agents, query),
            None if principals is None else _rules_of(principals, query),
            query,
        )
        if isinstance(verdict.outcome, Denied) and verdict.outcome.reason is Reason.POLICY_DENIED:
            verdict.outcome.detail += self._why_unknown(query.delegation, principals or [])
        return verdict

    def _why_unknown(self, delegation: Delegation, entries: list[PrincipalEntry]) -> str:
        """Return the text to add to a refusal's detail where claims could not be read."""
        unknown, held = self._unknown(delegation), HeldClaims(delegation.claims)
        for entry in entries:
            unknown |= entry.unknown(delegation, held)
        return "".join(f"; the claim {name} {FIT_TEXTS[fit]}" for name, fit in unknown.items())

    def _agent_entries(self, query: PolicyQuery) -> list[AgentEntry]:
        entries = self.agents.of(query.agent.spiffe_id)
        if any(entry.settings.suspended for entry in entries):
            raise Denied(Reason.AGENT_SUSPENDED, "the agent is suspended in the config")
        return entries

    def _check_earlier_actors(self, delegation: Delegation) -> None:
        flags = self._flags_of_chain(delegation)
        settings = self._earlier_actors
        if UNREGISTERED in flags and settings.unregistered is EarlierActor.DENY:
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not registered")
        if SUSPENDED in flags and settings.suspended is EarlierActor.DENY:
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is suspended")
        if UNREADABLE in flags and settings.suspended is EarlierActor.DENY:
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not a valid SPIFFE ID")

    def _principal_entries(self, query: PolicyQuery) -> list[PrincipalEntry] | None:
        if query.delegation.mode is Mode.BOOTSTRAP:
            return None
        entries = self.principals.through(query.agent, query.delegation)
        suspended = [entry for entry in entries if entry.settings.suspended]
        if suspended:
            is_agents = all(entry.agents is not None for entry in suspended)
            reason = Reason.ACTOR_NOT_PERMITTED if is_agents else Reason.POLICY_DENIED
            why = self._why_unknown(query.delegation, entries)
            raise Denied(reason, f"the principal is suspended in the config{why}")
        return entries

    def _why_none(self, delegation: Delegation) -> Reason:
        """Return why no entry counts: the principal has no rules, or only through other agents."""
        entries = self.principals.of(delegation)
        through_others = any(
            not (entry.is_denies_only or entry.settings.suspended) for entry in entries
        )
        return Reason.ACTOR_NOT_PERMITTED if through_others else Reason.POLICY_DENIED


def _rules_of(entries: Iterable[AgentEntry | PrincipalEntry], query: PolicyQuery) -> list[Rule]:
    """Return the rules of the entries that are about the operation, each once.

    UNRESTRICTED comes last: a rule that the operator wrote counts first, in whichever entry.
    """
    found: list[Rule] = []
    last: list[Rule] = []
    for entry in entries:
        found += entry.rules.find(query.operation)
        if entry.settings.unrestricted:
            last = [UNRESTRICTED]
    found += last
    return found if len(found) <= 1 else list(dict.fromkeys(found))
