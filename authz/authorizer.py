"""The pipeline: who calls, on whose behalf, and may they. The order of the checks is written here.

It is code, never configuration: each step takes what only the step before can make, so a wrong
order does not pass the type checker. The whole is a function of the request, the settings, the key
sets and the time; it does no I/O, reads no clock and logs nothing.
"""

from typing import Protocol

from authz.decision import Agent, Allow, Decision, Delegation, Deny
from authz.identity import Identity
from authz.policy import Policy
from authz.reason import Denied
from authz.request import Operation, Request


class DelegationStep(Protocol):
    """Step 2: whoever can say on whose behalf an agent acts."""

    def verify(self, request: Request, agent: Agent, now: float) -> Delegation:
        """The verified delegation. Raises Denied."""


class Authorizer:
    """Decides on requests, by one version of the settings."""

    def __init__(self, identity: Identity, delegations: DelegationStep, policy: Policy) -> None:
        """Take the three steps."""
        self.identity = identity
        self.delegations = delegations
        self.policy = policy

    def decide(self, request: Request, now: float) -> Decision:
        """Allow or deny. ``now`` in unix seconds. Whatever is not clearly allowed is denied."""
        agent: Agent | None = None
        delegation: Delegation | None = None
        try:
            operation = Operation.of(request)  # 0. what is asked, read one way only
            agent = self.identity.identify(request, now)  # 1. who calls
            delegation = self.delegations.verify(request, agent, now)  # 2. on whose behalf
            grant = self.policy.grant(agent, delegation, operation)  # 3. may they, for this
        except Denied as denied:
            return _deny(denied, agent, delegation)
        return Allow(agent, delegation, grant, min(agent.expires_at, delegation.expires_at))


def _deny(denied: Denied, agent: Agent | None, delegation: Delegation | None) -> Deny:
    return Deny(
        denied.reason,
        denied.detail,
        denied.parameters,
        agent,
        delegation,
        key_issuer=denied.issuer,
        key_id=denied.key_id,
    )
