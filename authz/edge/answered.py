"""The check that a dialect's reader returns, and the answer that its writer encodes."""

from typing import Final

import msgspec

from authz.adapters.tracing.traced import trace_id_of
from authz.core.request import Request
from authz.edge.rendering import RenderedDecision

ENVOY_CHECK: Final = "envoy.service.auth.v3.Authorization/Check"


class DecodedCheck(msgspec.Struct, frozen=True, gc=False):
    """A proxy's check, read.

    Attributes:
        request: everything that decisions read.
        request_id, traceparent: for correlation only, as clients may choose them:
            ``x-request-id``, and a text of the form of a W3C ``traceparent``, or "".
        ids: JSON of the ids of the message's JSON-RPC requests, for the answer.
        twins: names of headers that an upstream may confuse with those that we read or set.
        attempt: names the HTTP request that uses a proof or token alone: the same if the proxy
            asks again for that request, and not chosen by a client. Empty if each check is a
            separate attempt.
        rpc: the method that the proxy called, with its gRPC service.
        spends: whether the call spends budgets; not if the proxy asks about its result, since it
            asked about the call before.
    """

    request: Request
    request_id: str = ""
    traceparent: str = ""
    ids: tuple[bytes, ...] = ()
    twins: tuple[str, ...] = ()
    attempt: bytes = b""
    rpc: str = ENVOY_CHECK
    spends: bool = True

    @property
    def trace_id(self) -> str:
        """Return the trace id of the ``traceparent``, "" without one."""
        return trace_id_of(self.traceparent)


UNREADABLE: Final = DecodedCheck(Request("", "", ""))  # a check without any facts


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A check that was decided, recorded and counted.

    Attributes:
        check: the check as it was read.
        rendered: the decision.
        decision_id: the record's id, 32 lower-case hex characters.
        valid_until: unix seconds until which a proxy may reuse an allow; 0 for a refusal, and for
            what each request must ask for.
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
        """Tell whether the answer refuses for a fault of ours, rather than of the caller."""
        reason = self.rendered.reason
        return reason is not None and reason.is_own_fault
