"""The question that policy decides: agent, delegation, operation, time; and unmet requirements."""

import msgspec

from authz.core.conditions.facts import Facts
from authz.core.decision import Agent, Delegation
from authz.core.reads import NOTHING, Reads, UndeclaredReadError
from authz.core.reason import Reason
from authz.core.request import Operation, Request


class PolicyQuery(msgspec.Struct, eq=False, gc=False):
    """One question to policy.

    Attributes:
        agent, delegation: the results of steps 1 and 2.
        operation, request: what the caller asks for. Rules read headers by ``header`` only.
        resource: the route's; "" if it has none.
        now: unix seconds.
        declared: what the evaluating policy reads; the policy sets it before it evaluates.
    """

    agent: Agent
    delegation: Delegation
    operation: Operation
    request: Request
    now: float
    declared: Reads = NOTHING
    resource: str = ""
    _facts: Facts | None = None

    def header(self, name: str) -> str | None:
        """Return the value of a header that the policy declares; None if it was not sent.

        Raises UndeclaredReadError for any other header: a Request does not hold it, so a deny by it
        would never match. Called only where no decision is cached.
        """
        if name not in self.declared.headers:
            raise UndeclaredReadError(name)
        return self.request.header(name)

    def again(self) -> "PolicyQuery":
        """Return the same question, for a policy whose conditions may read other things."""
        return PolicyQuery(
            self.agent,
            self.delegation,
            self.operation,
            self.request,
            self.now,
            resource=self.resource,
        )

    def facts(self, headers: tuple[str, ...], claims: tuple[str, ...]) -> Facts:
        """Return what conditions may read, built once: a policy has one list of these names."""
        if self._facts is None:
            self._facts = Facts(
                self.agent,
                self.delegation,
                self.operation,
                self.request,
                headers=headers,
                claims=claims,
            )
        return self._facts


class UnmetRequirement(msgspec.Struct, frozen=True, gc=False):
    """A requirement of a rule that a query does not meet.

    Attributes:
        text: says what is missing, for operators.
        reason: POLICY_DENIED; or SCOPE, STEP_UP or APPROVAL_REQUIRED, which another token would
            satisfy.
        parameters: auth-params of the challenge, for these.
    """

    text: str
    reason: Reason = Reason.POLICY_DENIED
    parameters: tuple[tuple[str, str], ...] = ()
