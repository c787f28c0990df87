"""A caller's standing: a policy's results for agent and delegation, whatever the operation.

It is found once for the terms of verified tokens, and cached by these. They are compared by
identity, and the cache keeps a reference to them, so that no other terms can take their place.
"""

from typing import Final

import msgspec

from authz.core.bounded_map import BoundedMap
from authz.core.decision import Agent, Delegation, Mode, Permit, Verdict
from authz.core.distributed_claims import external_claims, is_external
from authz.core.policy.agents import AgentEntry, AgentIndex
from authz.core.policy.claim_match import FIT_TEXTS, Fit, HeldClaims
from authz.core.policy.held_rules import HeldRules, RuleHoldings
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.principals import PrincipalIndex
from authz.core.policy.rules import Rule
from authz.core.policy.settings import EarlierActor, EarlierActorSettings
from authz.core.reason import Denied, Reason
from authz.core.spiffe.spiffe_id import is_misspelt

UNREGISTERED: Final = "earlier_actor_unregistered"
SUSPENDED: Final = "earlier_actor_suspended"
UNREADABLE: Final = "earlier_actor_unreadable"
_REMEMBERED: Final = 10_000  # the callers in use within seconds, as for rendered decisions
_PERMITS: Final = 16  # of one caller: some 5 KB
RulesFound = tuple[tuple[Rule, ...], tuple[Rule, ...] | None]
"""The rules about an operation: the agent's, and the principal's or None without a principal."""
Refusal = tuple[Reason, str]
"""A reason, and the detail for operators."""


class Standing(msgspec.Struct, frozen=True):
    """The rules of agent and principal, or the reason why they may do nothing.

    Attributes:
        agent: the agent's SPIFFE ID.
        of_agent: the rules of the agent.
        of_principal: the rules of the principal, of which only denies count without a token; None
            without a principal (Mode.BOOTSTRAP).
        enforced: the reason to refuse every request, in shadow too; else None.
        unknown: the reason to refuse every request because an entry is missing; else None.
        unread: text to add to the detail of a refusal by rules, on claims that can't be read.
        permits: the permits by rules whose answers depend on the terms alone, by the rules
            about the operation that each side holds.
    """

    agent: str
    of_agent: HeldRules
    of_principal: HeldRules | None
    enforced: Refusal | None = None
    unknown: Refusal | None = None
    unread: str = ""
    permits: dict[RulesFound, Verdict] = msgspec.field(default_factory=dict)

    def remember(self, rules: RulesFound, verdict: Verdict) -> None:
        """Remember a permit, if the rules give the same one for every such operation."""
        considered = (*rules[0], *(rules[1] or ()))
        is_permit = isinstance(verdict.outcome, Permit)
        if is_permit and all(rule.is_of_caller for rule in considered):
            if len(self.permits) >= _PERMITS:  # the ones in use soon return
                self.permits.clear()
            self.permits[rules] = verdict


class _Findings(msgspec.Struct, frozen=True):
    """The facts that follow from a delegation alone.

    Its flags, and its claims that can't be read.
    """

    of_chain: tuple[str, ...]
    unread: dict[str, Fit]


class Standings:
    """Finds the standing of callers, and caches it.

    Attributes:
        holdings: finds the rules of a standing that are about an operation.
    """

    def __init__(
        self,
        agents: AgentIndex,
        principals: PrincipalIndex,
        earlier_actors: EarlierActorSettings,
        of_conditions: tuple[str, ...],
    ) -> None:
        """Take the entries; ``of_conditions`` are the claims that conditions read."""
        self.holdings = RuleHoldings()
        self._agents = agents
        self._principals = principals
        self._earlier_actors = earlier_actors
        self._of_conditions = of_conditions
        self._findings: BoundedMap[object, _Findings]
        self._findings = BoundedMap(_REMEMBERED, _REMEMBERED, lambda *_: 1)
        self._standings: BoundedMap[object, Standing]
        self._standings = BoundedMap(_REMEMBERED, _REMEMBERED, lambda *_: 1)

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the flags for the audit record: odd earlier actors, claims that can't be read."""
        found = self._found(delegation)
        if not found.unread:
            return found.of_chain
        unread = found.unread.items()
        return (*found.of_chain, *(f"claim_{fit.value}:{name}" for name, fit in unread))

    def of(self, agent: Agent, delegation: Delegation) -> Standing:
        """Return the standing of an agent that acts by a delegation."""
        known = self._standings.get(delegation.terms)
        if known is not None and known.agent == agent.spiffe_id.text:
            return known
        standing = self._stand(agent, delegation)
        self._standings.put(delegation.terms, standing)
        return standing

    def _stand(self, agent: Agent, delegation: Delegation) -> Standing:
        """Return the standing; the checks run in the order of the refusals."""
        found = self._found(delegation)
        agents = self._agents.of(agent.spiffe_id)  # 1. an agent that is not suspended
        principals = self._principal_entries(agent, delegation)
        enforced = (
            _suspended(agents)
            or self._refused_chain(found.of_chain)  # 2. through a chain that is accepted
            or _suspended_principal(principals or [], _words(found.unread, principals, delegation))
        )  # 3. likewise the principal, the agent itself, or nobody yet
        unknown = None
        if not agents:
            unknown = Reason.AGENT_UNKNOWN, "no entry of agents matches the agent"
        elif principals == [] and delegation.has_token:
            detail = "no entry of principals matches the principal through this agent"
            unknown = self._why_none(delegation), detail + _words(found.unread, [], delegation)
        return Standing(
            agent.spiffe_id.text,
            self.holdings.of(agents),
            None if principals is None else self.holdings.of(principals),
            enforced,
            unknown,
            _words(found.unread, principals, delegation),
        )

    def _found(self, delegation: Delegation) -> _Findings:
        found = self._findings.get(delegation.terms)
        if found is None:
            found = _Findings(self._flags_of_chain(delegation), self._unread(delegation))
            self._findings.put(delegation.terms, found)
        return found

    def _flags_of_chain(self, delegation: Delegation) -> tuple[str, ...]:
        if len(delegation.actors) < 2:  # noqa: PLR2004 - the current one, as nearly always
            return ()
        subjects = [actor.subject for actor in delegation.actors[1:]]
        earlier = [self._agents.of_text(subject) for subject in subjects]
        flags: list[str] = []
        if [] in earlier:
            flags.append(UNREGISTERED)
        if any(entry.settings.suspended for entries in earlier for entry in entries):
            flags.append(SUSPENDED)
        if any(map(is_misspelt, subjects)):
            flags.append(UNREADABLE)
        return tuple(flags)

    def _unread(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that rules need and that can't be read, and why."""
        unread = self._principals.unknown(delegation)
        if self._of_conditions:
            elsewhere = external_claims(delegation.claims)
            gone = [name for name in self._of_conditions if is_external(name, elsewhere)]
            unread |= dict.fromkeys(gone, Fit.ELSEWHERE)
        return unread

    def _refused_chain(self, flags: tuple[str, ...]) -> Refusal | None:
        settings = self._earlier_actors
        if UNREGISTERED in flags and settings.unregistered is EarlierActor.DENY:
            return Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not registered"
        if SUSPENDED in flags and settings.suspended is EarlierActor.DENY:
            return Reason.ACTOR_NOT_PERMITTED, "an earlier actor is suspended"
        if UNREADABLE in flags and settings.suspended is EarlierActor.DENY:
            return Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not a valid SPIFFE ID"
        return None

    def _principal_entries(
        self, agent: Agent, delegation: Delegation
    ) -> list[PrincipalEntry] | None:
        if delegation.mode is Mode.BOOTSTRAP:
            return None
        return self._principals.through(agent, delegation)

    def _why_none(self, delegation: Delegation) -> Reason:
        """Return why no entry counts.

        The principal has no rules, or has them only through other agents.
        """
        through_others = self._principals.allows_through_some(delegation)
        return Reason.ACTOR_NOT_PERMITTED if through_others else Reason.POLICY_DENIED


def refused(refusal: Refusal) -> Denied:
    """Return a refusal as an error of its own: a raised error can't be shared."""
    return Denied(*refusal)


def _suspended(agents: list[AgentEntry]) -> Refusal | None:
    if any(entry.settings.suspended for entry in agents):
        return Reason.AGENT_SUSPENDED, "the agent is suspended in the config"
    return None


def _suspended_principal(entries: list[PrincipalEntry], why: str) -> Refusal | None:
    suspended = [entry for entry in entries if entry.settings.suspended]
    if not suspended:
        return None
    is_through_agents = all(entry.agents is not None for entry in suspended)
    reason = Reason.ACTOR_NOT_PERMITTED if is_through_agents else Reason.POLICY_DENIED
    return reason, f"the principal is suspended in the config{why}"


def _words(
    unread: dict[str, Fit], entries: list[PrincipalEntry] | None, delegation: Delegation
) -> str:
    """Return the text to add to a refusal's detail where claims could not be read."""
    doubtful = [entry for entry in entries or () if entry.is_denies_only]
    if doubtful:
        held = HeldClaims(delegation.claims)
        unread = unread.copy()
        for entry in doubtful:  # a certain match has nothing unread
            unread |= entry.unknown(delegation, held)
    return "".join(f"; the claim {name} {FIT_TEXTS[fit]}" for name, fit in unread.items())
