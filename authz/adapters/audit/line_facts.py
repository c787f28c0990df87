"""Reads of a line what receivers' protocols have fields for; the line itself is sent whole."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

ALLOW: Final = "allow"
DENY: Final = "deny"
# Of the clerk's own lines, those that tell of records that may be missing.
_LOSSES: Final = frozenset({"dropped", "gap"})
_CRASHED: Final = "crashed"


class LineFacts(msgspec.Struct, frozen=True, gc=False):
    """Members of a line, by their names there; a member that the line lacks is empty."""

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
    time: str = ""
    trace_id: str = ""
    span_id: str = ""

    @property
    def is_warning(self) -> bool:
        """Tell whether a person may want to see it: a deny, or records that may be missing."""
        told_of_loss = self.audit in _LOSSES or (self.audit and self.reason == _CRASHED)
        return self.decision == DENY or bool(told_of_loss)


_NONE: Final = LineFacts()
_decode: Final = msgspec.json.Decoder(LineFacts).decode


def facts_of(line: bytes) -> LineFacts:
    """Return the facts of a line; none of a line that is not ours, which is sent without them."""
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return _NONE
