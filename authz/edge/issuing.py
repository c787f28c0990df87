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

import msgspec

from authz.adapters.audit.log import AuditLog
from authz.adapters.consents.sources import ConsentSources
from authz.adapters.locked_counter import LockedCounter
from authz.adapters.single_use import SingleUses
from authz.adapters.sts.reply import INTERNAL, NOT_STORED, SEE_LOG, Reply
from authz.core.decision import Agent
from authz.core.needs import Need
from authz.core.reason import Denied, Reason
from authz.core.sts.outcome import Issue, Outcome, Refuse, TokenFacts
from authz.core.sts.request import TokenRequest, read_request
from authz.core.sts.service import TokenService, refusal
from authz.core.sts.settings import TOKEN_TYPE
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock
from authz.edge.faults import log_fault
from authz.edge.ids import new_decision_id
from authz.edge.learning import MAX_ROUNDS, Learner, LearnError
from authz.edge.token_form import read_form
from authz.edge.token_records import NOBODY, TokenRecords

WAIT_SECONDS: Final = 5.0  # for keys, issuers and the store: agents wait longer, if need be, anew
_TOKEN_ID_BYTES: Final = 16
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
        records: makes the records.
        needs_consents: whether a rule may need a principal's consent.
    """

    service: TokenService
    records: TokenRecords
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
        begun = self._begin()
        try:
            return self._answer(form, proof, agent, begun)
        except Exception as error:  # noqa: BLE001 - a fault is never a token
            log_fault(error)
            return self._refused(Denied(Reason.INTERNAL_ERROR, SEE_LOG), agent, begun)

    def refuse_client(self, denied: Denied) -> Reply:
        """Record a client that has proven no agent, and return the answer. Never raises."""
        return self._refused(denied, NOBODY, self._begin())

    def _refused(self, denied: Denied, agent: Agent, begun: _Begun) -> Reply:
        """Record a refusal of which nothing else is known, and return the answer. Never raises."""
        try:
            return self._told(self.snapshot, refusal(denied, TokenFacts(agent)), begun)
        except Exception as error:  # noqa: BLE001 - as above, if not even that can be recorded
            log_fault(error)
            self._counts.add(Reason.INTERNAL_ERROR.code)
            return INTERNAL

    def _begin(self) -> _Begun:
        return _Begun(new_decision_id(), *self._clock.moment())

    def _answer(self, form: bytes, proof: str | None, agent: Agent, begun: _Begun) -> Reply:
        snapshot = self.snapshot
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
        seconds = self._clock.monotonic() - begun.monotonic
        line = snapshot.records.line(outcome, begun.decision_id, begun.wall, seconds)
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
