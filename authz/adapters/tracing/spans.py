"""Encodes checks as OTLP spans, by the semantic conventions of OpenTelemetry for RPC servers.

The SDK's encoder takes 119 us for a span, most of it for attributes. Those of a decision are the
same for all of its checks, so here they are encoded once, and a span takes some 4 us. Protobuf
merges the parts of a message that is read in several pieces.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from authz.adapters.audit.records.line import CacheUse
from authz.adapters.receivers.otlp_attributes import SCHEMA_URL, attributes_of
from authz.adapters.tracing.traced import TracedCheck, Wait
from authz.adapters.tracing.wire import id_attribute, nested, span_part
from authz.core.reason import Reason

SCOPE: Final = "authz"
_KEPT: Final = 1024  # encoded decisions: some 1 KB each
_ID_BYTES: Final = 8
_NANOSECONDS: Final = 1e9
# SpanFlags of OTLP: sampled; whether the parent is remote is known; it is remote.
_LOCAL: Final = 0x1 | 0x100
_REMOTE: Final = _LOCAL | 0x200
_CACHE: Final = tuple(use.value for use in CacheUse)
_DECISION_ID: Final = id_attribute("authz.decision_id")
_SPANS: Final = ScopeSpans.SPANS_FIELD_NUMBER


class _Recorded(msgspec.Struct, gc=False):
    """What a span takes of the audit record. Its redaction has been done."""

    agent: str = ""
    mode: str = ""
    rule: str = ""
    policy_version: str = ""


_decode: Final = msgspec.json.Decoder(_Recorded).decode


class SpanEncoder:
    """Encodes the spans of one process."""

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        """Take the attributes of the resource, such as service.name, and the server's version."""
        scope = InstrumentationScope(name=SCOPE, version=version)
        self._scope: bytes = ScopeSpans(scope=scope, schema_url=SCHEMA_URL).SerializeToString()
        self._resource: bytes = ResourceSpans(
            resource=Resource(attributes=attributes_of(resource)), schema_url=SCHEMA_URL
        ).SerializeToString()

    def encode(self, checks: Sequence[TracedCheck]) -> tuple[bytes, int]:
        """Return a serialised ExportTraceServiceRequest, and the number of its spans."""
        count = len(checks) + sum(len(check.waits) for check in checks)
        ids = os.urandom(_ID_BYTES * count)  # at once: asking the system releases the GIL
        unused = iter([ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES)])
        spans = [nested(_SPANS, span) for check in checks for span in _encoded(check, unused)]
        scope = b"".join((self._scope, *spans))
        resource = self._resource + nested(ResourceSpans.SCOPE_SPANS_FIELD_NUMBER, scope)
        return nested(ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER, resource), count


def _encoded(check: TracedCheck, ids: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a check's span, and those of its waits. ``ids`` gives each its id."""
    trace_id, span_id = bytes.fromhex(check.trace_id), next(ids)
    start, end = _times(check.started, check.seconds)
    parent, flags = bytes.fromhex(check.parent_id), _REMOTE if check.has_parent else _LOCAL
    yield b"".join(
        (
            _of_decision(check.rpc, check.audit, check.reason, check.is_hit),
            span_part(trace_id, span_id, parent, start, end, flags),
            _DECISION_ID,
            check.decision_id.encode(),
        )
    )
    for wait in check.waits:
        times = _times(wait.started, wait.seconds)
        yield _of_wait(wait) + span_part(trace_id, next(ids), span_id, *times, _LOCAL)


def _times(started: float, seconds: float) -> tuple[int, int]:
    """Return start and end in nanoseconds."""
    begun = int(started * _NANOSECONDS)
    return begun, begun + max(0, int(seconds * _NANOSECONDS))


@lru_cache(_KEPT)
def _of_decision(rpc: str, audit: bytes, reason: Reason | None, is_hit: bool) -> bytes:  # noqa: FBT001 - a key of the cache
    """Return the part of a span that all checks with this decision share."""
    return _span(
        rpc,
        Span.SPAN_KIND_SERVER,
        dict(_about_check(rpc, audit, reason, is_hit=is_hit)),
        reason.code if reason is not None and reason.is_own_fault else "",
    )


def _about_check(
    rpc: str, audit: bytes, reason: Reason | None, *, is_hit: bool
) -> Iterator[tuple[str, str]]:
    yield "rpc.system.name", "grpc"
    yield "rpc.method", rpc
    yield "rpc.response.status_code", "OK"  # a refusal is an answer
    yield "authz.decision", "deny" if reason else "allow"
    yield "authz.cache", _CACHE[is_hit]
    if reason is not None:
        yield "authz.reason", reason.code
    recorded = _decode(audit + b"}")
    for name in _Recorded.__struct_fields__:
        if text := getattr(recorded, name):
            yield f"authz.{name}", text


def _of_wait(wait: Wait) -> bytes:
    about = {"authz.issuer": wait.issuer} if wait.issuer else {}
    return _span(wait.name, Span.SPAN_KIND_INTERNAL, about, wait.error)


def _span(
    name: str, kind: Span.SpanKind.ValueType, attributes: Mapping[str, str], error: str
) -> bytes:
    """Encode a part of a span. Its status is set for an error alone, as the conventions say."""
    status, failed = None, {}
    if error:
        status, failed = Status(code=Status.STATUS_CODE_ERROR), {"error.type": error}
    span = Span(
        name=name, kind=kind, attributes=attributes_of({**attributes, **failed}), status=status
    )
    encoded: bytes = span.SerializeToString()
    return encoded
