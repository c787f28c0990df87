"""Reads the members of a log's line that filters, listings and counts need, in microseconds.

Only a line that might have a second reading is read by the slow strict parser.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Effect
from authz.core.request import CallKind
from authz.review.audit_records import MAX_DEPTH


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
    claims: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def is_allow(self) -> bool:
        """Tell whether the request was allowed."""
        return self.decision == "allow"

    @property
    def rules(self) -> set[str]:
        """The names of the rules that decided, or came nearest: one or more for each call."""
        return {*self.rule.split(","), *self.principal_rule.split(",")} - {""}

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


_decode: Final = msgspec.json.Decoder(Entry).decode
_EFFECTS: Final = frozenset(effect.value for effect in Effect)
# Each occurs once at most in a line that has one reading; a second one may be a text, or nested.
_METHOD: Final = b'"method"'
_NAMES: Final = tuple(f'"{name}"'.encode() for name in Entry.__struct_fields__ if name != "method")
_BEGINNINGS: Final = (b'{"decision"', b'{"audit"')


def read_entry(line: bytes) -> Entry | str:
    """Read a line, or return why it is not a line of an audit log."""
    try:
        entry = _decode(line) if has_one_reading(line) else _decode_strictly(line)
    except (ValueError, RecursionError) as error:  # the library's errors are ValueErrors
        return f"not an audit record: {error}"
    if entry.audit:
        return entry
    if entry.decision not in _EFFECTS or entry.time is None or entry.time.tzinfo is None:
        return "not an audit record: its time or its decision is invalid"
    return entry


def has_one_reading(line: bytes) -> bool:
    """Tell whether no member that is read can stand twice; False if that is not certain.

    Without an escape by number, each name stands in the line as it is. The members of the line
    itself follow a comma, but for the first, and the methods of calls a brace.
    """
    if b"\\u" in line or not line.startswith(_BEGINNINGS):
        return False
    count = line.count
    if any([count(name) > 1 for name in _NAMES]):  # noqa: C419 - a list takes half the time
        return False
    return count(_METHOD) - count(b"{" + _METHOD) <= 1


def _decode_strictly(line: bytes) -> Entry:
    """Read a line whose members may stand twice. Raises ValueError."""
    value: Any = strict_json.loads(line, MAX_DEPTH)
    if isinstance(value, dict):
        value["claims"] = msgspec.Raw(msgspec.json.encode(value.get("claims", {})))
    return msgspec.convert(value, Entry)
