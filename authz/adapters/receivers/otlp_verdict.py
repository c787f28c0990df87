"""Says what a collector's answer means for the items sent, by the OTLP specification.

It lists what may be sent again, and has everything else dropped. We also send again where the
answer is about us or the address, and says nothing of the items: a wrong token must not cost any.
"""

from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from authz.adapters.receivers.otlp_signals import Signal
from authz.adapters.receivers.receiver import ReceiverError

# OTLP/HTTP, "Retryable Response Codes".
RETRYABLE_STATUSES: Final[AbstractSet[int]] = frozenset({429, 502, 503, 504})
# Not authenticated, not permitted, a wrong path, method or proxy, a redirect.
OURS_STATUSES: Final[AbstractSet[int]] = frozenset({401, 403, 404, 405, 407, *range(300, 400)})
# OTLP/gRPC, "Failures"; RESOURCE_EXHAUSTED only with RetryInfo.
RETRYABLE_CODES: Final[AbstractSet[str]] = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
RETRYABLE_WITH_DELAY: Final = "RESOURCE_EXHAUSTED"
OURS_CODES: Final[AbstractSet[str]] = frozenset(
    {"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"}
)


class Verdict(NamedTuple):
    """A collector's final answer to a request.

    Attributes:
        refused: why it will never take the request; "" if it took it.
        rejected: how many items of a request that it took it will never take.
    """

    refused: str = ""
    rejected: int = 0


def verdict_of(body: bytes, signal: Signal) -> Verdict:
    """Return the verdict of an answer that takes the request, which may be partial.

    A body that can't be read takes all, as its status says: gateways answer in JSON, or with a
    word. Raises ReceiverError for a web page: whatever sent it has not kept the items.
    """
    try:
        return Verdict(rejected=max(0, signal.rejected_in(body)))
    except DecodeError:
        if body.lstrip().startswith(b"<"):
            raise ReceiverError("it answers with a web page: see endpoint") from None
        return Verdict()
