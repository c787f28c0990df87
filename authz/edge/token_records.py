"""Makes the audit records of token requests."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    encode_operation,
    encode_record,
    token_digest,
)
from authz.adapters.audit.records.redaction import Parties, Redaction
from authz.core.decision import Agent, Effect
from authz.core.spiffe import SpiffeId
from authz.core.sts.outcome import Outcome, Refuse

NOBODY: Final = Agent(SpiffeId.parse("spiffe://unknown/client"))


@dataclass(frozen=True, slots=True)
class TokenRecords:
    """What records say of the settings in force, and leave out.

    Attributes:
        endpoint: the URL of the token endpoint.
        policy_version: the hash of the settings that decide.
        redaction: what records leave out; None for nothing.
    """

    endpoint: str
    policy_version: str
    redaction: Redaction | None = None

    def line(self, outcome: Outcome, name: str, begun_at: float, seconds: float) -> AuditLine:
        """Return the record of an outcome.

        ``name`` is the decision's id, ``begun_at`` when the request came, in unix seconds, and
        ``seconds`` how long it took.
        """
        record, operation = _record(outcome, self.policy_version), self._operation()
        if self.redaction is not None:
            actors = tuple(actor["sub"] for actor in record.actors)
            parties = Parties(record.agent, record.principal, actors)
            record, operation = (
                self.redaction.record(record, operation),
                self.redaction.operation(operation, parties),
            )
        return AuditLine(
            encode_record(record),
            encode_operation(operation),
            begun_at + seconds,
            "",
            "",
            name,
            False,
            seconds,
        )

    def _operation(self) -> AuditOperation:
        parts = urlsplit(self.endpoint)
        return AuditOperation("POST", parts.netloc, parts.path, "")


def _record(outcome: Outcome, policy_version: str) -> AuditRecord:
    facts = outcome.facts
    refused = outcome if isinstance(outcome, Refuse) else None
    return AuditRecord(
        decision=Effect.DENY if refused else Effect.ALLOW,
        reason=refused.reason.code if refused else "",
        detail=refused.detail if refused else "",
        agent="" if facts.agent is NOBODY else facts.agent.spiffe_id.text,
        principal=facts.subject,
        issuer=facts.issuer,
        actors=[{"iss": actor.issuer, "sub": actor.subject} for actor in facts.actors],
        mode="",
        flags=list(facts.flags),
        scopes=[],
        rule=facts.rule,
        principal_rule="",
        policy_version=policy_version,
        token_id=token_digest(facts.subject_id),
        token_hash=facts.subject_hash,
        by_policy=False,
        status=refused.error.http_status if refused else msgspec.UNSET,
        issuance=_issuance(outcome),
    )


def _issuance(outcome: Outcome) -> dict[str, Any]:
    """Return what was issued or refused: a digest stands for the token's id, as in all records."""
    facts = outcome.facts
    told: dict[str, Any] = {"audiences": list(facts.audiences), "scopes": sorted(facts.scopes)}
    if facts.consent:
        told["consent"] = facts.consent
    if isinstance(outcome, Refuse):
        return {"error": outcome.error.value, **told}
    token_id = token_digest(str(outcome.claims.get("jti", "")))
    return {"token_id": token_id, "expires_at": int(facts.expires_at), **told}
