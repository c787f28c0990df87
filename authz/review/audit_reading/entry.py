"""Reads the members of a log's line that filters, listings and counts need, in some microseconds.

Only a line that might have a second reading is read by the strict parser, in twice the time.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Effect
from authz.core.request import CallKind
from authz.review.audit_records import MAX_DEPTH

_NO_NAME: Final = frozenset({""})


class NamedCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a recorded message: its method, its kind and the name of its target."""

    method: str = ""
    kind: str = ""
    name: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A line of an audit log: the record of a decision, or a line of the log about itself.

    ``audit`` is what a line about the log itself tells, such as "checkpoint", "" in a record. The
    other attributes are the members of a record, or of the line "dropped": ``count``.
    """

    audit: str = ""
    decision: str = ""
    reason: str = ""
    agent: str = ""
    principal: str = ""
    issuer: str = ""
    mode: str = ""
    rule: str = ""
    principal_rule: str = ""
    policy_version: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    time: datetime | None = None
    trace_id: str = ""
    decision_id: str = ""
    cache: str = ""
    duration_us: int = 0
    count: int = 0
    by_svid: bool = False
    calls: tuple[NamedCall, ...] = ()
    claims: dict[str, Any] = {}
    redacted: tuple[str, ...] = ()

    @property
    def is_allow(self) -> bool:
        """Tell whether the request was allowed."""
        return self.decision == "allow"

    @property
    def rules(self) -> set[str]:
        """The names of the rules that decided, or came nearest: one or more for each call."""
        return names_of_rules(self.rule, self.principal_rule)

    @property
    def tools(self) -> list[str]:
        """The names of the called tools."""
        return [call.name for call in self.calls if call.kind == CallKind.TOOL]

    @property
    def operation(self) -> str:
        """The operation in words: method, host and path, and the calls of a message."""
        called = ", ".join(" ".join(filter(None, (call.method, call.name))) for call in self.calls)
        place = f"{self.method} {self.host}{self.path}"
        return f"{place} {called}" if called else place


_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_EFFECTS: Final = frozenset(effect.value for effect in Effect)


def names_of_rules(*listed: str) -> set[str]:
    """Return the names in members of records, which list a rule for each call of a message."""
    return {*",".join(listed).split(",")} - _NO_NAME


def read_entry(line: bytes) -> Entry | str:
    """Read a line, or return why it is not a line of an audit log."""
    try:
        entry = msgspec.convert(_members(line.strip()), Entry)
    except (ValueError, RecursionError) as error:  # the library's errors are ValueErrors
        return f"not an audit record: {error}"
    if entry.audit and not entry.decision:
        return entry
    if entry.decision not in _EFFECTS or entry.time is None or entry.time.tzinfo is None:
        return "not an audit record: its time or its decision is invalid"
    return entry


def _members(line: bytes) -> object:
    """Return the value of a line, in which no member stands twice. Raises ValueError.

    If the value is written again as the same line, then it is the line's only reading: a member
    that stands twice would be missing. So is nearly every line that a server has written.
    """
    try:
        value = _decode(line)
        if _encode(value) == line:
            return value
    except ValueError:  # told in the words of the strict parser
        pass
    return strict_json.loads(line, MAX_DEPTH)
