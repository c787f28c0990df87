"""Reads audit records back as questions that a policy can answer again.

An invalid line yields an error text, and the reading goes on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from authz.core.tlog.own_lines import OWN
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
    issuance: dict[str, Any] | None = None

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


@dataclass(slots=True)
class OwnLines:
    """Counts of the lines that a log has about itself, such as checkpoints, and what they tell.

    Attributes:
        count: how many there are.
        dropped: how many records the server could not write.
        gaps: how many signed lines tell of records that a log lacks.
    """

    count: int = 0
    dropped: int = 0
    gaps: int = 0

    def add(self, kind: str, dropped: int) -> None:
        """Count a line; ``kind`` is its member ``audit``, ``dropped`` its member ``count``."""
        self.count += 1
        self.gaps += kind == "gap"
        if kind == "dropped":
            self.dropped += max(0, dropped)

    def told(self) -> Iterator[str]:
        """Yield what a person must know: which records are missing."""
        if self.dropped:
            yield f"records that the server dropped, as it tells: {self.dropped}"
        if self.gaps:
            yield f"gaps that the server tells of (authz audit verify lists them): {self.gaps}"


class _OwnLine(msgspec.Struct, frozen=True, gc=False):
    audit: str
    count: int = 0
    decision: str = ""


# Claims are as deep as a token, and are members of a record.
MAX_DEPTH: Final = strict_json.MAX_DEPTH + 4


def read_records(
    logs: AuditLogs, own: OwnLines | None = None
) -> Iterator[tuple[str, int, RecordedDecision | str]]:
    """Yield file, line number and record, or why the line is invalid. Raises LogError.

    The lines that a log has about itself are left out, which ``own`` counts, and so are those of
    requests to the token service: no policy of checks answers them again.
    """
    for file, number, line in logs.lines():
        if line.startswith(OWN) and (told := _read_own(line)) is not None:
            if own is not None:
                own.add(told.audit, told.count)
        elif (record := _read(line)) and not _is_of_token_service(record):
            yield file, number, record


def _is_of_token_service(record: RecordedDecision | str) -> bool:
    return isinstance(record, RecordedDecision) and record.issuance is not None


def _read_own(line: bytes) -> _OwnLine | None:
    """Read a line of a log about itself; None for any other line."""
    try:
        told = strict_json.load_as(line, _OwnLine, MAX_DEPTH)
    except strict_json.StrictJsonError:
        return None
    return None if told.decision else told


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
