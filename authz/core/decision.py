"""The values of a decision: permit, verdict, and the Allow or Deny; agent and delegation beside it.

Only the step that establishes a value makes it: ``Agent`` by identity, ``Delegation`` by
delegation, ``Permit`` by policy, ``Allow`` by the authorizer. A refusal needs only a reason:
``Progress.refuse`` makes every ``Deny`` and adds the facts established so far.

They are Structs: a frozen dataclass takes ten times as long to make. None of them can be part of a
reference cycle, so the garbage collector need not track them.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

import msgspec

from authz.core.approval_request import ApprovalRequest
from authz.core.choice import Choice
from authz.core.needs import Need
from authz.core.parties import Actor, Agent, Delegation, Mode
from authz.core.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.core.request import Operation
from authz.core.single_use import SingleUse
from authz.core.upstream_token import STRIPPED, Upstream, UpstreamCredential

__all__ = [
    "Actor",
    "Agent",
    "Allow",
    "Decision",
    "Delegation",
    "Deny",
    "Effect",
    "Mode",
    "Permit",
    "Progress",
    "Shadow",
    "ShadowBy",
    "Spending",
    "Verdict",
]


class Effect(Choice):
    """The effect of a rule, and of a decision."""

    ALLOW = "allow"
    DENY = "deny"


class ShadowBy(StrEnum):
    """The policy that would have made a different decision."""

    RULE = "rule"
    CANDIDATE = "candidate"
    POLICY = "policy"


class Shadow(msgspec.Struct, frozen=True, gc=False):
    """A different decision of a policy in shadow: recorded and counted, nothing else.

    Attributes:
        by: RULE, rules with ``shadow: true``; CANDIDATE, the candidate policy; POLICY, the policy
            in force, when all of it is in shadow.
        reason: the reason of the deny, or "".
        rule: the rule that would have decided, "" for none.
    """

    by: ShadowBy
    decision: Effect
    reason: str = ""
    rule: str = ""


class Spending(msgspec.Struct, frozen=True, gc=False):
    """A part of a rule's budget, which an allow spends before it is answered.

    Attributes:
        rule: the full name of the rule.
        key: a digest that names the budget, and whose it is.
        cost: in millionths.
        limit: the most that may be spent in a window, in millionths.
        window: seconds.
        is_local_if_away: whether this process alone counts while the shared store is away.
        shadow: whose refusal is only noted; None if the budget is enforced.
    """

    rule: str
    key: bytes
    cost: int
    limit: int
    window: float
    is_local_if_away: bool = False
    shadow: ShadowBy | None = None


class Permit(msgspec.Struct, frozen=True, gc=False):
    """Policy's permission: the names of the agent's rule and the principal's rule that allow.

    Attributes:
        headers: (name, values) of the headers that these rules give to the upstream.
        spendings: of these rules' budgets, each budget once; nearly always none.
        single_uses: the approvals that these rules use up, each once; nearly always none.
    """

    agent_rule: str
    principal_rule: str
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    spendings: tuple[Spending, ...] = ()
    single_uses: tuple[SingleUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Policy's answer: a permit or a refusal, with notes on other policies' decisions.

    Not a Struct: a raised refusal is part of a reference cycle, which only the collector can end.

    Attributes:
        outcome: the permit or the refusal.
        shadows: notes on what other policies would have decided.
        stable_until: unix seconds until which policy surely answers the same request the same.
    """

    outcome: Permit | Denied
    shadows: tuple[Shadow, ...] = ()
    stable_until: float = inf

    def permitted(self) -> Permit:
        """Return the permit. Raises the refusal, a Denied."""
        if isinstance(self.outcome, Denied):
            raise self.outcome
        return self.outcome


class Deny(msgspec.Struct, frozen=True, gc=False):
    """A refusal, with the facts established before it. Made by ``Progress.refuse`` only.

    Attributes:
        detail: for operators only.
        parameters, scheme: of the challenge: further auth-params, and Bearer or DPoP.
        headers: further headers of the answer.
        by_message: whether the answer's HTTP status is 200, with the refusal in its message.
        agent, delegation: None if the refusal came before they were established.
        flags: as in Allow.
        rule: the rule that denied, or that came nearest to an allow; "" for none.
        shadows: notes on what other policies would have decided.
        by_policy: whether policy refused it, after the caller and the delegation were known.
        needs: the missing key or status, if fetching it may change the decision; else None.
        approvals: all that the client must ask for, for APPROVAL_REQUIRED.
        token_hash: the digest of the token that was presented, "" if none was read.
    """

    reason: Reason
    detail: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    scheme: str = BEARER
    headers: tuple[tuple[str, str], ...] = ()
    by_message: bool = False
    agent: Agent | None = None
    delegation: Delegation | None = None
    flags: tuple[str, ...] = ()
    rule: str = ""
    shadows: tuple[Shadow, ...] = ()
    by_policy: bool = False
    needs: Need | None = None
    token_hash: str = ""
    approvals: tuple[ApprovalRequest, ...] = ()

    def explained(self, more: str) -> "Deny":
        """Return the same refusal with more detail for operators."""
        return msgspec.structs.replace(self, detail=f"{self.detail}; {more}")


class Progress(msgspec.Struct, gc=False):
    """The facts established about a request so far, from which every refusal is made.

    The pipeline fills it in. So a refusal holds the same facts, whether a step makes it or a check
    after the pipeline.

    Attributes:
        is_by_dpop: whether a DPoP proof was sent; challenges then ask for a proof.
        parameters: auth-params of every challenge, such as where to get a token (RFC 9728).
        refuses_by_message: whether policy's refusals appear in the answer's message alone.
        operations: the operations asked for, one for each call of the message.
        agent, delegation, flags, shadows: as in Deny.
        is_at_policy: whether rules are being evaluated; another policy may allow what they refuse.
        rule: the agent's rule that allowed; "" until a rule has.
    """

    is_by_dpop: bool = False
    parameters: tuple[tuple[str, str], ...] = ()
    refuses_by_message: bool = False
    operations: tuple[Operation, ...] = ()
    agent: Agent | None = None
    delegation: Delegation | None = None
    flags: tuple[str, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    is_at_policy: bool = False
    rule: str = ""

    def refuse(self, denied: Denied) -> Deny:
        """Return the Deny for a raised refusal."""
        return Deny(
            denied.reason,
            denied.detail,
            parameters=(*denied.parameters, *self.parameters),
            scheme=DPOP_SCHEME if self.is_by_dpop else denied.scheme,
            headers=denied.headers,
            by_message=self.refuses_by_message and denied.reason.is_of_policy,
            agent=self.agent,
            delegation=self.delegation,
            flags=self.flags,
            rule=denied.rule or self.rule,
            shadows=self.shadows,
            by_policy=self.is_at_policy,
            needs=denied.needs,
            token_hash=self.delegation.token_hash if self.delegation else denied.token_hash,
            approvals=denied.approvals,
        )


class Allow(msgspec.Struct, frozen=True, gc=False):
    """A decision to allow. Made by the authorizer, nowhere else.

    Attributes:
        valid_until: unix seconds after which no cache may answer with it.
        flags: findings for auditors, such as an unregistered earlier actor.
        shadows: notes on what other policies would have decided.
        progress: makes the refusal if a check after the pipeline refuses.
        upstream: what the upstream gets for the client's token.
        credential: what was obtained for the upstream; None if it gets none of its own.
    """

    agent: Agent
    delegation: Delegation
    permit: Permit
    valid_until: float
    flags: tuple[str, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    progress: Progress = msgspec.field(default_factory=Progress)
    upstream: Upstream = STRIPPED
    credential: UpstreamCredential | None = None

    def noted(self, *shadows: Shadow) -> "Allow":
        """Return the same allow, with further notes on what other policies would have decided."""
        return msgspec.structs.replace(self, shadows=(*self.shadows, *shadows))

    def until(self, moment: float) -> "Allow":
        """Return the same allow, valid until that moment (unix seconds) at most."""
        return msgspec.structs.replace(self, valid_until=min(self.valid_until, moment))

    def with_credential(self, credential: UpstreamCredential) -> "Allow":
        """Return the same allow with what the upstream gets, valid while that may be sent."""
        until = min(self.valid_until, credential.good_until)
        return msgspec.structs.replace(self, credential=credential, valid_until=until)


Decision = Allow | Deny
