"""Renders decisions: the response to the proxy, and the bytes of the audit record.

Rendering costs more than many decisions, and the result is the same for every operation that one
token's rule allows. So the result is cached, by the parts of the decision that it is made of. It is
nearly the same for every token with the same terms: only the record names the token.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    RecordTemplate,
    encode_record,
    token_digest,
)
from authz.adapters.audit.records.redaction import Redaction
from authz.core.bounded_map import BoundedMap
from authz.core.decision import Allow, Decision, Delegation, Deny, Effect, Shadow
from authz.core.delegation.confirmation import THUMBPRINT
from authz.core.distributed_claims import external_claim_marks
from authz.core.reason import Reason
from authz.core.request import MessageProtocol
from authz.core.upstream_token import FORWARDED
from authz.edge.response import Responder, Response

_RENDERED: Final = 10_000  # kept at most: the tokens and rules in use within seconds
TOKEN_HINT: Final = "authz token check tells more"
NO_OPERATION: Final = AuditOperation("", "", "", "")
_FREQUENT: Final = frozenset({Reason.OVERLOADED, Reason.CHECK_MALFORMED})
_RENDERED_BYTES: Final = 32 * 1024 * 1024
# Measured: tuples and object headers, and those of the bytes that a dialect makes of a response.
_OVERHEAD_BYTES: Final = 1000


class RenderedDecision(msgspec.Struct, gc=False):
    """The response and the record of a decision, for any operation.

    Attributes:
        response: for the proxy, in no dialect's form.
        audit: the audit record's part on the decision.
        reason: of a deny; None for an allow.
        refused: the SPIFFE ID of the agent that a deny refuses; "" for an allow, and before the
            agent is known.
        shadows: what other policies would have decided.
        size: estimated bytes; computed once, not each time that the decision is cached.
        encoded: the response as the last dialect encoded it, so that it is encoded once. Only that
            dialect knows its type.
    """

    response: Response
    audit: bytes
    reason: Reason | None
    shadows: tuple[Shadow, ...] = ()
    size: int = _OVERHEAD_BYTES
    encoded: object = None
    refused: str = ""

    def __repr__(self) -> str:
        """Return a text without the encoded response, which may have the upstream's credential."""
        return f"RenderedDecision({self.response}, {self.audit!r})"


class _Told(msgspec.Struct, frozen=True, gc=False):
    """An allow as it was first rendered, to be used for other tokens of the same terms.

    And its record.
    """

    rendered: RenderedDecision
    record: RecordTemplate

    @property
    def size(self) -> int:
        """Return the estimated bytes: the record is held twice."""
        return self.rendered.size + len(self.rendered.audit)

    def by(self, token: Delegation) -> RenderedDecision:
        """Return the same response, recorded as an allow by this token."""
        audit = self.record.of_token(
            token_digest(token.token_id), token.token_hash, token.issued_at
        )
        first = self.rendered
        size = first.size - len(first.audit) + len(audit)
        return RenderedDecision(first.response, audit, None, first.shadows, size, first.encoded)


class Renderer:
    """Renders the decisions of one version of the policy."""

    def __init__(
        self,
        responder: Responder,
        policy_version: str,
        claims: frozenset[str] = frozenset(),
        redaction: Redaction | None = None,
    ) -> None:
        """Take the maker of responses, and the claims that policy reads, which records hold.

        ``redaction`` takes out of records what operators don't want there.
        """
        self.redaction = redaction
        self._responder = responder
        self._claims = claims
        self._policy_version = policy_version
        self._known: BoundedMap[tuple[object, ...], RenderedDecision] = BoundedMap(
            _RENDERED, _RENDERED_BYTES, lambda _, rendered: rendered.size
        )
        self._told: BoundedMap[tuple[object, ...], _Told] = BoundedMap(
            _RENDERED, _RENDERED_BYTES, lambda _, told: told.size
        )

    def render(
        self,
        decision: Decision,
        protocol: MessageProtocol = MessageProtocol.NONE,
        operation: AuditOperation = NO_OPERATION,
    ) -> RenderedDecision:
        """Return the decision's record, and its response on a route of this protocol.

        With ``redaction``, the record must not quote the ``operation``.
        """
        if isinstance(decision, Deny):
            return self._refused(decision, protocol, operation)
        host = operation.host if self.redaction and self.redaction.redacts_host else ""
        operation = NO_OPERATION if not host else AuditOperation("", host, "", "")
        if decision.delegation.single_uses:
            return self._made(decision, protocol, operation)[0]
        # Delegations are compared by identity, and a token has the same delegation for as long as
        # it is cached. The key here keeps it alive, so that no other object can have its identity.
        permit = decision.permit
        agent = decision.agent.spiffe_id.text
        # The added headers depend on the two rules and on the token alone.
        rules = (permit.agent_rule, permit.principal_rule)
        # A credential is compared by identity; its hash, and a bool's, cost less than an enum's.
        upstream = decision.credential or decision.upstream is FORWARDED
        # Flags depend on the token, and on which earlier actors are revoked.
        found = (decision.shadows, decision.flags)
        key = (decision.delegation, agent, rules, found, upstream, host)
        rendered = self._known.get(key)
        if rendered is None:
            rendered = self._of_terms((decision.delegation.terms, *key[1:]), decision, operation)
            self._known.put(key, rendered)
        return rendered

    def _of_terms(
        self, key: tuple[object, ...], allow: Allow, operation: AuditOperation
    ) -> RenderedDecision:
        """Return an allow by a new token, as rendered for another token of the same terms."""
        told = self._told.get(key)
        if told is not None:
            return told.by(allow.delegation)
        rendered, record = self._made(allow, MessageProtocol.NONE, operation)
        self._told.put(key, _Told(rendered, RecordTemplate.cut(rendered.audit, record)))
        return rendered

    def _refused(
        self, deny: Deny, protocol: MessageProtocol, operation: AuditOperation
    ) -> RenderedDecision:
        """Return a refusal, from the cache if it is one of ``_FREQUENT``: a flood must cost little.

        Such a refusal is made before anything is known of the request, so there are few different
        ones.
        """
        if deny.reason not in _FREQUENT or deny.agent or deny.parameters or deny.shadows:
            return self._made(deny, protocol, operation)[0]
        key = (deny.reason, deny.detail, deny.scheme, deny.by_message, protocol)
        rendered = self._known.get(key)
        if rendered is None:
            rendered = self._made(deny, protocol, NO_OPERATION)[0]
            self._known.put(key, rendered)
        return rendered

    def _made(
        self, decision: Decision, protocol: MessageProtocol, operation: AuditOperation
    ) -> tuple[RenderedDecision, AuditRecord]:
        response = self._responder.respond(decision, self._policy_version, protocol)
        record = _record(decision, response, self._policy_version, self._claims)
        if self.redaction is not None:
            record = self.redaction.record(record, operation)
        audit = encode_record(record)
        refused = record.agent if isinstance(decision, Deny) else ""
        rendered = RenderedDecision(
            response,
            audit,
            response.reason,
            decision.shadows,
            2 * response.chars + len(audit) + _OVERHEAD_BYTES,  # twice: encoded, too
            refused=refused,
        )
        return rendered, record


def _record(
    decision: Decision, response: Response, policy_version: str, claims: frozenset[str]
) -> AuditRecord:
    agent, delegation = decision.agent, decision.delegation
    permit = decision.permit if isinstance(decision, Allow) else None
    deny = decision if isinstance(decision, Deny) else None
    return AuditRecord(
        decision=Effect.DENY if deny else Effect.ALLOW,
        reason=deny.reason.code if deny else "",
        detail=_detail(deny) if deny else "",
        agent=agent.spiffe_id.text if agent else "",
        principal=delegation.subject if delegation else "",
        issuer=delegation.issuer if delegation else "",
        actors=[{"iss": a.issuer, "sub": a.subject} for a in delegation.actors]
        if delegation
        else [],
        mode=delegation.mode if delegation else "",
        flags=list(decision.flags),
        scopes=sorted(delegation.scopes) if delegation else [],
        rule=permit.agent_rule if permit else deny.rule if deny else "",
        principal_rule=permit.principal_rule if permit else "",
        policy_version=policy_version,
        token_id=token_digest(delegation.token_id) if delegation else "",
        token_hash=delegation.token_hash if delegation else deny.token_hash if deny else "",
        issued_at=delegation.issued_at if delegation else 0.0,
        claims=_recorded(delegation.claims, claims) if delegation and claims else {},
        shadows=[
            {"by": s.by, "decision": s.decision, "reason": s.reason, "rule": s.rule}
            for s in decision.shadows
        ],
        by_policy=deny.by_policy if deny else True,
        by_svid=delegation.by_svid if delegation else False,
        proof=_proof(delegation) if delegation and delegation.has_token else UNSET,
        status=response.status if deny else UNSET,
        challenge=response.challenge or UNSET,
        upstream=_upstream(decision),
    )


def _upstream(decision: Decision) -> dict[str, str] | UnsetType:
    """Return what was made for the upstream, without the credential itself."""
    credential = decision.credential if isinstance(decision, Allow) else None
    if credential is None:
        return UNSET
    return {
        "gets": credential.gets,
        "id": credential.credential_id,
        "audience": credential.audience,
    }


def _proof(delegation: Delegation) -> str | UnsetType:
    """Return the proofs of possession that step 2 verified."""
    confirmed = delegation.claims.get("cnf")
    is_by_certificate = isinstance(confirmed, Mapping) and THUMBPRINT in confirmed
    if delegation.has_proof:
        return "dpop+mtls" if is_by_certificate else "dpop"
    return "mtls" if is_by_certificate else UNSET


def _detail(deny: Deny) -> str:
    """Return the detail for the operator.

    About a token, with the command that lists all its faults.
    """
    return f"{deny.detail}; {TOKEN_HINT}" if deny.reason.is_of_token else deny.detail


def _recorded(held: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the claims that rules read, and the token's marks of claims that are elsewhere."""
    return {name: held[name] for name in names & held.keys()} | external_claim_marks(held)
