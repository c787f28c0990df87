"""The nouns of a decision: agent, delegation, grant, and the verdict made of them.

Only the step that establishes a thing makes it: ``Agent`` is made by identity, ``Delegation`` by
delegation, ``Permit`` by policy, ``Allow`` by the authorizer. Refusal needs nothing but a reason;
``Progress.refuse`` makes every one, with what was established until then.

They are Structs: a frozen dataclass takes ten times as long to make. Nothing in them can be a part
of a cycle, so the garbage collector need not look at them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf

import msgspec

from authz.core.choice import Choice
from authz.core.needs import Need
from authz.core.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.core.request import Operation
from authz.core.spiffe import SpiffeId


class Effect(Choice):
    """What a rule does, and what is decided."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(Choice):
    """How an agent acts: by a token that says so, as the config maps it, for itself, for nobody."""

    ACT = "act"
    MAPPED = "mapped"
    AUTONOMOUS = "autonomous"
    BOOTSTRAP = "bootstrap"


class ShadowBy(StrEnum):
    """Which policy would have said otherwise."""

    RULE = "rule"
    CANDIDATE = "candidate"
    POLICY = "policy"


class Agent(msgspec.Struct, frozen=True, gc=False):
    """The caller, authenticated by the proxy's mTLS connection.

    Attributes:
        spiffe_id: its SPIFFE ID, in a trusted domain.
        thumbprint: base64url SHA-256 of its certificate's DER (RFC 8705 ``x5t#S256``), "" unknown.
        expires_at: ``notAfter`` of its certificate in unix seconds; infinite when it is not known.
    """

    spiffe_id: SpiffeId
    thumbprint: str = ""
    expires_at: float = inf


class Actor(msgspec.Struct, frozen=True, gc=False):
    """One actor of a delegation chain: a subject, unique together with its issuer."""

    issuer: str
    subject: str


class SingleUseProof(msgspec.Struct, frozen=True, gc=False):
    """What was shown and may be shown once only: a DPoP proof (RFC 9449 section 11.1).

    Attributes:
        key: digest of its id and its key.
        expires_at: unix seconds after which it is refused for its age anyway.
    """

    key: bytes
    expires_at: float


class Delegation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """For whom the agent acts, proven by a verified token whose current actor is the agent.

    Each is equal to itself only: what is made of one can be remembered by it.

    Attributes:
        issuer, subject: the principal, who is unique only as this pair (RFC 8725 section 3.8).
        actors: current actor first, then earlier ones (RFC 8693 section 4.1).
        scopes: what the token allows at most.
        issued_at, expires_at: unix seconds; it ends with its token, and with the key set in which
            the token's key is.
        token_id: ``jti``, or "".
        mode: ACT or MAPPED, by how the token names the actor; AUTONOMOUS when the agent acts for
            itself; BOOTSTRAP when it acts for nobody yet, without a token: then the issuer and the
            subject are "".
        claims: the verified claims, for rules on groups, roles and the like.
        single_use: the proof of possession that came with it, when it may not come again.
    """

    issuer: str
    subject: str
    actors: tuple[Actor, ...]
    scopes: frozenset[str]
    issued_at: float
    expires_at: float
    token_id: str = ""
    mode: Mode = Mode.ACT
    claims: Mapping[str, object] = msgspec.field(default_factory=dict)
    single_use: SingleUseProof | None = None


class Shadow(msgspec.Struct, frozen=True, gc=False):
    """What another policy would have said, where it differs: recorded and counted, nothing else.

    Attributes:
        by: RULE, rules with ``shadow: true``; CANDIDATE, the candidate policy; POLICY, the policy
            in force, when all of it is in shadow.
        reason: of the deny, or "".
        rule: that would have decided, "" when none would.
    """

    by: ShadowBy
    decision: Effect
    reason: str = ""
    rule: str = ""


class Permit(msgspec.Struct, frozen=True, gc=False):
    """What policy found: the name of the agent's rule and of the principal's that allow it.

    Attributes:
        headers: (name, values) of further headers that these rules give to the upstream.
    """

    agent_rule: str
    principal_rule: str
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy says: a grant or a refusal, and beside it what else would have been said.

    No Struct: a refusal that was raised is part of a cycle, which only the collector can end.

    Attributes:
        shadows: what other policies would have said.
        stable_until: unix seconds until which policy surely says the same of the same request.
    """

    outcome: Permit | Denied
    shadows: tuple[Shadow, ...] = ()
    stable_until: float = inf

    def permitted(self) -> Permit:
        """The grant. Raises the refusal."""
        if isinstance(self.outcome, Denied):
            raise self.outcome
        return self.outcome


class Deny(msgspec.Struct, frozen=True, gc=False):
    """A refusal, with what had been established when it came. Made by ``Progress.refuse`` only.

    Attributes:
        detail: for operators only.
        parameters, scheme: of the challenge: further auth-params, and Bearer or DPoP.
        headers: further headers of the answer.
        by_message: whether the answer's HTTP status is 200, with the refusal in its message.
        agent, delegation: None where the refusal came first.
        flags: as in Allow.
        rule: the rule that denied, or that came nearest to an allow; "" when none did.
        shadows: what other policies would have said.
        by_policy: whether rules refused it, who had been asked about a known caller.
        needs: what was lacking, if another decision may come of learning it; else None.
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

    def explained(self, more: str) -> "Deny":
        """Return the same refusal, with more for operators."""
        return msgspec.structs.replace(self, detail=f"{self.detail}; {more}")


class Progress(msgspec.Struct, gc=False):
    """What is established about one request so far. The pipeline fills it; it makes the refusals.

    So a refusal says as much whoever refuses: a step of the pipeline, or a check that comes after.

    Attributes:
        is_by_dpop: whether a DPoP proof came: challenges then ask for one.
        parameters: of every challenge, such as where to get a token (RFC 9728).
        refuses_by_message: whether policy's refusals are told in the answer's message alone.
        operations: what is asked for, one for each call of the message.
        agent, delegation, flags, shadows: as in Deny.
        is_at_policy: whether rules are being asked; what they refuse, another policy may allow.
        rule: the agent's rule that allowed; "" before one did.
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
        """The refusal for that reason."""
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
        )


class Allow(msgspec.Struct, frozen=True, gc=False):
    """An allow that was decided. Made by the authorizer, nowhere else.

    Attributes:
        valid_until: unix seconds after which nobody may answer from a cache.
        flags: what an auditor should know of the chain, such as an unregistered earlier actor.
        shadows: what other policies would have said.
        progress: what refuses it, should one of the checks outside of the pipeline say no.
    """

    agent: Agent
    delegation: Delegation
    permit: Permit
    valid_until: float
    flags: tuple[str, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    progress: Progress = msgspec.field(default_factory=Progress)

    def until(self, moment: float) -> "Allow":
        """The same, for no longer than to that moment (unix seconds)."""
        return msgspec.structs.replace(self, valid_until=min(self.valid_until, moment))


Decision = Allow | Deny
