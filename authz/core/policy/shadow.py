"""Policies in shadow: their decisions are recorded and counted, and change nothing.

A candidate runs beside the policy in force; or the policy in force itself runs before it is
enforced. Everything else (the caller, the token, suspension) is still enforced.
"""

from dataclasses import replace
from typing import Protocol

import msgspec

from authz.core.decision import Delegation, Effect, Permit, Shadow, ShadowBy, Verdict
from authz.core.policy.budget import in_shadow
from authz.core.policy.query import PolicyQuery
from authz.core.policy.verdict import shadow_notes
from authz.core.reason import Denied


class PolicyStep(Protocol):
    """Step 3 of the pipeline: decides whether agent and principal may do an operation.

    Guarantees that nothing is allowed but by a returned Permit. Does not guarantee that every
    refusal is returned: some are raised.
    """

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return the verdict. Raises Denied for a caller or principal who may do nothing at all."""

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return flags for the audit record, such as those on earlier actors of the chain."""


class PolicyWithCandidate:
    """A policy in force, and a candidate whose decisions are only noted."""

    def __init__(self, policy: PolicyStep, candidate: PolicyStep) -> None:
        """Enforce ``policy``; only note the decisions of ``candidate``."""
        self._policy = policy
        self._candidate = candidate

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the flags of the policy in force."""
        return self._policy.flags(delegation)

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return the policy's verdict, with a note if the candidate decides otherwise."""
        verdict = self._policy.evaluate(query)
        try:
            other = self._candidate.evaluate(query.again())
        except Denied as denied:
            other = Verdict(denied)
        notes = shadow_notes(ShadowBy.CANDIDATE, verdict.outcome, other.outcome)
        stable_until = min(verdict.stable_until, other.stable_until)
        return Verdict(verdict.outcome, verdict.shadows + notes, stable_until)


class ShadowedPolicy:
    """A policy whose refusals are only recorded.

    A request without a token is the exception: only a rule could allow it, and the refusal tells
    the client where to get a token.
    """

    def __init__(self, policy: PolicyStep) -> None:
        """Record the refusals of ``policy``."""
        self._policy = policy

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the policy's flags."""
        return self._policy.flags(delegation)

    def evaluate(self, query: PolicyQuery) -> Verdict:
        """Return an allow, with a note if the policy refuses."""
        verdict = self._policy.evaluate(query)
        outcome = verdict.outcome
        if isinstance(outcome, Permit):
            if not (outcome.spendings or outcome.single_uses):
                return verdict
            spendings = in_shadow(outcome.spendings)  # and no approval is used up
            outcome = msgspec.structs.replace(outcome, spendings=spendings, single_uses=())
            return replace(verdict, outcome=outcome)
        if not query.delegation.has_token:
            return verdict
        note = Shadow(ShadowBy.POLICY, Effect.DENY, outcome.reason.code, outcome.rule)
        return replace(verdict, outcome=Permit("", ""), shadows=(*verdict.shadows, note))
