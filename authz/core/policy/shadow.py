"""Policies in shadow: they decide, are recorded and counted, and change nothing.

A candidate beside the policy in force; or the policy in force itself, before it is enforced. What
is not policy's to say (who calls, the token, who is suspended) is enforced all the same.
"""

from dataclasses import replace
from typing import Protocol

from authz.core.decision import Delegation, Effect, Mode, Permit, Shadow, ShadowBy, Verdict
from authz.core.policy.query import PolicyQuery
from authz.core.policy.verdict import shadow_notes
from authz.core.reason import Denied


class PolicyStep(Protocol):
    """Whoever can say whether they may."""

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """The verdict. Raises Denied for who may nothing at all."""

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """What is odd about the earlier actors of a chain."""


class PolicyWithCandidate:
    """A policy, and beside it another that might be the next one."""

    def __init__(self, policy: PolicyStep, candidate: PolicyStep) -> None:
        """Take both."""
        self._policy = policy
        self._candidate = candidate

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the policy's own flags."""
        return self._policy.flags(delegation)

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return the policy's verdict, with a note where the candidate's is another."""
        verdict = self._policy.evaluate(query)
        try:
            other = self._candidate.evaluate(query.again())
        except Denied as denied:
            other = Verdict(denied)
        notes = shadow_notes(ShadowBy.CANDIDATE, verdict.outcome, other.outcome)
        stable_until = min(verdict.stable_until, other.stable_until)
        return Verdict(verdict.outcome, verdict.shadows + notes, stable_until)


class ShadowedPolicy:
    """A policy all of whose refusals are only recorded.

    But for a request without a token: a rule is all that could let it pass, and the refusal is how
    a client learns where to get one.
    """

    def __init__(self, policy: PolicyStep) -> None:
        """Take the policy."""
        self._policy = policy

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the policy's flags."""
        return self._policy.flags(delegation)

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return an allow, with a note where the policy refuses."""
        verdict = self._policy.evaluate(query)
        if isinstance(verdict.outcome, Permit):
            return verdict
        if query.delegation.mode is Mode.BOOTSTRAP:
            return verdict
        note = Shadow(
            ShadowBy.POLICY, Effect.DENY, verdict.outcome.reason.code, verdict.outcome.rule
        )
        return replace(verdict, outcome=Permit("", ""), shadows=(*verdict.shadows, note))
