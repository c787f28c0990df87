"""The signals that this server exports by OTLP: their services, and what an answer says of them."""

from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse


class Signal(NamedTuple):
    """A signal of OpenTelemetry.

    Attributes:
        method: the path of its method in gRPC.
        rejected_in: returns how many items an answer's partial_success rejects, which may be any
            number; raises DecodeError.
    """

    method: str
    rejected_in: Callable[[bytes], int]


def _rejected_log_records(body: bytes) -> int:
    answer = ExportLogsServiceResponse.FromString(body)
    return int(answer.partial_success.rejected_log_records)


def _rejected_spans(body: bytes) -> int:
    answer = ExportTraceServiceResponse.FromString(body)
    return int(answer.partial_success.rejected_spans)


LOGS: Final = Signal(
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export", _rejected_log_records
)
TRACES: Final = Signal(
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export", _rejected_spans
)
