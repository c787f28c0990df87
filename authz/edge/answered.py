"""A check as a dialect's reader gives it, and its answer as a dialect's writer takes it."""

from typing import Final

import msgspec

from authz.core.request import Request
from authz.edge.rendering import RenderedDecision


class DecodedCheck(msgspec.Struct, frozen=True, gc=False):
    """A proxy's check, read.

    Attributes:
        request: all that decisions read.
        request_id, trace_id: for correlation only, as clients may choose them: ``x-request-id``,
            and the trace id of a valid W3C ``traceparent``.
        ids: JSON of the ids of the message's JSON-RPC requests, for the answer.
        twins: names of headers that an upstream may take for those that we read or give.
        attempt: names the HTTP request that a single-use proof came with: the same when the proxy
            asks again for it, and not chosen by a client. Empty where each check is an attempt of
            its own.
    """

    request: Request
    request_id: str = ""
    trace_id: str = ""
    ids: tuple[bytes, ...] = ()
    twins: tuple[str, ...] = ()
    attempt: bytes = b""


UNREADABLE: Final = DecodedCheck(Request("", "", ""))  # a check of which nothing is known


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A check that was decided, recorded and counted.

    Attributes:
        check: as it was read.
        rendered: the decision.
        decision_id: the record's id, 32 lower-case hex characters.
        valid_until: unix seconds until which a proxy may reuse an allow; 0 for a refusal.
        is_hit: whether the decision came from the cache.
    """

    check: DecodedCheck
    rendered: RenderedDecision
    decision_id: str
    valid_until: float = 0.0
    is_hit: bool = False

    @property
    def is_allow(self) -> bool:
        """Tell whether the answer is an allow."""
        return self.rendered.reason is None

    @property
    def is_own_fault(self) -> bool:
        """Tell whether the answer refuses for a fault of ours, which says nothing of the caller."""
        reason = self.rendered.reason
        return reason is not None and reason.is_own_fault
