"""Reads audit records back as questions that a policy can answer again.

An invalid line yields an error text, and the reading goes on.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from math import inf
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Actor, Agent, Delegation, Effect, Mode
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied
from authz.core.request import Call, CallKind, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.audit_files import AuditLogs

# The fields that decisions read and the config may redact (audit.redact).
_DECIDING: Final = frozenset(
    {
        *("agent", "principal", "actors", "host", "path"),
        *("headers", "claims", "scopes", "calls"),
    }
)


def lost_fields(redacted: Iterable[str]) -> list[str]:
    """Return those of a record's redacted fields without which nobody can decide it again."""
    return sorted(_DECIDING & set(redacted))


class RecordedCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a message in the form of a record: without its arguments."""

    method: str
    kind: CallKind = CallKind.SERVER
    name: str = ""
    tools: list[str] = []
    streaming: bool = False
    is_cut: bool = False

    def call(self) -> Call:
        """Build the call, without arguments."""
        return Call(
            self.method,
            self.kind,
            self.name,
            tools=tuple(self.tools),
            is_streaming=self.streaming,
        )


class RecordedDecision(msgspec.Struct, frozen=True, gc=False):
    """The members of an audit record (``authz.adapters.audit``) that reviews read."""

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
    by_svid: bool = False
    issued_at: float = 0.0
    claims: dict[str, Any] = {}
    headers: dict[str, str] = {}
    shadows: list[dict[str, str]] = []
    decision_id: str = ""
    protocol: MessageProtocol = MessageProtocol.NONE
    calls: list[RecordedCall] = []
    redacted: list[str] = []

    @property
    def lost(self) -> list[str]:
        """Return the fields whose redaction keeps the record from being decided again."""
        return lost_fields(self.redacted)

    @property
    def is_allow(self) -> bool:
        """Tell whether the request was allowed."""
        return self.decision == Effect.ALLOW

    @property
    def is_cut(self) -> bool:
        """Tell whether a part of a resource's URI was not recorded."""
        return any(call.is_cut for call in self.calls)

    def cases(self) -> list[PolicyQuery]:
        """Build a question for each call of the message, or for the plain request, at its own time.

        If ``is_cut``, the calls' names are incomplete. Raises ValueError if the record does not
        hold a valid question.
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
            by_svid=self.by_svid,
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


# Claims are as deep as a token, and are members of a record.
MAX_DEPTH: Final = strict_json.MAX_DEPTH + 4


def read_records(logs: AuditLogs) -> Iterator[tuple[str, int, RecordedDecision | str]]:
    """Yield file, line number and record, or why the line is invalid. Raises LogError."""
    for file, number, line in logs.lines():
        yield file, number, _read(line)


def _read(line: bytes) -> RecordedDecision | str:
    try:
        record = strict_json.load_as(line, RecordedDecision, MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        return f"not an audit record: {error}"
    if record.time.tzinfo is None or record.decision not in {*Effect}:
        return "not an audit record: its time or its decision is invalid"
    if not all({"iss", "sub"} <= actor.keys() for actor in record.actors):
        return "not an audit record: an actor lacks iss or sub"
    return record
