"""The nouns of a decision: agent, delegation, grant, and the verdict made of them.

Only the step that establishes a thing makes it: ``Agent`` is made by identity, ``Delegation`` by
delegation, ``Grant`` by policy, ``Allow`` by the authorizer. Refusal needs nothing but a reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from authz.reason import Reason
from authz.spiffe import SpiffeId


@dataclass(frozen=True, slots=True)
class Agent:
    """The caller, authenticated by the proxy's mTLS connection.

    Attributes:
        spiffe_id: its SPIFFE ID, in a trusted domain.
        thumbprint: base64url SHA-256 of its certificate's DER (RFC 8705 ``x5t#S256``), "" unknown.
        expires_at: ``notAfter`` of its certificate in unix seconds; infinite when it is not known.
    """

    spiffe_id: SpiffeId
    thumbprint: str = ""
    expires_at: float = inf


@dataclass(frozen=True, slots=True)
class Actor:
    """One actor of a delegation chain: a subject, unique together with its issuer."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Delegation:
    """For whom the agent acts, proven by a verified token whose current actor is the agent.

    Attributes:
        issuer, subject: the principal, who is unique only as this pair (RFC 8725 section 3.8).
        actors: current actor first, then earlier ones (RFC 8693 section 4.1).
        scopes: what the token allows at most.
        issued_at, expires_at: unix seconds.
        token_id: ``jti``, or "".
        mode: how the actor was found: "act", "mapped" or "autonomous".
        claims: the verified claims, for rules on groups, roles and the like.
    """

    issuer: str
    subject: str
    actors: tuple[Actor, ...]
    scopes: frozenset[str]
    issued_at: float
    expires_at: float
    token_id: str = ""
    mode: str = "act"
    claims: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What policy found: the name of the agent's rule and of the principal's that allow it."""

    agent_rule: str
    principal_rule: str


@dataclass(frozen=True, slots=True)
class Allow:
    """An allow that was decided. Made by the authorizer, nowhere else.

    Attributes:
        valid_until: unix seconds after which nobody may answer from a cache.
    """

    agent: Agent
    delegation: Delegation
    grant: Grant
    valid_until: float


@dataclass(frozen=True, slots=True)
class Deny:
    """A refusal, with what had been established when it came.

    Attributes:
        detail: for operators only.
        parameters: further auth-params of the challenge.
        agent, delegation: None where the refusal came first.
        key_issuer, key_id: the key that was not known, when a refresh of the issuer's may help.
    """

    reason: Reason
    detail: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    agent: Agent | None = None
    delegation: Delegation | None = None
    key_issuer: str = ""
    key_id: str = ""


Decision = Allow | Deny
