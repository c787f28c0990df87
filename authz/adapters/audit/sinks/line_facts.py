"""Reads of a line what receivers' protocols have fields for; the line itself is sent whole.

A remembered decision repeats the beginning of its line, and only the end tells requests apart. So
what is read of a beginning can be kept.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

REMEMBERED: Final = 256  # beginnings, of at most some 20 KB each
_DENY: Final = "deny"
# Of the clerk's own lines, those that tell of records that may be missing.
_LOSSES: Final = frozenset({"dropped", "gap"})
_CRASHED: Final = "crashed"
_TIME: Final = b',"time":'


class LineFacts(msgspec.Struct, frozen=True, gc=False):
    """Members of a line's beginning, by their names there; one that it lacks is empty."""

    audit: str = ""
    decision: str = ""
    reason: str = ""
    agent: str = ""
    principal: str = ""
    mode: str = ""
    rule: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    protocol: str = ""
    calls: list[Mapping[str, Any]] = []
    status: Annotated[int, msgspec.Meta(ge=0, le=999)] = 0

    @property
    def is_warning(self) -> bool:
        """Tell whether a person may want to see it: a deny, or records that may be missing."""
        has_crashed = bool(self.audit) and self.reason == _CRASHED
        return self.decision == _DENY or self.audit in _LOSSES or has_crashed


class LineEnd(msgspec.Struct, frozen=True, gc=False):
    """Members of a line's end, by their names there; one that it lacks is empty."""

    time: str = ""
    until: str = ""
    trace_id: str = ""
    span_id: str = ""

    @property
    def at(self) -> str:
        """Return the line's time; of lost records, that of the last one."""
        return self.time or self.until


class LineParts(NamedTuple):
    """A line as two JSON objects."""

    beginning: bytes
    end: bytes


# A spool's lines come from a disk, which may have changed them: they have to go out all the same.
_NOT_OURS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode_facts: Final = msgspec.json.Decoder(LineFacts).decode
_decode_end: Final = msgspec.json.Decoder(LineEnd).decode


def parts_of(line: bytes) -> LineParts:
    """Return a line without its line feed in two parts; a line without a time is both."""
    beginning, found, end = line.rpartition(_TIME)
    if not found:
        return LineParts(line, line)
    return LineParts(beginning + b"}", b"{" + found[1:] + end)


def facts_of(beginning: bytes) -> LineFacts:
    """Return the facts of a beginning; none of one that is not ours."""
    try:
        return _decode_facts(beginning)
    except _NOT_OURS:
        return LineFacts()


def end_of(end: bytes) -> LineEnd:
    """Return the members of an end; none of one that is not ours."""
    try:
        return _decode_end(end)
    except _NOT_OURS:
        return LineEnd()
