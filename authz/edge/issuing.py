"""Answers token requests: reads the form, decides, takes what may be used once, signs and records.

The steps are in ``TokenIssuing.answer``. The decision is ``authz.core.sts``'s. What it lacks, such
as a key, is learned within WAIT_SECONDS, and the decision made again; so it is if keys or
revocations have changed while it waited for the store, or a consent may have. A token is signed
last, and a token without a record is not given away where the config demands records.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard
from urllib.parse import parse_qsl, urlsplit

import msgspec

from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    encode_operation,
    encode_record,
    token_digest,
)
from authz.adapters.audit.records.redaction import Parties, Redaction
from authz.adapters.consents.sources import ConsentSources
from authz.adapters.locked_counter import LockedCounter
from authz.adapters.single_use import SingleUses
from authz.adapters.sts.reply import INTERNAL, NOT_STORED, Reply
from authz.core.decision import Agent, Effect
from authz.core.needs import Need
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId
from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.outcome import Issue, Outcome, Refuse, TokenFacts
from authz.core.sts.request import MAX_PARAMETERS, TokenRequest, read_request
from authz.core.sts.service import TokenService, refusal
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock
from authz.edge.ids import new_decision_id
from authz.edge.learning import MAX_ROUNDS, Learner, LearnError

WAIT_SECONDS: Final = 5.0  # for keys, issuers and the store: agents wait longer, if need be, anew
TOKEN_TYPE: Final = "at+jwt"  # RFC 9068 section 2.1
_TOKEN_ID_BYTES: Final = 16
_NOBODY: Final = Agent(SpiffeId.parse("spiffe://unknown/client"))
_log: Final = logging.getLogger("authz.sts")


class TokenSigner(Protocol):
    """Signs our tokens. Any thread may call, and none waits."""

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Return the claims as a signed JWT of this ``typ``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingParts:
    """The parts that token requests are answered with, beside the settings in force.

    Attributes:
        signer: signs what was decided.
        learners: learn what a decision lacks, by the kind of the need.
        single_uses: the proofs and tokens that were used.
        consents: what principals have consented to.
        bulkhead: the places to wait on the network.
        audit: gets a record of each request.
        generation: returns that of keys, status lists and revocations.
        clock: the time.
    """

    signer: TokenSigner
    learners: Mapping[type[Need], Learner[Any]]
    single_uses: SingleUses
    consents: ConsentSources
    bulkhead: Bulkhead
    audit: AuditLog
    generation: Callable[[], int]
    clock: Clock = Clock()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class IssuingSnapshot:
    """One version of the settings: the service that decides, and what records say of it.

    Attributes:
        service: decides.
        endpoint: the URL of the token endpoint.
        policy_version: the hash of the settings that decide.
        redaction: what records leave out; None for nothing.
        needs_consents: whether a rule may need a principal's consent.
    """

    service: TokenService
    endpoint: str
    policy_version: str
    redaction: Redaction | None = None
    needs_consents: bool = False


@dataclass(frozen=True, slots=True)
class _Begun:
    """A request: its id for the record, and when it came, by both clocks."""

    decision_id: str
    wall: float
    monotonic: float


class TokenIssuing:
    """Answers token requests, for many threads at once.

    Attributes:
        snapshot: the settings in force; another may replace it at any time.
    """

    def __init__(self, snapshot: IssuingSnapshot, parts: IssuingParts) -> None:
        """Take the first settings, and the parts to work with."""
        self.snapshot = snapshot
        self._parts = parts
        self._clock = parts.clock
        codes = ("", *(reason.code for reason in Reason))
        self._counts: LockedCounter[str] = LockedCounter(codes)

    def counts(self) -> Mapping[str, int]:
        """Return the answers so far, by the reason's code; "" for tokens."""
        return self._counts.counts()

    def answer(self, form: bytes, proof: str | None, agent: Agent) -> Reply:
        """Return the answer to a form of an agent, with the DPoP proof beside it. Never raises."""
        try:
            return self._answer(form, proof, agent)
        except Exception as error:  # noqa: BLE001 - a fault is never a token
            _log.error("can't decide a token request: %s", type(error).__name__)
            return INTERNAL

    def refuse_client(self, denied: Denied) -> Reply:
        """Record a client whose certificate is refused, and return the answer. Never raises."""
        try:
            begun = self._begin()
            return self._told(self.snapshot, refusal(denied, TokenFacts(_NOBODY)), begun)
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("can't refuse a client: %s", type(error).__name__)
            return INTERNAL

    def _begin(self) -> _Begun:
        return _Begun(new_decision_id(), *self._clock.moment())

    def _answer(self, form: bytes, proof: str | None, agent: Agent) -> Reply:
        snapshot, begun = self.snapshot, self._begin()
        try:
            request = read_request(read_form(form), proof)
        except Denied as denied:
            return self._told(snapshot, refusal(denied, TokenFacts(agent)), begun)
        token_id = secrets.token_urlsafe(_TOKEN_ID_BYTES)
        if snapshot.needs_consents:
            self._catch_up(agent, begun)
        generation = self._parts.generation()  # first: a change during the steps shows
        outcome = self._learned(snapshot, agent, request, token_id, begun)
        if isinstance(outcome, Issue):
            outcome = self._used(outcome, agent, begun)
        if isinstance(outcome, Issue) and self._may_differ(outcome, generation):
            again = self._decided(snapshot, agent, request, token_id)
            outcome = again if _refuses_now(again, outcome) else outcome
        return self._told(snapshot, outcome, begun)

    def _may_differ(self, issue: Issue, generation: int) -> bool:
        """Tell whether to decide anew: what was revoked, or a consent that has become too old.

        One for a single call was used up after the wait, and so was there.
        """
        has_waited = bool(issue.uses)
        depends = issue.consent is not None and not issue.consent.once
        return (has_waited and depends) or generation != self._parts.generation()

    def _catch_up(self, agent: Agent, begun: _Begun) -> None:
        """Look at the consents as they are now; where that can't be, the decision refuses."""
        try:
            with self._parts.bulkhead.waiting(agent.spiffe_id.text):
                self._parts.consents.catch_up(self._seconds_left(begun))
        except BulkheadFullError:
            return

    def _decided(
        self, snapshot: IssuingSnapshot, agent: Agent, request: TokenRequest, token_id: str
    ) -> Outcome:
        return snapshot.service.decide(agent, request, token_id, self._clock.wall())

    def _seconds_left(self, begun: _Begun) -> float:
        return max(0.0, begun.monotonic + WAIT_SECONDS - self._clock.monotonic())

    def _learned(
        self,
        snapshot: IssuingSnapshot,
        agent: Agent,
        request: TokenRequest,
        token_id: str,
        begun: _Begun,
    ) -> Outcome:
        """Decide, and decide again as long as what is missing can be learned."""
        tried: set[Need] = set()
        while True:
            outcome = self._decided(snapshot, agent, request, token_id)
            if isinstance(outcome, Issue) or outcome.needs is None:
                return outcome
            need = outcome.needs
            if need in tried or len(tried) >= MAX_ROUNDS:
                return outcome
            tried.add(need)
            try:
                if not self._learn(need, agent, begun):
                    return outcome
            except (LearnError, Denied) as error:
                return _unlearned(outcome, error)

    def _learn(self, need: Need, agent: Agent, begun: _Begun) -> bool:
        """Learn a need; return whether the decision may differ now. Raises LearnError, Denied."""
        learner = self._parts.learners.get(type(need))
        if learner is None:
            return False
        seconds = min(self._seconds_left(begun), learner.max_seconds)
        try:
            with self._parts.bulkhead.waiting(agent.spiffe_id.text):
                return learner.learn(need, seconds)
        except BulkheadFullError:
            detail = f"too many requests wait for {learner.name}"
            raise Denied(Reason.OVERLOADED, detail) from None

    def _used(self, issue: Issue, agent: Agent, begun: _Begun) -> Outcome:
        """Mark what no other request may use; with a shared store, wait for it."""
        name = agent.spiffe_id.text
        try:
            for use in issue.uses:
                with self._parts.bulkhead.waiting(name):
                    self._parts.single_uses.use(
                        use,
                        begun.decision_id.encode(),
                        self._clock.wall(),
                        self._seconds_left(begun),
                        agent=name,
                    )
            if issue.consent is not None and issue.consent.once:
                with self._parts.bulkhead.waiting(name):
                    self._parts.consents.use_up(
                        issue.consent, name, self._clock.wall(), self._seconds_left(begun)
                    )
        except BulkheadFullError:
            detail = "too many requests wait for the store"
            return refusal(Denied(Reason.OVERLOADED, detail), issue.facts)
        except Denied as denied:
            return refusal(denied, issue.facts)
        return issue

    def _told(self, snapshot: IssuingSnapshot, outcome: Outcome, begun: _Begun) -> Reply:
        """Sign and record an outcome, and return the answer."""
        audit = self._parts.audit
        if audit.refuses_allows and isinstance(outcome, Issue):
            outcome = _unrecordable(outcome, "the audit log can't be written")
        reply = self._reply(outcome)
        line = self._line(snapshot, outcome, begun)
        if not audit.append(line) and audit.must_record and isinstance(outcome, Issue):
            outcome = _unrecordable(outcome, "the audit log is full")
            reply = self._reply(outcome)
        self._counts.add(outcome.reason.code if isinstance(outcome, Refuse) else "")
        return reply

    def _reply(self, outcome: Outcome) -> Reply:
        if isinstance(outcome, Refuse):
            body = msgspec.json.encode(outcome.answer())
            return Reply(outcome.error.http_status, body, (*NOT_STORED, *outcome.headers))
        token = self._parts.signer.sign(TOKEN_TYPE, dict(outcome.claims))
        return Reply(200, msgspec.json.encode(outcome.answer(token)))

    def _line(self, snapshot: IssuingSnapshot, outcome: Outcome, begun: _Begun) -> AuditLine:
        seconds = self._clock.monotonic() - begun.monotonic
        record, operation = _record(outcome, snapshot.policy_version), _operation(snapshot.endpoint)
        if snapshot.redaction is not None:
            parties = Parties(
                record.agent, record.principal, tuple(actor["sub"] for actor in record.actors)
            )
            record, operation = (
                snapshot.redaction.record(record, operation),
                snapshot.redaction.operation(operation, parties),
            )
        return AuditLine(
            encode_record(record),
            encode_operation(operation),
            begun.wall + seconds,
            "",
            "",
            begun.decision_id,
            False,
            seconds,
        )


def read_form(form: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a form (WHATWG URL, application/x-www-form-urlencoded).

    Strict: ASCII before the decoding and UTF-8 after it, and each part with a "=". Raises
    TokenRequestDenied, which holds nothing of the form.
    """
    if not form:
        return []
    try:
        return parse_qsl(
            form.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:  # UnicodeDecodeError is one
        detail = "the body is not a form, or has too many parameters"
        raise TokenRequestDenied(
            OAuthError.INVALID_REQUEST, Reason.MESSAGE_PARAMS, detail
        ) from None


def _refuses_now(again: Outcome, issue: Issue) -> TypeGuard[Refuse]:
    """Tell whether the second decision refuses: not for the consent that the first has used up."""
    if isinstance(again, Issue):
        return False
    is_used_up = issue.consent is not None and bool(issue.consent.once)
    return not (is_used_up and again.reason is Reason.APPROVAL_REQUIRED)


def _unlearned(refused: Refuse, error: Exception) -> Refuse:
    """Return the refusal that stays, with why nothing was learned; or that of an overload."""
    if isinstance(error, Denied):
        return refusal(error, refused.facts)
    _log.warning("a token request lacks what can't be learned: %s", error)
    return msgspec.structs.replace(refused, detail=f"{refused.detail}; {error}")


def _unrecordable(issue: Issue, detail: str) -> Refuse:
    return refusal(Denied(Reason.OVERLOADED, detail), issue.facts)


def _operation(endpoint: str) -> AuditOperation:
    parts = urlsplit(endpoint)
    return AuditOperation("POST", parts.netloc, parts.path, "")


def _record(outcome: Outcome, policy_version: str) -> AuditRecord:
    facts = outcome.facts
    refused = outcome if isinstance(outcome, Refuse) else None
    return AuditRecord(
        decision=Effect.DENY if refused else Effect.ALLOW,
        reason=refused.reason.code if refused else "",
        detail=refused.detail if refused else "",
        agent="" if facts.agent is _NOBODY else facts.agent.spiffe_id.text,
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
