"""Audit records read back: what was asked and decided, as a question that policy can judge again.

A line that is no record is an answer of its own, never the end.
"""

from collections.abc import Iterator
from datetime import datetime
from math import inf
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Actor, Agent, Delegation, Effect, Mode
from authz.core.policy import PolicyQuery
from authz.core.reason import Denied
from authz.core.request import Call, CallKind, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.audit_files import AuditLogs


class RecordedCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a message as records have it: without its arguments."""

    method: str
    kind: CallKind = CallKind.SERVER
    name: str = ""
    tools: list[str] = []
    streaming: bool = False
    is_cut: bool = False

    def call(self) -> Call:
        """The call, of which no arguments are known."""
        return Call(
            self.method,
            self.kind,
            self.name,
            tools=tuple(self.tools),
            is_streaming=self.streaming,
        )


class RecordedDecision(msgspec.Struct, frozen=True, gc=False):
    """A line of the audit log, as far as it is read: the members of ``authz.adapters.audit``."""

    decision: str
    reason: str
    detail: str
    agent: str
    principal: str
    issuer: str
    actors: list[dict[str, str]]
    mode: str
    scopes: list[str]
    rule: str
    principal_rule: str
    policy_version: str
    method: str
    host: str
    path: str
    time: datetime
    by_policy: bool
    issued_at: float = 0.0
    claims: dict[str, Any] = {}
    headers: dict[str, str] = {}
    shadows: list[dict[str, str]] = []
    decision_id: str = ""
    protocol: MessageProtocol = MessageProtocol.NONE
    calls: list[RecordedCall] = []

    @property
    def is_allow(self) -> bool:
        """Whether it was allowed."""
        return self.decision == Effect.ALLOW

    @property
    def is_cut(self) -> bool:
        """Whether a part of a resource's URI is not recorded."""
        return any(call.is_cut for call in self.calls)

    def cases(self) -> list[PolicyQuery]:
        """The questions, one for each call of a message, at the time of the decision.

        Where the record is cut, names are not what was asked for. Raises ValueError where there is
        no question.
        """
        if bool(self.protocol) != bool(self.calls):
            raise ValueError("its protocol and its calls contradict each other")
        if self.mode not in {*Mode}:
            raise ValueError("its mode is invalid")
        request = Request(
            self.method,
            self.host,
            self.path,
            headers=tuple(self.headers.items()),
            protocol=self.protocol,
            calls=tuple(call.call() for call in self.calls),
        )
        delegation = Delegation(
            self.issuer,
            self.principal,
            tuple(Actor(actor["iss"], actor["sub"]) for actor in self.actors),
            frozenset(self.scopes),
            self.issued_at,
            inf,
            mode=Mode(self.mode),
            claims=self.claims,
        )
        try:
            agent = Agent(SpiffeId.parse(self.agent))
            each = Operation.of(request).each(request)
        except Denied as denied:
            raise ValueError(denied.detail) from None
        except SpiffeIdError as error:
            raise ValueError(str(error)) from None
        now = self.time.timestamp()
        return [PolicyQuery(agent, delegation, operation, request, now) for operation in each]


MAX_DEPTH: Final = strict_json.MAX_DEPTH + 4  # claims are of a token, and stand in a record


def read_records(logs: AuditLogs) -> Iterator[tuple[str, int, RecordedDecision | str]]:
    """File, line and record of some audit logs, or why it is none. Raises LogError."""
    for file, number, line in logs.lines():
        yield file, number, _read(line)


def _read(line: bytes) -> RecordedDecision | str:
    try:
        traced = strict_json.load_as(line, RecordedDecision, MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        return f"not an audit record: {error}"
    if traced.time.tzinfo is None or traced.decision not in {*Effect}:
        return "not an audit record: its time or its decision is invalid"
    if not all({"iss", "sub"} <= actor.keys() for actor in traced.actors):
        return "not an audit record: an actor lacks iss or sub"
    return traced
