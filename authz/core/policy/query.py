"""What policy decides on: who asks, for whom, for what, and when; and what is found missing."""

import msgspec

from authz.core.conditions import Facts
from authz.core.decision import Agent, Delegation
from authz.core.reads import NOTHING, UndeclaredReadError
from authz.core.reason import Reason
from authz.core.request import Operation, Request


class PolicyQuery:
    """One question to policy.

    Attributes:
        agent, delegation: what steps 1 and 2 established.
        operation, request: what is asked. Rules read its headers by ``header``.
        now: unix seconds.
        declared: what the policy that is asked reads; it sets this before it looks.
    """

    __slots__ = ("_facts", "agent", "declared", "delegation", "now", "operation", "request")

    def __init__(
        self,
        agent: Agent,
        delegation: Delegation,
        operation: Operation,
        request: Request,
        now: float,
    ) -> None:
        """Take the parts."""
        self.agent = agent
        self.delegation = delegation
        self.operation = operation
        self.request = request
        self.now = now
        self.declared = NOTHING
        self._facts: Facts | None = None

    def header(self, name: str) -> str | None:
        """Return the value of a header that the policy declares; None when it was not sent.

        Raises UndeclaredReadError for another: it is in no Request, so that a deny on it would fit
        nothing. This is asked only where no decision is remembered.
        """
        if name not in self.declared.headers:
            raise UndeclaredReadError(name)
        return self.request.header(name)

    def again(self) -> "PolicyQuery":
        """Return the same question, for a policy whose conditions may read other things."""
        return PolicyQuery(self.agent, self.delegation, self.operation, self.request, self.now)

    def facts(self, headers: tuple[str, ...], claims: tuple[str, ...]) -> Facts:
        """Return what conditions may read, made once: a policy has one list of these."""
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
    """What of a rule does not fit.

    Attributes:
        text: in words for operators, with what is missing.
        reason: POLICY_DENIED; or SCOPE or STEP_UP, which another token would mend.
        parameters: of the challenge, for these two.
    """

    text: str
    reason: Reason = Reason.POLICY_DENIED
    parameters: tuple[tuple[str, str], ...] = ()
