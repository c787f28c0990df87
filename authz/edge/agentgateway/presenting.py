"""Presents a message of agentgateway's guardrails, without any secret, for ``authz doctor``."""

import msgspec

from authz._pb import ext_mcp_pb2 as pb
from authz.core.protocols.mcp_methods import METHODS
from authz.edge.agentgateway.reader import GuardrailRequest
from authz.edge.faults import log_fault
from authz.edge.inputs import TRACE
from authz.edge.presentation import (
    GUARDRAILS,
    GUARDRAILS_RESULT,
    BodySeen,
    Presentation,
    shown_method,
    shown_names,
)
from authz.edge.presenting import Sight, headers_seen, kind_of
from authz.edge.service import CheckService
from authz.edge.snapshot import Snapshot

GuardrailMessage = pb.McpRequest | pb.McpResponse


def note_call(
    service: CheckService,
    snapshot: Snapshot,
    message: GuardrailMessage,
    asked: GuardrailRequest,
    decision: str,
) -> None:
    """Present a message that was decided, if its kind is due. Never raises, never waits.

    A message to several targets is presented by the first.
    """
    try:
        request = next(iter(asked.checks.values())).request
        key = kind_of(_protocol(message), request, snapshot.authorizer.routes)
        if service.presentations.wants(key, message.ByteSize(), service.clock.monotonic()):
            now = service.clock.wall()
            seen = present_call(Sight.of(snapshot), message, asked, now, decision)
            service.presentations.keep(key, seen)
    except Exception as error:  # noqa: BLE001 - the answer is made, and must go out
        log_fault(error)


def present_call(
    sight: Sight,
    message: GuardrailMessage,
    asked: GuardrailRequest,
    now: float,
    decision: str = "",
) -> Presentation:
    """Return the presentation of a message, and of the call that was read of it."""
    protocol, names = _protocol(message), asked.header_names
    seen = sight.seen(protocol, next(iter(asked.checks.values())).request, now)
    size = len(message.mcp_request if isinstance(message, pb.McpRequest) else message.mcp_response)
    return msgspec.structs.replace(
        seen,
        method=shown_method(asked.method, METHODS),
        headers=headers_seen("raw", names, len(names), sight.credentials),
        body=BodySeen("raw" if size else "none", size, size),
        namespaces=shown_names(message.metadata_context.fields),
        has_trace=TRACE in names,
        decision=decision,
    )


def _protocol(message: GuardrailMessage) -> str:
    return GUARDRAILS if isinstance(message, pb.McpRequest) else GUARDRAILS_RESULT
