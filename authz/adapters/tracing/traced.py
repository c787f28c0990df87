"""A check of which a span is made, as the answering thread leaves it: nothing is encoded yet."""

from typing import Final

import msgspec

from authz.core.reason import Reason

# The places of a traceparent's parts (W3C Trace Context section 3.2.2), all of fixed length.
_TRACE_ID: Final = slice(3, 35)
_PARENT_ID: Final = slice(36, 52)
_FLAGS: Final = slice(53, 55)
_SAMPLED: Final = 1
_NO_VERSION: Final = "ff-"


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A wait for another party, while a check was decided.

    Attributes:
        name: of what was waited for, from the code.
        started: unix seconds.
        seconds: how long it took.
        issuer: the configured issuer that it was about, "" if it was about none.
        error: the kind of the error that ended it, "" without an error.
    """

    name: str
    started: float
    seconds: float
    issuer: str = ""
    error: str = ""


class TracedCheck(msgspec.Struct, frozen=True, gc=False):
    """An answered check.

    Attributes:
        rpc: the method that the proxy called, with its service.
        traceparent: the client's, which has the form of a W3C ``traceparent``, or "".
        decision_id: the record's id, 32 lower-case hex characters.
        started: unix seconds.
        seconds: how long it took.
        audit: the decision's part of the audit record, a JSON object without its end.
        reason: of a refusal; None for an allow.
        is_hit: whether the decision came from the cache.
        waits: what it waited for.
    """

    rpc: str
    traceparent: str
    decision_id: str
    started: float
    seconds: float
    audit: bytes
    reason: Reason | None
    is_hit: bool
    waits: tuple[Wait, ...] = ()

    @property
    def trace_id(self) -> str:
        """Return the client's trace id; without one the decision's id, which is as random."""
        return trace_id_of(self.traceparent) if self.has_parent else self.decision_id

    @property
    def parent_id(self) -> str:
        """Return the id of the client's span, "" without one."""
        return self.traceparent[_PARENT_ID] if self.has_parent else ""

    @property
    def has_parent(self) -> bool:
        """Tell whether the client's ``traceparent`` is valid.

        Version ff and ids of zeros alone are not (W3C Trace Context section 3.2.2).
        """
        traceparent = self.traceparent
        return not (
            traceparent.startswith(_NO_VERSION)
            or traceparent[_TRACE_ID].strip("0") == ""
            or traceparent[_PARENT_ID].strip("0") == ""
        )

    @property
    def is_wanted(self) -> bool:
        """Tell whether the client's trace is sampled, or begins here."""
        return not self.has_parent or int(self.traceparent[_FLAGS], 16) & _SAMPLED == _SAMPLED


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a valid ``traceparent``, "" of none."""
    return traceparent[_TRACE_ID]
