"""The encoding of spans: a collector reads what OpenTelemetry's SDK makes of the same spans."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv.attributes import error_attributes, service_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from authz.adapters.receivers.otlp_attributes import SCHEMA_URL
from authz.adapters.tracing.spans import SpanEncoder
from authz.adapters.tracing.traced import TracedCheck, Wait
from authz.adapters.tracing.wire import nested, varint
from authz.core.reason import Reason

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SEEN = f"00-{TRACE}-{PARENT}-01"
RPC = "envoy.service.auth.v3.Authorization/Check"
AUDIT = b'{"decision":"deny","agent":"spiffe://a","principal":"alice","mode":"act","rule":"g/r"'
RESOURCE = {"service.name": "authz", "service.instance.id": "1"}
ENCODER = SpanEncoder(RESOURCE, "1.2")
texts = st.text(max_size=300)
seconds = st.floats(0, 1e6)


def check(**changes: Any) -> TracedCheck:
    """A refused check in a client's trace."""
    values = {
        "rpc": RPC,
        "traceparent": SEEN,
        "decision_id": "ab" * 16,
        "started": 1.5,
        "seconds": 0.25,
        "audit": AUDIT,
        "reason": Reason.OVERLOADED,
        "is_hit": False,
    }
    return TracedCheck(**{**values, **changes})


def decoded(*checks: TracedCheck) -> ExportTraceServiceRequest:
    """What a collector reads, with a span for each that was counted."""
    data, count = ENCODER.encode(checks)
    request = ExportTraceServiceRequest.FromString(data)
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    assert len(scope.spans) == count
    return request


def test_a_collector_reads_what_the_sdk_would_send() -> None:
    """A check with a wait is the same message as the SDK's encoder makes of two such spans."""
    waited = Wait("keys", 1.5, 0.125, "https://i", "LearnError")
    ours = decoded(check(waits=(waited,)))
    span, child = ours.resource_spans[0].scope_spans[0].spans

    def context(span_id: bytes | str, *, is_remote: bool = False) -> SpanContext:
        number = span_id if isinstance(span_id, bytes) else bytes.fromhex(span_id)
        return SpanContext(
            int(TRACE, 16), int.from_bytes(number), is_remote, TraceFlags(TraceFlags.SAMPLED)
        )

    resource = Resource(RESOURCE, SCHEMA_URL)
    scope = InstrumentationScope("authz", "1.2", SCHEMA_URL)
    theirs = encode_spans(
        [
            ReadableSpan(
                RPC,
                context(span.span_id),
                context(PARENT, is_remote=True),
                resource,
                {
                    "rpc.system.name": "grpc",
                    "rpc.method": RPC,
                    "rpc.response.status_code": "OK",
                    "authz.decision": "deny",
                    "authz.cache": "miss",
                    "authz.reason": "overloaded",
                    "authz.agent": "spiffe://a",
                    "authz.mode": "act",
                    "authz.rule": "g/r",
                    "error.type": "overloaded",
                    "authz.decision_id": "ab" * 16,
                },
                kind=SpanKind.SERVER,
                status=Status(StatusCode.ERROR),
                start_time=1_500_000_000,
                end_time=1_750_000_000,
                instrumentation_scope=scope,
            ),
            ReadableSpan(
                "keys",
                context(child.span_id),
                context(span.span_id),
                resource,
                {"authz.issuer": "https://i", "error.type": "LearnError"},
                kind=SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR),
                start_time=1_500_000_000,
                end_time=1_625_000_000,
                instrumentation_scope=scope,
            ),
        ]
    )
    for one in theirs.resource_spans[0].scope_spans[0].spans:
        one.flags |= TraceFlags.SAMPLED  # which the SDK leaves out, and OTLP asks for
    assert ours == theirs


def test_the_conventions_have_our_names() -> None:
    """The attributes that are not ours are those of the conventions that the schema names."""
    names = {
        one.key for one in decoded(check()).resource_spans[0].scope_spans[0].spans[0].attributes
    }
    assert {name for name in names if not name.startswith("authz.")} == {
        rpc_attributes.RPC_SYSTEM_NAME,
        rpc_attributes.RPC_METHOD,
        rpc_attributes.RPC_RESPONSE_STATUS_CODE,
        error_attributes.ERROR_TYPE,
    }
    assert Schemas.V1_44_0.value == SCHEMA_URL
    assert service_attributes.SERVICE_NAME == "service.name"


@given(
    waits=st.lists(
        st.builds(Wait, name=texts, started=seconds, seconds=seconds, issuer=texts, error=texts),
        max_size=4,
    ),
    rpc=st.text(max_size=40_000),
    started=seconds,
    took=st.floats(-1, 1e6),
    is_seen=st.booleans(),
)
def test_any_values_make_a_message(
    waits: list[Wait], rpc: str, started: float, took: float, *, is_seen: bool
) -> None:
    """Whatever its texts and times are, a check and its waits can be read, with an end."""
    made = check(
        waits=tuple(waits),
        rpc=rpc,
        started=started,
        seconds=took,
        traceparent=SEEN if is_seen else "",
    )
    found = decoded(made, made).resource_spans[0].scope_spans[0].spans
    assert [span.name for span in found] == [rpc, *(wait.name for wait in waits)] * 2
    for span in found:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
    assert found[0].parent_span_id.hex() == (PARENT if is_seen else "")
    assert len({span.span_id for span in found}) == len(found)


@given(st.binary(max_size=70_000))
def test_the_length_of_a_nested_message(data: bytes) -> None:
    """A nested message of any length begins with its field and its length."""
    field = nested(2, data)
    assert field == b"\x12" + varint(len(data)) + data
    size, shift = 0, 0
    for byte in field[1 : len(field) - len(data)]:
        size, shift = size | (byte & 0x7F) << shift, shift + 7
    assert size == len(data)


def test_no_check_makes_no_span() -> None:
    """An empty batch is a message without spans."""
    assert not decoded().resource_spans[0].scope_spans[0].spans
